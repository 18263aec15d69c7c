//! `flash`: one request, one transcript; the text streams back while the service recognizes it.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use reqwest::Response;
use reqwest::header::HeaderValue;
use serde_json::{Value, json};

use super::Account;
use super::client::Client;
use super::codes::hold_if_misdirected;
use super::family::{Family, Tells};
use super::transcript::Incoming;
use crate::recognize::error::Error;
use crate::recognize::http::{Departure, EVENT_STREAM, JSON, Outgoing};
use crate::recognize::limits::mime;
use crate::recognize::pacer::Pacer;
use crate::recognize::{Audio, Delivers, Limits, Listener, Permit, Profile, Recognizer, Request, Sent};

/// The synchronous endpoint.
#[derive(Debug)]
pub(super) struct Flash {
    pub(super) account: Arc<Account>,
    pub(super) pacer: Arc<Pacer>,
    pub(super) profile: Profile,
}

/// The service's limits (dashscope-protocol.md 2).
pub(super) fn limits() -> Limits {
    const ENCODED_BYTES: u64 = 10_485_760;
    Limits {
        formats: FORMATS.as_slice().into(),
        longest: Some(Duration::from_secs(300)),
        inline: Delivers::UpToEncoded(ENCODED_BYTES),
        upload: Delivers::No,
        url: Delivers::UpTo(ENCODED_BYTES),
        streams: true,
        selects_channels: false,
        tasks: None,
    }
}

const FORMATS: [&str; 16] = [
    "aac", "aiff", "amr", "avi", "flac", "flv", "m4a", "mkv", "mp3", "mpeg", "ogg", "opus", "wav", "webm",
    "wma", "wmv",
];

impl Recognizer for Flash {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn permit(&self) -> BoxFuture<'_, Permit> {
        Box::pin(self.account.permit(&self.pacer))
    }

    fn send<'a>(
        &'a self,
        permit: Permit,
        request: Request<'a>,
        listener: &'a mut dyn Listener,
    ) -> BoxFuture<'a, Result<Sent, Error>> {
        Box::pin(recognize(&self.account.client, permit, request, listener))
    }
}

const PATH: &str = "/services/aigc/multimodal-generation/generation";

async fn recognize(
    client: &Client,
    permit: Permit,
    request: Request<'_>,
    listener: &mut dyn Listener,
) -> Result<Sent, Error> {
    let duration_ms = request.duration_ms;
    let stream = request.partials.then(|| Family::of(request.model).stream);
    let mut incoming = Incoming::default();
    let outcome = match ask(client, request).await {
        Ok(response) => incoming.read(client, response, stream, listener).await,
        Err(error) => Err(error),
    };
    // The pacer learns about the rate and the account from every outcome, whatever the outcome means for this recording.
    match permit.settle(hold_if_misdirected(outcome)) {
        Ok(()) => Ok(Sent::Heard(incoming.into_transcript(duration_ms))),
        Err(error) => Err(incoming.failed(error)),
    }
}

async fn ask(client: &Client, request: Request<'_>) -> Result<Response, Error> {
    let mut call = client.post(PATH, if request.partials { EVENT_STREAM } else { JSON });
    if request.partials {
        call = call.header("X-DashScope-SSE", HeaderValue::from_static("enable"));
    }
    if matches!(request.audio, Audio::Url(url) if url.starts_with("oss://")) {
        call = call.header("X-DashScope-OssResourceResolve", HeaderValue::from_static("enable"));
    }
    let (body, departure) = body(request);
    let response = client.http.send(call, body, departure).await?;
    match response.status().is_success() {
        true => Ok(response),
        false => Err(client.refusal(response).await),
    }
}

/// The JSON around the audio is written by hand, so that the audio need not be in memory.
fn body(request: Request<'_>) -> (Outgoing, Departure) {
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
        parameters["incremental_output"] = (Family::of(request.model).stream == Tells::News).into();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_has_a_media_type() {
        for format in FORMATS {
            assert!(mime(format).contains('/') && mime(format) != "application/octet-stream", "{format}");
        }
    }
}
