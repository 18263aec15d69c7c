//! The webhooks of a running daemon are replaced, as by a reload of its config.

use harkd::config::Webhook;
use uuid::Uuid;

use super::stage::{WebhookStage, assert_in_order};
use crate::support::{CEILING, HookReceiver, wait_until};

#[tokio::test]
async fn changes_under_load_lose_and_double_nothing() {
    let stage = WebhookStage::set().await;
    let daemon = stage.daemon().await;
    daemon.delivers().await;
    let (old, new) = (stage.webhook(), Webhook { url: stage.receiver.url() + "&room=2", ..stage.webhook() });
    let jobs: Vec<Uuid> = (0..60).map(|_| Uuid::now_v7()).collect();
    for (number, job) in jobs.iter().enumerate() {
        stage.store_job(*job).await;
        daemon.webhooks.configure(&[if number % 2 == 0 { new.clone() } else { old.clone() }]).unwrap();
    }
    stage.taken(180).await;
    let taken = stage.receiver.taken();
    assert_eq!(taken.len(), 180, "nothing twice");
    assert_in_order(&taken, &jobs, 3);
    daemon.stop().await;
}

#[tokio::test]
async fn a_webhook_that_was_removed_goes_on_where_it_was_when_it_comes_back() {
    let stage = WebhookStage::set().await;
    let daemon = stage.daemon().await;
    daemon.delivers().await;
    daemon.webhooks.configure(&[]).unwrap();
    wait_until("no webhook", CEILING, async || daemon.webhooks.list().is_empty()).await;
    assert!(!daemon.metrics.page().contains("hark_webhook_paused{webhook=\"crm\"}"));
    let job = Uuid::now_v7();
    stage.store_job(job).await;
    daemon.webhooks.configure(&[stage.webhook()]).unwrap();
    stage.taken(3).await;
    assert_in_order(&stage.receiver.taken(), &[job], 3);
    daemon.stop().await;
}

#[tokio::test]
async fn other_kinds_and_other_secrets_count_from_the_change_on() {
    let stage = WebhookStage::set().await;
    let other = HookReceiver::start().await;
    let daemon = stage.daemon().await;
    daemon.delivers().await;
    let (before, after) = (Uuid::now_v7(), Uuid::now_v7());
    stage.store_job(before).await;
    stage.taken(3).await;
    stage.write_secrets("no secret");
    let changed = Webhook { url: other.url(), kinds: vec!["transcript.final".into()], ..stage.webhook() };
    assert!(
        daemon
            .webhooks
            .configure(std::slice::from_ref(&changed))
            .unwrap_err()
            .contains("no secret of the Standard")
    );
    stage.write_secrets(&format!("whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVlc=\n{}\n", crate::support::SECRET));
    daemon.webhooks.configure(&[changed]).unwrap();
    daemon.shows("the change", |view| view.delivering && view.kinds.len() == 1).await;
    stage.store_job(after).await;
    wait_until("the final at the other receiver", CEILING, async || !other.taken().is_empty()).await;
    assert_eq!(other.taken(), [format!("{after}:2")]);
    let signature = other.asked()[0].header("webhook-signature").to_owned();
    assert_eq!(signature.split(' ').count(), 2, "{signature}");
    assert_eq!(stage.receiver.asked().len(), 3);
    daemon.stop().await;
}

#[tokio::test]
async fn events_that_are_stored_before_the_consumer_is_made_are_not_passed_over() {
    let stage = WebhookStage::set().await;
    let old = Uuid::now_v7();
    stage.store_job(old).await;
    // Far more than the two clocks, which are one here, differ.
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let waiting = stage.configured(Uuid::now_v7()).await;
    let new = Uuid::now_v7();
    stage.store_job(new).await;
    let daemon = waiting.run();
    stage.taken(3).await;
    daemon.shows("nothing to wait", |view| view.delivering && view.backlog == 0).await;
    assert_in_order(&stage.receiver.taken(), &[new], 3);
    daemon.stop().await;
}
