//! `GET /api/v1/tasks/{id}` and `POST /api/v1/tasks/{id}/cancel`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};
use serde_json::{Value, json};

use crate::call::Call;
use crate::faults::FaultKind;
use crate::journal::Kind;
use crate::refusal::Refusal;
use crate::service::{Family, Service};

use super::{State, Task};

/// Answers the state of a task. An unknown task is `UNKNOWN`, with HTTP 200.
pub async fn query(
    Shared(service): Shared<Arc<Service>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let mut call = match Call::begin(&service, Kind::Query, &parts) {
        Ok(call) => call,
        Err(response) => return *response,
    };
    call.event_stream = false;
    let answer = state_of(&service, &mut call, id);
    call.finish(answer).await
}

/// Cancels a task that is still PENDING.
pub async fn cancel(
    Shared(service): Shared<Arc<Service>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let mut call = match Call::begin(&service, Kind::Cancel, &parts) {
        Ok(call) => call,
        Err(response) => return *response,
    };
    call.event_stream = false;
    let answer = cancel_task(&service, &mut call, id);
    call.finish(answer).await
}

/// Times in the service's format: Beijing time, without a zone.
pub(super) fn beijing_time(time: Timestamp) -> String {
    time.to_zoned(beijing()).strftime("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

pub(super) fn beijing() -> TimeZone {
    TimeZone::fixed(Offset::constant(8))
}

fn state_of(service: &Service, call: &mut Call, id: String) -> Result<Response, Refusal> {
    call.entry.task_id = Some(id.clone());
    call.authorize()?;
    service.limits.take_task_call()?;
    service.tasks.sweep(service.options.result_ttl);
    let task = service.tasks.get(&id).filter(|_| !call.fired.has(FaultKind::TaskUnknown));
    let body = match task {
        Some(task) => {
            call.entry.task_status = Some(task.state.word().to_owned());
            body(&task, &call.entry.request_id)
        }
        None => {
            call.entry.task_status = Some(State::Unknown.word().to_owned());
            let output = json!({"task_id": id, "task_status": State::Unknown.word()});
            json!({"request_id": call.entry.request_id, "output": output})
        }
    };
    Ok(Json(body).into_response())
}

fn body(task: &Task, request_id: &str) -> Value {
    let mut output = json!({
        "task_id": task.id,
        "task_status": task.state.word(),
        "submit_time": beijing_time(task.submitted),
    });
    if let Some(scheduled) = task.scheduled {
        let succeeded = matches!(task.state, State::Succeeded { .. });
        let failed = matches!(task.state, State::Failed { .. });
        output["scheduled_time"] = json!(beijing_time(scheduled));
        output["task_metrics"] =
            json!({"TOTAL": 1, "SUCCEEDED": u8::from(succeeded), "FAILED": u8::from(failed)});
    }
    if let Some(ended) = task.ended {
        output["end_time"] = json!(beijing_time(ended));
    }
    let mut body = json!({"request_id": request_id});
    let of_file = |mut result: Value| {
        result["file_url"] = json!(task.file_url);
        result["subtask_status"] = json!(task.state.word());
        json!([result])
    };
    match (&task.state, task.family) {
        (State::Succeeded { url, seconds }, Family::Qwen3) => {
            output["result"] = json!({"transcription_url": url});
            body["usage"] = json!({"seconds": seconds});
        }
        (State::Succeeded { url, seconds }, Family::Audio3) => {
            output["results"] = of_file(json!({"transcription_url": url}));
            body["usage"] = json!({"duration": seconds});
        }
        (State::Failed { code, message }, family) => {
            output["code"] = json!(code);
            output["message"] = json!(message);
            if family == Family::Audio3 {
                output["results"] = of_file(json!({"code": code, "message": message}));
            }
        }
        (State::Pending | State::Running | State::Canceled | State::Unknown, _) => {}
    }
    body["output"] = output;
    body
}

fn cancel_task(service: &Service, call: &mut Call, id: String) -> Result<Response, Refusal> {
    call.entry.task_id = Some(id.clone());
    call.authorize()?;
    service.limits.take_task_call()?;
    let canceled = service.tasks.change(&id, |task| {
        let pending = task.state == State::Pending;
        if pending {
            task.state = State::Canceled;
            task.ended = Some(Timestamp::now());
        }
        pending
    });
    if !canceled {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "UnsupportedOperation",
            "Failed to cancel the task, please confirm if the task is in PENDING status.",
        ));
    }
    call.entry.task_status = Some(State::Canceled.word().to_owned());
    Ok(Json(json!({"request_id": call.entry.request_id})).into_response())
}
