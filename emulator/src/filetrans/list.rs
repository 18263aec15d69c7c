//! `GET /api/v1/tasks`: the account's tasks of the last day, newest first, in pages.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, Request, State as Shared};
use axum::response::{IntoResponse, Response};
use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::call::Call;
use crate::journal::Kind;
use crate::options::Region;
use crate::refusal::Refusal;
use crate::service::Service;

use super::query::beijing;
use super::{State, Task};

#[derive(Debug, Deserialize)]
struct Parameters {
    page_no: Option<usize>,
    page_size: Option<usize>,
    start_time: Option<String>,
    end_time: Option<String>,
    model_name: Option<String>,
    status: Option<String>,
    region: Option<String>,
}

pub async fn list(Shared(service): Shared<Arc<Service>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let call = match Call::begin(&service, Kind::List, &parts) {
        Ok(call) => call,
        Err(response) => return *response,
    };
    let parameters = Query::<Parameters>::try_from_uri(&parts.uri)
        .map(|query| query.0)
        .map_err(|_| Refusal::invalid("the query cannot be read"));
    let answer = parameters.and_then(|parameters| page(&service, &call, &parameters));
    call.finish(answer).await
}

fn page(service: &Service, call: &Call, parameters: &Parameters) -> Result<Response, Refusal> {
    call.authorize()?;
    service.limits.take_task_call()?;
    let (page_no, page_size) = (parameters.page_no.unwrap_or(1), parameters.page_size.unwrap_or(10));
    if page_no < 1 || !(1..=LARGEST_PAGE).contains(&page_size) {
        return Err(Refusal::invalid("page_no must be at least 1 and page_size in [1, 100]"));
    }
    let (from, to) = span(parameters)?;
    let region = region_name(service.options.region);
    service.tasks.sweep(service.options.result_ttl);
    let tasks: Vec<Task> = service
        .tasks
        .newest_first()
        .into_iter()
        .filter(|task| (from..=to).contains(&task.submitted))
        .filter(|task| parameters.model_name.as_ref().is_none_or(|model| *model == task.model))
        .filter(|task| parameters.status.as_ref().is_none_or(|status| status == task.state.word()))
        .filter(|_| parameters.region.as_ref().is_none_or(|asked| asked == region))
        .collect();
    let shown = tasks.iter().skip((page_no - 1) * page_size).take(page_size);
    let rows: Vec<Value> = shown.map(|task| row(task, region)).collect();
    // The service's documentation names `data`, its SDK reads `tasks`.
    let body = json!({
        "request_id": call.entry.request_id,
        "page_no": page_no,
        "page_size": page_size,
        "total": tasks.len(),
        "total_page": tasks.len().div_ceil(page_size),
        "tasks": rows,
        "data": rows,
    });
    Ok(Json(body).into_response())
}

/// The span of submits to list: the last 24 hours by default; never more than 24 hours.
fn span(parameters: &Parameters) -> Result<(Timestamp, Timestamp), Refusal> {
    let read = |text: &String| {
        DateTime::strptime("%Y%m%d%H%M%S", text)
            .and_then(|time| time.to_zoned(beijing()))
            .map(|time| time.timestamp())
            .map_err(|_| Refusal::invalid("start_time and end_time should be written as YYYYMMDDhhmmss"))
    };
    let (now, day) = (Timestamp::now(), SignedDuration::from_hours(24));
    let start = parameters.start_time.as_ref().map(read).transpose()?;
    let end = parameters.end_time.as_ref().map(read).transpose()?;
    let (from, to) = match (start, end) {
        (None, None) => (now - day, now),
        (Some(from), None) => (from, from + day),
        (None, Some(to)) => (to - day, to),
        (Some(from), Some(to)) => (from, to),
    };
    if to < from || to.duration_since(from) > day {
        return Err(Refusal::invalid("The time range should not exceed 24 hours"));
    }
    Ok((from, to))
}

/// A row does not name the file: only the result does.
fn row(task: &Task, region: &str) -> Value {
    let mut row = json!({
        "api_key_id": "1",
        "caller_parent_id": "1000000000000000",
        "caller_uid": "1000000000000000",
        "gmt_create": task.submitted.as_millisecond(),
        "model_name": task.model,
        "region": region,
        "request_id": task.request_id,
        "status": task.state.word(),
        "task_id": task.id,
        "user_api_unique_key": format!("apikey:v1:audio:asr:transcription:{}", task.model),
    });
    if let Some(scheduled) = task.scheduled {
        row["start_time"] = json!(scheduled.as_millisecond());
    }
    if let (Some(ended), true) = (task.ended, task.state != State::Running) {
        row["end_time"] = json!(ended.as_millisecond());
    }
    row
}

fn region_name(region: Region) -> &'static str {
    match region {
        Region::Singapore => "ap-southeast-1",
        Region::Us => "us-east-1",
        Region::Beijing => "cn-beijing",
    }
}

const LARGEST_PAGE: usize = 100;
