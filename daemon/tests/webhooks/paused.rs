//! Pauses: by the receiver (410), and by hours without an answer.

use std::time::Duration;

use uuid::Uuid;

use harkd::publish::webhooks::{Refusal, View};

use super::stage::{WebhookStage, assert_in_order};
use crate::support::{CEILING, HookReply, wait_until};

#[tokio::test]
async fn a_receiver_that_is_gone_pauses_the_webhook_for_every_daemon_and_nothing_is_skipped() {
    let stage = WebhookStage::set().await;
    stage.receiver.next([HookReply::status(410)]);
    let one = stage.daemon().await;
    one.delivers().await;
    let jobs: Vec<Uuid> = (0..4).map(|_| Uuid::now_v7()).collect();
    stage.store_job(jobs[0]).await;
    let paused = one.shows("the pause", |view| view.paused.is_some()).await.paused.unwrap();
    assert_eq!(paused.why, "410 Gone");
    assert!(one.metrics.page().contains("hark_webhook_paused{webhook=\"crm\"} 1"));
    let taken = stage.receiver.taken().len();
    stage.store_job(jobs[1]).await;
    assert_eq!(
        one.webhooks.retry("crm").await,
        Ok(0),
        "what waits is due when an operator resumes the webhook"
    );
    assert!(one.webhooks.test("crm").await.unwrap().taken, "a test event is sent all the same");

    // Another daemon knows of the pause before and after it takes over.
    let two = stage.daemon().await;
    two.shows("the pause at the other daemon", |view| view.paused.is_some()).await;
    assert_eq!(two.webhooks.resume("crm").await, Err(Refusal::Elsewhere));
    one.stop().await;
    two.delivers().await;
    stage.store_job(jobs[2]).await;
    two.shows("the backlog", |view| view.paused.is_some() && view.backlog >= 9).await;
    assert_eq!(stage.receiver.taken().len(), taken + 1, "nothing but the test event");
    assert_eq!(two.webhooks.resume("crm").await, Ok(true));
    assert_eq!(two.webhooks.resume("crm").await, Ok(false), "at once: it is not paused any more");
    stage.store_job(jobs[3]).await;
    stage.taken(4 * 3 + 1).await;
    let taken: Vec<String> = stage.receiver.taken().into_iter().filter(|id| id.contains(':')).collect();
    assert_in_order(&taken, &jobs, 3);
    assert!(two.metrics.page().contains("hark_webhook_paused{webhook=\"crm\"} 0"));
    two.stop().await;
}

#[tokio::test]
async fn a_resume_counts_while_the_pause_still_waits_for_other_requests() {
    let mut stage = WebhookStage::set().await;
    stage.schedule.timeout = Duration::from_secs(20);
    let (slow, gone) = (Uuid::now_v7(), Uuid::now_v7());
    let prefix = slow.to_string();
    stage.receiver.rule(move |asked| match asked.id().starts_with(&prefix) {
        true => Some(HookReply::status(503).after(Duration::from_secs(8))),
        false => Some(HookReply::status(410)),
    });
    let daemon = stage.daemon().await;
    daemon.delivers().await;
    stage.store(slow, 1, "job.accepted").await;
    wait_until("the slow request", CEILING, async || stage.receiver.asked().len() == 1).await;
    stage.store(gone, 1, "job.accepted").await;
    daemon.shows("the pause", |view| view.paused.is_some()).await;
    stage.receiver.take_all();
    assert_eq!(daemon.webhooks.resume("crm").await, Ok(true));
    assert!(daemon.view().paused.is_none(), "it is in the bucket before the answer");
    // Before the slow request is answered.
    stage.taken(1).await;
    assert_eq!(stage.receiver.taken(), [format!("{gone}:1")]);
    stage.taken(2).await;
    assert!(daemon.view().paused.is_none());
    daemon.stop().await;
}

#[tokio::test]
async fn an_event_that_could_not_be_sent_for_too_long_pauses_the_webhook_over_restarts_too() {
    let mut stage = WebhookStage::set().await;
    stage.schedule.patience = Duration::from_secs(4);
    stage.receiver.rule(|_| Some(HookReply::status(502)));
    let id = Uuid::now_v7();
    let daemon = stage.daemon_with_id(id).await;
    daemon.delivers().await;
    let job = Uuid::now_v7();
    stage.store_job(job).await;
    let since = daemon.shows("the failure", |view| !view.waiting.is_empty()).await.waiting[0].since.unwrap();
    daemon.kill().await;
    let daemon = stage.daemon_with_id(id).await;
    let paused = daemon.shows("the pause", |view| view.paused.is_some()).await.paused.unwrap();
    let after = paused.at.duration_since(since).as_secs_f64();
    assert!((4.0..8.0).contains(&after), "{after} s after the first failure");
    assert!(paused.why.starts_with("502 Bad Gateway since "), "{}", paused.why);
    stage.receiver.take_all();
    assert_eq!(daemon.webhooks.resume("crm").await, Ok(true));
    stage.taken(3).await;
    assert_in_order(&stage.receiver.taken(), &[job], 3);
    daemon.stop().await;
}

#[tokio::test]
async fn a_test_event_says_whether_it_was_taken() {
    let stage = WebhookStage::set().await;
    let daemon = stage.daemon().await;
    daemon.delivers().await;
    let tested = daemon.webhooks.test("crm").await.unwrap();
    assert!(tested.taken, "{tested:?}");
    stage.receiver.next([HookReply::status(401)]);
    let tested = daemon.webhooks.test("crm").await.unwrap();
    assert_eq!((tested.taken, tested.answer.as_str()), (false, "401 Unauthorized"));
    assert_eq!(daemon.webhooks.test("other").await, Err(Refusal::Unknown));
    let asked = stage.receiver.asked();
    assert_eq!((asked[0].kind(), asked[0].header("ce-subject")), ("webhook.test", "crm"));
    assert_eq!(asked[0].body["webhook"], "crm");
    assert_ne!(asked[0].id(), asked[1].id());
    wait_until("no pause and nothing to wait", CEILING, async || {
        let view = daemon.view();
        view.paused.is_none() && view.backlog == 0
    })
    .await;
    daemon.stop().await;
}

#[tokio::test]
async fn what_was_handed_out_before_a_pause_comes_in_its_order_after_it() {
    let stage = WebhookStage::set().await;
    let jobs: Vec<Uuid> = (0..40).map(|_| Uuid::now_v7()).collect();
    let gone = format!("{}:2", jobs[20]);
    // All of them are in the daemon's memory, and sixteen under way, when one is answered by 410.
    stage.receiver.rule(move |asked| match asked.id() == gone {
        true => Some(HookReply::status(410)),
        false => Some(HookReply::status(204).after(Duration::from_millis(100))),
    });
    let one = stage.daemon().await;
    one.delivers().await;
    for (kind, sequence) in [("job.accepted", 1), ("transcript.final", 2), ("job.completed", 3)] {
        for job in &jobs {
            stage.store(*job, sequence, kind).await;
        }
    }
    // Asked for and not in the backlog any more: answered.
    let is_over =
        |view: &View| view.paused.is_some() && view.backlog + stage.receiver.taken().len() as u64 == 120;
    one.shows("the pause, and no request under way", is_over).await;
    let taken = stage.receiver.taken().len();
    assert!((1..119).contains(&taken), "{taken} of 120 events before the pause");
    stage.receiver.take_all();
    one.kill().await;

    let two = stage.daemon().await;
    two.delivers().await;
    assert_eq!(stage.receiver.taken().len(), taken, "nothing comes before the resume");
    assert_eq!(two.webhooks.resume("crm").await, Ok(true));
    stage.taken(120).await;
    assert_in_order(&stage.receiver.taken(), &jobs, 3);
    two.stop().await;
}

#[tokio::test]
async fn the_backlog_of_a_pause_falls_as_its_events_are_taken() {
    let mut stage = WebhookStage::set().await;
    // The daemon asks the server for the backlog every twenty seconds.
    stage.config.ack_wait = Duration::from_secs(60);
    stage.receiver.next([HookReply::status(410)]);
    let daemon = stage.daemon().await;
    daemon.delivers().await;
    // One event: what the server hands out while the daemon pauses comes again only after `ack_wait`.
    stage.store(Uuid::now_v7(), 1, "job.accepted").await;
    daemon.shows("the pause", |view| view.paused.is_some()).await;
    for _ in 0..9 {
        stage.store_job(Uuid::now_v7()).await;
    }
    assert_eq!(daemon.webhooks.resume("crm").await, Ok(true));
    stage.taken(28).await;
    let begun = std::time::Instant::now();
    daemon.shows("no backlog", |view| view.backlog == 0).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    daemon.stop().await;
}
