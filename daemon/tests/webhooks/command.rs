//! `harkd webhooks`: the running daemons answer over their NATS service.

use std::process::Output;

use serde_json::Value;
use uuid::Uuid;

use super::stage::WebhookStage;
use crate::support::{CEILING, Emulator, Hark, HookReceiver, HookReply, NatsServer, wait_until, wav};

/// The blocking command, beside the receiver.
async fn harkd(hark: &Hark, arguments: &[&str]) -> Output {
    let mut command = hark.command(&[&["webhooks"], arguments].concat());
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test]
async fn an_operator_sees_tests_and_resumes_webhooks() {
    let (nats, service) = (NatsServer::start().await, Emulator::start(&[]).await);
    let receiver = HookReceiver::start().await;
    let daemon = || Hark::new().nats(&nats).asr(&service).set("nats.ack_wait", "\"2s\"").folder("calls");
    let mut one = daemon().webhook("crm", &receiver.url(), "").start().await;
    wait_until("the lease", CEILING, async || one.log().contains("this daemon delivers the webhook")).await;
    // It has the webhook too, and does not deliver it.
    let two = daemon().webhook("crm", &receiver.url(), "").start().await;

    let listed = harkd(&two, &["--json"]).await;
    let rows: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 1, "{rows}");
    assert_eq!((&rows[0]["name"], &rows[0]["delivering"]), (&"crm".into(), &true.into()), "{rows}");
    assert_eq!(rows[0]["receiver"], format!("http://{}", receiver.address()));

    let tested = harkd(&two, &["test", "crm"]).await;
    assert!(tested.status.success() && text(&tested).contains("was taken"), "{}", text(&tested));
    assert_eq!(receiver.asked().len(), 1, "one daemon sends it");
    receiver.next([HookReply::status(500), HookReply::status(410)]);
    let tested = harkd(&one, &["test", "crm"]).await;
    assert_eq!(tested.status.code(), Some(1), "{}", text(&tested));
    assert!(text(&tested).contains("500 Internal Server Error"), "{}", text(&tested));

    one.drop_file("calls", "a.wav", &wav(1.0, 1));
    wait_until("the pause", CEILING, async || one.log().contains("the webhook is paused")).await;
    let listed = text(&harkd(&one, &["list"]).await);
    assert!(listed.contains("crm  http://127.0.0.1:") && listed.contains("PAUSED at "), "{listed}");
    assert!(listed.contains("410 Gone; mend the receiver, then: harkd webhooks resume crm"), "{listed}");
    assert!(!listed.contains("of-the-url") && !listed.contains("next try"), "{listed}");
    let retried = text(&harkd(&one, &["retry", "crm"]).await);
    assert!(retried.contains("nothing was set aside; the webhook is paused"), "{retried}");
    let resumed = harkd(&two, &["resume", "crm"]).await;
    assert!(resumed.status.success() && text(&resumed).contains("crm goes on"), "{}", text(&resumed));
    wait_until("the final", CEILING, async || {
        receiver.asked().iter().any(|asked| asked.kind() == "transcript.final" && asked.is_taken())
    })
    .await;
    let unknown = harkd(&one, &["resume", "cmr"]).await;
    assert_eq!(unknown.status.code(), Some(1), "{}", text(&unknown));
    assert!(one.stop().await.success());
}

#[tokio::test]
async fn a_job_is_forgotten_while_the_consumer_cannot_be_opened() {
    let stage = WebhookStage::set().await;
    stage.receiver.rule(|_| Some(HookReply::status(404)));
    let daemon = stage.daemon().await;
    daemon.delivers().await;
    let job = Uuid::now_v7();
    stage.store_job(job).await;
    daemon
        .shows("the job that is set aside", |view| {
            view.set_aside.first().is_some_and(|line| line.events == 3)
        })
        .await;
    stage.context.delete_stream("HARK_EVENTS").await.unwrap();
    // The session ends when it misses the stream; until then it forgets the job itself.
    let other = Uuid::now_v7();
    wait_until("the end of the session", CEILING, async || daemon.webhooks.retry("crm").await.is_err()).await;
    assert_eq!(daemon.webhooks.forget("crm", other).await, Ok(0));
    assert_eq!(daemon.webhooks.forget("crm", job).await, Ok(3));
    daemon.shows("nothing to wait", |view| view.set_aside.is_empty() && view.waiting.is_empty()).await;
    daemon.stop().await;
}

#[tokio::test]
async fn what_is_forgotten_while_it_is_tried_again_is_not_counted_as_removed_by_the_stream() {
    let (nats, service) = (NatsServer::start().await, Emulator::start(&[]).await);
    let receiver = HookReceiver::start().await;
    receiver.rule(|_| Some(HookReply::status(503)));
    let setup = Hark::new().nats(&nats).asr(&service).folder("calls");
    let mut hark = setup.webhook("crm", &receiver.url(), "").start().await;
    hark.drop_file("calls", "a.wav", &wav(1.0, 1));
    let job = hark.next_event("job.completed").await.job().to_owned();
    wait_until("the first try", CEILING, async || !receiver.asked().is_empty()).await;
    let client = nats.client().await;
    let trying = tokio::spawn(async move {
        loop {
            let again = client.request("hark.control.webhooks.retry", "{\"name\": \"crm\"}".into());
            again.await.unwrap();
        }
    });
    let forgotten = hark.json(&["forget", job.as_str()]).await;
    trying.abort();
    assert_eq!(forgotten["jobs"][0]["state"], "erased", "{forgotten}");
    let (_, metrics) = hark.get("/metrics").await.unwrap();
    assert!(metrics.contains("hark_webhook_removed_events_total{webhook=\"crm\"} 0"), "{metrics}");
    let log = hark.log();
    assert!(!log.contains("limits of the stream have removed"), "{log}");
}
