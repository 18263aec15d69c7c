//! Events that would not fit into a message: a final's segments go to an object store and the event names the object.

use async_nats::jetstream::Context;
use async_nats::jetstream::object_store::{self, GetErrorKind};
use bytes::Bytes;
use hark_sdk::event::{Body, Event, Kind, ObjectRef, TranscriptFinal};
use serde::Serialize;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tracing::{info, warn};

use crate::job::ledger::outbox::Row;

/// Where segments go that are too large for a message.
pub const BUCKET: &str = "HARK_TRANSCRIPTS";

/// Kept free for headers and for what a server in between may add.
const MARGIN: usize = 64 << 10;

/// The body of an event, made to fit the server's `max_payload`.
///
/// # Errors
/// A sentence, when the object store does not take the segments now.
pub async fn fit(context: &Context, row: &Row) -> Result<Bytes, String> {
    let limit = context.client().server_info().max_payload.saturating_sub(MARGIN);
    // A client that has not connected yet knows no limit; it does not publish either.
    if row.body.len() <= limit || limit == 0 {
        return Ok(Bytes::copy_from_slice(&row.body));
    }
    let unreadable = |error: &dyn std::fmt::Display| format!("an event of the outbox is unreadable: {error}");
    let kind: Kind = row.kind.parse().map_err(|error| unreadable(&error))?;
    let mut event = Event::parse(&kind, &row.body).map_err(|error| unreadable(&error))?;
    if let Body::TranscriptFinal(last) = &mut event.body
        && let Some(segments) = last.segments.take()
    {
        let name = row.job.to_string();
        put(context, &name, &serialized(&segments)?).await?;
        info!(job = name, bytes = row.body.len(), bucket = BUCKET, "the final's segments are in an object");
        last.segments_object = Some(ObjectRef { bucket: BUCKET.into(), name });
    }
    // What is still too large is one long string: the text of a very long recording, a quote, a plugin's data. The whole text of
    // a final stands in its segments.
    let excess = serialized(&event)?.len().saturating_sub(limit);
    if excess > 0 {
        shorten(&mut event.body, excess);
    }
    Ok(serialized(&event)?.into())
}

/// Puts back into a stored final what is in an object in its place.
///
/// # Errors
/// A sentence, when the object store does not give the segments now.
pub async fn restore(context: &Context, last: &mut TranscriptFinal) -> Result<(), String> {
    let Some(place) = last.segments_object.take() else { return Ok(()) };
    let say = |error: &dyn std::fmt::Display| {
        format!("reading segments from the object bucket {}: {error}", place.bucket)
    };
    let store = context.get_object_store(&place.bucket).await.map_err(|error| say(&error))?;
    let mut object = match store.get(&place.name).await {
        Ok(object) => object,
        // Somebody deleted it: the job has to end all the same.
        Err(error) if error.kind() == GetErrorKind::NotFound => {
            warn!(object = place.name, bucket = place.bucket, "the segments of a stored final are gone");
            return Ok(());
        }
        Err(error) => return Err(say(&error)),
    };
    let mut segments = Vec::new();
    object.read_to_end(&mut segments).await.map_err(|error| say(&error))?;
    last.segments = Some(serde_json::from_slice(&segments).map_err(|error| say(&error))?);
    Ok(())
}

/// The same name on every retry: an object that was put before a crash is put again over itself.
async fn put(context: &Context, name: &str, mut segments: &[u8]) -> Result<(), String> {
    let say =
        |error: &dyn std::fmt::Display| format!("storing segments in the object bucket {BUCKET}: {error}");
    let store = match context.get_object_store(BUCKET).await {
        Ok(store) => store,
        Err(_) => {
            let config = object_store::Config { bucket: BUCKET.into(), ..object_store::Config::default() };
            context.create_object_store(config).await.map_err(|error| say(&error))?
        }
    };
    store.put(name, &mut segments).await.map_err(|error| say(&error))?;
    Ok(())
}

/// Cuts the long field of an event.
fn shorten(body: &mut Body, excess: usize) {
    match body {
        Body::TranscriptFinal(last) => {
            last.truncated = true;
            cut(&mut last.text, excess);
        }
        Body::AlertRaised(alert) | Body::AlertRetracted(alert) => cut(&mut alert.quote, excess),
        Body::Plugin(event) => {
            event.data = json!({"error": "the plugin's event is larger than the server's max_payload"});
        }
        _ => {}
    }
}

/// Each byte cut is at least a byte of JSON less; the 64 pay for `"truncated":true`.
fn cut(text: &mut String, excess: usize) {
    let mut keep = text.len().saturating_sub(excess + 64);
    while !text.is_char_boundary(keep) {
        keep -= 1;
    }
    text.truncate(keep);
}

fn serialized(value: &impl Serialize) -> Result<Vec<u8>, String> {
    serde_json::to_vec(value).map_err(|error| error.to_string())
}
