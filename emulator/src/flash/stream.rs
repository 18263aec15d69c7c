//! The answer as server-sent events, in the service's framing: no space after the colons, the status in a comment, and the `stop` event as the
//! only sign of the end.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures::{StreamExt, stream};
use serde_json::{Value, json};

use crate::faults::{FaultKind, Fired};
use crate::text;

use super::Recognition;

/// How a stream is sent: which events, and how long before each.
pub(super) struct Script {
    incremental: bool,
    delay: Duration,
    /// After this many events nothing is sent for a while.
    stall: Option<(usize, Duration)>,
    end: End,
}

/// How the stream ends.
enum End {
    Stop,
    /// The stream ends without `stop`: before its last event, or after this many events.
    Silence(Option<usize>),
    Error {
        after_events: usize,
        status: u16,
        code: String,
    },
}

impl Script {
    pub(super) fn new(fired: &Fired, incremental: bool, delay: Duration) -> Script {
        let end = if let Some(fault) = fired.get(FaultKind::NoStop) {
            End::Silence(fault.after_events)
        } else if let Some(fault) = fired.get(FaultKind::StreamError) {
            End::Error {
                after_events: fault.after_events.unwrap_or(1),
                status: fault.status.unwrap_or(500),
                code: fault.code.clone().unwrap_or_else(|| "InternalError.Algo".to_owned()),
            }
        } else {
            End::Stop
        };
        let stall = fired.get(FaultKind::Stall).and_then(|fault| Some((fault.after_events?, fault.time())));
        let delay = fired.get(FaultKind::SlowTokens).map_or(delay, |fault| fault.time());
        Script { incremental, delay, stall, end }
    }

    fn wait_before(&self, position: usize) -> Duration {
        match self.stall {
            Some((after_events, time)) if position == after_events => time,
            _ if position == 0 => Duration::ZERO,
            _ => self.delay,
        }
    }

    /// Cuts the events where a fault ends the stream.
    fn cut(&self, mut events: Vec<Bytes>, request_id: &str) -> Vec<Bytes> {
        match &self.end {
            End::Stop => {}
            End::Silence(after_events) => {
                let last = events.len().saturating_sub(1);
                events.truncate(after_events.unwrap_or(last).min(last));
            }
            End::Error { after_events, status, code } => {
                events.truncate((*after_events).min(events.len().saturating_sub(1)));
                let data =
                    json!({"code": code, "message": "The stream broke off.", "request_id": request_id});
                events.push(frame(events.len() + 1, "error", *status, &data));
            }
        }
        events
    }
}

/// Streams the recognition according to the script.
pub(super) fn respond(recognition: &Recognition, script: Script) -> Response {
    let events = events(recognition, script.incremental);
    play(events, &script, &recognition.request_id)
}

/// Streams these events according to the script.
pub(super) fn play(events: Vec<Bytes>, script: &Script, request_id: &str) -> Response {
    let events = script.cut(events, request_id);
    let waits: Vec<Duration> = (0..events.len()).map(|position| script.wait_before(position)).collect();
    let paced = stream::iter(events.into_iter().zip(waits)).then(|(event, wait)| async move {
        tokio::time::sleep(wait).await;
        Ok::<Bytes, Infallible>(event)
    });
    event_stream(Body::from_stream(paced))
}

/// An answer of server-sent events.
pub(super) fn event_stream(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream;charset=UTF-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// All events of an answer in order. An incremental event carries only the new piece, and the last one is empty; a cumulative event carries the
/// text so far, and the last one repeats the whole text.
fn events(recognition: &Recognition, incremental: bool) -> Vec<Bytes> {
    let whole = &recognition.heard.text;
    let pieces = text::pieces(whole);
    let mut events = Vec::with_capacity(pieces.len() + 1);
    let mut end = 0;
    for (position, piece) in pieces.iter().enumerate() {
        end += piece.len();
        let text = if incremental { piece } else { &whole[..end] };
        events.push(frame(position + 1, "result", 200, &recognition.event(text, "null", position + 1)));
    }
    events.push(last_event(recognition, whole, pieces.len(), incremental));
    events
}

/// The event with `stop`, after this many others.
pub(super) fn last_event(recognition: &Recognition, whole: &str, tokens: usize, incremental: bool) -> Bytes {
    let last = if incremental {
        let message = json!({"role": "assistant", "content": []});
        recognition.body(message, recognition.finish_reason, tokens)
    } else {
        recognition.event(whole, recognition.finish_reason, tokens)
    };
    frame(tokens + 1, "result", 200, &last)
}

pub(super) fn frame(id: usize, event: &str, status: u16, data: &Value) -> Bytes {
    Bytes::from(format!("id:{id}\nevent:{event}\n:HTTP_STATUS/{status}\ndata:{data}\n\n"))
}
