//! Partials: published without waiting; where the connection is behind, the newest of a job replaces the others.

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

/// Partials on their way to the connection, and the bytes of their texts together; beyond it they are merged. At a few hundred bytes each
/// it is their number that counts.
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

/// The newest partial of each piece whose predecessors did not get through. While nothing leaves, jobs come and go: beyond [`QUEUE`] of
/// them partials are dropped, for their finals come by another way.
#[derive(Debug, Default)]
struct Behind {
    newest: Mutex<HashMap<Piece, Event>>,
    some: Notify,
}

/// Partials are replaced within one piece of a job only.
type Piece = (Uuid, Option<u32>);

fn piece_of(event: &Event) -> Piece {
    match &event.body {
        Body::TranscriptPartial(partial) => (event.job, partial.piece),
        _ => (event.job, None),
    }
}

/// The other end; [`Outlet::run`] publishes.
#[derive(Debug)]
pub struct Outlet {
    queue: mpsc::Receiver<Event>,
    queued_bytes: Arc<AtomicUsize>,
    behind: Arc<Behind>,
    metrics: Metrics,
    unsent: OnceAMinute,
}

/// Both ends.
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
    /// Hands a `transcript.partial` over. Never blocks.
    pub fn offer(&self, event: Event) {
        let mut newest = self.behind.newest.lock();
        // Once a piece is behind, its order is kept by staying there until it is taken.
        if let Some(waiting) = newest.get_mut(&piece_of(&event)) {
            *waiting = event;
            self.metrics.publish_partials_merged.inc();
            return;
        }
        let bytes = text_bytes(&event);
        let place = match self.queue.try_reserve() {
            Ok(place) if self.queued_bytes.load(Ordering::Relaxed) + bytes <= QUEUED_BYTES => place,
            // The other end is gone with the daemon.
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
    /// Publishes until `stop`. A partial that is lost with a connection is lost; the final comes by another way.
    pub async fn run(mut self, client: async_nats::Client, subjects: Subjects, stop: CancellationToken) {
        loop {
            let event = tokio::select! {
                // In this order: what is behind is newer than what is queued.
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
                // The server takes nothing, for ever perhaps.
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
        // The client would keep them until it is connected again, and everybody else's requests behind them.
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
                    warn!(job = %event.job, source = event.source, %error, times, "partials did not leave");
                }
            }
        }
    }
}
