//! The refusals of a server and what each leads to (docs/own-server.md, "When something fails"). Such servers have no table of codes, so the
//! status decides, which may also stand in the body of an answer with status 200.

use std::time::Duration;

use hark_sdk::event::Blame;
use reqwest::Response;
use serde::Deserialize;
use serde_json::Value;

use crate::config;
use crate::job::{Fate, fault};
use crate::recognize::error::{ALWAYS, Error, When};
use crate::recognize::http::{Http, retry_after};
use crate::recognize::message::presentable;

/// The most that is read of a refusal.
const LONGEST_REFUSAL: usize = 64 << 10;

/// An answer that is an error.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Refusal {
    /// The HTTP status, or the one that the body tells.
    pub(super) status: u16,
    /// The server's own text; empty if it gave none.
    pub(super) message: String,
    /// When the server wants to be asked again.
    pub(super) hint: Option<Duration>,
    /// The body is an error of the server itself, not of a gateway in front of it.
    pub(super) is_servers: bool,
}

/// The bodies of errors: `{error: {message, type, code}}`, the same fields flat, `{error: "text"}`, and FastAPI's `{detail}`.
#[derive(Debug, Default, Deserialize)]
struct Body {
    error: Option<Inner>,
    #[serde(flatten)]
    flat: Fields,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Inner {
    Text(String),
    Fields(Fields),
}

#[derive(Debug, Default, Deserialize)]
struct Fields {
    message: Option<String>,
    /// A status as a number, or a word.
    code: Option<Value>,
    #[serde(rename = "type")]
    kind: Option<String>,
    /// A text, or a list of what is wrong with each field.
    detail: Option<Value>,
}

impl Refusal {
    /// Reads an answer with a status other than 2xx.
    pub(super) async fn read(http: &Http, response: &mut Response) -> Refusal {
        let status = response.status().as_u16();
        let hint = retry_after(response.headers());
        let mut body = Vec::new();
        // What arrived of a body that breaks off, or is too long, cannot be read; then the status alone tells.
        let _ = http.body(response, &mut body, LONGEST_REFUSAL).await;
        Refusal { status, hint, ..Refusal::of_body(&body) }
    }

    /// Reads the body of an error.
    pub(super) fn of_body(json: &[u8]) -> Refusal {
        let Ok(Body { error, flat }) = serde_json::from_slice(json) else {
            return Refusal { status: 500, ..Refusal::default() };
        };
        let fields = match error {
            Some(Inner::Text(message)) => Fields { message: Some(message), ..Fields::default() },
            Some(Inner::Fields(fields)) => fields,
            None => flat,
        };
        let status = match (fields.code.as_ref().and_then(Value::as_u64), fields.kind.as_deref()) {
            (Some(code @ 400..=599), _) => code as u16,
            (_, Some("BadRequestError" | "invalid_request_error")) => 400,
            (_, Some("NotFoundError")) => 404,
            _ => 500,
        };
        let detail = fields.detail.map(|detail| match detail {
            Value::String(text) => text,
            other => other.to_string(),
        });
        let message = fields.message.or(detail).unwrap_or_default();
        Refusal { status, message, hint: None, is_servers: true }
    }

    /// speaches answers silence like this (speaches#608): nothing said is nothing wrong.
    pub(super) fn means_silence(&self) -> bool {
        self.status == 500 && self.message.contains("No clip timestamps found")
    }

    /// Whether a simpler request may be taken.
    pub(super) fn may_be_about_form(&self) -> bool {
        matches!(self.status, 400 | 415 | 422 | 501)
    }

    /// The error that this refusal leads to.
    pub(super) fn into_error(self, recognizer: &config::Recognizer) -> Error {
        let Refusal { status, message, hint, is_servers } = self;
        let name = &recognizer.name;
        let small = message.to_ascii_lowercase();
        let lacks_model = status == 404 && small.contains("model");
        // vLLM: "The model does not support Transcriptions API".
        let wrong_endpoint = small.contains("does not support") && small.contains(" api");
        let (when, blame) = match status {
            _ if wrong_endpoint => (When::HELD, Blame::Hark),
            401 | 403 => (When::HELD, Blame::Account),
            // Wrong address or model: every other recording would be refused too.
            300..=399 | 404 | 405 | 410 | 421 => (When::HELD, Blame::Hark),
            429 => (When::Throttled { wait: hint }, Blame::Service),
            // It loads its model, or the proxy in front of it finds it switched off.
            502 | 503 => (When::HELD, Blame::Service),
            408 | 409 | 425 | 500.. => (When::Passed { hint, at_most: ALWAYS }, Blame::Service),
            413 | 415 => (When::Never, Blame::Audio),
            _ if concerns_audio(&small) => (When::Never, Blame::Audio),
            _ => (When::Never, Blame::Hark),
        };
        let advice = match status {
            _ if wrong_endpoint => format!("set request of recognizer {name:?} to the other shape"),
            401 | 403 => format!("put the server's key into api_key_file of recognizer {name:?}"),
            404 if lacks_model => format!(
                "install {} on the server (speaches: POST /v1/models/{}), or correct model of recognizer {name:?}",
                recognizer.model, recognizer.model
            ),
            300..=399 => format!(
                "the server redirects, which Hark does not follow; set base_url of recognizer {name:?} to the address itself"
            ),
            404 | 405 | 410 | 421 => {
                format!("set base_url of recognizer {name:?} to the server's address up to and including /v1")
            }
            502 | 503 => "the server is not ready; the queue waits for it".into(),
            _ => String::new(),
        };
        let said = match message.trim().trim_end_matches('.') {
            "" => format!("the server answered with HTTP status {status} and said nothing more"),
            message => presentable(message),
        };
        let message = if advice.is_empty() { said } else { format!("{said}; {advice}") };
        let fate = match status {
            504 => Fate::Open,
            500.. if !is_servers => Fate::MaybeForwarded,
            _ => Fate::Refused,
        };
        let code = if lacks_model { "ModelNotFound".to_owned() } else { format!("HttpStatus{status}") };
        Error { answered: true, ..Error::new(fault(&code, blame, message), fate, when) }
    }
}

/// Whether a refusal speaks of the audio, not of another field of the request.
fn concerns_audio(message: &str) -> bool {
    ["audio", "file", "decod", "duration", "format", "sample"].iter().any(|word| message.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recognize::{Next, Tries};

    fn recognizer() -> config::Recognizer {
        serde_json::from_value(serde_json::json!({
            "name": "gpu", "kind": "openai", "base_url": "http://127.0.0.1:8000/v1", "model": "whisper-1",
        }))
        .unwrap()
    }

    fn leads(status: u16, message: &str) -> (&'static str, Blame, String) {
        let refusal = Refusal { status, message: message.into(), is_servers: true, hint: None };
        let error = refusal.into_error(&recognizer());
        let word = match error.next(Tries::default()) {
            Next::Never => "never",
            Next::Held { .. } => "held",
            Next::After { counts: true, .. } => "again",
            Next::After { counts: false, .. } => "throttled",
        };
        (word, error.fault.blame, error.for_event())
    }

    #[test]
    fn each_status_leads_where_it_should() {
        use Blame::{Account, Audio, Hark, Service};
        for (status, message, word, blame) in [
            (400, "Failed to decode the audio", "never", Audio),
            (400, "language xx is not supported", "never", Hark),
            (422, "", "never", Hark),
            (400, "The model does not support Transcriptions API", "held", Hark),
            (413, "", "never", Audio),
            (401, "Unauthorized", "held", Account),
            (404, "Not Found", "held", Hark),
            (302, "", "held", Hark),
            (429, "slow down", "throttled", Service),
            (503, "Loading model", "held", Service),
            (502, "", "held", Service),
            (500, "CUDA error", "again", Service),
            (504, "", "again", Service),
        ] {
            let (found, blamed, told) = leads(status, message);
            assert_eq!((found, blamed), (word, blame), "{status} {message}: {told}");
            assert!(told.starts_with(&format!("HttpStatus{status}: ")), "{told}");
        }
    }

    #[test]
    fn a_model_that_is_not_installed_is_named_with_the_remedy() {
        let (word, _, told) = leads(404, "Model 'whisper-1' is not installed locally.");
        assert_eq!(word, "held");
        assert_eq!(
            told,
            "ModelNotFound: Model 'whisper-1' is not installed locally; install whisper-1 on the server (speaches: POST \
             /v1/models/whisper-1), or correct model of recognizer \"gpu\""
        );
    }

    #[test]
    fn a_body_tells_its_status_and_its_message() {
        for (body, status, message) in [
            (
                r#"{"error": {"message": "m", "type": "BadRequestError", "param": null, "code": 400}}"#,
                400,
                "m",
            ),
            (
                r#"{"object": "error", "message": "m", "type": "NotFoundError", "param": null, "code": 404}"#,
                404,
                "m",
            ),
            (
                r#"{"error": {"message": "m", "type": "invalid_request_error", "code": "bad_thing"}}"#,
                400,
                "m",
            ),
            (r#"{"error": "m"}"#, 500, "m"),
            (r#"{"detail": "Not Found"}"#, 500, "Not Found"),
            (r#"{"detail": [{"loc": ["body", "file"]}]}"#, 500, r#"[{"loc":["body","file"]}]"#),
        ] {
            let refusal = Refusal::of_body(body.as_bytes());
            assert_eq!(
                (refusal.status, &*refusal.message, refusal.is_servers),
                (status, message, true),
                "{body}"
            );
        }
        assert!(!Refusal::of_body(b"<html>").is_servers);
    }

    #[test]
    fn silence_of_speaches_is_no_error() {
        let body = br#"{"detail": "No clip timestamps found. Set 'vad_filter' to True or provide 'clip_timestamps'."}"#;
        assert!(Refusal::of_body(body).means_silence());
        assert!(!Refusal { status: 500, message: "CUDA error".into(), ..Refusal::default() }.means_silence());
    }
}
