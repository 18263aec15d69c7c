//! What the stream's limits remove before it is sent is said.

use async_nats::jetstream::object_store;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use serde_json::{Value, json};
use uuid::Uuid;

use super::stage::WebhookStage;
use crate::support::{CEILING, HookReply, wait_until};

#[tokio::test]
async fn events_that_the_stream_removed_during_a_pause_are_said() {
    let stage = WebhookStage::set().await;
    stage.receiver.next([HookReply::status(410)]);
    let daemon = stage.daemon().await;
    daemon.delivers().await;
    let first = Uuid::now_v7();
    stage.store_job(first).await;
    daemon.shows("the pause", |view| view.paused.is_some()).await;
    for _ in 0..10 {
        stage.store_job(Uuid::now_v7()).await;
    }
    daemon.shows("the backlog", |view| view.backlog >= 33).await;
    assert_eq!(daemon.view().removed, 0);
    let mut config = stage.context.get_stream("HARK_EVENTS").await.unwrap().cached_info().config.clone();
    config.max_messages = 6;
    stage.context.update_stream(config).await.unwrap();
    let removed = daemon.shows("what was removed", |view| view.removed > 0).await.removed;
    // Of 27 removed events, the ones that the consumer had handed out before the pause are not counted here; their number depends on the moment.
    assert!((20..=27).contains(&removed), "{removed}");
    daemon.webhooks.resume("crm").await.unwrap();
    stage.taken(6).await;
    // The job whose first event was answered by 410 has lost all three.
    wait_until("the first job's loss", CEILING, async || {
        let view = daemon.view();
        view.waiting.is_empty() && view.backlog == 0
    })
    .await;
    assert!(!stage.receiver.taken().iter().any(|id| id.starts_with(&first.to_string())));
    assert!(daemon.view().removed >= removed);
    assert!(daemon.metrics.page().contains("hark_webhook_removed_events_total{webhook=\"crm\"} "));
    daemon.stop().await;
}

#[tokio::test]
async fn a_final_whose_segments_are_gone_is_sent_without_them_and_said() {
    let stage = WebhookStage::set().await;
    let daemon = stage.daemon().await;
    daemon.delivers().await;
    let golden = include_str!("../../../sdk/tests/events/transcript.final.json");
    let mut body: Value = serde_json::from_str(golden).unwrap();
    body.as_object_mut().unwrap().remove("segments");
    let mut store = async |count: usize, is_deleted: bool| {
        let job = Uuid::now_v7();
        body["job"] = json!(job);
        body["segments_object"] = json!({ "bucket": "HARK_TRANSCRIPTS", "name": job.to_string() });
        if is_deleted {
            // As nats-py deletes an object: without a time.
            let subject = format!("$O.HARK_TRANSCRIPTS.M.{}", URL_SAFE.encode(job.to_string()));
            let deleted = json!({ "name": job, "bucket": "HARK_TRANSCRIPTS", "mtime": "", "deleted": true });
            stage.context.publish(subject, deleted.to_string().into()).await.unwrap().await.unwrap();
        }
        stage.store_body(job, 1, "transcript.final", body.to_string()).await;
        stage.taken(count).await;
        let asked = stage.receiver.asked().pop().unwrap();
        assert_eq!((&asked.body["segments"], asked.body.get("segments_object")), (&json!([]), None));
        daemon.shows("what was removed", |view| view.removed == count as u64).await;
    };
    // The bucket is gone.
    store(1, false).await;
    let bucket =
        object_store::Config { bucket: "HARK_TRANSCRIPTS".into(), ..object_store::Config::default() };
    stage.context.create_object_store(bucket).await.unwrap();
    store(2, false).await;
    store(3, true).await;
    assert!(daemon.metrics.page().contains("hark_webhook_removed_events_total{webhook=\"crm\"} 3"));
    daemon.stop().await;
}
