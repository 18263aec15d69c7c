//! The answer as server-sent events, framed as the service frames them: no space behind the colons, the status in
//! a comment, and no end but a `stop` event.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures::{StreamExt, stream};
use serde_json::{Value, json};

use crate::text;

use super::Recognition;

/// Streams the recognition piece by piece, `delay` apart.
pub(super) fn respond(recognition: Recognition, incremental: bool, delay: Duration) -> Response {
    let events = stream::iter(events(&recognition, incremental).into_iter().enumerate());
    let paced = events.then(move |(position, event)| async move {
        if position > 0 {
            tokio::time::sleep(delay).await;
        }
        Ok::<Bytes, Infallible>(event)
    });
    let mut response = Response::new(Body::from_stream(paced));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream;charset=UTF-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// All events of an answer in order. Incremental ones carry the new piece and the last one nothing;
/// cumulative ones carry everything so far, and the last one the whole text once more.
fn events(recognition: &Recognition, incremental: bool) -> Vec<Bytes> {
    let whole = &recognition.heard.text;
    let pieces = text::pieces(whole);
    let mut events = Vec::with_capacity(pieces.len() + 1);
    let mut end = 0;
    for (position, piece) in pieces.iter().enumerate() {
        end += piece.len();
        let text = if incremental { piece } else { &whole[..end] };
        events.push(frame(position + 1, &recognition.event(text, "null", position + 1)));
    }
    let last = if incremental {
        recognition.body(json!({"role": "assistant", "content": []}), "stop", pieces.len())
    } else {
        recognition.event(whole, "stop", pieces.len())
    };
    events.push(frame(pieces.len() + 1, &last));
    events
}

fn frame(id: usize, data: &Value) -> Bytes {
    Bytes::from(format!("id:{id}\nevent:result\n:HTTP_STATUS/200\ndata:{data}\n\n"))
}
