//! What a day may cost: `budget.daily_usd` and a source's `daily_usd`, over requests at once, kills and restarts.

use std::time::Duration;

use crate::support::{CEILING, Emulator, Hark, NatsServer, ReceivedEvent, spoken, wait_until, wav};

/// A second costs 35 millionths of a dollar in the default region, so a file of ten seconds costs 350 of them.
const TEN_SECONDS: f64 = 10.0;

fn waiting(events: &[ReceivedEvent]) -> Vec<&ReceivedEvent> {
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
async fn jobs_that_wait_for_the_budget_look_at_that_of_a_new_start() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let setup = Hark::new().nats(&nats).asr(&service);
    let mut hark = setup.folder_with("calls", "daily_usd = 0.0004\n").start().await;
    for number in 0..2 {
        hark.drop_file("calls", &format!("{number}.wav"), &wav(TEN_SECONDS, number));
    }
    wait_until("one job to end and one to wait", CEILING, async || {
        let events = hark.events().await;
        let ended = events.iter().filter(|event| event.kind() == "job.completed").count();
        (ended, waiting(&events).len()) == (1, 1)
    })
    .await;
    hark.kill();
    let text = std::fs::read_to_string(hark.config_file()).unwrap();
    std::fs::write(hark.config_file(), text.replace("daily_usd = 0.0004", "daily_usd = 0.0008")).unwrap();
    hark.restart().await;
    hark.ended_jobs(2).await;
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
    assert!(service.journal_of("flash").is_empty(), "nothing was sent");
}

#[tokio::test]
async fn tokens_overrun_the_budget_by_no_more_than_the_requests_under_way() {
    // 20 s with 8 words a second: estimated at 46 + 28 millionths of a dollar and reserved with a quarter more, 93; billed at 46 + 75.
    const SECONDS: f64 = 20.0;
    const RESERVED: f64 = 0.000_093;
    const BILLED: f64 = 0.000_121;
    const BUDGET: f64 = 0.001;
    const AT_ONCE: f64 = 4.0;
    const FILES: usize = 16;
    let nats = NatsServer::start().await;
    let files: Vec<Vec<u8>> = (0..FILES).map(|number| wav(SECONDS, number as u64)).collect();
    let manifest = spoken(&files.iter().map(|audio| (&audio[..], SECONDS, 8.0)).collect::<Vec<_>>());
    let service = Emulator::knowing(manifest, &["--token-delay", "0ms", "--flash-delay", "200ms"]).await;
    let mut hark = Hark::new()
        .nats(&nats)
        .asr(&service)
        .set("dashscope.flash_model", "\"qwen-audio-3.1-asr-flash\"")
        .set("dashscope.concurrency", &AT_ONCE.to_string())
        .set("budget.daily_usd", &BUDGET.to_string())
        .folder("calls")
        .start()
        .await;
    for (number, audio) in files.iter().enumerate() {
        hark.drop_file("calls", &format!("{number}.wav"), audio);
    }
    let mut events = Vec::new();
    wait_until("every job to end or to wait", CEILING, async || {
        events = hark.events().await;
        let ended = events.iter().filter(|event| event.kind() == "job.completed").count();
        ended + waiting(&events).len() >= FILES
    })
    .await;
    let bills: Vec<f64> = events
        .iter()
        .filter(|event| event.kind() == "job.completed")
        .map(|event| event.body["cost_usd"].as_f64().unwrap())
        .collect();
    assert!(bills.iter().all(|bill| (bill - BILLED).abs() < 1e-9), "{bills:?}");
    let paid: f64 = bills.iter().sum();
    let margin = AT_ONCE * (BILLED - RESERVED);
    assert!(paid <= BUDGET + margin + 1e-9, "{paid} was paid of {BUDGET}");
    assert!(paid > BUDGET - RESERVED, "{paid}: another request would have fitted");
    let charged = service.journal().iter().filter(|entry| !entry["charged_seconds"].is_null()).count();
    assert_eq!(charged, bills.len(), "the service charged nothing that no event tells");
    let waits = waiting(&events);
    let jobs: std::collections::BTreeSet<&str> = waits.iter().map(|wait| wait.job()).collect();
    assert_eq!(
        (waits.len(), jobs.len()),
        (FILES - bills.len(), FILES - bills.len()),
        "each waits and says so once"
    );
    for wait in waits {
        let error = &wait.body["error"];
        assert_eq!((&error["code"], &error["blame"]), (&"OverBudget".into(), &"account".into()));
    }
}
