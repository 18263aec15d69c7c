//! The body of a request, checked against the reference page.

use axum::body::Body;
use serde_json::{Map, Value};

use crate::body;
use crate::journal::Entry;
use crate::refusal::Refusal;
use crate::service::{Engine, Family, Service};
use crate::validate;

use super::audio3;

/// A body that the service accepts.
pub(super) struct FlashRequest {
    pub(super) model: String,
    /// The source as given in the request: a data URL, an http(s) URL or `oss://…`.
    pub(super) audio: String,
    pub(super) language: Option<String>,
    pub(super) incremental_output: bool,
    /// As the service takes it; empty: none.
    pub(super) context: String,
    pub(super) ask: Ask,
}

/// What is asked in the family's own way.
pub(super) enum Ask {
    Qwen3,
    Audio3(audio3::Ask),
}

impl FlashRequest {
    /// Reads at most [`BODY_BYTES`] and validates. The model is noted in the entry as soon as it is known.
    pub(super) async fn read(
        service: &Service,
        entry: &mut Entry,
        body: Body,
    ) -> Result<FlashRequest, Refusal> {
        let body = body::whole(body, BODY_BYTES).await?;
        let mut body = validate::object(&body)?;
        let model = validate::model(service, entry, &body, Engine::Flash)?;

        let Some(Value::Object(input)) = body.get_mut("input") else {
            return Err(Refusal::missing("BadRequest.EmptyInput", "input"));
        };
        let Some(Value::Array(messages)) = input.get_mut("messages") else {
            return Err(Refusal::missing("BadRequest.EmptyInput", "input.messages"));
        };
        if service.model(&model).is_some_and(|found| found.family == Family::Audio3) {
            let messages = std::mem::take(messages);
            return audio3::read(model, messages, validate::optional_object(&body, "parameters")?);
        }
        let (audio, context) = audio_and_context(messages)?;
        let context = context.unwrap_or_default();
        if validate::tokens_at_least(&context) > validate::CONTEXT_TOKENS {
            return Err(Refusal::invalid("Range of input length should be [1, 10000]"));
        }

        let parameters = validate::optional_object(&body, "parameters")?;
        let options = validate::optional_object(parameters, "asr_options")?;
        validate::optional_bool(options, "enable_itn")?;
        validate::optional_bool(options, "enable_lid")?;
        let incremental_output = validate::optional_bool(parameters, "incremental_output")?.unwrap_or(false);
        let language = validate::language(options)?;
        Ok(FlashRequest { model, audio, language, incremental_output, context, ask: Ask::Qwen3 })
    }
}

/// Takes the one audio out of the one user message, and the text out of the system message if there is one. The order of the two is free:
/// an official sample has the system message last.
fn audio_and_context(messages: &mut [Value]) -> Result<(String, Option<String>), Refusal> {
    let mut audio = None;
    let mut context = None;
    for message in messages {
        let Value::Object(message) = message else {
            return Err(Refusal::invalid("Input should be a valid dictionary: input.messages"));
        };
        match message.get("role").and_then(Value::as_str) {
            Some("system") if context.is_none() => context = Some(system_text(message)?),
            Some("user") if audio.is_none() => audio = Some(user_audio(message)?),
            Some("system" | "user") => {
                return Err(Refusal::invalid(
                    "There must be exactly one user message and at most one system message.",
                ));
            }
            _ => return Err(Refusal::invalid("Role must be in [user, system]")),
        }
    }
    let audio =
        audio.ok_or_else(|| Refusal::invalid("There must be exactly one user message with one audio."))?;
    Ok((audio, context))
}

fn user_audio(message: &mut Map<String, Value>) -> Result<String, Refusal> {
    let one_audio = || Refusal::invalid("The user message must contain exactly one audio.");
    let Some(Value::Array(content)) = message.get_mut("content") else { return Err(one_audio()) };
    let [Value::Object(part)] = content.as_mut_slice() else { return Err(one_audio()) };
    match (part.len(), part.remove("audio")) {
        (1, Some(Value::String(audio))) if !audio.is_empty() => Ok(audio),
        _ => Err(one_audio()),
    }
}

fn system_text(message: &Map<String, Value>) -> Result<String, Refusal> {
    let not_text = || Refusal::invalid("The system message must contain text.");
    match message.get("content") {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Array(content)) => {
            let texts =
                content.iter().map(|part| part.get("text").and_then(Value::as_str).ok_or_else(not_text));
            Ok(texts.collect::<Result<Vec<&str>, Refusal>>()?.join("\n"))
        }
        _ => Err(not_text()),
    }
}

/// Larger than every valid body (one data URL and 10,000 tokens of context), so that a body that is too large is refused by the rule that
/// it breaks.
const BODY_BYTES: usize = 32 << 20;
