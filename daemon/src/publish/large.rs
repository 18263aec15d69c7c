//! Events that would not fit into a message: a final's segments go to an object store and the event names the object.

use async_nats::jetstream::Context;
use async_nats::jetstream::object_store;
use bytes::Bytes;
use serde_json::{Value, json};
use tracing::info;

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
    let mut body: Value = serde_json::from_slice(&row.body)
        .map_err(|error| format!("an event of the outbox is no JSON: {error}"))?;
    let Some(fields) = body.as_object_mut() else {
        return Err("an event of the outbox is no JSON object".into());
    };
    if let Some(segments) = fields.remove("segments") {
        let name = row.job.to_string();
        put(context, &name, &segments).await?;
        info!(job = name, bytes = row.body.len(), bucket = BUCKET, "the final's segments are in an object");
        fields.insert("segments_object".into(), json!({"bucket": BUCKET, "name": name}));
    }
    // What is still too large is one long string: the text of a very long recording, a quote, a plugin's data. The whole text of
    // a final stands in its segments.
    if serialized(&body)?.len() > limit {
        let excess = serialized(&body)?.len() - limit;
        shorten(&mut body, excess);
    }
    Ok(serialized(&body)?.into())
}

/// The same name on every retry: an object that was put before a crash is put again over itself.
async fn put(context: &Context, name: &str, segments: &Value) -> Result<(), String> {
    let say =
        |error: &dyn std::fmt::Display| format!("storing segments in the object bucket {BUCKET}: {error}");
    let store = match context.get_object_store(BUCKET).await {
        Ok(store) => store,
        Err(_) => {
            let config = object_store::Config { bucket: BUCKET.into(), ..object_store::Config::default() };
            context.create_object_store(config).await.map_err(|error| say(&error))?
        }
    };
    let bytes = serialized(segments)?;
    store.put(name, &mut bytes.as_slice()).await.map_err(|error| say(&error))?;
    Ok(())
}

/// Cuts the longest of the known long fields and says so.
fn shorten(body: &mut Value, excess: usize) {
    let Some(fields) = body.as_object_mut() else { return };
    fields.insert("truncated".into(), Value::Bool(true));
    // JSON may spend six bytes on a character; cutting by the excess in characters of one byte is enough, a little more is safe.
    for field in ["text", "quote"] {
        if let Some(Value::String(text)) = fields.get_mut(field) {
            let mut keep = text.len().saturating_sub(excess + 64);
            while !text.is_char_boundary(keep) {
                keep -= 1;
            }
            text.truncate(keep);
            return;
        }
    }
    if fields.contains_key("data") {
        fields.insert(
            "data".into(),
            json!({"error": "the plugin's event is larger than the server's max_payload"}),
        );
    }
}

fn serialized(value: &Value) -> Result<Vec<u8>, String> {
    serde_json::to_vec(value).map_err(|error| error.to_string())
}
