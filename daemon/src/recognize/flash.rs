//! `flash`: one request, one transcript; the text streams back while it is made.

use reqwest::Response;
use reqwest::header::HeaderValue;
use serde_json::{Value, json};

use super::body::{Content, Departure, Outgoing};
use super::client::{Client, EVENT_STREAM, JSON};
use super::error::Error;
use super::heard::Heard;
use super::queue::Turn;
use super::route::mime;
use crate::job::Transcript;

/// What to recognize, and how.
pub struct FlashRequest<'a> {
    /// The service's model name.
    pub model: &'a str,
    /// The audio.
    pub audio: Audio<'a>,
    /// The service's language code; `None`: detect.
    pub language: Option<&'a str>,
    /// Names, terms, prose that bias the vocabulary.
    pub context: Option<&'a str>,
    /// Numbers as digits.
    pub itn: bool,
    /// Whether the text is to stream back.
    pub partials: bool,
    /// Length of the recording, for the segment's times.
    pub duration_ms: Option<u64>,
}

/// Where the audio of a request is.
pub enum Audio<'a> {
    /// Sent along, read from disk while it leaves.
    Inline {
        /// The bytes.
        content: Content,
        /// Container: `wav`, `mp3`, …
        format: &'a str,
    },
    /// Fetched by the service.
    Url(&'a str),
}

/// Who hears of a request while it is under way. Called between two reads of the answer: must not block.
pub trait Listener: Send {
    /// The service has the request: it answered 200, and the first of its answer is in.
    fn on_taken(&mut self);
    /// The whole text of the piece so far.
    fn on_text(&mut self, text: &str);
}

const PATH: &str = "/services/aigc/multimodal-generation/generation";

pub(crate) async fn recognize(
    client: &Client,
    turn: Turn,
    request: FlashRequest<'_>,
    listener: &mut dyn Listener,
) -> Result<Transcript, Error> {
    let (duration_ms, streamed) = (request.duration_ms, request.partials);
    let mut heard = Heard::default();
    let outcome = match ask(client, request).await {
        Ok(response) => heard.hear_all(client, response, streamed, listener).await,
        Err(error) => Err(error),
    };
    // The queue learns what the service says of the rate and the account, whatever it means for this recording.
    match turn.settle(outcome) {
        Ok(()) => Ok(heard.into_transcript(duration_ms)),
        Err(error) if heard.has_begun() => Err(error.after_work(heard.billed_seconds)),
        Err(error) => Err(error),
    }
}

async fn ask(client: &Client, request: FlashRequest<'_>) -> Result<Response, Error> {
    let mut call = client.post(PATH, if request.partials { EVENT_STREAM } else { JSON });
    if request.partials {
        call = call.header("X-DashScope-SSE", HeaderValue::from_static("enable"));
    }
    if matches!(request.audio, Audio::Url(url) if url.starts_with("oss://")) {
        call = call.header("X-DashScope-OssResourceResolve", HeaderValue::from_static("enable"));
    }
    let (body, departure) = body(request);
    let response = client.send(call, body, departure).await?;
    match response.status().is_success() {
        true => Ok(response),
        false => Err(client.refusal(response).await),
    }
}

/// The JSON by hand around the audio, so that the audio need not be in memory.
fn body(request: FlashRequest<'_>) -> (Outgoing, Departure) {
    let mut system = String::new();
    if let Some(context) = request.context.filter(|context| !context.trim().is_empty()) {
        system = json!({"role": "system", "content": [{"text": context}]}).to_string();
        system.push(',');
    }
    let mut options = json!({"enable_itn": request.itn});
    if let Some(language) = request.language.filter(|language| !language.is_empty()) {
        options["language"] = language.into();
    }
    let mut parameters = json!({"result_format": "message", "asr_options": options});
    if request.partials {
        parameters["incremental_output"] = true.into();
    }
    let model = Value::from(request.model);
    let before =
        format!(r#"{{"model":{model},"input":{{"messages":[{system}{{"role":"user","content":[{{"audio":"#);
    let after = format!(r#"}}]}}]}},"parameters":{parameters}}}"#);
    match request.audio {
        Audio::Url(url) => Outgoing::bytes(format!("{before}{}{after}", Value::from(url)).into_bytes()),
        Audio::Inline { content, format } => Outgoing::base64(
            format!("{before}\"data:{};base64,", mime(format)),
            content,
            format!("\"{after}"),
        ),
    }
}
