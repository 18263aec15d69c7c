//! `flash`: one request, one transcript; the text streams back while the service recognizes it.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::client::Client;
use super::family::{Family, StreamMode};
use super::transcript::Incoming;
use crate::config::PieceFormat;
use crate::config::Priority;
use crate::recognize::error::Error;
use crate::recognize::http::{EVENT_STREAM, JSON, Outgoing};
use crate::recognize::pacer::Pacer;
use crate::recognize::{
    Audio, Delivers, Limits, Listener, Permit, Pieces, Profile, Recognizer, Request, Sent,
};

/// The synchronous endpoint.
#[derive(Debug)]
pub(super) struct Flash {
    pub(super) client: Arc<Client>,
    pub(super) pacer: Arc<Pacer>,
    pub(super) profile: Profile,
}

/// The service's limits (dashscope-protocol.md 2).
pub(super) fn limits() -> Limits {
    const BYTES: u64 = 10_485_760;
    /// As a data URL the audio may have 10,485,760 bytes in all: prefix and base64 included.
    const INLINE_BYTES: u64 = (BYTES - 64) / 4 * 3;
    Limits {
        formats: &FORMATS,
        longest: Some(Duration::from_secs(300)),
        inline: Delivers::UpTo(INLINE_BYTES),
        upload: Delivers::No,
        url: Delivers::UpTo(BYTES),
        streams: true,
        selects_channels: false,
        pieces: Some(Pieces { longest: None, format: PieceFormat::Flac }),
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

    fn permit(&self, priority: Priority) -> BoxFuture<'_, Permit> {
        Box::pin(async move { self.client.with_newest_key(self.pacer.permit(priority).await).await })
    }

    fn send<'a>(
        &'a self,
        permit: Permit,
        request: Request<'a>,
        listener: &'a mut dyn Listener,
    ) -> BoxFuture<'a, Result<Sent, Error>> {
        Box::pin(recognize(&self.client, permit, request, listener))
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
    let mut call = client.post(PATH, if stream.is_some() { EVENT_STREAM } else { JSON });
    if stream.is_some() {
        call = call.header("X-DashScope-SSE", "enable");
    }
    let mut incoming = Incoming::default();
    let outcome = match client.send(call, body(request, stream)).await {
        Ok(response) => incoming.read(client, response, stream, listener).await,
        Err(error) => Err(error),
    };
    // The pacer learns about the rate and the account from every outcome, whatever the outcome means for this recording.
    match permit.settle(outcome) {
        Ok(()) => Ok(Sent::Heard(incoming.into_transcript(duration_ms))),
        Err(error) => Err(incoming.failed(error)),
    }
}

/// The JSON around the audio is written by hand, so that the audio need not be in memory.
fn body(request: Request<'_>, stream: Option<StreamMode>) -> Outgoing {
    let mut system = String::new();
    if let Some(context) = request.context {
        system = json!({"role": "system", "content": [{"text": context}]}).to_string();
        system.push(',');
    }
    let mut options = json!({"enable_itn": request.itn});
    if let Some(language) = request.language {
        options["language"] = language.into();
    }
    let mut parameters = json!({"result_format": "message", "asr_options": options});
    if let Some(mode) = stream {
        parameters["incremental_output"] = (mode == StreamMode::Increments).into();
    }
    let model = Value::from(request.model);
    let before =
        format!(r#"{{"model":{model},"input":{{"messages":[{system}{{"role":"user","content":[{{"audio":"#);
    let after = format!(r#"}}]}}]}},"parameters":{parameters}}}"#);
    match request.audio {
        Audio::Url(url) => Outgoing::bytes(format!("{before}{}{after}", Value::from(url)).into_bytes()),
        Audio::Inline { content, format } => Outgoing::base64(
            format!("{before}\"data:{};base64,", media_type(format)),
            content,
            format!("\"{after}"),
        ),
    }
}

/// The media type of a container; the service documents the types of wav, mp3 and m4a.
fn media_type(format: &str) -> String {
    match format {
        "m4a" => "audio/mp4".into(),
        "mp3" => "audio/mpeg".into(),
        "opus" => "audio/ogg".into(),
        other => format!("audio/{other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_data_url_is_within_the_services_limit() {
        let Delivers::UpTo(bytes) = limits().inline else { panic!("not inline") };
        for format in FORMATS {
            let prefix = format!("data:{};base64,", media_type(format));
            assert!(prefix.len() as u64 + bytes.div_ceil(3) * 4 <= 10_485_760, "{format}");
        }
    }
}
