//! Reads a message: the audio itself, or a JSON reference to it. No input or output.

use async_nats::HeaderMap;
use hark_sdk::event::{Blame, Fault};
use hark_sdk::plain::Plain;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use crate::config::{language_code, language_codes};

/// The most bytes of metadata as JSON. Every event of the job carries the metadata, and more would leave too little room for the
/// transcript.
const METADATA_LIMIT: usize = 32 << 10;

/// The most bytes of the recording's name, which every event carries too. A file's name has at most 255 bytes.
const NAME_LIMIT: usize = 1 << 10;

/// The most bytes of the URL, which every event carries without its query. Presigned URLs have about 2 KiB.
const URL_LIMIT: usize = 8 << 10;

/// The most bytes of the sender's message id, which every event and every claim carries.
const MESSAGE_ID_LIMIT: usize = 1 << 10;

/// The most bytes of the context. The service takes ten thousand tokens, which have fewer bytes than this.
const CONTEXT_LIMIT: usize = 64 << 10;

/// The most bytes of the language; a code has a few.
const LANGUAGE_LIMIT: usize = 64;

/// At the beginning of a UTF-8 text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The most bytes of a whole JSON message. The parsed values of a larger one would take twenty times its bytes in memory.
const REFERENCE_LIMIT: usize = 1 << 20;

/// What a sender put into a message.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Said {
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
    /// Nowhere: the message cannot be used, for this reason.
    Bad(Fault),
}

/// Reads a message. Never fails: a bad message becomes a job as well, whose last event has the fault.
pub fn read(headers: Option<&HeaderMap>, payload: &[u8]) -> (Said, Input) {
    let mut said = Said::default();
    let mut content_type = None;
    for (name, values) in headers.iter().flat_map(|headers| headers.iter()) {
        let Some(value) = values.first().map(|value| value.as_str().trim()) else { continue };
        let name: &str = name.as_ref();
        match name.to_ascii_lowercase().as_str() {
            "content-type" => content_type = Some(value.to_ascii_lowercase()),
            "nats-msg-id" => said.message_id = filled(value),
            "hark-name" => said.name = filled(value),
            "hark-language" => said.language = filled(value),
            lower => {
                if let Some(key) = lower.strip_prefix("hark-meta-") {
                    said.metadata.insert(key.replace('-', "_"), Value::String(value.to_owned()));
                }
            }
        }
    }
    // Some editors save JSON with a byte order mark.
    let payload = payload.strip_prefix(BYTE_ORDER_MARK).unwrap_or(payload);
    let input = match content_type.as_deref().map(media_type).unwrap_or_default() {
        media if is_audio(media) => Ok(Input::Audio),
        media if is_json(media) => reference(payload, &mut said),
        // Some clients send JSON with another content type, or with none; audio never parses as a JSON object.
        _ if is_object(payload) => reference(payload, &mut said),
        _ => Ok(Input::Audio),
    };
    let fits = within_limits(&mut said).and_then(|()| known_language(&mut said));
    let input = input.and_then(|input| fits.map(|()| input));
    (said, input.unwrap_or_else(Input::Bad))
}

/// The fault of an input that cannot be used, for the job's last event.
pub fn bad(code: &str, message: impl Into<String>) -> Fault {
    Fault { code: code.into(), blame: Blame::Audio, message: message.into(), attempts: None }
}

#[derive(Deserialize)]
struct Reference {
    url: Option<String>,
    object: Option<IgnoredAny>,
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

fn reference(payload: &[u8], said: &mut Said) -> Result<Input, Fault> {
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
        Some(Plain(Value::Object(fields))) => said.metadata.extend(fields),
        Some(_) => {
            return Err(bad(
                "BadReference",
                "\"metadata\" of the JSON message is no object; send {\"key\": \"value\"}",
            ));
        }
    }
    said.name = reference.name.as_deref().and_then(filled).or(said.name.take());
    said.language = reference.language.as_deref().and_then(filled).or(said.language.take());
    said.context = reference.context.as_deref().and_then(filled);
    said.route = reference.route.as_deref().and_then(filled);
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
        (None, Some(_)) => Err(bad(
            "ObjectNotSupported",
            "audio in a JetStream object is not supported yet; send the audio itself or a \"url\"",
        )),
        (None, None) => {
            Err(bad("BadReference", "the JSON message has no \"url\"; send {\"url\": \"https://…\"}"))
        }
    }
}

/// Drops fields that are too large for an event. Applies to bad messages too, because their answer is an event.
fn within_limits(said: &mut Said) -> Result<(), Fault> {
    let texts = [
        ("NameTooLong", "name", &mut said.name, NAME_LIMIT),
        ("MessageIdTooLong", "Nats-Msg-Id", &mut said.message_id, MESSAGE_ID_LIMIT),
        ("ContextTooLong", "context", &mut said.context, CONTEXT_LIMIT),
        ("LanguageTooLong", "language", &mut said.language, LANGUAGE_LIMIT),
    ];
    let mut fits = Ok(());
    for (code, what, text, limit) in texts {
        if let Some(size) = text.as_ref().map(String::len).filter(|size| *size > limit) {
            *text = None;
            fits = Err(bad(code, format!("the {what} has {size} bytes, at most {limit} are carried")));
        }
    }
    let size = serde_json::to_vec(&said.metadata).map_or(usize::MAX, |json| json.len());
    if size > METADATA_LIMIT {
        said.metadata.clear();
        return Err(bad(
            "MetadataTooLarge",
            format!("metadata has {size} bytes as JSON, at most {METADATA_LIMIT} are carried"),
        ));
    }
    fits
}

/// Replaces the language that the sender wrote by the service's code for it. The service would refuse any other code.
fn known_language(said: &mut Said) -> Result<(), Fault> {
    let Some(written) = said.language.take() else { return Ok(()) };
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
    said.language = Some(code.to_owned());
    Ok(())
}

fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, *value);
        }
        headers
    }

    #[test]
    fn an_audio_content_type_makes_the_payload_audio_whatever_it_is() {
        let headers =
            headers(&[("Content-Type", "audio/wav"), ("Hark-Name", "a.wav"), ("Hark-Meta-Agent-Id", "7")]);
        let (said, input) = read(Some(&headers), b"{\"url\": \"x\"}");
        assert_eq!(input, Input::Audio);
        assert_eq!(said.name.as_deref(), Some("a.wav"));
        assert_eq!(said.metadata["agent_id"], "7");
    }

    #[test]
    fn without_a_content_type_a_json_object_is_a_reference_and_anything_else_is_audio() {
        let (_, input) = read(None, br#"{"url": "https://host/a.wav"}"#);
        assert_eq!(input, Input::Url("https://host/a.wav".into()));
        for audio in [&b"RIFF...."[..], b"[1, 2]", b"7", b""] {
            assert_eq!(read(None, audio).1, Input::Audio);
        }
    }

    #[test]
    fn a_reference_is_read_whatever_its_sender_calls_json() {
        let body = r#"{"url": "https://h/a", "name": "call"}"#;
        let event =
            format!(r#"{{"specversion": "1.0", "type": "t", "source": "/s", "id": "1", "data": {body}}}"#);
        for (content_type, payload) in [
            (None, format!("\u{feff}{body}")),
            (Some("application/json"), format!("\u{feff}{body}")),
            (Some("text/json"), body.to_owned()),
            (Some("Application/JSON; charset=UTF-8"), body.to_owned()),
            (Some("application/vnd.acme.call+json"), body.to_owned()),
            (Some("application/cloudevents+json; charset=utf-8"), event.clone()),
            (Some("application/cloudevents+json"), body.to_owned()),
            (None, body.replace('{', r#"{"data": 7, "#)),
            (Some("text/plain"), body.to_owned()),
            (Some("application/x-www-form-urlencoded"), body.to_owned()),
            (Some(""), body.to_owned()),
        ] {
            let headers = content_type.map(|value| headers(&[("Content-Type", value)]));
            let (said, input) = read(headers.as_ref(), payload.as_bytes());
            assert_eq!(input, Input::Url("https://h/a".into()), "{content_type:?} {payload}");
            assert_eq!(said.name.as_deref(), Some("call"));
        }
        for content_type in ["application/octet-stream", "text/plain", "video/mp4"] {
            assert_eq!(read(Some(&headers(&[("Content-Type", content_type)])), b"RIFF").1, Input::Audio);
        }
        let utf16: Vec<u8> = "\u{feff}{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let json = headers(&[("Content-Type", "application/json")]);
        let (_, Input::Bad(fault)) = read(Some(&json), &utf16) else { panic!("it was taken") };
        assert!(
            fault.message.contains("byte order mark") && fault.message.contains("UTF-8"),
            "{}",
            fault.message
        );
    }

    #[test]
    fn a_reference_larger_than_all_that_it_may_say_is_refused_unread() {
        let numbers = "0,".repeat(REFERENCE_LIMIT / 2);
        let large = format!(r#" {{"url": "https://h/a", "metadata": {{"n": [{numbers}0]}}}}"#);
        for headers in [Some(&headers(&[("Content-Type", "application/json")])), None] {
            let (said, Input::Bad(fault)) = read(headers, large.as_bytes()) else { panic!("it was taken") };
            assert!(fault.message.contains("at most 1048576"), "{}", fault.message);
            assert_eq!(said, Said::default());
        }
        assert_eq!(read(None, &large.as_bytes()[..REFERENCE_LIMIT]).1, Input::Audio, "half of one is none");
    }

    #[test]
    fn an_empty_message_id_is_none() {
        let (said, _) = read(Some(&headers(&[("Nats-Msg-Id", " ")])), b"RIFF");
        assert_eq!(said.message_id, None, "else all such messages would be one job");
    }

    #[test]
    fn a_reference_carries_what_the_sender_says() {
        let headers =
            headers(&[("content-type", "application/json; charset=utf-8"), ("Hark-Language", "de")]);
        let body = br#"{"url": "https://h/a", "name": "call", "metadata": {"n": 1}, "language": "en", "context": "Hark", "route": "fast"}"#;
        let (said, input) = read(Some(&headers), body);
        assert_eq!(input, Input::Url("https://h/a".into()));
        assert_eq!((said.name.as_deref(), said.language.as_deref()), (Some("call"), Some("en")));
        assert_eq!((said.context.as_deref(), said.route.as_deref()), (Some("Hark"), Some("fast")));
        assert_eq!(said.metadata["n"], 1);
    }

    #[test]
    fn a_language_is_the_services_code_or_bad_input() {
        let language = |written: &str| read(Some(&headers(&[("Hark-Language", written)])), b"RIFF");
        for (written, code) in [("en-US", Some("en")), ("zh-CN", Some("zh")), ("auto", Some("")), ("", None)]
        {
            let (said, input) = language(written);
            assert_eq!((said.language.as_deref(), input), (code, Input::Audio), "{written}");
        }
        let (said, input) = language("klingon");
        assert_eq!(said.language, None);
        let Input::Bad(fault) = input else { panic!("it was taken") };
        assert_eq!((fault.code.as_str(), fault.blame), ("UnknownLanguage", Blame::Audio));
        assert!(fault.message.contains("klingon") && fault.message.contains("yue"), "{}", fault.message);
    }

    #[test]
    fn bad_references_are_named_without_their_content() {
        let json = headers(&[("Content-Type", "application/json")]);
        for (payload, code) in [
            (&b"{\"url\": secret"[..], "BadReference"),
            (b"{}", "BadReference"),
            (b"{\"url\": 7}", "BadReference"),
            (b"{\"object\": {\"bucket\": \"b\", \"name\": \"n\"}}", "ObjectNotSupported"),
            (
                b"{\"url\": \"https://secret/a\", \"object\": {\"bucket\": \"b\", \"name\": \"n\"}}",
                "BadReference",
            ),
        ] {
            let (_, Input::Bad(fault)) = read(Some(&json), payload) else { panic!("{payload:?} was taken") };
            assert_eq!(fault.code, code);
            assert!(!fault.message.contains("secret"));
        }
    }

    #[test]
    fn metadata_that_could_not_be_read_again_is_refused_and_not_carried() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let hidden = format!(r#"{{"$serde_json::private::RawValue": "{}"}}"#, nested(127));
        for metadata in
            [format!(r#"{{"k": {}}}"#, nested(100)), format!(r#"{{"k": {hidden}}}"#), hidden, nested(1)]
        {
            let message = format!(r#"{{"url": "https://h/a", "metadata": {metadata}}}"#);
            let (said, input) = read(None, message.as_bytes());
            assert!(matches!(input, Input::Bad(fault) if fault.code == "BadReference"), "{metadata}");
            assert!(said.metadata.is_empty());
        }
        // Nor is the daemon's stack at the mercy of what is not even kept.
        let message = format!(r#"{{"url": "https://h/a", "object": {0}, "more": {0}}}"#, nested(200_000));
        assert!(matches!(read(None, message.as_bytes()), (_, Input::Bad(_))));
    }

    #[test]
    fn what_would_not_fit_into_an_event_is_refused_and_not_carried() {
        for (field, value, code) in [
            ("metadata", json!({"k": "x".repeat(METADATA_LIMIT)}), "MetadataTooLarge"),
            ("name", json!("n".repeat(NAME_LIMIT + 1)), "NameTooLong"),
            ("context", json!("c".repeat(CONTEXT_LIMIT + 1)), "ContextTooLong"),
            ("language", json!("l".repeat(LANGUAGE_LIMIT + 1)), "LanguageTooLong"),
            ("url", json!(format!("https://h/{}", "u".repeat(URL_LIMIT))), "BadReference"),
        ] {
            let mut message = json!({"url": "https://h/a", "name": "a", "metadata": {}});
            message[field] = value;
            let (said, input) = read(None, message.to_string().as_bytes());
            let Input::Bad(fault) = input else { panic!("{field} was taken") };
            assert_eq!(fault.code, code);
            assert!(said.metadata.is_empty() && said.name.unwrap_or_default().len() < 2);
        }
        let id = "\u{1}".repeat(MESSAGE_ID_LIMIT + 1);
        let (said, input) = read(Some(&headers(&[("Nats-Msg-Id", &format!("a{id}"))])), b"RIFF");
        assert_eq!(said.message_id, None);
        assert!(matches!(input, Input::Bad(fault) if fault.code == "MessageIdTooLong"));
        // Bad for another reason, and too large all the same: its answer has to fit too.
        let (said, _) = read(None, json!({"name": "n".repeat(NAME_LIMIT + 1)}).to_string().as_bytes());
        assert_eq!(said.name, None);
    }
}
