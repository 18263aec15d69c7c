//! Task lists of other habits than the stand-in's.

use std::collections::HashMap;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::{Json, response::IntoResponse};
use harkd::recognize::{Lost, Resolution};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{FILETRANS, recognizers};

#[derive(Deserialize)]
struct Asked {
    page_no: usize,
    model_name: Option<String>,
}

/// What the list of a service says, and how its task `ended` stands.
#[derive(Clone, Copy)]
struct Habit {
    list: fn(&Asked) -> Option<Value>,
    ended: fn() -> Value,
}

/// What is found of the upload `ours.wav`, which is that of every task that succeeded.
async fn found(habit: Habit) -> Resolution {
    let result = json!({"file_url": "oss://dir/ours.wav", "transcripts": []}).to_string();
    found_later(habit, 0, StatusCode::OK, result).await
}

/// The same, so many minutes after the submit, with another answer in the place of the results.
async fn found_later(habit: Habit, minutes: i64, status: StatusCode, result: String) -> Resolution {
    let list = |State(habit): State<Habit>, Query(asked): Query<Asked>| async move {
        let refused = json!({"code": "InvalidParameter", "message": "no such page"});
        (habit.list)(&asked).map(Json).ok_or((StatusCode::BAD_REQUEST, Json(refused)))
    };
    let task = |State(habit): State<Habit>, Path(_): Path<String>, headers: HeaderMap| async move {
        let mut task = (habit.ended)();
        let host = headers["host"].to_str().unwrap();
        task["output"]["result"] = json!({"transcription_url": format!("http://{host}/result")});
        Json(task).into_response()
    };
    let result = get(move || async move { (status, result) });
    let router = Router::new()
        .route("/api/v1/tasks", get(list))
        .route("/api/v1/tasks/{id}", get(task))
        .route("/result", result)
        .with_state(habit);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let [_, recognizer] = recognizers(&format!("http://{}/api/v1", listener.local_addr().unwrap()), 0);
    let known = HashMap::new();
    let lost = Lost {
        model: FILETRANS,
        marker: "ours.wav",
        since: Timestamp::now() - SignedDuration::from_mins(minutes),
        until: None,
        known: &known,
    };
    tokio::select! {
        listing = recognizer.resolve(lost) => listing.unwrap(),
        ended = axum::serve(listener, router).into_future() => panic!("{ended:?}"),
    }
}

fn succeeded() -> Value {
    json!({"output": {"task_status": "SUCCEEDED"}, "usage": {"seconds": 5}})
}

fn one_row(status: &str) -> Value {
    json!({"tasks": [{"task_id": "ended", "status": status, "model_name": format!("{FILETRANS}-2025-11-17")}]})
}

#[tokio::test]
async fn a_list_that_has_no_page_behind_its_last_one_is_searched_all_the_same() {
    let list = |asked: &Asked| (asked.page_no == 1).then(|| one_row("SUCCEEDED"));
    let ours = Resolution::Found { handle: "ended".into() };
    assert_eq!(found(Habit { list, ended: succeeded }).await, ours);
    // That ours is not on the pages that were read proves nothing.
    let list = |asked: &Asked| (asked.page_no == 1).then(|| one_row("CANCELED"));
    assert_eq!(found(Habit { list, ended: succeeded }).await, Resolution::Unknown);
    let list = |_: &Asked| Some(one_row("CANCELED"));
    assert_eq!(found(Habit { list, ended: succeeded }).await, Resolution::Absent);
}

#[tokio::test]
async fn a_list_that_knows_models_by_their_dates_does_not_hide_a_task() {
    let list = |asked: &Asked| {
        let is_ours =
            asked.model_name.as_ref().is_none_or(|model| *model == format!("{FILETRANS}-2025-11-17"));
        Some(if is_ours { one_row("SUCCEEDED") } else { json!({"tasks": []}) })
    };
    let ours = Resolution::Found { handle: "ended".into() };
    assert_eq!(found(Habit { list, ended: succeeded }).await, ours);
}

#[tokio::test]
async fn a_task_that_failed_proves_nothing_only_where_it_was_charged() {
    let list = |_: &Asked| Some(one_row("FAILED"));
    let charged =
        || json!({"output": {"task_status": "FAILED", "code": "FILE_SERVER_ERROR"}, "usage": {"seconds": 5}});
    assert_eq!(found(Habit { list, ended: charged }).await, Resolution::Unknown);
    let free = || json!({"output": {"task_status": "FAILED", "code": "FILE_SERVER_ERROR"}});
    assert_eq!(found(Habit { list, ended: free }).await, Resolution::Absent);
}

#[tokio::test]
async fn a_list_may_write_null_for_a_page_that_is_empty() {
    let list =
        |asked: &Asked| Some(if asked.page_no == 1 { one_row("SUCCEEDED") } else { json!({"tasks": null}) });
    let ours = Resolution::Found { handle: "ended".into() };
    assert_eq!(found(Habit { list, ended: succeeded }).await, ours);
    // It may be no list at all.
    assert_eq!(
        found(Habit { list: |_| Some(json!({"tasks": null})), ended: succeeded }).await,
        Resolution::Unknown
    );
}

#[tokio::test]
async fn a_row_that_is_not_understood_proves_nothing() {
    let nameless = |_: &Asked| Some(json!({"tasks": [{"id": "ended", "status": "SUCCEEDED"}]}));
    assert_eq!(found(Habit { list: nameless, ended: succeeded }).await, Resolution::Unknown);
    let in_seconds = |_: &Asked| {
        let mut page = one_row("SUCCEEDED");
        page["tasks"][0]["gmt_create"] = json!(Timestamp::now().as_second());
        Some(page)
    };
    let ours = Resolution::Found { handle: "ended".into() };
    assert_eq!(found(Habit { list: in_seconds, ended: succeeded }).await, ours);
}

#[tokio::test]
async fn a_result_that_is_not_there_yet_is_waited_for() {
    let habit = Habit { list: |_| Some(one_row("SUCCEEDED")), ended: succeeded };
    for (status, result) in
        [(StatusCode::NOT_FOUND, ""), (StatusCode::FORBIDDEN, "<Error/>"), (StatusCode::OK, "<html>")]
    {
        let after = async |minutes| found_later(habit, minutes, status, result.into()).await;
        assert_eq!(after(0).await, Resolution::Undecided, "{status} {result}");
        assert_eq!(after(4).await, Resolution::Undecided, "{status} {result}");
        assert_eq!(after(6).await, Resolution::Unknown, "{status} {result}");
    }
}

#[tokio::test]
async fn a_task_that_has_ended_by_the_list_only_is_waited_for() {
    for ended in
        [|| json!({"output": {"task_status": "RUNNING"}}), || json!({"output": {"task_status": "UNKNOWN"}})]
    {
        for list in [|_: &Asked| Some(one_row("SUCCEEDED")), |_: &Asked| Some(one_row("FAILED"))] {
            assert_eq!(found(Habit { list, ended }).await, Resolution::Undecided);
        }
    }
}
