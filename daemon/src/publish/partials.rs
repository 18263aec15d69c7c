//! Partials: offered without waiting. If the connection is slow, the newest partial of a piece replaces an unsent one.

use std::collections::VecDeque;
use std::sync::Arc;

use async_nats::connection::State;
use bytes::Bytes;
use hark_sdk::event::{Body, Event};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use super::feed::{Feed, Published};
use crate::broker::subject::{Subjects, headers};
use crate::telemetry::OnceAMinute;
use crate::telemetry::metrics::Metrics;

/// How many partials wait for the connection, and the bytes of all their texts. Beyond either limit, partials are merged; a piece without a
/// waiting partial loses its partial. At a few hundred bytes each, the number is reached first.
const MOST: usize = 1_024;
const MOST_BYTES: usize = 8 << 20;

/// Takes partials from the recognizers and publishes them. Clones share the same queue.
#[derive(Debug, Clone)]
pub struct PartialPublisher {
    waiting: Arc<Mutex<VecDeque<Event>>>,
    some: Arc<Notify>,
    metrics: Metrics,
    unsent: OnceAMinute,
    feed: Feed,
}

impl PartialPublisher {
    /// `feed` gets each partial, also while there is no connection.
    pub fn new(metrics: Metrics, feed: Feed) -> Self {
        let unsent = OnceAMinute::default();
        PartialPublisher { waiting: Arc::default(), some: Arc::default(), metrics, unsent, feed }
    }

    /// Hands a `transcript.partial` over to be published. Never blocks; may drop or merge it.
    pub fn offer(&self, event: Event) {
        let mut waiting = self.waiting.lock();
        let is_behind = waiting.len() >= MOST || waiting.iter().map(text_bytes).sum::<usize>() >= MOST_BYTES;
        if is_behind {
            self.metrics.publish_partials_merged.inc();
            let older = waiting.iter_mut().rfind(|other| piece_of(other) == piece_of(&event));
            if let Some(older) = older {
                *older = event;
            }
            return;
        }
        waiting.push_back(event);
        self.some.notify_one();
    }

    /// Publishes until `stop`. A partial that is lost with a connection is not sent again; the final is published through the outbox.
    pub async fn run(self, client: async_nats::Client, subjects: Subjects, stop: CancellationToken) {
        let publish = async {
            loop {
                let next = self.waiting.lock().pop_front();
                match next {
                    Some(event) => self.publish(&client, &subjects, &event).await,
                    None => self.some.notified().await,
                }
            }
        };
        // `stop` also ends a publish that the server never takes.
        stop.run_until_cancelled(publish).await;
    }

    async fn publish(&self, client: &async_nats::Client, subjects: &Subjects, event: &Event) {
        let Body::TranscriptPartial(partial) = &event.body else { return };
        let kind = event.kind().to_string();
        let body = match serde_json::to_vec(event) {
            Ok(body) => Bytes::from(body),
            Err(error) => {
                warn!(job = %event.job, source = event.source, %error, "a partial cannot be written as JSON");
                return;
            }
        };
        if self.feed.has_listeners() {
            let (kind, source, body) = (kind.clone(), event.source.clone(), Some(body.clone()));
            self.feed.send(Published {
                kind,
                source,
                job: event.job,
                sequence: None,
                stream_seq: None,
                body,
            });
        }
        // Without a connection the client would keep partials until it is connected again, and all other requests would wait behind them.
        if client.connection_state() != State::Connected {
            self.metrics.publish_partials_merged.inc();
            return;
        }
        let subject = subjects.event(&kind, &event.source, event.job);
        let headers = headers(
            &kind,
            &event.source,
            event.job,
            &format!("p{}", partial.revision),
            &event.time.to_string(),
        );
        match client.publish_with_headers(subject, headers, body).await {
            Ok(()) => self.metrics.publish_partials.inc(),
            Err(error) => {
                if let Some(times) = self.unsent.count() {
                    warn!(job = %event.job, source = event.source, %error, times, "partials were not published");
                }
            }
        }
    }
}

/// A partial replaces only partials of the same piece of the same job.
fn piece_of(event: &Event) -> (Uuid, Option<u32>) {
    match &event.body {
        Body::TranscriptPartial(partial) => (event.job, partial.piece),
        _ => (event.job, None),
    }
}

fn text_bytes(event: &Event) -> usize {
    match &event.body {
        Body::TranscriptPartial(partial) => partial.text.len(),
        _ => 0,
    }
}
