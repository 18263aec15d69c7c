//! Two daemons share a webhook: one of them delivers.

use std::time::Duration;

use uuid::Uuid;

use super::stage::{WebhookStage, assert_in_order};
use crate::support::HookReply;

#[tokio::test]
async fn one_daemon_delivers_and_another_goes_on_when_it_stops() {
    let stage = WebhookStage::set().await;
    let one = stage.daemon().await;
    one.delivers().await;
    let two = stage.daemon().await;
    let jobs: Vec<Uuid> = (0..20).map(|_| Uuid::now_v7()).collect();
    for job in &jobs[..10] {
        stage.store_job(*job).await;
    }
    stage.taken(30).await;
    assert!(one.view().delivering && !two.view().delivering);
    one.stop().await;
    two.delivers().await;
    for job in &jobs[10..] {
        stage.store_job(*job).await;
    }
    stage.taken(60).await;
    let taken = stage.receiver.taken();
    assert_eq!(taken.len(), 60, "nothing twice");
    assert_in_order(&taken, &jobs, 3);
    two.stop().await;
}

#[tokio::test]
async fn the_events_of_a_killed_daemon_come_back_in_their_order() {
    let mut stage = WebhookStage::set().await;
    // The first daemon hangs with every request.
    stage.schedule.timeout = Duration::from_secs(60);
    stage.receiver.rule(|_| Some(HookReply::status(503).after(Duration::from_secs(60))));
    let one = stage.daemon().await;
    one.delivers().await;
    let jobs: Vec<Uuid> = (0..30).map(|_| Uuid::now_v7()).collect();
    for job in &jobs {
        stage.store(*job, 1, "job.accepted").await;
    }
    one.shows("its window full of them", |view| view.held == 30).await;
    one.kill().await;
    stage.receiver.take_all();
    let two = stage.daemon().await;
    // Newer events of the same jobs are there before the server delivers the older ones again.
    for job in &jobs {
        stage.store(*job, 2, "transcript.final").await;
        stage.store(*job, 3, "job.completed").await;
    }
    stage.taken(90).await;
    assert_in_order(&stage.receiver.taken(), &jobs, 3);
    two.stop().await;
}

#[tokio::test]
async fn a_lost_bucket_loses_no_event() {
    let stage = WebhookStage::set().await;
    let daemon = stage.daemon().await;
    daemon.delivers().await;
    let jobs: Vec<Uuid> = (0..10).map(|_| Uuid::now_v7()).collect();
    stage.store_job(jobs[0]).await;
    stage.taken(3).await;
    stage.context.delete_key_value("HARK_WEBHOOKS").await.unwrap();
    for job in &jobs[1..] {
        stage.store_job(*job).await;
    }
    stage.taken(30).await;
    assert_in_order(&stage.receiver.taken(), &jobs, 3);
    daemon.stop().await;
}
