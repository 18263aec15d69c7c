//! Answers that are lost after the service did the work, for every submit and for every second flash request: a flash request that may be
//! paid twice is marked, and a task is found again in the service's list.
//!
//! `HARK_DROPPED` sets the number of recordings per engine.

use std::time::{Duration, Instant};

use crate::support::{Emulator, Hark, Input, LedgerRecord, NatsServer, Records, number_from, wav};
use serde_json::json;

const DROPPED: u64 = 60;

#[tokio::test]
async fn work_whose_answer_was_lost_is_found_again_or_marked() {
    let count = number_from("HARK_DROPPED").unwrap_or(DROPPED);
    let begin = Instant::now();
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--task-delay", "500ms", "--token-delay", "0ms"]).await;
    let mut hark = Hark::new()
        .nats(&nats)
        .asr(&service)
        // The emulator enforces no limit on queries; this test does not measure the time.
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
    let ceiling = Duration::from_secs(60 + count);
    LedgerRecord::all_ended(&hark.path("state"), inputs.len(), ceiling).await;
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
