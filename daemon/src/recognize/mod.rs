//! Recognition: what the service is asked, what it answers, and what each answer means.
//!
//! Delivery promise: a request that costs leaves exactly when it is called for, once, and never again by itself. What became of it
//! is one of three: a transcript (or task), an [`Error`] that says whether another try is free, or [`error::Verdict::Unknown`].
//! Nothing here knows of the ledger, the outbox or NATS; nothing after this module knows which service made a text.
//!
//! A turn at a model's queue ([`Recognizer::turn`]) comes before everything that costs; the queue learns from what the turn was used for.

#![allow(dead_code, reason = "filetrans and uploads use the rest")]

mod body;
mod client;
pub mod error;
mod flash;
mod queue;
mod rate;
pub mod route;
pub mod sse;
mod text;
mod verdict;

use std::path::PathBuf;
use std::sync::Arc;

use hark_sdk::event::Engine;

pub use body::Content;
pub use client::{BuildError, Timeouts};
pub use error::{Error, Verdict};
pub use flash::{Audio, FlashRequest, Listener};
pub use queue::Turn;

use crate::config::{Dashscope, Secret};
use crate::http::metrics::Metrics;
use crate::job::Transcript;
use client::Client;
use queue::Queue;
use rate::Pacer;

/// The service, as seen from here: its connection and its queues. Clones share both.
#[derive(Debug, Clone)]
pub struct Recognizer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    client: Client,
    flash: Arc<Queue>,
    filetrans: Arc<Queue>,
    metrics: Metrics,
}

impl Recognizer {
    /// Connects to nothing yet. `key_file`: where `key` came from, read again while the account is refused.
    ///
    /// # Errors
    /// `dashscope.base_url` is no address, or there are no root certificates.
    pub fn new(
        config: &Dashscope,
        key: Secret,
        key_file: Option<PathBuf>,
        metrics: Metrics,
    ) -> Result<Recognizer, BuildError> {
        Recognizer::with_timeouts(config, key, key_file, metrics, Timeouts::default())
    }

    /// As [`Recognizer::new`], with other time limits: for tests.
    ///
    /// # Errors
    /// As [`Recognizer::new`].
    pub fn with_timeouts(
        config: &Dashscope,
        key: Secret,
        key_file: Option<PathBuf>,
        metrics: Metrics,
        timeouts: Timeouts,
    ) -> Result<Recognizer, BuildError> {
        let queue =
            |engine| Queue::new(engine, Pacer::per_minute(config.requests_per_minute), metrics.clone());
        Ok(Recognizer {
            inner: Arc::new(Inner {
                client: Client::new(client::base_url(config), key, key_file, timeouts)?,
                flash: queue(Engine::Flash),
                filetrans: queue(Engine::Filetrans),
                metrics,
            }),
        })
    }

    /// Waits for leave to send one request that costs: for the pacer, for the end of a 429's hold, for an account that is held (one
    /// turn at a time goes through to probe it). In order of asking; dropping the future gives the place up.
    pub async fn turn(&self, engine: Engine) -> Turn {
        let turn = self.queue(engine).turn().await;
        if turn.is_probe() {
            self.inner.client.reread_key().await;
        }
        turn
    }

    /// Recognizes one recording of up to five minutes. The listener hears of progress. Not cancel-safe: a request that is dropped
    /// on its way has an unknown fate.
    ///
    /// # Errors
    /// See [`Error::into_failure`]; `billed_seconds` is what was heard of the bill all the same.
    pub async fn flash(
        &self,
        turn: Turn,
        request: FlashRequest<'_>,
        listener: &mut dyn Listener,
    ) -> Result<Transcript, Error> {
        let outcome = flash::recognize(&self.inner.client, request, listener).await;
        let billed = match &outcome {
            Ok(transcript) => transcript.billed_seconds,
            Err(error) => error.billed_seconds,
        };
        self.billed(Engine::Flash, billed);
        turn.settle(outcome)
    }

    fn billed(&self, engine: Engine, seconds: u64) {
        self.inner.metrics.recognize_billed_seconds.with_label_values(&[engine.as_str()]).inc_by(seconds);
    }

    fn queue(&self, engine: Engine) -> &Arc<Queue> {
        match engine {
            Engine::Flash => &self.inner.flash,
            Engine::Filetrans => &self.inner.filetrans,
        }
    }
}
