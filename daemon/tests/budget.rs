//! What a day may cost: `budget.daily_usd` and a source's `daily_usd`, over requests at once, kills and restarts.
#![allow(clippy::unwrap_used, reason = "an unwrap here is an assertion of the test")]

mod support;

use std::time::Duration;

use support::{CEILING, Emulator, Hark, Heard, NatsServer, wait_until, wav};

/// A second costs 35 millionths of a dollar in the default region, so a file of ten seconds costs 350 of them.
const TEN_SECONDS: f64 = 10.0;

fn waiting(events: &[Heard]) -> Vec<&Heard> {
    events.iter().filter(|event| event.kind() == "job.retrying").collect()
}

#[tokio::test]
async fn a_source_over_its_budget_waits_for_the_next_day_and_the_others_go_on() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--flash-delay", "300ms"]).await;
    let mut hark = Hark::new()
        .nats(&nats)
        .asr(&service)
        .folder_with("limited", "daily_usd = 0.0008\n")
        .folder("free")
        .start()
        .await;
    for number in 0..6 {
        hark.drop_file("limited", &format!("{number}.wav"), &wav(TEN_SECONDS, number));
    }
    wait_until("every job of the limited source to end or to wait", CEILING, async || {
        let events = hark.events().await;
        let ended = events.iter().filter(|event| event.kind() == "job.completed").count();
        (ended, waiting(&events).len()) == (2, 4)
    })
    .await;
    hark.kill_and_launch();
    hark.drop_file("free", "another.wav", &wav(TEN_SECONDS, 100));
    let ended = hark.ended_jobs(3).await;
    assert!(ended.iter().any(|event| event.body["source"] == "free"));

    let events = hark.events().await;
    let waits = waiting(&events);
    assert_eq!(waits.len(), 4, "each job says once that it waits");
    for wait in waits {
        assert_eq!(
            (&wait.body["error"]["code"], &wait.body["error"]["blame"]),
            (&"OverBudget".into(), &"account".into())
        );
        let retry = Duration::from_millis(wait.body["retry_in_ms"].as_u64().unwrap());
        assert!(retry <= Duration::from_secs(24 * 3600), "the next UTC day begins within 24 h");
    }
    let paid: f64 = ended.iter().map(|event| event.body["cost_usd"].as_f64().unwrap()).sum();
    assert!((paid - 0.00105).abs() < 1e-9, "three files of ten seconds: {paid}");
    let (_, metrics) = hark.get("/metrics").await.unwrap();
    let counted = "hark_cost_usd_total{model=\"qwen3-asr-flash\",source=\"free\"} 0.00035";
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn a_request_that_no_days_budget_allows_fails_its_job() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let setup = Hark::new().nats(&nats).asr(&service).folder("calls").set("budget.daily_usd", "0.001");
    let mut hark = setup.start().await;
    hark.drop_file("calls", "long.wav", &wav(60.0, 1));
    let failed = hark.next_event("job.failed").await;
    let error = &failed.body["error"];
    assert_eq!((&error["code"], &error["blame"]), (&"OverBudget".into(), &"account".into()));
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("$0.002100") && message.contains("budget.daily_usd is $0.001000"), "{message}");
    assert!(service.journal().iter().all(|entry| entry["kind"] != "flash"), "nothing was sent");
}
