//! One request of a session: reads what is to be sent, and sends it.

use async_nats::HeaderMap;
use async_nats::jetstream;
use bytes::Bytes;
use uuid::Uuid;

use crate::publish::webhooks::deliveries::{BacklogStep, Work};
use crate::publish::webhooks::event_reader::Reader;
use crate::publish::webhooks::request::{Receiver, outgoing};
use crate::publish::webhooks::schedule::RequestResult;

/// A request that is over.
pub(super) struct FinishedRequest {
    pub(super) job: Uuid,
    pub(super) answered: RequestOutcome,
    /// It was for a final whose segments are gone.
    pub(super) lacks_segments: bool,
}

/// What came of it.
pub(super) enum RequestOutcome {
    Held(RequestResult),
    Backlog(BacklogStep),
}

/// Sends an event in memory, or the first event of a backlog.
pub(super) async fn send(
    receiver: &Receiver,
    reader: &Reader,
    work: Work<jetstream::Message>,
) -> FinishedRequest {
    match work {
        Work::Held(event) => {
            let headers = event.message.headers.clone().unwrap_or_default();
            let payload = event.message.payload.clone();
            let (answer, lacks_segments) = send_whole(receiver, reader, &headers, payload).await;
            FinishedRequest { job: event.job, answered: RequestOutcome::Held(answer), lacks_segments }
        }
        Work::Backlog(backlog) => {
            let mut lacks_segments = false;
            let found = match reader.first(&backlog).await {
                Ok(Some(message)) => {
                    let sent = send_whole(receiver, reader, &message.headers, message.payload).await;
                    lacks_segments = sent.1;
                    BacklogStep::Event(message.sequence, sent.0)
                }
                Ok(None) => BacklogStep::Nothing { until: backlog.last },
                Err(reason) => BacklogStep::Unknown(reason),
            };
            FinishedRequest { job: backlog.job, answered: RequestOutcome::Backlog(found), lacks_segments }
        }
    }
}

/// Sends an event with all its segments; true: they are gone, and it was sent without them.
async fn send_whole(
    receiver: &Receiver,
    reader: &Reader,
    headers: &HeaderMap,
    body: Bytes,
) -> (RequestResult, bool) {
    match outgoing(reader.jetstream(), headers, body).await {
        Ok(outgoing) => {
            let lacks_segments = outgoing.lacks_segments;
            (receiver.send(outgoing).await, lacks_segments)
        }
        Err(reason) => (RequestResult::Unsent(reason), false),
    }
}
