//! Partials: offered without waiting. If the connection is slow, the newest partial of a piece replaces the unsent ones before it.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_nats::connection::State as Connection;
use hark_sdk::event::{Body, Event};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use crate::broker::subject::{Subjects, headers};
use crate::telemetry::OnceAMinute;
use crate::telemetry::metrics::Metrics;

/// How many partials are queued for the connection, and the bytes of all their texts; beyond either limit, partials are merged. At a few
/// hundred bytes each, the number is reached first.
const QUEUE: usize = 1_024;
const QUEUED_BYTES: usize = 8 << 20;

/// Takes partials from the recognizers. Clones share the same queue.
#[derive(Debug, Clone)]
pub struct Partials {
    queue: mpsc::Sender<Event>,
    queued_bytes: Arc<AtomicUsize>,
    behind: Arc<Behind>,
    metrics: Metrics,
}

/// The newest partial of each piece whose earlier partials found the queue full. While nothing leaves, new jobs add pieces here: beyond
/// [`QUEUE`] pieces, partials are dropped; the finals are published through the outbox.
#[derive(Debug, Default)]
struct Behind {
    newest: Mutex<HashMap<Piece, Event>>,
    some: Notify,
}

/// A partial replaces only partials of the same piece of the same job.
type Piece = (Uuid, Option<u32>);

fn piece_of(event: &Event) -> Piece {
    match &event.body {
        Body::TranscriptPartial(partial) => (event.job, partial.piece),
        _ => (event.job, None),
    }
}

/// The receiving end of the queue; [`Outlet::run`] publishes.
#[derive(Debug)]
pub struct Outlet {
    queue: mpsc::Receiver<Event>,
    queued_bytes: Arc<AtomicUsize>,
    behind: Arc<Behind>,
    metrics: Metrics,
    unsent: OnceAMinute,
}

/// Makes both ends of the queue.
pub fn partials(metrics: Metrics) -> (Partials, Outlet) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let (behind, queued_bytes) = (Arc::<Behind>::default(), Arc::<AtomicUsize>::default());
    (
        Partials {
            queue: sender,
            queued_bytes: Arc::clone(&queued_bytes),
            behind: Arc::clone(&behind),
            metrics: metrics.clone(),
        },
        Outlet { queue: receiver, queued_bytes, behind, metrics, unsent: OnceAMinute::default() },
    )
}

impl Partials {
    /// Hands a `transcript.partial` over to be published. Never blocks; may drop or merge it.
    pub fn offer(&self, event: Event) {
        let mut newest = self.behind.newest.lock();
        // Once a piece is in `newest`, its later partials go there too until the newest is taken: this keeps their order.
        if let Some(waiting) = newest.get_mut(&piece_of(&event)) {
            *waiting = event;
            self.metrics.publish_partials_merged.inc();
            return;
        }
        let bytes = text_bytes(&event);
        let place = match self.queue.try_reserve() {
            Ok(place) if self.queued_bytes.load(Ordering::Relaxed) + bytes <= QUEUED_BYTES => place,
            // The daemon is ending and has dropped the outlet.
            Err(mpsc::error::TrySendError::Closed(())) => return,
            _ if newest.len() >= QUEUE => {
                self.metrics.publish_partials_merged.inc();
                return;
            }
            _ => {
                newest.insert(piece_of(&event), event);
                self.behind.some.notify_one();
                return;
            }
        };
        self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        place.send(event);
    }
}

fn text_bytes(event: &Event) -> usize {
    match &event.body {
        Body::TranscriptPartial(partial) => partial.text.len(),
        _ => 0,
    }
}

impl Outlet {
    /// Publishes until `stop`. A partial that is lost with a connection is not sent again; the final is published through the outbox.
    pub async fn run(mut self, client: async_nats::Client, subjects: Subjects, stop: CancellationToken) {
        loop {
            let event = tokio::select! {
                // The queue first: the partials in `behind` are newer than those in the queue.
                biased;
                event = self.queue.recv() => match event {
                    Some(event) => {
                        self.queued_bytes.fetch_sub(text_bytes(&event), Ordering::Relaxed);
                        event
                    }
                    None => return,
                },
                () = self.behind.some.notified() => match self.take_behind() {
                    Some(event) => event,
                    None => continue,
                },
                () = stop.cancelled() => return,
            };
            tokio::select! {
                biased;
                () = self.publish(&client, &subjects, &event) => {}
                // The server may take nothing for ever.
                () = stop.cancelled() => return,
            }
        }
    }

    fn take_behind(&self) -> Option<Event> {
        let mut newest = self.behind.newest.lock();
        let piece = *newest.keys().next()?;
        let event = newest.remove(&piece);
        if !newest.is_empty() {
            self.behind.some.notify_one();
        }
        event
    }

    async fn publish(&self, client: &async_nats::Client, subjects: &Subjects, event: &Event) {
        let Body::TranscriptPartial(partial) = &event.body else { return };
        // Without a connection the client would keep partials until it is connected again, and all other requests would wait behind them.
        if client.connection_state() != Connection::Connected {
            self.metrics.publish_partials_merged.inc();
            return;
        }
        let kind = event.kind().to_string();
        let subject = subjects.event(&kind, &event.source, event.job);
        let headers = headers(
            &kind,
            &event.source,
            event.job,
            &format!("p{}", partial.revision),
            &event.time.to_string(),
        );
        let body = match serde_json::to_vec(event) {
            Ok(body) => body,
            Err(error) => {
                warn!(job = %event.job, source = event.source, %error, "a partial cannot be written as JSON");
                return;
            }
        };
        match client.publish_with_headers(subject, headers, body.into()).await {
            Ok(()) => self.metrics.publish_partials.inc(),
            Err(error) => {
                if let Some(times) = self.unsent.count() {
                    warn!(job = %event.job, source = event.source, %error, times, "partials were not published");
                }
            }
        }
    }
}
