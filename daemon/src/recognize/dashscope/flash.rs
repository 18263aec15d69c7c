//! `flash`: one request, one transcript; the text streams back while the service recognizes it.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::Value;

use super::client::Client;
use super::codes::means_silence;
use super::transcript::{Incoming, Reading};
use super::{audio3, qwen3};
use crate::config::{Family, Model, PieceFormat};
use crate::job::Transcript;
use crate::recognize::error::Error;
use crate::recognize::http::{EVENT_STREAM, JSON, Outgoing};
use crate::recognize::pacer::Pacer;
use crate::recognize::{
    Audio, Clearance, Delivers, Limits, Listener, Permit, Pieces, Profile, Recognizer, Request, Sent,
};

/// The synchronous endpoint.
#[derive(Debug)]
pub(super) struct Flash {
    pub(super) client: Arc<Client>,
    pub(super) pacer: Arc<Pacer>,
    pub(super) profile: Profile,
}

/// The service's limits (the provider's documentation). Some models take larger files from a URL; those go to filetrans.
pub(super) fn limits(model: Model) -> Limits {
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
        inputs: model.inputs,
        outputs: model.outputs,
        pieces: Some(Pieces { longest: None, format: PieceFormat::Flac }),
        tasks: None,
    }
}

pub(super) const FORMATS: [&str; 16] = [
    "aac", "aiff", "amr", "avi", "flac", "flv", "m4a", "mkv", "mp3", "mpeg", "ogg", "opus", "wav", "webm",
    "wma", "wmv",
];

impl Recognizer for Flash {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn pacer(&self) -> &Arc<Pacer> {
        &self.pacer
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

pub(super) const PATH: &str = "/services/aigc/multimodal-generation/generation";

async fn recognize(
    client: &Client,
    permit: Permit,
    request: Request<'_>,
    listener: &mut dyn Listener,
) -> Result<Sent, Error> {
    let is_stream = request.partials;
    match Model::of(request.model).map(|model| model.family) {
        Some(Family::Audio3) => {
            let body = audio3::flash_body(&request);
            exchange::<audio3::FlashAnswer>(client, permit, request, body, is_stream, listener).await
        }
        Some(Family::Qwen3) | None => {
            let body = qwen3::flash_body(&request, is_stream);
            exchange::<qwen3::FlashAnswer>(client, permit, request, body, is_stream, listener).await
        }
    }
}

/// Sends a request, and reads its answer as its family writes it.
async fn exchange<R: Reading>(
    client: &Client,
    permit: Permit,
    request: Request<'_>,
    body: (String, String),
    is_stream: bool,
    listener: &mut dyn Listener,
) -> Result<Sent, Error> {
    let duration_ms = request.duration_ms;
    let mut call = client.post(PATH, if is_stream { EVENT_STREAM } else { JSON });
    if is_stream {
        call = call.header("X-DashScope-SSE", "enable");
    }
    let mut incoming = Incoming::<R>::default();
    let outcome = match client.send(call, outgoing(request.audio, body, request.clearance)).await {
        Ok(response) => incoming.read(client, response, is_stream, listener).await,
        Err(error) => Err(error),
    };
    let outcome = outcome.map(|()| true).or_else(|error| {
        // A public client that was tried on the service in September 2026 has this refusal for audio without speech; it is not billed.
        let is_silence = is_silence(&error) && !incoming.has_text();
        if is_silence { Ok(false) } else { Err(error) }
    });
    // The pacer learns about the rate and the account from every outcome, whatever the outcome means for this recording.
    match permit.settle(outcome) {
        Ok(true) => Ok(Sent::Heard(incoming.into_transcript(duration_ms))),
        Ok(false) => Ok(Sent::Heard(Transcript { billed: incoming.billed(), ..Transcript::default() })),
        Err(error) => Err(incoming.failed(error)),
    }
}

/// Whether the service refused audio because it has no speech: the name of that stands in the code or in the message.
fn is_silence(error: &Error) -> bool {
    error.answered && (means_silence(&error.fault.code) || means_silence(&error.fault.message))
}

/// The JSON is written around the audio, so that the audio need not be in memory.
fn outgoing(
    audio: Audio<'_>,
    (before, after): (String, String),
    clearance: Option<Arc<dyn Clearance>>,
) -> Outgoing {
    match audio {
        Audio::Url(url) => {
            Outgoing::bytes(format!("{before}{}{after}", Value::from(url)).into_bytes(), clearance)
        }
        Audio::Inline { content, format } => Outgoing::base64(
            format!("{before}\"data:{};base64,", media_type(format)),
            content,
            format!("\"{after}"),
            clearance,
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
        let Delivers::UpTo(bytes) = limits(Model::QWEN3_FLASH).inline else { panic!("not inline") };
        for format in FORMATS {
            let prefix = format!("data:{};base64,", media_type(format));
            assert!(prefix.len() as u64 + bytes.div_ceil(3) * 4 <= 10_485_760, "{format}");
        }
    }
}
