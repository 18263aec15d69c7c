//! Reads a message: the audio itself, or a JSON reference to it. No input or output.

#[cfg(test)]
mod tests;

use async_nats::HeaderMap;
use hark_sdk::event::{Blame, Fault, ObjectRef};
use hark_sdk::plain::Plain;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use crate::config::{language_code, language_codes};
use crate::job::{fault, metadata};

/// The most bytes of the recording's name, which every event carries too. A file's name has at most 255 bytes.
const NAME_LIMIT: usize = 1 << 10;

/// The most bytes of the URL, which every event carries without its query. Presigned URLs have about 2 KiB.
const URL_LIMIT: usize = 8 << 10;

/// The most bytes of the sender's message id, which every event and every claim carries.
const MESSAGE_ID_LIMIT: usize = 1 << 10;

/// The most bytes of the context that are carried. How much of it is sent, the model decides.
const CONTEXT_LIMIT: usize = 64 << 10;

/// The most bytes of the language; a code has a few.
const LANGUAGE_LIMIT: usize = 64;

/// At the beginning of a UTF-8 text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The most bytes of a whole JSON message. The parsed values of a larger one would take twenty times its bytes in memory.
const REFERENCE_LIMIT: usize = 1 << 20;

/// What a sender put into a message.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MessageOptions {
    /// The recording's name.
    pub name: Option<String>,
    /// The service's language code; empty: the service detects the language, whatever the route configures.
    pub language: Option<String>,
    /// Context that biases the vocabulary.
    pub context: Option<String>,
    /// A route to use instead of the source's.
    pub route: Option<String>,
    /// The sender's own fields, which events repeat.
    pub metadata: Map<String, Value>,
    /// `Nats-Msg-Id`.
    pub message_id: Option<String>,
}

/// Where the audio is.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The payload.
    Audio,
    /// At a URL that is not vetted yet.
    Url(String),
    /// In an object bucket.
    Object(ObjectRef),
    /// Nowhere: the message cannot be used, for this reason.
    Bad(Fault),
}

/// Reads a message. Never fails: a bad message becomes a job as well, whose last event has the fault.
pub fn read(headers: Option<&HeaderMap>, payload: &[u8]) -> (MessageOptions, Input) {
    let mut options = MessageOptions::default();
    let mut content_type = None;
    for (name, values) in headers.iter().flat_map(|headers| headers.iter()) {
        let Some(value) = values.first().map(|value| value.as_str().trim()) else { continue };
        let name: &str = name.as_ref();
        match name.to_ascii_lowercase().as_str() {
            "content-type" => content_type = Some(value.to_ascii_lowercase()),
            "nats-msg-id" => options.message_id = filled(value),
            "hark-name" => options.name = filled(value),
            "hark-language" => options.language = filled(value),
            lower => {
                if let Some(key) = lower.strip_prefix("hark-meta-") {
                    options.metadata.insert(key.replace('-', "_"), Value::String(value.to_owned()));
                }
            }
        }
    }
    // Some editors save JSON with a byte order mark.
    let payload = payload.strip_prefix(BYTE_ORDER_MARK).unwrap_or(payload);
    let input = match content_type.as_deref().map(media_type).unwrap_or_default() {
        media if is_audio(media) => Ok(Input::Audio),
        media if is_json(media) => reference(payload, &mut options),
        // Some clients send JSON with another content type, or with none; audio never parses as a JSON object.
        _ if is_object(payload) => reference(payload, &mut options),
        _ => Ok(Input::Audio),
    };
    let fits = within_limits(&mut options).and_then(|()| known_language(&mut options));
    let input = input.and_then(|input| fits.map(|()| input));
    (options, input.unwrap_or_else(Input::Bad))
}

/// The fault of an input that cannot be used, for the job's last event.
pub fn bad(code: &str, message: impl Into<String>) -> Fault {
    fault(code, Blame::Audio, message.into())
}

#[derive(Deserialize)]
struct Reference {
    url: Option<String>,
    object: Option<ObjectRef>,
    name: Option<String>,
    metadata: Option<Plain>,
    language: Option<String>,
    context: Option<String>,
    route: Option<String>,
}

/// Whether a media type is audio, or video: a container with pictures has audio as well.
fn is_audio(media: &str) -> bool {
    media.starts_with("audio/") || media.starts_with("video/")
}

/// Whether a media type is JSON: `application/json`, `text/json`, `application/cloudevents+json` and the like.
fn is_json(media: &str) -> bool {
    media.ends_with("/json") || media.ends_with("+json")
}

/// Whether the payload is a JSON object. Allocates nothing for its values.
fn is_object(payload: &[u8]) -> bool {
    payload.trim_ascii_start().starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(payload).is_ok()
}

/// An event of CloudEvents' structured mode.
#[derive(Deserialize)]
struct Envelope {
    data: Reference,
}

/// Whether the payload begins with a UTF-16 byte order mark.
fn is_utf16(payload: &[u8]) -> bool {
    payload.starts_with(b"\xff\xfe") || payload.starts_with(b"\xfe\xff")
}

fn reference(payload: &[u8], options: &mut MessageOptions) -> Result<Input, Fault> {
    if payload.len() > REFERENCE_LIMIT {
        return Err(bad(
            "BadReference",
            format!(
                "the JSON message has {} bytes, at most {REFERENCE_LIMIT} are taken; send audio with an audio content type",
                payload.len()
            ),
        ));
    }
    let mut reference: Reference = serde_json::from_slice(payload).map_err(|error| {
        // Only the place: serde's own text may quote the content.
        let place = format!("line {}, column {}", error.line(), error.column());
        let advice = if is_utf16(payload) {
            "it is UTF-16 by its byte order mark; send UTF-8"
        } else {
            "send {\"url\": \"https://…\"}, or audio with an audio Content-Type"
        };
        bad("BadReference", format!("the message is no JSON reference ({place}); {advice}"))
    })?;
    if reference.url.is_none()
        && reference.object.is_none()
        && let Ok(Envelope { data }) = serde_json::from_slice(payload)
    {
        reference = data;
    }
    match reference.metadata {
        None => {}
        Some(Plain(Value::Object(fields))) => options.metadata.extend(fields),
        Some(_) => {
            return Err(bad(
                "BadReference",
                "\"metadata\" of the JSON message is no object; send {\"key\": \"value\"}",
            ));
        }
    }
    options.name = reference.name.as_deref().and_then(filled).or(options.name.take());
    options.language = reference.language.as_deref().and_then(filled).or(options.language.take());
    options.context = reference.context.as_deref().and_then(filled);
    options.route = reference.route.as_deref().and_then(filled);
    match (reference.url, reference.object) {
        (Some(_), Some(_)) => Err(bad(
            "BadReference",
            "the JSON message has a \"url\" and an \"object\", and only one of them can be the recording; send one",
        )),
        (Some(url), None) if url.len() > URL_LIMIT => Err(bad(
            "BadReference",
            format!("the audio URL has {} bytes, at most {URL_LIMIT} are taken", url.len()),
        )),
        (Some(url), None) => Ok(Input::Url(url)),
        (None, Some(ObjectRef { name, .. })) if name.len() > NAME_LIMIT => Err(bad(
            "BadReference",
            format!("the name of the object has {} bytes, at most {NAME_LIMIT} are taken", name.len()),
        )),
        (None, Some(object)) => Ok(Input::Object(object)),
        (None, None) => Err(bad(
            "BadReference",
            "the JSON message has no \"url\" and no \"object\"; send {\"url\": \"https://…\"} or {\"object\": {\"bucket\": \"…\", \"name\": \"…\"}}",
        )),
    }
}

/// Drops fields that are too large for an event. Applies to bad messages too, because their answer is an event.
fn within_limits(options: &mut MessageOptions) -> Result<(), Fault> {
    let texts = [
        ("NameTooLong", "name", &mut options.name, NAME_LIMIT),
        ("MessageIdTooLong", "Nats-Msg-Id", &mut options.message_id, MESSAGE_ID_LIMIT),
        ("ContextTooLong", "context", &mut options.context, CONTEXT_LIMIT),
        ("LanguageTooLong", "language", &mut options.language, LANGUAGE_LIMIT),
    ];
    let mut fits = Ok(());
    for (code, what, text, limit) in texts {
        if let Some(size) = text.as_ref().map(String::len).filter(|size| *size > limit) {
            *text = None;
            fits = Err(bad(code, format!("the {what} has {size} bytes, at most {limit} are carried")));
        }
    }
    let size = metadata::size(&options.metadata);
    if size > metadata::LARGEST {
        options.metadata.clear();
        return Err(bad(
            "MetadataTooLarge",
            format!("metadata has {size} bytes as JSON, at most {} are carried", metadata::LARGEST),
        ));
    }
    fits
}

/// Replaces the language that the sender wrote by the service's code for it. The service would refuse any other code.
fn known_language(options: &mut MessageOptions) -> Result<(), Fault> {
    let Some(written) = options.language.take() else { return Ok(()) };
    let code = language_code(&written).ok_or_else(|| {
        let known: Vec<&str> = language_codes().collect();
        bad(
            "UnknownLanguage",
            format!(
                "the language {written:?} is none that the service takes; send one of {}, or none to have it detected",
                known.join(", ")
            ),
        )
    })?;
    options.language = Some(code.to_owned());
    Ok(())
}

fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
