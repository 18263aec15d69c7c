//! `POST …/multimodal-generation/generation`: one request, one transcript, whole or streamed.

mod audio3;
mod clock;
mod request;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::call::{Call, header_is, to_the_end};
use crate::faults::{FaultKind, Fired};
use crate::journal::Kind;
use crate::media::{Media, MediaError};
use crate::refusal::Refusal;
use crate::service::{Engine, Service};
use crate::source::{self, Received, SourceError, Wanted};
use crate::text;
use crate::transcript::{self, Recognized};
use crate::validate;

use request::{Ask, FlashRequest};

/// Answers one recognition.
pub async fn recognize(State(service): State<Arc<Service>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut call = match Call::begin(&service, Kind::Flash, &parts) {
        Ok(call) => call,
        Err(response) => return *response,
    };
    to_the_end(async move {
        let answer = answer(&service, &mut call, &parts, body).await;
        call.finish(answer).await
    })
    .await
}

/// The recognition, when the work is done and before the first byte of the answer.
struct Recognition {
    heard: Recognized,
    /// Of the last event, or of the whole answer.
    finish_reason: &'static str,
    seconds: u64,
    context_tokens: usize,
    request_id: String,
}

async fn answer(
    service: &Arc<Service>,
    call: &mut Call,
    parts: &Parts,
    body: Body,
) -> Result<Response, Refusal> {
    call.authorize()?;
    if header_is(&parts.headers, "x-dashscope-async", "enable") {
        return Err(Refusal::calls_not_supported("asynchronous"));
    }
    let request = FlashRequest::read(service, &mut call.entry, body).await?;
    service.limits.take_request(&request.model)?;
    let received = receive(service, call, parts, &request).await?;
    call.entry.sha256 = Some(received.sha256.clone());
    call.entry.bytes = Some(received.bytes);
    let media = received.probe().await.map_err(unreadable)?;
    check_limits(&media, &request.ask)?;

    tokio::time::sleep(service.options.flash_delay).await;
    if let Ask::Audio3(ask) = &request.ask {
        return audio3::answer(service, call, &request, ask, &received.sha256, &media);
    }
    let seconds = media.duration.as_secs();
    call.entry.charged_seconds = Some(seconds);
    let heard = transcript::hear(service, &received.sha256, request.language.as_deref());
    let recognition = Recognition {
        heard: with_faults(heard, &call.fired, &request.context),
        finish_reason: if call.fired.has(FaultKind::Length) { "length" } else { "stop" },
        seconds,
        context_tokens: validate::tokens_at_least(&request.context),
        request_id: call.entry.request_id.clone(),
    };
    if let Some(words) = service.options.clock_words.filter(|_| call.event_stream) {
        let (incremental, delay) = (request.incremental_output, service.options.token_delay);
        let clock = clock::Clock { recognition, incremental, words, delay, told: clock::Told::default() };
        return Ok(clock.respond());
    }
    if call.event_stream {
        let script =
            stream::Script::new(&call.fired, request.incremental_output, service.options.token_delay);
        Ok(stream::respond(&recognition, script))
    } else {
        Ok(Json(recognition.whole()).into_response())
    }
}

async fn receive(
    service: &Arc<Service>,
    call: &mut Call,
    parts: &Parts,
    request: &FlashRequest,
) -> Result<Received, Refusal> {
    let audio = request.audio.clone();
    if audio.starts_with("data:") {
        let directory = service.directory().to_path_buf();
        let decoded = tokio::task::spawn_blocking(move || source::from_data_url(&directory, &audio)).await;
        return decoded.map_err(|error| internal(&error))?.map_err(not_received);
    }
    call.entry.file_url = Some(audio.clone());
    let wanted = Wanted {
        url: &audio,
        model: &request.model,
        resolve_oss: header_is(&parts.headers, "x-dashscope-ossresourceresolve", "enable"),
        require_content_length: call.fired.has(FaultKind::RequireContentLength),
        limit_bytes: URL_BYTES,
    };
    source::from_url(service, wanted).await.map_err(not_received)
}

fn check_limits(media: &Media, ask: &Ask) -> Result<(), Refusal> {
    if !media.container.is_taken_by(Engine::Flash, media.has_video) {
        return Err(unreadable(MediaError::UnknownContainer));
    }
    if media.duration > LONGEST && matches!(ask, Ask::Audio3(_)) {
        let code = "AUDIO_DURATION_TOO_LONG";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, code, code));
    }
    if media.duration > LONGEST {
        return Err(Refusal::invalid("<400> InternalError.Algo.InvalidParameter: The audio is too long"));
    }
    Ok(())
}

fn with_faults(mut heard: Recognized, fired: &Fired, context: &str) -> Recognized {
    if fired.has(FaultKind::Echo) {
        context.clone_into(&mut heard.text);
    }
    if fired.has(FaultKind::EmptyText) {
        heard.text.clear();
    }
    if fired.has(FaultKind::Length) {
        let pieces = text::pieces(&heard.text);
        heard.text = pieces[..pieces.len() / 2].concat();
    }
    heard
}

fn not_received(error: SourceError) -> Refusal {
    match error {
        SourceError::DataUrlTooLarge(_) => Refusal::new(
            StatusCode::BAD_REQUEST,
            "BadRequest.TooLarge",
            "Exceeded limit on max bytes per data-uri item : 10485760",
        ),
        SourceError::MalformedDataUrl | SourceError::MalformedUrl(_) => Refusal::new(
            StatusCode::BAD_REQUEST,
            "InvalidURL",
            "The provided URL does not appear to be valid. Ensure it is correctly formatted.",
        ),
        SourceError::TooLarge(_) => Refusal::invalid("Multimodal file size is too large"),
        SourceError::Timeout => {
            Refusal::invalid("Download the media resource timed out during the data inspection process.")
        }
        SourceError::NoContentLength => Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalError.Algo",
            "Missing Content-Length of multimodal url",
        ),
        SourceError::Status(_) | SourceError::Download(_) => {
            Refusal::invalid("Failed to download multimodal content")
        }
        SourceError::Io(error) => internal(&error),
    }
}

fn unreadable(error: MediaError) -> Refusal {
    match error {
        MediaError::Io(error) => internal(&error),
        _ => Refusal::invalid(
            "<400> InternalError.Algo.InvalidParameter: The audio file is unreadable or its format is not supported",
        ),
    }
}

fn internal(error: &dyn std::error::Error) -> Refusal {
    tracing::error!(%error, "the emulator itself failed");
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "Internal server error!")
}

impl Recognition {
    fn whole(&self) -> Value {
        self.event(&self.heard.text, self.finish_reason, text::pieces(&self.heard.text).len())
    }

    /// The answer's body with this text; `tokens` is how much of the text exists so far.
    fn event(&self, text: &str, finish_reason: &str, tokens: usize) -> Value {
        let annotation =
            json!({"type": "audio_info", "language": self.heard.language, "emotion": self.heard.emotion});
        // Without speech, or after a fault has emptied the text, there is no content part.
        let content = if text.is_empty() { json!([]) } else { json!([{"text": text}]) };
        let message = json!({"role": "assistant", "annotations": [annotation], "content": content});
        self.body(message, finish_reason, tokens)
    }

    fn body(&self, message: Value, finish_reason: &str, tokens: usize) -> Value {
        json!({
            "request_id": self.request_id,
            "output": {"choices": [{"finish_reason": finish_reason, "message": message}]},
            "usage": {
                "seconds": self.seconds,
                "input_tokens_details": {"text_tokens": self.context_tokens},
                "output_tokens_details": {"text_tokens": tokens},
            },
        })
    }
}

/// The service's limit for one synchronous recognition.
const LONGEST: Duration = Duration::from_secs(300);
/// The service's limit for a file behind a URL, in bytes of the file itself.
const URL_BYTES: u64 = 10_485_760;
