//! What a task list proves: lists and tasks that the emulator does not produce.

use std::collections::HashMap;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use harkd::recognize::{Lost, Resolution};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{FILETRANS, recognizers};

/// A service with this task list, this state of its task `ended`, and this result.
#[derive(Clone)]
struct Service {
    list: Value,
    ended: Value,
    result: (StatusCode, String),
}

impl Service {
    /// A service whose only task has this status in the list, and was made for the upload `ours.wav`.
    fn with(status: &str) -> Service {
        let model = format!("{FILETRANS}-2025-11-17");
        let row = json!({"task_id": "ended", "status": status, "model_name": model});
        let result = json!({"file_url": "oss://dir/ours.wav", "transcripts": []}).to_string();
        Service {
            list: json!({"total": 1, "total_page": 1, "page_no": 1, "page_size": 100, "data": [row]}),
            ended: json!({"output": {"task_status": "SUCCEEDED"}, "usage": {"seconds": 5}}),
            result: (StatusCode::OK, result),
        }
    }

    /// The resolution of a lost submit of `ours.wav`.
    async fn found(self) -> Resolution {
        let task = |State(service): State<Service>, Path(_): Path<String>, headers: HeaderMap| async move {
            let mut task = service.ended;
            let host = headers["host"].to_str().unwrap();
            task["output"]["result"] = json!({"transcription_url": format!("http://{host}/result")});
            Json(task)
        };
        let router = Router::new()
            .route("/api/v1/tasks", get(|State(service): State<Service>| async { Json(service.list) }))
            .route("/api/v1/tasks/{id}", get(task))
            .route("/result", get(|State(service): State<Service>| async { service.result }))
            .with_state(self);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let [_, recognizer] = recognizers(&format!("http://{}/api/v1", listener.local_addr().unwrap()), 0);
        let known = HashMap::new();
        let since = Timestamp::now();
        let lost = Lost { model: FILETRANS, marker: "ours.wav", since, until: None, known: &known };
        tokio::select! {
            found = recognizer.resolve(lost) => found.unwrap(),
            ended = axum::serve(listener, router).into_future() => panic!("{ended:?}"),
        }
    }
}

#[tokio::test]
async fn a_task_is_ours_by_its_result_alone_and_its_model_may_be_listed_by_its_date() {
    assert_eq!(Service::with("SUCCEEDED").found().await, Resolution::Found { handle: "ended".into() });
    assert_eq!(Service::with("CANCELED").found().await, Resolution::Absent);
}

#[tokio::test]
async fn a_task_that_failed_proves_nothing_only_where_it_was_charged() {
    let failed = |seconds: u64| json!({"output": {"task_status": "FAILED", "code": "FILE_SERVER_ERROR"}, "usage": {"seconds": seconds}});
    assert_eq!(Service { ended: failed(5), ..Service::with("FAILED") }.found().await, Resolution::Unknown);
    assert_eq!(Service { ended: failed(0), ..Service::with("FAILED") }.found().await, Resolution::Absent);
}

#[tokio::test]
async fn a_list_that_cannot_be_read_proves_nothing() {
    for list in
        [json!({"total_page": 1, "data": [{"id": "ended"}]}), json!({"total_page": 1}), json!({"data": []})]
    {
        let service = Service { list, ..Service::with("SUCCEEDED") };
        assert_eq!(service.found().await, Resolution::Unknown);
    }
}

#[tokio::test]
async fn a_result_that_is_gone_or_cannot_be_read_proves_nothing() {
    for (status, result) in [(StatusCode::NOT_FOUND, ""), (StatusCode::OK, "<html>")] {
        let service = Service { result: (status, result.into()), ..Service::with("SUCCEEDED") };
        assert_eq!(service.found().await, Resolution::Unknown, "{status} {result}");
    }
}

#[tokio::test]
async fn a_task_that_runs_though_the_list_says_otherwise_is_waited_for() {
    let of = async |status: &str| {
        let ended = json!({"output": {"task_status": status}});
        Service { ended, ..Service::with("SUCCEEDED") }.found().await
    };
    assert_eq!(of("RUNNING").await, Resolution::Undecided);
    assert_eq!(of("UNKNOWN").await, Resolution::Unknown);
}
