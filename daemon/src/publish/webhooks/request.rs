//! One request: headers and body as on NATS, a signature of the Standard Webhooks scheme, and what the answer means.

use std::time::{Duration, Instant};

use async_nats::HeaderMap as NatsHeaders;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hark_sdk::event::{Body, Event, Kind, data_schema};
use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Url};
use ring::hmac;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use uuid::Uuid;

use super::schedule::RequestResult;
use crate::broker::{JetStream, large};
use crate::config::{PrivateOnly, Secret, Webhook, http_client, signing_key};
use crate::telemetry::causes;

/// Idle connections are closed before the shortest common keep-alive (5 s) of servers ends.
const KEEP_ALIVE: Duration = Duration::from_secs(4);

/// So much of an answer's body is read, so that its connection can be used again; the rest is cut off.
const BODY: usize = 16 << 10;
const BODY_TIME: Duration = Duration::from_secs(1);

/// Finals whose segments are in objects are put together two at a time in the whole daemon: each may have many megabytes.
static LARGE: Semaphore = Semaphore::const_new(2);

/// What is sent.
#[derive(Debug, Clone)]
pub struct Outgoing {
    pub headers: HeaderMap,
    pub id: String,
    pub body: Bytes,
    /// It is a final whose segments were in an object that is gone.
    pub lacks_segments: bool,
}

/// The outcome of a test event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tested {
    pub taken: bool,
    /// The status, or why there was none.
    pub answer: String,
    pub elapsed_ms: u64,
}

/// Sends events to one receiver.
pub struct Receiver {
    client: Client,
    url: Url,
    keys: Vec<hmac::Key>,
    timeout: Duration,
}

impl Receiver {
    /// # Errors
    /// A sentence, when the address is no URL or no HTTP client can be made.
    pub fn new(webhook: &Webhook, secrets: &[Secret], timeout: Duration) -> Result<Receiver, String> {
        let name = &webhook.name;
        let url: Url = webhook.url.parse().map_err(|error| format!("url of webhook {name:?}: {error}"))?;
        let builder = http_client().pool_idle_timeout(KEEP_ALIVE).no_proxy();
        let builder = match url.scheme() {
            "http" => builder.dns_resolver(PrivateOnly).tls_certs_only([]),
            _ => builder,
        };
        let client = builder.build().map_err(|error| {
            format!("webhook {name:?}: no HTTP client can be made: {}; are the system's CA certificates installed (package ca-certificates)?", causes(error))
        })?;
        let keys = secrets.iter().filter_map(signing_key).map(|key| hmac::Key::new(hmac::HMAC_SHA256, &key));
        Ok(Receiver { client, url, keys: keys.collect(), timeout })
    }

    /// Scheme, host and port: path and query may be secrets.
    pub fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    /// Sends an event once.
    pub async fn send(&self, outgoing: Outgoing) -> RequestResult {
        let Outgoing { mut headers, id, body, .. } = outgoing;
        let at = Timestamp::now().as_second().to_string();
        let signature = signature(&self.keys, &id, &at, &body);
        for (name, value) in
            [("webhook-id", &id), ("webhook-timestamp", &at), ("webhook-signature", &signature)]
        {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        let request = self.client.post(self.url.clone()).headers(headers).body(body).send();
        let seconds = self.timeout.as_secs_f32();
        let mut response = match timeout(self.timeout, request).await {
            Err(_) => return RequestResult::Later(format!("no answer within {seconds} s")),
            Ok(Err(error)) => return RequestResult::Later(causes(error)),
            Ok(Ok(response)) => response,
        };
        let answer = meaning(response.status());
        let drained = async {
            let mut read = 0;
            while read < BODY
                && let Ok(Some(chunk)) = response.chunk().await
            {
                read += chunk.len();
            }
        };
        // The status has told everything.
        let _ = timeout(BODY_TIME, drained).await;
        answer
    }

    /// Sends a test event.
    pub async fn test(&self, webhook: &str, daemon: Uuid) -> Tested {
        let begun = Instant::now();
        let answer = self.send(test_event(webhook, daemon)).await;
        Tested {
            taken: answer == RequestResult::Taken,
            answer: super::deliveries::why(&answer),
            elapsed_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// What a status means (docs/webhooks.md, "What the answers mean").
fn meaning(status: reqwest::StatusCode) -> RequestResult {
    match status.as_u16() {
        200..300 => RequestResult::Taken,
        410 => RequestResult::Gone,
        408 | 425 | 429 | 500.. => RequestResult::Later(status.to_string()),
        _ => RequestResult::Refused(status.to_string()),
    }
}

/// `v1,<signature>` for each key, with spaces between them.
fn signature(keys: &[hmac::Key], id: &str, at: &str, body: &[u8]) -> String {
    let sign = |key: &hmac::Key| {
        let mut context = hmac::Context::with_key(key);
        for part in [id.as_bytes(), b".", at.as_bytes(), b".", body] {
            context.update(part);
        }
        format!("v1,{}", STANDARD.encode(context.sign()))
    };
    keys.iter().map(sign).collect::<Vec<_>>().join(" ")
}

/// A stored event as HTTP in the binary mode of CloudEvents: `datacontenttype` is the Content-Type. A final whose segments are in an object
/// gets them back.
///
/// # Errors
/// A sentence, when the object store does not return the segments now.
pub async fn outgoing(jetstream: &JetStream, headers: &NatsHeaders, body: Bytes) -> Result<Outgoing, String> {
    let text = |name: &str| headers.get(name).map(|value| value.as_str()).unwrap_or_default();
    let id = text("ce-id").to_owned();
    let attributes = headers.iter().filter(|(name, _)| {
        let name: &str = name.as_ref();
        name.starts_with("ce-") && name != "ce-datacontenttype"
    });
    let attributes = attributes.filter_map(|(name, values)| {
        let name: &str = name.as_ref();
        Some((name.parse::<HeaderName>().ok()?, values.first()?.as_str().parse::<HeaderValue>().ok()?))
    });
    let mut sent: HeaderMap = attributes.collect();
    sent.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let kind = text("ce-type").parse::<Kind>();
    let (body, lacks_segments) = match kind {
        Ok(kind @ Kind::TranscriptFinal) => whole(jetstream, &kind, body).await?,
        _ => (body, false),
    };
    Ok(Outgoing { headers: sent, id, body, lacks_segments })
}

/// The body of a final with its segments, and whether they are gone: then it has none.
async fn whole(jetstream: &JetStream, kind: &Kind, body: Bytes) -> Result<(Bytes, bool), String> {
    let Ok(mut event) = Event::parse(kind, &body) else { return Ok((body, false)) };
    let Body::TranscriptFinal(last) = &mut event.body else { return Ok((body, false)) };
    if last.segments_object.is_none() {
        return Ok((body, false));
    }
    let _one_of_few = LARGE.acquire().await.map_err(|error| error.to_string())?;
    large::restore(jetstream, last).await?;
    let are_gone = last.segments.is_none();
    last.segments.get_or_insert_default();
    let body = serde_json::to_vec(&event).map_err(|error| error.to_string())?;
    Ok((body.into(), are_gone))
}

/// `hark.webhook.test`: it is in no stream, and no job's.
fn test_event(webhook: &str, daemon: Uuid) -> Outgoing {
    const KIND: &str = "webhook.test";
    let (id, time) = (Uuid::now_v7().to_string(), format!("{:.3}", Timestamp::now()));
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-id", &id),
        ("ce-type", &format!("hark.{KIND}")),
        ("ce-source", "/hark"),
        ("ce-subject", webhook),
        ("ce-time", &time),
        ("ce-dataschema", &data_schema(KIND)),
        ("content-type", "application/json"),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    let body = json!({ "webhook": webhook, "daemon": daemon, "time": time }).to_string().into();
    Outgoing { headers, id, body, lacks_segments: false }
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;

    #[test]
    fn each_status_has_its_meaning() {
        let of = |status: u16| meaning(StatusCode::from_u16(status).unwrap());
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(of(status), RequestResult::Taken);
        }
        for status in [408, 425, 429, 500, 502, 503, 504, 599] {
            assert!(matches!(of(status), RequestResult::Later(_)), "{status}");
        }
        for status in [300, 301, 302, 304, 307, 308, 400, 401, 403, 404, 409, 413, 422, 451] {
            assert!(matches!(of(status), RequestResult::Refused(_)), "{status}");
        }
        assert_eq!(of(410), RequestResult::Gone);
    }

    #[test]
    fn a_signature_is_that_of_the_schemes_specification() {
        let key =
            |secret: &str| hmac::Key::new(hmac::HMAC_SHA256, &signing_key(&Secret::new(secret)).unwrap());
        let keys = [key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), key("whsec_QUJD")];
        let (id, at, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", br#"{"test": 2432232314}"#);
        let one = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signature(&keys[..1], id, at, body), one);
        let both = signature(&keys, id, at, body);
        assert!(both.starts_with(&format!("{one} v1,")) && both.len() == 2 * one.len() + 1, "{both}");
    }
}
