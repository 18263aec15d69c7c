//! What the stream's limits remove before it is sent is said.

use uuid::Uuid;

use super::desk::Desk;
use crate::support::{CEILING, HookReply, wait_until};

#[tokio::test]
async fn events_that_the_stream_removed_during_a_pause_are_said() {
    let desk = Desk::set().await;
    desk.receiver.next([HookReply::status(410)]);
    let daemon = desk.daemon().await;
    daemon.delivers().await;
    let first = Uuid::now_v7();
    desk.store_job(first).await;
    daemon.shows("the pause", |view| view.paused.is_some()).await;
    for _ in 0..10 {
        desk.store_job(Uuid::now_v7()).await;
    }
    daemon.shows("the backlog", |view| view.backlog >= 32).await;
    assert_eq!(daemon.view().removed, 0);
    let mut config = desk.context.get_stream("HARK_EVENTS").await.unwrap().cached_info().config.clone();
    config.max_messages = 6;
    desk.context.update_stream(config).await.unwrap();
    let removed = daemon.shows("what was removed", |view| view.removed > 0).await.removed;
    assert!((24..=27).contains(&removed), "{removed}");
    daemon.webhooks.resume("crm").await.unwrap();
    desk.taken(6).await;
    // The job whose first event was answered by 410 has lost all three.
    wait_until("the first job's loss", CEILING, async || {
        let view = daemon.view();
        view.waiting.is_empty() && view.backlog == 0
    })
    .await;
    assert!(!desk.receiver.taken().iter().any(|id| id.starts_with(&first.to_string())));
    assert!(daemon.view().removed >= removed);
    assert!(daemon.metrics.page().contains("hark_webhook_removed_events_total{webhook=\"crm\"} "));
    daemon.stop().await;
}
