//! Every fault of the service, through the daemon: what the events report, and the ledger check afterwards.

use std::time::Duration;

use crate::support::{CEILING, ReceivedEvent, Setup, Stage, wait_until};
use dashscope_emulator::{text::pieces, text_for};
use serde_json::{Value, json};

/// A daemon with a folder for each engine.
async fn stage(flags: &[&str], prepare: impl FnOnce(Setup) -> Setup) -> Stage {
    Stage::set(flags, |setup| {
        let setup = setup.folder("calls").folder_with("archive", "route = \"long\"\n");
        let routes = "[[route]]\nname = \"default\"\n\n[[route]]\nname = \"long\"\nengine = \"filetrans\"\n";
        prepare(setup.lines(routes))
    })
    .await
}

/// Codes of the failed attempts, in order.
fn retries(events: &[ReceivedEvent]) -> Vec<&str> {
    events
        .iter()
        .filter(|event| event.kind() == "job.retrying")
        .map(|event| event.body["error"]["code"].as_str().unwrap())
        .collect()
}

fn end(events: &[ReceivedEvent]) -> &ReceivedEvent {
    events.last().unwrap()
}

/// Whether the last event is marked as possibly charged twice; `job.submitted` has the same mark.
fn is_marked(events: &[ReceivedEvent]) -> bool {
    end(events).body["possible_duplicate_charge"] == true
}

#[tokio::test]
async fn every_fault_of_a_flash_request_is_reported_and_survived() {
    // The fault, the code that the retry names, whether the retry is marked as possibly charged twice.
    let table: [(Value, &str, bool); 18] = [
        (json!({"kind": "throttle", "retry_after": 0.2}), "Throttling.RateQuota", false),
        (json!({"kind": "throttle"}), "Throttling.RateQuota", false),
        (json!({"kind": "status"}), "InternalError", false),
        (json!({"kind": "status", "status": 503}), "ModelUnavailable", false),
        (json!({"kind": "status", "status": 502, "html": true}), "HttpStatus502", true),
        (json!({"kind": "status", "status": 504, "html": true}), "HttpStatus504", true),
        (json!({"kind": "reset"}), "", true),
        (json!({"kind": "drop_answer"}), "", true),
        (json!({"kind": "cut_answer", "after_bytes": 0}), "", true),
        (json!({"kind": "cut_answer", "after_bytes": 1}), "", true),
        (json!({"kind": "cut_answer", "after_bytes": 37}), "", true),
        (json!({"kind": "cut_answer", "after_bytes": 400}), "", true),
        (json!({"kind": "cut_answer", "after_bytes": 1_500}), "", true),
        (json!({"kind": "garbage"}), "", true),
        (json!({"kind": "no_stop"}), "", true),
        (json!({"kind": "no_stop", "after_events": 2}), "", true),
        // The first events of the stream carried the usage that is charged.
        (json!({"kind": "stream_error", "after_events": 2}), "InternalError.Algo", true),
        (
            json!({"kind": "stream_error", "after_events": 1, "status": 429, "code": "Throttling.RateQuota"}),
            "Throttling.RateQuota",
            true,
        ),
    ];
    let mut stage = stage(&["--token-delay", "1ms"], |setup| setup).await;
    for (mut fault, code, marked) in table {
        (fault["next"], fault["on"]) = (json!(1), json!(["flash"]));
        stage.service.set_faults(json!([fault])).await;
        stage.drop_recording("calls");
        let events = stage.ended().await;
        let told = retries(&events);
        assert_eq!(told.len(), 1, "{fault}: {told:?}");
        assert!(code.is_empty() || told[0] == code, "{fault}: {told:?}");
        assert_eq!(end(&events).kind(), "job.completed", "{fault}: {}", end(&events).body);
        // A reset hits a request that is half sent (the service cannot have it) or complete: the mark depends on which.
        if fault["kind"] != "reset" {
            assert_eq!(is_marked(&events), marked, "{fault}: {}", end(&events).body);
        }
    }
    stage.check().await;
}

#[tokio::test]
async fn slow_and_fragmented_answers_are_no_fault() {
    let mut stage = stage(&["--token-delay", "1ms"], |setup| setup).await;
    for fault in [
        json!({"kind": "split_bytes"}),
        json!({"kind": "slow_tokens", "ms": 60}),
        json!({"kind": "stall", "ms": 2_000}),
        json!({"kind": "stall", "ms": 2_000, "after_events": 3}),
    ] {
        stage.service.set_faults(json!([fault])).await;
        stage.drop_recording("calls");
        let events = stage.ended().await;
        assert_eq!(retries(&events), [""; 0], "{fault}");
        assert_eq!(end(&events).kind(), "job.completed", "{fault}");
    }
    stage.check().await;
}

#[tokio::test]
async fn a_cut_text_is_marked_and_an_empty_text_is_no_error() {
    let mut stage = stage(&["--token-delay", "1ms"], |setup| setup).await;
    stage.service.set_faults(json!([{"kind": "length"}])).await;
    let input = stage.drop_recording("calls");
    let whole = text_for(&input.sha256);
    let half = pieces(&whole)[..pieces(&whole).len() / 2].concat();
    input.text = half.clone();
    let events = stage.ended().await;
    let last = events.iter().find(|event| event.kind() == "transcript.final").unwrap();
    assert_eq!((&last.body["truncated"], &last.body["text"]), (&json!(true), &json!(half)));

    stage.service.set_faults(json!([{"kind": "empty_text"}])).await;
    stage.drop_recording("calls").text.clear();
    let events = stage.ended().await;
    let last = events.iter().find(|event| event.kind() == "transcript.final").unwrap();
    assert_eq!((&last.body["text"], &last.body["segments"]), (&json!(""), &json!([])));
    assert_eq!(end(&events).kind(), "job.completed");
    stage.check().await;
}

#[tokio::test]
async fn an_ambiguous_request_is_retried_as_often_as_the_config_allows() {
    let mut stage = stage(&[], |setup| setup.set("dashscope.ambiguous_retries", "0")).await;
    stage.service.set_faults(json!([{"kind": "drop_answer", "on": ["flash"]}])).await;
    stage.drop_recording("calls").ends = crate::support::Ends::Failed;
    let events = stage.ended().await;
    let body = &end(&events).body;
    assert_eq!((&body["error"]["blame"], &body["error"]["attempts"]), (&json!("service"), &json!(1)));
    assert!(!is_marked(&events), "nothing was retried");
    assert_eq!(stage.requests("flash"), 1);
    stage.check().await;
}

#[tokio::test]
async fn a_stream_that_fails_after_its_first_words_is_retried_as_often_as_the_config_allows() {
    let mut stage = stage(&["--token-delay", "1ms"], |setup| setup).await;
    // Outside of a stream both codes are retried without limit.
    for (requests, (status, code)) in
        [2, 4].into_iter().zip([(429, "Throttling.RateQuota"), (400, "Arrearage")])
    {
        let fault = json!({"kind": "stream_error", "status": status, "code": code, "on": ["flash"]});
        stage.service.set_faults(json!([fault])).await;
        stage.drop_recording("calls").ends = crate::support::Ends::Failed;
        let events = stage.ended().await;
        let error = &end(&events).body["error"];
        assert_eq!((&error["code"], &error["blame"]), (&json!(code), &json!("service")));
        assert_eq!((retries(&events), stage.requests("flash")), (vec![code], requests));
        assert!(is_marked(&events), "{}", end(&events).body);
    }
    // The queue is held all the same; the next probe succeeds and releases it.
    stage.service.set_faults(json!([])).await;
    let (_, metrics) = stage.hark.get("/metrics").await.unwrap();
    assert!(metrics.contains("hark_recognize_held{engine=\"flash\"} 1"), "{metrics}");
    let recognizers =
        async |hark: &crate::support::Hark| hark.api().json("/api/status").await["recognizers"].clone();
    let held = recognizers(&stage.hark).await;
    let reason = held[0]["reason"].as_str().unwrap();
    assert!(reason.starts_with("Arrearage: "), "{reason}");
    assert_eq!((&held[0]["held"], &held[1]["reason"]), (&json!(true), &json!(null)), "{held}");
    stage.drop_recording("calls");
    assert_eq!(end(&stage.ended().await).kind(), "job.completed");
    assert_eq!(recognizers(&stage.hark).await[0]["reason"], json!(null));
    stage.check().await;
}

#[tokio::test]
async fn a_refusal_of_the_audio_is_final() {
    let mut stage = stage(&["--task-delay", "50ms"], |setup| setup).await;
    for (folder, fault) in [
        ("calls", json!({"kind": "status", "status": 400, "code": "DataInspectionFailed", "on": ["flash"]})),
        ("archive", json!({"kind": "task_failed", "code": "FILE_404_NOT_FOUND"})),
        ("archive", json!({"kind": "task_failed", "code": "DECODE_ERROR"})),
        ("archive", json!({"kind": "task_failed", "code": "AUDIO_DURATION_TOO_LONG"})),
    ] {
        stage.service.set_faults(json!([fault])).await;
        stage.drop_recording(folder).ends = crate::support::Ends::Failed;
        let events = stage.ended().await;
        let error = &end(&events).body["error"];
        assert_eq!((&error["code"], &error["blame"]), (&fault["code"], &json!("audio")), "{fault}");
        assert_eq!(retries(&events), [""; 0], "{fault}");
    }
    stage.check().await;
}

#[tokio::test]
async fn a_canceled_task_is_not_submitted_again() {
    let mut stage = stage(&["--task-delay", "50ms"], |setup| setup).await;
    stage.service.set_faults(json!([{"kind": "task_canceled"}])).await;
    stage.drop_recording("archive").ends = crate::support::Ends::Failed;
    let events = stage.ended().await;
    let error = &end(&events).body["error"];
    assert_eq!((&error["code"], &error["blame"]), (&json!("TaskCanceled"), &json!("account")));
    assert_eq!(stage.requests("submit"), 1);
    stage.check().await;
}

#[tokio::test]
async fn every_fault_of_a_task_is_reported_and_survived() {
    // The fault, the code of the retry if there is one, whether the job is marked.
    let table: [(Value, Option<&str>, bool); 10] = [
        (json!({"kind": "task_failed", "code": "FILE_DOWNLOAD_FAILED"}), Some("FILE_DOWNLOAD_FAILED"), false),
        (json!({"kind": "task_unknown", "on": ["submit"]}), Some(""), true),
        (
            json!({"kind": "throttle", "on": ["submit"], "retry_after": 0.2}),
            Some("Throttling.RateQuota"),
            false,
        ),
        (json!({"kind": "status", "on": ["submit"]}), Some("InternalError"), false),
        (json!({"kind": "throttle", "on": ["query"]}), None, false),
        (json!({"kind": "status", "on": ["query"], "status": 503}), None, false),
        (json!({"kind": "garbage", "on": ["query"]}), None, false),
        (json!({"kind": "drop_answer", "on": ["query"]}), None, false),
        (json!({"kind": "result_expired"}), None, false),
        (json!({"kind": "cut_answer", "after_bytes": 20, "on": ["result"]}), None, false),
    ];
    let mut stage = stage(&["--task-delay", "50ms"], |setup| setup).await;
    for (mut fault, code, marked) in table {
        fault["next"] = json!(1);
        stage.service.set_faults(json!([fault])).await;
        stage.drop_recording("archive");
        let events = stage.ended().await;
        let told = retries(&events);
        assert_eq!(told.len(), usize::from(code.is_some()), "{fault}: {told:?}");
        assert!(code.is_none_or(|code| code.is_empty() || told[0] == code), "{fault}: {told:?}");
        assert_eq!(end(&events).kind(), "job.completed", "{fault}: {}", end(&events).body);
        assert_eq!(is_marked(&events), marked, "{fault}: {}", end(&events).body);
    }
    stage.check().await;
}

#[tokio::test]
async fn a_submit_whose_answer_was_lost_is_found_in_the_list_and_not_repeated() {
    let mut stage = stage(&["--task-delay", "200ms"], |setup| setup).await;
    stage.service.set_faults(json!([{"kind": "drop_answer", "on": ["submit"], "next": 1}])).await;
    stage.drop_recording("archive");
    let events = stage.ended().await;
    assert_eq!(end(&events).kind(), "job.completed");
    assert!(!is_marked(&events), "the list could tell: {}", end(&events).body);
    assert_eq!(stage.requests("submit"), 1);
    assert!(stage.requests("list") > 0);
    let adopted = events.iter().find(|event| event.kind() == "job.submitted").unwrap();
    let task = stage.service.journal_of("task").remove(0);
    assert_eq!(adopted.body["task_id"], task["task_id"]);
    stage.check().await;
}

#[tokio::test]
async fn a_submit_that_never_arrived_is_provably_absent_and_sent_again() {
    let mut stage = stage(&["--task-delay", "100ms"], |setup| setup).await;
    stage.service.set_faults(json!([{"kind": "reset", "on": ["submit"], "next": 1}])).await;
    stage.drop_recording("archive");
    let events = stage.ended().await;
    assert_eq!(end(&events).kind(), "job.completed");
    assert!(!is_marked(&events), "absent twice is absent: {}", end(&events).body);
    assert_eq!(stage.requests("task"), 1);
    stage.check().await;
}

#[tokio::test]
async fn a_submit_that_a_gateway_lost_is_looked_for_before_it_is_sent_again() {
    let mut stage = stage(&["--task-delay", "100ms"], |setup| setup).await;
    let bare = json!({"kind": "status", "status": 502, "html": true, "on": ["submit"], "next": 1});
    stage.service.set_faults(json!([bare])).await;
    stage.drop_recording("archive");
    let events = stage.ended().await;
    assert_eq!(retries(&events), ["HttpStatus502"]);
    assert!(stage.requests("list") > 1, "the gateway may have handed it on");
    assert!(!is_marked(&events), "absent twice is absent: {}", end(&events).body);
    stage.check().await;
}

#[tokio::test]
async fn a_list_that_does_not_answer_is_reported_and_waited_for() {
    let mut stage = stage(&["--task-delay", "100ms"], |setup| setup).await;
    stage
        .service
        .set_faults(json!([
            {"kind": "drop_answer", "on": ["submit"], "next": 1},
            {"kind": "status", "status": 500, "on": ["list"]},
        ]))
        .await;
    stage.drop_recording("archive");
    let why = stage.hark.next_event("job.retrying").await;
    assert_eq!(why.body["error"]["code"], "InternalError");
    stage.service.set_faults(json!([])).await;
    let events = stage.ended().await;
    assert_eq!((end(&events).kind(), stage.requests("submit")), ("job.completed", 1));
    stage.check().await;
}

#[tokio::test]
async fn a_bad_account_holds_every_file_is_reported_once_and_resumes_when_it_is_corrected() {
    for fault in [json!({"kind": "arrearage"}), json!({"kind": "bad_key", "on": ["flash"]})] {
        let mut stage = stage(&["--token-delay", "1ms"], |setup| setup).await;
        stage.service.set_faults(json!([fault])).await;
        for _ in 0..20 {
            stage.drop_recording("calls");
        }
        let why = stage.hark.next_event("job.retrying").await;
        assert_eq!(why.body["error"]["blame"], "account");
        let state = stage.hark.path("state");
        wait_until("all of them to wait", CEILING, async || {
            let jobs = crate::support::LedgerRecord::read(&state).jobs;
            jobs.len() == 20 && jobs.iter().all(|job| job.duty == "send")
        })
        .await;
        // A restart keeps this: the hold is in the ledger.
        stage.hark.restart().await;
        assert!(stage.hark.events().await.iter().all(|event| !event.kind().starts_with("job.failed")));
        let asked = stage.requests("flash");
        assert!(asked < 60, "the queue is closed, and {asked} requests left");
        stage.service.set_faults(json!([])).await;
        stage.check().await;
    }
}

#[tokio::test]
async fn many_jobs_with_every_fault_mixed_all_end_and_none_is_paid_twice_without_a_mark() {
    let mut stage = stage(&["--token-delay", "1ms", "--task-delay", "100ms"], |setup| {
        setup.set("dashscope.ambiguous_retries", "5")
    })
    .await;
    let fault =
        |kind: &str, probability: f64| json!({"kind": kind, "probability": probability, "seed": kind.len()});
    stage
        .service
        .set_faults(json!([
            {"kind": "throttle", "probability": 0.03, "retry_after": 0.1, "seed": 1},
            {"kind": "status", "status": 503, "probability": 0.05, "seed": 2},
            {"kind": "status", "status": 502, "html": true, "probability": 0.03, "seed": 3},
            {"kind": "cut_answer", "after_bytes": 150, "probability": 0.05, "seed": 4},
            {"kind": "stall", "ms": 1_000, "probability": 0.05, "seed": 5},
            fault("reset", 0.05),
            fault("drop_answer", 0.06),
            fault("garbage", 0.04),
            fault("split_bytes", 0.1),
            fault("no_stop", 0.05),
            fault("stream_error", 0.04),
            fault("task_canceled", 0.05),
            fault("task_failed", 0.05),
            fault("result_expired", 0.1),
        ]))
        .await;
    for number in 0..100 {
        let input = stage.drop_recording(if number % 10 == 0 { "archive" } else { "calls" });
        input.ends = crate::support::Ends::EitherWay;
    }
    wait_until("half of the jobs", Duration::from_secs(60), async || stage.requests("flash") > 75).await;
    stage.service.set_faults(json!([])).await;
    let state = stage.hark.path("state");
    wait_until("all jobs", Duration::from_secs(60), async || {
        let jobs = crate::support::LedgerRecord::read(&state).jobs;
        jobs.len() == 100 && jobs.iter().all(|job| job.duty == "nothing")
    })
    .await;
    stage.check().await;
}
