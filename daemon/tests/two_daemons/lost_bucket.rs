//! One is killed, and so was the bucket of claims.

use async_nats::jetstream;
use async_nats::jetstream::consumer::pull;

use crate::support::{CEILING, Emulator, NatsServer, wait_until, wav};
use crate::{FILETRANS, claims, daemon, is_marked, jobs, nothing_waits, put, taken, task_of};

/// Somebody deleted the bucket while tasks were at work, and nobody had anything to tell it for as long.
pub(crate) async fn a_task_is_resumed_by_the_other_daemon_although_the_bucket_was_lost() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--task-delay", "25s"]).await;
    let mut one = daemon(&nats, &service).lines(FILETRANS).start().await;
    for number in 0..3 {
        put(&nats, &format!("call-{number}"), wav(2.0, number)).await;
    }
    for _ in 0..3 {
        one.next_event("job.submitted").await;
    }
    let context = jetstream::new(nats.client().await);
    context.delete_stream("KV_HARK_JOBS").await.unwrap();
    wait_until("the bucket to know the tasks again", CEILING, async || {
        context.get_stream("KV_HARK_JOBS").await.is_ok()
            && claims(&nats).await.iter().filter(|claim| task_of(claim).is_some()).count() == 3
    })
    .await;
    let mut two = daemon(&nats, &service).lines(FILETRANS).start().await;
    one.kill();
    nothing_waits(&nats).await;
    let jobs = jobs(&mut two).await;
    assert!(jobs.len() == 3 && !jobs.values().any(|events| is_marked(events)));
    assert_eq!(taken(&service, "submit"), 3, "each task was paid once");
}

/// The bucket went, and who could have told a new one with it.
pub(crate) async fn a_job_of_which_a_lost_bucket_told_is_found_again_and_marked() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--task-delay", "2s"]).await;
    let mut one = daemon(&nats, &service).lines(FILETRANS).start().await;
    put(&nats, "call", wav(2.0, 1)).await;
    let submitted = one.next_event("job.submitted").await;
    one.kill();
    jetstream::new(nats.client().await).delete_stream("KV_HARK_JOBS").await.unwrap();
    let mut two = daemon(&nats, &service).lines(FILETRANS).start().await;
    nothing_waits(&nats).await;
    let jobs = jobs(&mut two).await;
    assert_eq!(jobs.keys().collect::<Vec<_>>(), [submitted.job()], "its events tell which job it was");
    assert!(is_marked(&jobs[submitted.job()]), "it was paid twice");
}

/// One was stopped with a message before it. The other one had it meanwhile, and what it said of it is lost.
pub(crate) async fn a_message_that_was_done_while_a_daemon_stood_still_is_not_heard_again() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let mut one = daemon(&nats, &service).start().await;
    let context = jetstream::new(nats.client().await);
    let asks = async || {
        let consumer =
            context.get_consumer_from_stream::<pull::Config, _, _>("hark_inbox", "HARK_AUDIO").await;
        consumer.unwrap().cached_info().num_waiting > 0
    };
    wait_until("it to stand still while it asks", CEILING, async || {
        one.process().pause();
        let is_asking = asks().await;
        if !is_asking {
            one.process().resume();
        }
        is_asking
    })
    .await;
    put(&nats, "call", wav(1.0, 1)).await;
    let mut two = daemon(&nats, &service).start().await;
    nothing_waits(&nats).await;
    two.kill();
    context.delete_stream("KV_HARK_JOBS").await.unwrap();
    one.process().resume();
    wait_until("it to look at the message", CEILING, async || {
        one.log().contains("another daemon has finished this old delivery's message")
    })
    .await;
    assert_eq!(jobs(&mut one).await.len(), 1);
    assert_eq!(taken(&service, "flash"), 1);
}
