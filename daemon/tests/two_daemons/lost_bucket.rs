//! One daemon is killed, and the bucket of claims was deleted before.

use std::time::{Duration, Instant};

use async_nats::jetstream;
use async_nats::jetstream::consumer::pull;

use super::{FILETRANS, claims, daemon, is_marked, jobs, nothing_waits, put, taken, task_of};
use crate::support::{CEILING, Emulator, NatsServer, wait_until, wav};

/// The bucket is deleted while tasks run, and no daemon has a reason to write to it meanwhile.
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

/// The bucket is deleted, and the daemon that could have written its claims to a new bucket is killed.
pub(crate) async fn a_job_whose_claim_was_lost_with_the_bucket_is_found_again_and_marked() {
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

/// A sender may send a message again for as long as the ledger remembers it, and the other daemons have only the bucket.
#[tokio::test]
async fn a_new_bucket_knows_the_ended_jobs_that_have_a_message_id() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    const ACK_WAIT: Duration = Duration::from_secs(1);
    let mut hark = daemon(&nats, &service).set("nats.ack_wait", "\"1s\"").start().await;
    put(&nats, "call", wav(1.0, 1)).await;
    let [ended] = &hark.ended_jobs(1).await[..] else { panic!("not one job") };
    nothing_waits(&nats).await;
    // A job that ended within four times ack_wait is told to a new bucket in any case, with a message id or without.
    let since = Instant::now();
    wait_until("four times ack_wait to pass", CEILING, async || since.elapsed() > 5 * ACK_WAIT).await;
    let context = jetstream::new(nats.client().await);
    context.delete_stream("KV_HARK_JOBS").await.unwrap();
    wait_until("the bucket to know the job that has ended", CEILING, async || {
        context.get_stream("KV_HARK_JOBS").await.is_ok()
            && claims(&nats).await.iter().any(|claim| claim["job"] == ended.job() && claim["ended"] == true)
    })
    .await;
}

/// One daemon is stopped with a request for messages open, so that a message is delivered to it. The other daemon processes the redelivered
/// message, and its claim is lost with the bucket.
pub(crate) async fn a_message_that_was_done_while_a_daemon_was_stopped_is_not_recognized_again() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let mut one = daemon(&nats, &service).start().await;
    let context = jetstream::new(nats.client().await);
    let asks = async || {
        let consumer =
            context.get_consumer_from_stream::<pull::Config, _, _>("hark_inbox", "HARK_AUDIO").await;
        consumer.unwrap().cached_info().num_waiting > 0
    };
    wait_until("the daemon to be stopped while it asks", CEILING, async || {
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
