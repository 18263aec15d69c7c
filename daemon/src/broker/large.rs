//! Events that are too large for a message: a final's segments go to an object store and the event names the object; other events are cut.
//! An event that could never be published would keep its job from ever ending.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::jetstream::object_store;
use async_nats::jetstream::stream;
use bytes::Bytes;
use hark_sdk::event::{Body, Event, Kind, ObjectRef, TranscriptFinal};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::io::AsyncReadExt;
use tracing::{info, warn};
use uuid::Uuid;

use super::JetStream;
use super::object::Unavailable;
use crate::config::Nats;

/// The object bucket for segments that are too large for a message.
pub const BUCKET: &str = "HARK_TRANSCRIPTS";

/// How much longer than events the segments are kept.
const OUTLIVES: Duration = Duration::from_secs(86_400);

/// Kept free for headers and for what a leaf node or gateway may add.
const MARGIN: usize = 64 << 10;
/// What remains besides the margin must hold a useful event; if `max_payload` is too small for that, events take half of it.
const LEAST: usize = 4 << 10;
/// The object store's default chunk size.
pub const LARGEST_CHUNK: usize = 128 << 10;
/// Strings that are shorter are not cut: names, hashes, times and the enum values of the schema.
const SHORT: usize = 128;

/// The largest message that may be published: the server's `max_payload`, or the stream's own limit where that is lower.
#[derive(Debug, Default)]
pub struct Largest {
    /// `max_msg_size` of the stream of events; 0: none.
    of_stream: AtomicUsize,
}

impl Largest {
    /// Records the stream's limit; an operator may change it at any time.
    pub fn learn(&self, stream: &stream::Config) {
        self.of_stream.store(usize::try_from(stream.max_message_size).unwrap_or(0), Ordering::Relaxed);
    }

    /// Bytes; 0 for a client that has not connected yet, which cannot publish either.
    pub fn message(&self, jetstream: &JetStream) -> usize {
        let of_server = jetstream.client().server_info().max_payload;
        match self.of_stream.load(Ordering::Relaxed) {
            0 => of_server,
            of_stream => of_server.min(of_stream),
        }
    }
}

/// Why an event cannot be stored for now.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// The part that would be left out cannot be stored now.
    #[error("{0}")]
    NoPlace(String),
    /// The limit is less than the fixed fields need: that holds for every other event too.
    #[error("{0}")]
    NoFrame(String),
}

impl From<String> for Unfit {
    fn from(reason: String) -> Self {
        Unfit::NoPlace(reason)
    }
}

/// Whether a body fits into a message of `largest` bytes as it is.
pub fn fits(body: &Bytes, largest: usize) -> bool {
    body.len() <= limit(largest)
}

/// The body of an event, cut to fit into a message of `largest` bytes.
///
/// # Errors
/// When the object store does not accept the segments now, or no event fits.
pub async fn fit(
    jetstream: &JetStream,
    nats: &Nats,
    job: Uuid,
    kind: &str,
    body: &Bytes,
    largest: usize,
) -> Result<Bytes, Unfit> {
    if fits(body, largest) {
        return Ok(body.clone());
    }
    let limit = limit(largest);
    let unreadable = |error: &dyn std::fmt::Display| format!("an event is unreadable: {error}");
    let kind: Kind = kind.parse().map_err(|error| unreadable(&error))?;
    let mut event = Event::parse(&kind, body).map_err(|error| unreadable(&error))?;
    if let Body::TranscriptFinal(last) = &mut event.body
        && let Some(segments) = last.segments.take()
    {
        let object = object(job);
        let put = jetstream.put_object(bucket(nats), &object.name, &mut &serialized(&segments)?[..]).await;
        put.map_err(|error| format!("storing segments: {error}"))?;
        info!(%job, bytes = body.len(), bucket = BUCKET, "the final's segments are in an object");
        last.segments_object = Some(object);
    }
    match abridged(event, &kind, limit)? {
        Some(body) => Ok(body.into()),
        None => Err(Unfit::NoFrame(format!(
            "an event of {} bytes cannot be cut to fit a message of {largest} bytes; raise max_msg_size of the stream, or max_payload of the \
             server and restart it: a reload does not tell the clients that are connected",
            body.len()
        ))),
    }
}

/// The largest body in a message of `largest` bytes (0: not known yet).
pub fn limit(largest: usize) -> usize {
    match largest.checked_sub(MARGIN) {
        _ if largest == 0 => usize::MAX,
        Some(limit) if limit >= LEAST => limit,
        _ => largest / 2,
    }
}

/// Puts the segments that a stored final has in an object back into the final. It stays without segments if the object is gone, or its bucket.
///
/// # Errors
/// A sentence, when the object store does not return the segments now.
pub async fn restore(jetstream: &JetStream, last: &mut TranscriptFinal) -> Result<(), String> {
    let Some(place) = last.segments_object.take() else { return Ok(()) };
    let mut object = match jetstream.open_object(&place).await {
        Ok(object) => object,
        Err(Unavailable::Absent(_)) => {
            // It was deleted: the job has to end nevertheless.
            warn!(object = place.name, bucket = place.bucket, "the segments of a stored final are gone");
            return Ok(());
        }
        Err(Unavailable::NotNow(reason)) => return Err(reason),
    };
    let say = |error: &dyn std::fmt::Display| {
        format!("reading segments from the object bucket {}: {error}", place.bucket)
    };
    let mut segments = Vec::new();
    object.read_to_end(&mut segments).await.map_err(|error| say(&error))?;
    last.segments = Some(serde_json::from_slice(&segments).map_err(|error| say(&error))?);
    Ok(())
}

/// The object of a job's final. The name is the same on every retry: after a crash the object is overwritten.
pub fn object(job: Uuid) -> ObjectRef {
    ObjectRef { bucket: BUCKET.into(), name: job.to_string() }
}

/// Leaves the later half of the interruptions out until the event fits; other events have no list to shorten.
fn shorten_list(event: &mut Event, limit: usize) -> Result<(), String> {
    while serialized(event)?.len() > limit {
        match &mut event.body {
            Body::AnnotationSpeech(speech) if !speech.interruptions.is_empty() => {
                speech.interruptions.truncate(speech.interruptions.len() / 2);
            }
            _ => break,
        }
    }
    Ok(())
}

/// The event in at most `limit` bytes; `None` where that is less than the fixed fields need. What a plugin said is replaced by an error; else
/// the longest string is cut (mostly the text of a final, whose segments still have all of it), at last the sender's metadata are removed.
fn abridged(mut event: Event, kind: &Kind, limit: usize) -> Result<Option<Vec<u8>>, String> {
    let whole = serialized(&event)?;
    if whole.len() <= limit {
        return Ok(Some(whole));
    }
    match &mut event.body {
        Body::TranscriptFinal(last) => last.truncated = true,
        Body::Plugin(plugin) => {
            plugin.data = json!({"error": "the plugin's event is larger than a message may be"});
        }
        _ => {}
    }
    shorten_list(&mut event, limit)?;
    loop {
        let body = serialized(&event)?;
        let excess = body.len().saturating_sub(limit);
        if excess == 0 {
            warn!(job = %event.job, %kind, bytes = whole.len(), limit, "an event was too large for a message and is cut");
            return Ok(Some(body));
        }
        let mut value = serde_json::to_value(&event).map_err(|error| error.to_string())?;
        match longest(&mut value).filter(|text| text.len() > SHORT) {
            Some(text) => {
                let most = text.len() - SHORT;
                cut(text, excess.min(most));
            }
            None if !event.metadata.is_empty() => value["metadata"] = Value::Object(Map::new()),
            None => return Ok(None),
        }
        // Parsed again, so that the fields keep their order.
        event = Event::from_value(kind, value).map_err(|error| error.to_string())?;
    }
}

/// The segments are kept for as long as the final that names them, and a little longer: a consumer may read the final on its last day.
fn bucket(nats: &Nats) -> object_store::Config {
    let max_age = match nats.events_max_age {
        Duration::ZERO => Duration::ZERO,
        kept => kept + OUTLIVES,
    };
    object_store::Config {
        bucket: BUCKET.into(),
        max_age,
        num_replicas: nats.replicas,
        ..object_store::Config::default()
    }
}

fn longest(value: &mut Value) -> Option<&mut String> {
    match value {
        Value::String(text) => Some(text),
        Value::Array(items) => items.iter_mut().filter_map(longest).max_by_key(|text| text.len()),
        Value::Object(fields) => fields.values_mut().filter_map(longest).max_by_key(|text| text.len()),
        _ => None,
    }
}

/// Each byte that is cut saves at least one byte of JSON.
fn cut(text: &mut String, excess: usize) {
    text.truncate(text.floor_char_boundary(text.len().saturating_sub(excess)));
}

fn serialized(value: &impl Serialize) -> Result<Vec<u8>, String> {
    serde_json::to_vec(value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use hark_sdk::event::{
        Alert, AlertState, Annotation, AnnotationSpeech, Interruption, PluginEvent, Severity,
    };
    use hark_sdk::testing::{event, transcript};

    use super::*;

    fn cut_to(event: &Event, limit: usize) -> Event {
        let body = abridged(event.clone(), &event.kind(), limit).unwrap().unwrap();
        assert!(body.len() <= limit, "{} > {limit}", body.len());
        assert!(body.starts_with(br#"{"job":"#), "{}", String::from_utf8_lossy(&body));
        let cut = Event::parse(&event.kind(), &body).unwrap();
        assert_eq!((cut.job, cut.time, cut.sequence), (event.job, event.time, event.sequence));
        cut
    }

    #[test]
    fn whatever_a_plugin_makes_long_fits_in_the_end() {
        let long = || "ü\"\n".repeat(300_000);
        let alert = Alert {
            alert: long(),
            plugin: "keywords".into(),
            rule: long(),
            severity: Severity::Critical,
            state: AlertState::Confirmed,
            channel: None,
            role: Some(long()),
            begin_ms: None,
            end_ms: None,
            quote: "cancel".into(),
            ..Alert::default()
        };
        let annotation = Annotation { value: long(), ..Annotation::default() };
        let many: Vec<u32> = (0..300_000).collect();
        let interruptions = vec![Interruption { channel: 1, role: None, begin_ms: 7 }; 30_000];
        for body in [
            Body::AlertRaised(alert.clone()),
            Body::AlertRetracted(alert),
            Body::AnnotationEmotion(annotation.clone()),
            Body::AnnotationLanguage(annotation),
            Body::AnnotationSpeech(AnnotationSpeech { interruptions, ..AnnotationSpeech::default() }),
            Body::Plugin(PluginEvent {
                plugin: "counts".into(),
                data: json!(many),
                ..PluginEvent::default()
            }),
        ] {
            cut_to(&event(body.clone()), 4 << 10);
            cut_to(&event(body), 960 << 10);
        }
    }

    #[test]
    fn metadata_go_where_nothing_else_is_left_to_cut() {
        let mut event = transcript(&["hello"]);
        event.metadata = (0..4_000).map(|key| (key.to_string(), json!(1))).collect();
        let cut = cut_to(&event, 4 << 10);
        assert!(cut.metadata.is_empty());
        assert!(abridged(event.clone(), &event.kind(), 64).unwrap().is_none(), "less than its frame takes");
    }

    #[test]
    fn a_small_max_payload_is_no_missing_connection() {
        assert_eq!(limit(0), usize::MAX);
        assert_eq!(limit(1 << 20), (1 << 20) - MARGIN);
        assert_eq!(limit(64 << 10), 32 << 10);
        assert_eq!(limit(65 << 10), (65 << 10) / 2);
        assert_eq!(limit(72 << 10), 8 << 10);
    }
}
