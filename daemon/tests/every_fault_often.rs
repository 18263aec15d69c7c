//! Every fault of the service by itself, many times, through one daemon: every job ends, every retry that may be charged twice is marked,
//! and memory does not grow.
//!
//! Not part of every test run, which has each fault once (`faults.rs`). `HARK_FAULTS` sets how often each fault strikes; a 429, which slows
//! the whole queue down, strikes a tenth as often.

use std::time::{Duration, Instant};

use crate::support::{Emulator, Ends, Hark, Input, LedgerRecord, NatsServer, Records, number_from, wav};
use dashscope_emulator::{text::pieces, text_for};
use serde_json::{Value, json};

const OFTEN: usize = 10;

/// How the job of a recording ends when its requests are struck.
#[derive(Clone, Copy)]
enum Becomes {
    /// Retried until it succeeds.
    Heard,
    /// Completed with a text that the service cut, or with none.
    Half,
    Empty,
    /// Failed: the service's refusal is final.
    Failed,
}

/// The folder of the recordings, the fault, and how their jobs end.
fn faults() -> Vec<(&'static str, Value, Becomes)> {
    use Becomes::*;
    let flash = |fault: Value, becomes: Becomes| ("calls", with(fault, "flash"), becomes);
    let task = |fault: Value, on: &str, becomes: Becomes| ("archive", with(fault, on), becomes);
    let mut faults = vec![
        flash(json!({"kind": "throttle", "retry_after": 0.05}), Heard),
        flash(json!({"kind": "status"}), Heard),
        flash(json!({"kind": "status", "status": 503}), Heard),
        flash(json!({"kind": "status", "status": 502, "html": true}), Heard),
        flash(json!({"kind": "reset"}), Heard),
        flash(json!({"kind": "drop_answer"}), Heard),
        flash(json!({"kind": "garbage"}), Heard),
        flash(json!({"kind": "no_stop"}), Heard),
        flash(json!({"kind": "stream_error", "after_events": 2}), Heard),
        flash(json!({"kind": "stall", "ms": 300, "after_events": 1}), Heard),
        flash(json!({"kind": "slow_tokens", "ms": 10}), Heard),
        flash(json!({"kind": "split_bytes"}), Heard),
        flash(json!({"kind": "length"}), Half),
        flash(json!({"kind": "empty_text"}), Empty),
        flash(json!({"kind": "status", "status": 400, "code": "DataInspectionFailed"}), Failed),
        task(json!({"kind": "task_failed", "code": "FILE_DOWNLOAD_FAILED"}), "submit", Heard),
        task(json!({"kind": "task_failed", "code": "DECODE_ERROR"}), "submit", Failed),
        task(json!({"kind": "task_canceled"}), "submit", Failed),
        task(json!({"kind": "task_unknown"}), "submit", Heard),
        task(json!({"kind": "result_expired"}), "result", Heard),
    ];
    for after_bytes in [0, 1, 37, 150, 400, 1_500] {
        faults.push(flash(json!({"kind": "cut_answer", "after_bytes": after_bytes}), Heard));
    }
    for on in ["submit", "query", "upload"] {
        faults.push(task(json!({"kind": "throttle", "retry_after": 0.05}), on, Heard));
        faults.push(task(json!({"kind": "status", "status": 503}), on, Heard));
        faults.push(task(json!({"kind": "reset"}), on, Heard));
    }
    for on in ["query", "result"] {
        faults.push(task(json!({"kind": "garbage"}), on, Heard));
        faults.push(task(json!({"kind": "cut_answer", "after_bytes": 20}), on, Heard));
    }
    faults
}

fn with(mut fault: Value, on: &str) -> Value {
    fault["on"] = json!([on]);
    fault
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes; HARK_FAULTS=1000 cargo test --test stories every_fault_often -- --ignored --nocapture"]
async fn each_fault_may_strike_as_often_as_it_likes() {
    let often = number_from("HARK_FAULTS").map_or(OFTEN, |count| usize::try_from(count).unwrap());
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "1ms", "--task-delay", "100ms"]).await;
    let mut hark = Hark::new()
        .nats(&nats)
        .asr(&service)
        // Faults strike one job more often in a row than the default allows retries; this test checks that each retry is marked.
        .set("dashscope.ambiguous_retries", "20")
        .set("dashscope.task_queries_per_second", "1000")
        .set("log.level", "\"error\"")
        .folder("calls")
        .folder_with("archive", "route = \"long\"\n")
        .lines("[[route]]\nname = \"default\"\n\n[[route]]\nname = \"long\"\nengine = \"filetrans\"\n")
        .start()
        .await;
    let state = hark.path("state");
    let mut inputs: Vec<Input> = Vec::new();
    let (mut largest, mut seed) = (0, 0);
    for (folder, fault, becomes) in faults() {
        let began = Instant::now();
        let slows = fault["kind"] == "throttle";
        let often = if slows { often.div_ceil(10) } else { often };
        let mut struck = fault.clone();
        struck["next"] = json!(often);
        // Where jobs are retried, some retries are struck as well.
        let share = if matches!(becomes, Becomes::Heard) { 0.6 } else { 1.0 };
        (struck["probability"], struck["seed"]) = (json!(share), json!(seed));
        service.set_faults(json!([struck])).await;
        for _ in 0..often {
            seed += 1;
            let (name, audio) = (format!("{seed}.wav"), wav(0.3, seed));
            hark.drop_file(folder, &name, &audio);
            inputs.push(expected(Input::recognized(folder, &name, &audio), becomes));
        }
        LedgerRecord::all_ended(&state, inputs.len(), Duration::from_secs(60 + often as u64)).await;
        assert!(hark.process().is_running(), "{fault}");
        largest = largest.max(hark.process().resident());
        println!("{often} times {fault}: {:.1} s", began.elapsed().as_secs_f64());
    }
    let records = Records::gather(&inputs, &hark, &service, &nats).await;
    let struck =
        records.journal.iter().filter(|line| line["faults"].as_array().is_some_and(|f| !f.is_empty()));
    println!(
        "{} faults struck {} recordings; the daemon took {} MB at most",
        struck.count(),
        inputs.len(),
        largest >> 20
    );
    records.assert_kept();
    assert!(largest < 150 << 20, "{largest} bytes");
    assert!(!hark.log().contains("panicked"), "{}", hark.log());
}

fn expected(mut input: Input, becomes: Becomes) -> Input {
    let whole = text_for(&input.sha256);
    match becomes {
        Becomes::Heard => {}
        Becomes::Half => input.text = pieces(&whole)[..pieces(&whole).len() / 2].concat(),
        Becomes::Empty => input.text.clear(),
        Becomes::Failed => input.ends = Ends::Failed,
    }
    input
}
