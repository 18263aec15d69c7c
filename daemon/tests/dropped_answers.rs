//! Answers that are lost after the work was done, one for every submit and for every other flash request: whatever is paid twice is
//! marked, and tasks are found again instead.
//!
//! `HARK_DROPPED` makes it larger.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "an unwrap here is an assertion of the test")]

mod support;

use std::time::{Duration, Instant};

use serde_json::json;
use support::{Emulator, Hark, Input, LedgerRecord, NatsServer, Records, wait_until, wav};

const DROPPED: u64 = 60;

#[tokio::test]
async fn what_was_done_and_not_heard_of_is_found_again_or_marked() {
    let given = std::env::var("HARK_DROPPED").ok().filter(|count| !count.is_empty());
    let count = given.map_or(DROPPED, |count| count.parse().unwrap());
    let begin = Instant::now();
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--task-delay", "500ms", "--token-delay", "0ms"]).await;
    let mut hark = Hark::new()
        .nats(&nats)
        .asr(&service)
        // The stand-in's account has no limits; what is asked here is not the time that it takes.
        .set("dashscope.task_queries_per_second", "1000")
        .set("log.level", "\"warn\"")
        .folder("calls")
        .folder_with("archive", "route = \"long\"\n")
        .lines("[[route]]\nname = \"default\"\n\n[[route]]\nname = \"long\"\nengine = \"filetrans\"\n")
        .start()
        .await;
    let dropped = |kind: &str, probability: f64| json!({"kind": "drop_answer", "on": [kind], "probability": probability, "seed": 1});
    service.set_faults(json!([dropped("submit", 1.0), dropped("flash", 0.5)])).await;
    let mut inputs = Vec::new();
    for number in 0..count {
        let (name, audio) = (format!("{number}.wav"), wav(0.3, number));
        hark.drop_file("archive", &name, &audio);
        inputs.push(Input::recognized("archive", &name, &audio));
        let audio = wav(0.3, count + number);
        hark.drop_file("calls", &name, &audio);
        inputs.push(Input::recognized("calls", &name, &audio).either_way());
    }
    let state = hark.path("state");
    wait_until("every job to end", Duration::from_secs(60 + count), async || {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let ledger = LedgerRecord::read(&state);
        ledger.jobs.len() == inputs.len() && ledger.open().next().is_none()
    })
    .await;
    let records = Records::gather(&inputs, &hark, &service, &nats).await;
    let requests = |kind: &str, dropped: bool| {
        let of_kind = records.journal.iter().filter(|line| line["kind"] == kind);
        of_kind
            .filter(|line| !dropped || line["faults"].as_array().is_some_and(|faults| !faults.is_empty()))
            .count()
    };
    let marked = |source: &str| {
        let ends =
            records.events.iter().filter(|event| matches!(event.kind(), "job.completed" | "job.failed"));
        ends.filter(|end| end.body["source"] == source && end.body["possible_duplicate_charge"] == true)
            .count()
    };
    for (source, kind) in [("archive", "submit"), ("calls", "flash")] {
        let (all, dropped, marked) = (requests(kind, false), requests(kind, true), marked(source));
        println!(
            "{source}: {count} recordings, {all} requests {kind}, {dropped} answers dropped, {marked} jobs marked"
        );
    }
    println!(
        "{} lists, {} queries, {:.0} s",
        requests("list", false),
        requests("query", false),
        begin.elapsed().as_secs_f64()
    );
    assert_eq!(requests("submit", false) as u64, count, "every task was found again");
    assert!(marked("archive") as u64 * 100 <= count);
    assert!(marked("calls") > 0);
    records.assert_kept();
    assert!(hark.process().is_running());
}
