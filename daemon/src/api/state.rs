//! What the handlers of HTTP read.

use std::sync::{Arc, OnceLock};

use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::access::Address;
use super::health::Health;
use super::http::CONNECTIONS;
use super::others::OtherDaemons;
use super::problem::Problem;
use super::reloads::Reloads;
use super::steer::Steer;
use super::token::Tokens;
use super::words::LastWords;
use crate::config::Config;
use crate::job::ledger::Ledger;
use crate::publish::Feed;
use crate::telemetry::metrics::Metrics;

/// Event streams at a time: half of the connections, so that listeners never keep probes and scrapers out.
const STREAMS: usize = CONNECTIONS / 2;

/// A handle; clones share the same state. Health and metrics are available at once, the handles after the daemon is built.
#[derive(Clone)]
pub struct Api {
    inner: Arc<Inner>,
}

struct Inner {
    address: Address,
    health: Health,
    metrics: Metrics,
    handles: OnceLock<Handles>,
    stop: CancellationToken,
    streams: Arc<Semaphore>,
}

/// Handles to the parts of the daemon that requests about jobs need.
pub struct Handles {
    pub tokens: Tokens,
    /// The id by which other daemons know this one.
    pub daemon: Uuid,
    pub ledger: Ledger,
    pub feed: Feed,
    pub words: LastWords,
    /// What requests change.
    pub steer: Steer,
    pub others: OtherDaemons,
    /// The present config, which a reload replaces.
    pub config: watch::Receiver<Arc<Config>>,
    pub reloads: Reloads,
}

impl Api {
    /// `stop`: ends the answers that would go on for ever.
    pub fn new(address: Address, health: Health, metrics: Metrics, stop: CancellationToken) -> Api {
        let (handles, streams) = (OnceLock::new(), Arc::new(Semaphore::new(STREAMS)));
        Api { inner: Arc::new(Inner { address, health, metrics, handles, stop, streams }) }
    }

    /// Sets the handles; until then requests about jobs are answered with 503.
    pub fn open(&self, handles: Handles) {
        // The daemon's start sets them once.
        let _ = self.inner.handles.set(handles);
    }

    /// # Errors
    /// While the daemon starts.
    pub fn handles(&self) -> Result<&Handles, Problem> {
        self.inner.handles.get().ok_or_else(Problem::starting)
    }

    pub(super) fn address(&self) -> &Address {
        &self.inner.address
    }

    pub(super) fn health(&self) -> &Health {
        &self.inner.health
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// A place among the event streams, for as long as the permit lives.
    ///
    /// # Errors
    /// 503, while all places are taken.
    pub(super) fn stream(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.inner.streams).try_acquire_owned().map_err(|_| {
            let detail = format!("{STREAMS} clients receive events already; close one, or ask again later");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        })
    }

    /// Resolves when the daemon stops.
    pub(super) fn stop(&self) -> CancellationToken {
        self.inner.stop.clone()
    }
}

impl Handles {
    /// The config at present.
    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.borrow())
    }
}
