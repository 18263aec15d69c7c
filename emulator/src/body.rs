//! Reads the bodies of requests, to their end even if the request was refused at its beginning.
//!
//! A server that answers and closes while the client still sends makes the client see a broken pipe instead of the answer. The gateways in
//! front of the service read on; so does the emulator.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use futures::{Stream, StreamExt};

use crate::refusal::Refusal;

/// Wraps the body of a request so that the part that the handler does not read is read and discarded.
pub async fn read_on(request: Request) -> Request {
    request.map(|body| Body::from_stream(ReadOn { rest: Some(body.into_data_stream()) }))
}

/// The whole body, if it has no more than `limit_bytes`.
pub async fn whole(body: Body, limit_bytes: usize) -> Result<Vec<u8>, Refusal> {
    let mut chunks = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        // The client has gone and cannot be answered; the journal still gets its line.
        let chunk = chunk.map_err(|_| Refusal::invalid("the request broke off"))?;
        if bytes.len() + chunk.len() > limit_bytes {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "BadRequest.TooLarge", "Payload Too Large"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

struct ReadOn {
    rest: Option<BodyDataStream>,
}

impl Stream for ReadOn {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        let next = rest.poll_next_unpin(context);
        if !matches!(next, Poll::Pending | Poll::Ready(Some(Ok(_)))) {
            self.rest = None;
        }
        next
    }
}

impl Drop for ReadOn {
    fn drop(&mut self) {
        let (Some(mut rest), Ok(runtime)) = (self.rest.take(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        runtime.spawn(async move {
            let mut left = MOST_BYTES;
            while let Some(Ok(chunk)) = rest.next().await {
                left = left.saturating_sub(chunk.len());
                if left == 0 {
                    return;
                }
            }
        });
    }
}

/// Holds the largest valid JSON request; the connection of a client that sends gigabytes to a refusal is cut off.
const MOST_BYTES: usize = 64 << 20;
