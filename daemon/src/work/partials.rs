//! Passes partials through the plugins, and on to be published. A recognizer never waits for a plugin: of the partials of a piece that
//! wait, the newest counts.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use hark_sdk::event::{Event, Kind};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::error;
use uuid::Uuid;

use super::pipe::earlier;
use crate::job::PieceId;
use crate::job::ledger::{Ledger, LedgerError, advance};
use crate::job::piece_machine::Release;
use crate::pipeline::Pipeline;

/// Hands a partial over to be published; never blocks.
pub type Publish = Arc<dyn Fn(Event) + Send + Sync>;

/// The partials that wait for the plugins. Clones share them. Memory is bounded by the pieces under way: one partial each.
#[derive(Clone)]
pub struct WaitingPartials {
    pipeline: Arc<Pipeline>,
    ledger: Ledger,
    publish: Publish,
    jobs: Arc<Mutex<HashMap<Uuid, OfJob>>>,
}

/// The partials of a job.
#[derive(Default)]
struct OfJob {
    /// The newest partial of each piece that waits.
    waiting: BTreeMap<u32, Event>,
    /// The plugins have one of its partials.
    is_with_plugins: bool,
    /// Notified when they have processed it.
    processed: Arc<Notify>,
}

impl WaitingPartials {
    pub fn new(pipeline: Arc<Pipeline>, ledger: Ledger, publish: Publish) -> Self {
        WaitingPartials { pipeline, ledger, publish, jobs: Arc::default() }
    }

    /// Takes a partial of a piece. Never blocks.
    pub fn offer(&self, piece: PieceId, event: Event) {
        let plugins = self.pipeline.of(piece.job);
        let release = plugins.release(&event.source, &Kind::TranscriptPartial);
        if release == Release::WithFinal {
            return;
        }
        let is_wanted = plugins.wants(&event.source, &Kind::TranscriptPartial);
        if release == Release::AtOnce {
            match is_wanted {
                true => (self.publish)(event.clone()),
                false => return (self.publish)(event),
            }
        }
        let mut jobs = self.jobs.lock();
        let is_new = !jobs.contains_key(&piece.job);
        jobs.entry(piece.job).or_default().waiting.insert(piece.number, event);
        if is_new {
            let partials = self.clone();
            tokio::spawn(async move {
                if let Err(error) = partials.process(piece.job, release).await {
                    error!(job = %piece.job, %error, "what plugins emitted about a partial cannot be stored");
                }
            });
        }
    }

    /// Drops the partial of a piece that waits, and waits until the plugins have none of its job: what follows is newer.
    pub(super) async fn finish(&self, piece: PieceId) {
        loop {
            let processed = {
                let mut jobs = self.jobs.lock();
                let Some(of_job) = jobs.get_mut(&piece.job) else { return };
                of_job.waiting.remove(&piece.number);
                if !of_job.is_with_plugins {
                    return;
                }
                Arc::clone(&of_job.processed).notified_owned()
            };
            processed.await;
        }
    }

    /// Gives a job's partials to the plugins until none waits.
    async fn process(&self, job: Uuid, release: Release) -> Result<(), LedgerError> {
        loop {
            let (piece, event) = {
                let mut jobs = self.jobs.lock();
                let Some(of_job) = jobs.get_mut(&job) else { return Ok(()) };
                let Some((number, event)) = of_job.waiting.pop_first() else {
                    jobs.remove(&job);
                    return Ok(());
                };
                of_job.is_with_plugins = true;
                (PieceId { job, number }, event)
            };
            let outcome = self.process_one(piece, event, release).await;
            let mut jobs = self.jobs.lock();
            if let Some(of_job) = jobs.get_mut(&job) {
                of_job.is_with_plugins = false;
                of_job.processed.notify_waiters();
            }
            if outcome.is_err() {
                jobs.remove(&job);
                return outcome;
            }
        }
    }

    async fn process_one(&self, piece: PieceId, event: Event, release: Release) -> Result<(), LedgerError> {
        let processed = self.pipeline.process(event, || earlier(self.ledger.clone(), piece)).await;
        // A partial that a plugin holds is dropped: the segment or the final waits for the plugin.
        if processed.held.is_some() {
            return Ok(());
        }
        if release == Release::AfterPlugins {
            (self.publish)(processed.event);
        }
        if processed.emitted.is_empty() {
            return Ok(());
        }
        let (emitted, now) = (processed.emitted, Timestamp::now());
        let write = move |connection: &_| advance::emitted(connection, piece, emitted.clone(), now);
        self.ledger.step(write).await.map(drop)
    }
}
