//! Two daemons share a webhook: one of them delivers.

use std::time::Duration;

use uuid::Uuid;

use super::desk::{Desk, assert_in_order};
use crate::support::HookReply;

#[tokio::test]
async fn one_daemon_delivers_and_another_goes_on_when_it_stops() {
    let desk = Desk::set().await;
    let one = desk.daemon().await;
    one.delivers().await;
    let two = desk.daemon().await;
    let jobs: Vec<Uuid> = (0..20).map(|_| Uuid::now_v7()).collect();
    for job in &jobs[..10] {
        desk.store_job(*job).await;
    }
    desk.taken(30).await;
    assert!(one.view().delivering && !two.view().delivering);
    one.stop().await;
    two.delivers().await;
    for job in &jobs[10..] {
        desk.store_job(*job).await;
    }
    desk.taken(60).await;
    let taken = desk.receiver.taken();
    assert_eq!(taken.len(), 60, "nothing twice");
    assert_in_order(&taken, &jobs, 3);
    two.stop().await;
}

#[tokio::test]
async fn the_events_of_a_killed_daemon_come_back_in_their_order() {
    let mut desk = Desk::set().await;
    // The first daemon hangs with every request.
    desk.schedule.timeout = Duration::from_secs(60);
    desk.receiver.rule(|_| Some(HookReply::status(503).after(Duration::from_secs(60))));
    let one = desk.daemon().await;
    one.delivers().await;
    let jobs: Vec<Uuid> = (0..30).map(|_| Uuid::now_v7()).collect();
    for job in &jobs {
        desk.store(*job, 1, "job.accepted").await;
    }
    one.shows("its window full of them", |view| view.held == 30).await;
    one.kill().await;
    desk.receiver.take_all();
    let two = desk.daemon().await;
    // Newer events of the same jobs are there before the server delivers the older ones again.
    for job in &jobs {
        desk.store(*job, 2, "transcript.final").await;
        desk.store(*job, 3, "job.completed").await;
    }
    desk.taken(90).await;
    assert_in_order(&desk.receiver.taken(), &jobs, 3);
    two.stop().await;
}

#[tokio::test]
async fn a_lost_bucket_loses_no_event() {
    let desk = Desk::set().await;
    let daemon = desk.daemon().await;
    daemon.delivers().await;
    let jobs: Vec<Uuid> = (0..10).map(|_| Uuid::now_v7()).collect();
    desk.store_job(jobs[0]).await;
    desk.taken(3).await;
    desk.context.delete_key_value("HARK_WEBHOOKS").await.unwrap();
    for job in &jobs[1..] {
        desk.store_job(*job).await;
    }
    desk.taken(30).await;
    assert_in_order(&desk.receiver.taken(), &jobs, 3);
    daemon.stop().await;
}
