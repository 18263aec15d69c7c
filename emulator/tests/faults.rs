//! The emulator's faults, as a client sees them.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is the assertion, also in its helpers")]

mod support;

use std::time::{Duration, Instant};

use dashscope_emulator::journal::Kind;
use dashscope_emulator::text_for;
use futures::StreamExt;
use serde_json::{Value, json};
use support::*;

fn body_of(audio: &[u8]) -> Value {
    let mut body = flash_body(&data_url(audio));
    body["parameters"]["incremental_output"] = json!(true);
    body
}

#[tokio::test]
async fn refusals_come_as_often_as_asked_and_charge_nothing() {
    let emulator = Emulator::start_with(&["--fault", "throttle,on=flash,next=2,retry_after=3"]);
    let body = body_of(&wav(1_000, 1, 1));
    let first = emulator.flash(&body).send().await.unwrap();
    assert_eq!(first.headers()["retry-after"], "3");
    assert_eq!(refusal(first).await.1, "Throttling.RateQuota");
    assert_eq!(emulator.flash(&body).send().await.unwrap().status(), 429);
    assert_eq!(emulator.flash(&body).send().await.unwrap().status(), 200);
    let lines = emulator.journal_of(Kind::Flash);
    let charged: Vec<bool> = lines.iter().map(|line| line.charged_seconds.is_some()).collect();
    assert_eq!(charged, [false, false, true]);
    assert_eq!(lines[0].faults, ["throttle"]);

    for (fault, status, code) in [
        (json!({"kind": "arrearage"}), 400, "Arrearage"),
        (json!({"kind": "bad_key"}), 401, "InvalidApiKey"),
        (json!({"kind": "status", "status": 503}), 503, "ModelUnavailable"),
        (json!({"kind": "status", "code": "InternalError.Algo"}), 500, "InternalError.Algo"),
        (json!({"kind": "throttle", "code": "PrepaidBillOverdue"}), 429, "PrepaidBillOverdue"),
    ] {
        emulator.set_faults(json!([fault])).await;
        let answer = refusal(emulator.flash(&body).send().await.unwrap()).await;
        assert_eq!((answer.0, answer.1.as_str()), (status, code));
    }
    emulator.set_faults(json!([{"kind": "status", "status": 502, "html": true}])).await;
    let page = emulator.flash(&body).send().await.unwrap();
    assert_eq!(
        (page.status().as_u16(), page.headers()["content-type"].to_str().unwrap()),
        (502, "text/html")
    );
}

#[tokio::test]
async fn a_reset_leaves_the_work_undone_and_a_dropped_answer_does_not() {
    let emulator = Emulator::start();
    let body = body_of(&wav(2_000, 1, 2));
    emulator
        .set_faults(json!([{"kind": "reset", "next": 1}, {"kind": "drop_answer", "skip": 1, "next": 1}]))
        .await;
    for _ in 0..2 {
        let error = emulator.flash(&body).send().await.unwrap_err();
        assert!(error.is_request(), "{error:?}");
    }
    assert_eq!(emulator.flash(&body).send().await.unwrap().status(), 200);
    let lines = emulator.journal_of(Kind::Flash);
    let seen: Vec<_> =
        lines.iter().map(|line| (line.outcome.as_str(), line.http_status, line.charged_seconds)).collect();
    assert_eq!(seen, [("reset", None, None), ("ok", None, Some(2)), ("ok", Some(200), Some(2))]);
}

#[tokio::test]
async fn a_dropped_submit_is_in_the_task_list() {
    let emulator = Emulator::start_with(&["--task-delay", "0"]);
    let url = emulator.upload(FILETRANS, "unique-name.wav", &wav(1_000, 1, 3)).await;
    emulator.set_faults(json!([{"kind": "drop_answer", "on": ["submit"], "next": 1}])).await;
    emulator.submit(&filetrans_body(&url, json!({}))).send().await.unwrap_err();
    let list = emulator.http.get(format!("{}/tasks", emulator.api)).bearer_auth(KEY);
    let list: Value = list.send().await.unwrap().json().await.unwrap();
    assert_eq!(list["total"], 1);
    let done = emulator.ended(list["tasks"][0]["task_id"].as_str().unwrap()).await;
    let result = emulator.http.get(done["output"]["result"]["transcription_url"].as_str().unwrap());
    let result: Value = result.send().await.unwrap().json().await.unwrap();
    assert!(result["file_url"].as_str().unwrap().ends_with("unique-name.wav"));
}

#[tokio::test]
async fn an_answer_is_cut_at_the_byte() {
    let emulator = Emulator::start_with(&["--fault", "cut_answer,after_bytes=700"]);
    let response = emulator.streamed(&body_of(&wav(1_000, 1, 4))).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let mut bytes = 0;
    let mut stream = response.bytes_stream();
    let error = loop {
        match stream.next().await.expect("an error ends the answer, not its end") {
            Ok(chunk) => bytes += chunk.len(),
            Err(error) => break error,
        }
    };
    assert_eq!(bytes, 700, "{error:?}");
    assert_eq!(emulator.journal_of(Kind::Flash)[0].charged_seconds, Some(1));
}

#[tokio::test]
async fn split_bytes_cut_through_characters() {
    let audio = wav(1_000, 1, 5);
    let manifest = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(manifest.path(), json!({sha256_hex(&audio): {"text": "你好"}}).to_string()).unwrap();
    let arguments = ["--manifest", manifest.path().to_str().unwrap(), "--fault", "split_bytes"];
    let emulator = Emulator::start_with(&arguments);
    let response = emulator.streamed(&body_of(&audio)).send().await.unwrap();
    let chunks: Vec<_> = response.bytes_stream().map(|chunk| chunk.unwrap()).collect().await;
    assert!(chunks.iter().all(|chunk| chunk.len() == 1));
    let whole: Vec<u8> = chunks.concat();
    let events = events(std::str::from_utf8(&whole).unwrap());
    assert_eq!(events.len(), 3);
}

#[tokio::test]
async fn streams_end_in_every_wrong_way() {
    let emulator = Emulator::start();
    let audio = wav(1_000, 1, 6);
    let whole = text_for(&sha256_hex(&audio));
    let play = async |fault: Value| {
        emulator.set_faults(json!([fault])).await;
        let response = emulator.streamed(&body_of(&audio)).send().await.unwrap();
        assert_eq!(response.status(), 200);
        events(&response.text().await.unwrap())
    };
    let finish =
        |data: &Value| data["output"]["choices"][0]["finish_reason"].as_str().unwrap_or_default().to_owned();
    let text = |events: &[(u32, String, u16, Value)]| -> String {
        let pieces =
            events.iter().map(|event| &event.3["output"]["choices"][0]["message"]["content"][0]["text"]);
        pieces.filter_map(Value::as_str).collect()
    };

    let unfinished = play(json!({"kind": "no_stop"})).await;
    assert!(unfinished.iter().all(|event| finish(&event.3) == "null"));
    assert_eq!(text(&unfinished), whole);
    assert_eq!(play(json!({"kind": "no_stop", "after_events": 2})).await.len(), 2);

    let broken = play(
        json!({"kind": "stream_error", "after_events": 2, "status": 400, "code": "DataInspectionFailed"}),
    )
    .await;
    let (id, event, status, data) = broken.last().unwrap();
    assert_eq!(
        (*id, event.as_str(), *status, &data["code"]),
        (3, "error", 400, &json!("DataInspectionFailed"))
    );

    let cut = play(json!({"kind": "length"})).await;
    assert_eq!(finish(&cut.last().unwrap().3), "length");
    assert!(whole.starts_with(&text(&cut)) && text(&cut) != whole);

    let empty = play(json!({"kind": "empty_text"})).await;
    assert_eq!((empty.len(), text(&empty)), (1, String::new()));

    let begin = Instant::now();
    let slow = play(json!({"kind": "slow_tokens", "ms": 30})).await;
    assert!(begin.elapsed() >= Duration::from_millis(30) * (slow.len() as u32 - 1));
}

#[tokio::test]
async fn plain_answers_can_be_empty_cut_or_garbage() {
    let emulator = Emulator::start();
    let body = body_of(&wav(1_000, 1, 7));
    emulator.set_faults(json!([{"kind": "empty_text"}])).await;
    let empty: Value = emulator.flash(&body).send().await.unwrap().json().await.unwrap();
    assert_eq!(empty["output"]["choices"][0]["message"]["content"], json!([]));
    emulator.set_faults(json!([{"kind": "length"}])).await;
    let cut: Value = emulator.flash(&body).send().await.unwrap().json().await.unwrap();
    assert_eq!(cut["output"]["choices"][0]["finish_reason"], "length");
    emulator.set_faults(json!([{"kind": "garbage"}])).await;
    let garbage = emulator.flash(&body).send().await.unwrap();
    assert_eq!(garbage.status(), 200);
    assert!(serde_json::from_slice::<Value>(&garbage.bytes().await.unwrap()).is_err());
}

#[tokio::test]
async fn a_stall_holds_the_answer_after_the_work() {
    let emulator = Emulator::start_with(&["--fault", "stall,ms=900,next=1"]);
    let answer = tokio::spawn(emulator.flash(&body_of(&wav(1_000, 1, 8))).send());
    eventually("the work is charged", async || emulator.journal_of(Kind::Flash).len() == 1).await;
    assert!(!answer.is_finished(), "the line is there before the answer");
    assert_eq!(answer.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn a_stall_holds_a_stream_behind_its_first_events() {
    let emulator = Emulator::start_with(&["--fault", "stall,ms=900,after_events=2"]);
    let mut response = emulator.streamed(&body_of(&wav(1_000, 1, 8))).send().await.unwrap();
    response.chunk().await.unwrap().unwrap();
    let begin = Instant::now();
    while response.chunk().await.unwrap().is_some() {}
    assert!(
        begin.elapsed() > Duration::from_millis(300),
        "the stall comes between the first event and the last"
    );
}

#[tokio::test]
async fn tasks_fail_hang_vanish_and_are_canceled() {
    let emulator = Emulator::start_with(&["--task-delay", "10ms"]);
    let url = emulator.upload(FILETRANS, "call.wav", &wav(1_000, 1, 9)).await;
    let submitted = async |fault: Value| {
        emulator.set_faults(json!([fault])).await;
        emulator.submitted(&url, json!({})).await
    };
    let status =
        async |task: &str| emulator.query(task).await["output"]["task_status"].as_str().unwrap().to_owned();

    let pending = submitted(json!({"kind": "task_stuck"})).await;
    let running = submitted(json!({"kind": "task_stuck", "running": true})).await;
    let failed = submitted(json!({"kind": "task_failed", "code": "FILE_SERVER_ERROR"})).await;
    assert_eq!(emulator.ended(&failed).await["output"]["code"], "FILE_SERVER_ERROR");
    let canceled = submitted(json!({"kind": "task_canceled"})).await;
    assert_eq!(emulator.ended(&canceled).await["output"]["task_status"], "CANCELED");
    let lost = submitted(json!({"kind": "task_unknown", "on": ["submit"]})).await;
    assert_eq!(emulator.ended(&lost).await["output"]["task_status"], "UNKNOWN");

    let fine = submitted(json!({"kind": "task_unknown", "next": 1})).await;
    assert_eq!(status(&fine).await, "UNKNOWN", "for one query");
    assert_eq!(emulator.ended(&fine).await["output"]["task_status"], "SUCCEEDED");
    eventually("it runs", async || status(&running).await == "RUNNING").await;
    assert_eq!(status(&pending).await, "PENDING");

    let result_url =
        emulator.query(&fine).await["output"]["result"]["transcription_url"].as_str().unwrap().to_owned();
    for (fault, status) in
        [(json!({"kind": "result_expired"}), 403), (json!({"kind": "result_expired", "status": 404}), 404)]
    {
        emulator.set_faults(json!([fault])).await;
        assert_eq!(emulator.http.get(&result_url).send().await.unwrap().status(), status);
    }
}

#[tokio::test]
async fn faults_and_journal_can_be_read_and_mistakes_are_named() {
    let emulator = Emulator::start();
    let url = emulator.api.replace("/api/v1", "/emulator");
    emulator.set_faults(json!([{"kind": "throttle", "next": 5, "on": ["flash"]}])).await;
    emulator.flash(&body_of(&wav(1_000, 1, 10))).send().await.unwrap();
    let faults: Value =
        emulator.http.get(format!("{url}/faults")).send().await.unwrap().json().await.unwrap();
    assert_eq!(
        (&faults[0]["kind"], &faults[0]["seen"], &faults[0]["hits"]),
        (&json!("throttle"), &json!(1), &json!(1))
    );
    let journal = emulator.http.get(format!("{url}/journal")).send().await.unwrap().text().await.unwrap();
    assert_eq!(journal.lines().count(), 1);
    let wrong =
        emulator.http.put(format!("{url}/faults")).json(&json!([{"kind": "flood"}])).send().await.unwrap();
    assert_eq!(wrong.status(), 400);
    assert!(wrong.text().await.unwrap().contains("flood"));
}
