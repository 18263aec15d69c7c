//! `POST …/audio/asr/transcription`: validates, answers with an id at once, and does the work afterwards.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State as Shared};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::audio3;
use crate::body;
use crate::call::{Call, header_is, to_the_end};
use crate::faults::Fired;
use crate::journal::Kind;
use crate::refusal::Refusal;
use crate::service::{Engine, Family, Service};
use crate::validate;

use super::{State, Task, work};

/// A task as it was submitted.
pub(super) struct Order {
    pub(super) task_id: String,
    pub(super) request_id: String,
    pub(super) key: Option<String>,
    pub(super) model: String,
    pub(super) file_url: String,
    pub(super) resolve_oss: bool,
    pub(super) channels: Vec<u32>,
    pub(super) language: Option<String>,
    pub(super) enable_words: bool,
    pub(super) family: Family,
    /// Whether sentences name their speaker.
    pub(super) speakers: bool,
    /// Words of the service's list become asterisks.
    pub(super) is_masked: bool,
    /// As the service takes it; empty: none.
    pub(super) context: String,
    /// False if the submit has no `parameters`: the service then accepts the task and fails it later.
    pub(super) has_parameters: bool,
    pub(super) fired: Fired,
}

pub async fn submit(Shared(service): Shared<Arc<Service>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut call = match Call::begin(&service, Kind::Submit, &parts) {
        Ok(call) => call,
        Err(response) => return *response,
    };
    // Filetrans does not stream; its refusals are JSON whatever form is requested.
    call.event_stream = false;
    to_the_end(async move {
        let answer = accept(&service, &mut call, &parts, body).await;
        call.finish(answer).await
    })
    .await
}

async fn accept(
    service: &Arc<Service>,
    call: &mut Call,
    parts: &Parts,
    body: Body,
) -> Result<Response, Refusal> {
    call.authorize()?;
    if !header_is(&parts.headers, "x-dashscope-async", "enable") {
        return Err(Refusal::calls_not_supported("synchronous"));
    }
    let body = body::whole(body, BODY_BYTES).await?;
    let order = read(service, call, &validate::object(&body)?, &parts.headers)?;
    service.limits.take_request(&order.model)?;

    let task_id = order.task_id.clone();
    service.tasks.insert(Task {
        id: task_id.clone(),
        request_id: order.request_id.clone(),
        model: order.model.clone(),
        family: order.family,
        file_url: order.file_url.clone(),
        state: State::Pending,
        submitted: Timestamp::now(),
        scheduled: None,
        ended: None,
    });
    call.entry.task_id = Some(task_id.clone());
    call.entry.task_status = Some(State::Pending.word().to_owned());
    tokio::spawn(work::work_on(Arc::clone(service), order));
    let output = json!({"task_id": task_id, "task_status": State::Pending.word()});
    Ok(Json(json!({"request_id": call.entry.request_id, "output": output})).into_response())
}

fn read(
    service: &Service,
    call: &mut Call,
    body: &Map<String, Value>,
    headers: &HeaderMap,
) -> Result<Order, Refusal> {
    let model = validate::model(service, &mut call.entry, body, Engine::Filetrans)?;
    let Some(Value::Object(input)) = body.get("input") else {
        return Err(Refusal::missing("BadRequest.EmptyInput", "input"));
    };
    if service.model(&model).is_some_and(|found| found.family == Family::Audio3) {
        return read_audio3(call, body, model, input, headers);
    }
    let file_url = match input.get("file_url") {
        Some(Value::String(url)) if !url.is_empty() => url.clone(),
        _ => return Err(Refusal::missing("InvalidParameter", "input.file_url")),
    };
    call.entry.file_url = Some(file_url.clone());
    let parameters = validate::optional_object(body, "parameters")?;
    validate::optional_bool(parameters, "enable_itn")?;
    let corpus = validate::optional_object(parameters, "corpus")?;
    let context = corpus.get("text").and_then(Value::as_str).unwrap_or_default();
    if validate::tokens_at_least(context) > validate::CONTEXT_TOKENS {
        return Err(Refusal::invalid("Range of parameters.corpus.text length should be [0, 10000]"));
    }
    let channels = channels(parameters)?;
    call.entry.channels = Some(channels.clone());
    Ok(Order {
        task_id: uuid::Uuid::now_v7().to_string(),
        request_id: call.entry.request_id.clone(),
        key: call.entry.key.clone(),
        model,
        file_url,
        resolve_oss: header_is(headers, "x-dashscope-ossresourceresolve", "enable"),
        channels,
        language: validate::language(parameters)?,
        enable_words: validate::optional_bool(parameters, "enable_words")?.unwrap_or(false),
        family: Family::Qwen3,
        speakers: false,
        is_masked: false,
        context: context.to_owned(),
        has_parameters: matches!(body.get("parameters"), Some(Value::Object(_))),
        fired: call.fired.clone(),
    })
}

/// A submit of the family `qwen-audio-3.x`, `fun-asr`, `paraformer`: `file_urls`, hints, speakers, hot words; words always have times.
fn read_audio3(
    call: &mut Call,
    body: &Map<String, Value>,
    model: String,
    input: &Map<String, Value>,
    headers: &HeaderMap,
) -> Result<Order, Refusal> {
    let urls = validate::optional_texts(input, "file_urls")?;
    // Some models take several; the emulator does not.
    let [file_url] = &urls[..] else {
        return Err(Refusal::missing("InvalidParameter", "input.file_urls"));
    };
    call.entry.file_url = Some(file_url.clone());
    // Sources disagree about the name.
    let turns = input.get("context").or(input.get("messages"));
    let context = match turns {
        None | Some(Value::Null) => String::new(),
        Some(Value::Array(turns)) => audio3::context(turns)?,
        Some(_) => return Err(Refusal::invalid("input.context should be of type array")),
    };
    let parameters = validate::optional_object(body, "parameters")?;
    let speakers = validate::optional_bool(parameters, "diarization_enabled")?.unwrap_or(false);
    audio3::speaker_count(parameters)?;
    let channels = channels(parameters)?;
    call.entry.channels = Some(channels.clone());
    let audio3::Parameters { language, is_masked } = audio3::parameters(&model, parameters)?;
    Ok(Order {
        task_id: uuid::Uuid::now_v7().to_string(),
        request_id: call.entry.request_id.clone(),
        key: call.entry.key.clone(),
        model,
        file_url: file_url.clone(),
        resolve_oss: header_is(headers, "x-dashscope-ossresourceresolve", "enable"),
        channels,
        language,
        enable_words: true,
        family: Family::Audio3,
        speakers,
        is_masked,
        context,
        has_parameters: matches!(body.get("parameters"), Some(Value::Object(_))),
        fired: call.fired.clone(),
    })
}

/// Track numbers, or strings of them as one official sample sends; the first track without any.
fn channels(parameters: &Map<String, Value>) -> Result<Vec<u32>, Refusal> {
    let wrong = || Refusal::invalid("parameters.channel_id should be a list of track indexes");
    let listed = match parameters.get("channel_id") {
        None | Some(Value::Null) => return Ok(vec![0]),
        Some(Value::Array(listed)) if !listed.is_empty() => listed,
        Some(_) => return Err(wrong()),
    };
    let mut channels = Vec::with_capacity(listed.len());
    for channel in listed {
        let channel = match channel {
            Value::String(text) => text.parse().ok(),
            number => number.as_u64().and_then(|number| u32::try_from(number).ok()),
        };
        let channel: u32 = channel.ok_or_else(wrong)?;
        if channels.contains(&channel) {
            return Err(wrong());
        }
        channels.push(channel);
    }
    Ok(channels)
}

/// Context of 10,000 tokens and a long URL fit many times.
const BODY_BYTES: usize = 1 << 20;
