//! Messages with the same subjects, headers and sizes as Hark's.

use std::time::{SystemTime, UNIX_EPOCH};

use async_nats::HeaderMap;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// Name of the source in all subjects.
const SOURCE: &str = "bench";

/// The subject of a job's event.
pub(crate) fn subject(kind: &str, job: Uuid) -> String {
    format!("hark.event.{kind}.{SOURCE}.{job}")
}

/// Nanoseconds since the epoch, as the emulator's `--clock-words` sends them.
pub(crate) fn now_ns() -> u64 {
    // Until the year 2554.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}

/// The envelope; `tail` is a stored event's sequence, or `p` and a partial's revision.
pub(crate) fn headers(kind: &str, job: Uuid, tail: &str) -> HeaderMap {
    let id = format!("{job}:{tail}");
    let mut headers = HeaderMap::new();
    headers.insert("ce-specversion", "1.0");
    headers.insert("ce-id", id.as_str());
    headers.insert("ce-type", format!("hark.{kind}"));
    headers.insert("ce-source", format!("/hark/{SOURCE}"));
    headers.insert("ce-subject", job.to_string());
    headers.insert("ce-time", jiff::Timestamp::now().to_string());
    headers.insert("ce-datacontenttype", "application/json");
    headers.insert("ce-dataschema", format!("urn:hark:{kind}:1"));
    headers.insert("Nats-Msg-Id", id.as_str());
    headers
}

/// The beginning of a body, and `own` fields.
pub(crate) fn body(job: Uuid, recording: &Value, own: Value) -> Vec<u8> {
    let mut body = json!({
        "job": job, "source": SOURCE, "time": jiff::Timestamp::now(), "recording": recording, "metadata": {},
    });
    if let (Some(body), Value::Object(own)) = (body.as_object_mut(), own) {
        body.extend::<Map<String, Value>>(own);
    }
    body.to_string().into_bytes()
}

/// The known facts of a file.
pub(crate) fn recording(name: &str, sha256: &str, bytes: usize) -> Value {
    json!({
        "uri": format!("file:///bench/{name}"), "name": name, "sha256": sha256, "bytes": bytes, "format": "wav",
        "duration_ms": 10_000, "channels": 1,
    })
}
