//! Recognition: what the service is asked, what it answers, and what each answer means.
//!
//! Delivery promise: a request that costs leaves exactly when it is called for, once, and never again by itself. What became of it
//! is one of three: a transcript (or task), an [`Error`] that says whether another try is free, or [`error::Verdict::Unknown`].
//! Nothing here knows of the ledger, the outbox or NATS; nothing after this module knows which service made a text.
//!
//! A turn at a model's queue ([`Recognizer::turn`]) comes before everything that costs; the queue learns from what the turn was used for.

mod answer;
mod body;
mod choice;
mod client;
pub mod error;
pub mod expiry;
mod filetrans;
mod flash;
mod form;
mod gate;
mod heard;
mod in_flight;
mod json;
mod list;
mod queue;
mod rate;
mod result;
pub mod route;
pub mod sse;
mod tasks;
mod text;
mod upload;
pub mod verdict;
mod wording;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use hark_sdk::event::Engine;
use jiff::Timestamp;

pub use body::Content;
pub use client::{BuildError, Timeouts};
pub use error::{Error, Tries, Verdict};
pub use filetrans::{RESULT_GONE, SubmitRequest, TASK_UNKNOWN, Task};
pub use flash::{Audio, FlashRequest, Listener};
pub use in_flight::InFlight;
pub use queue::Turn;
pub use tasks::LostSubmit;

use crate::config::{Dashscope, Secret};
use crate::job::Transcript;
use crate::job::piece_machine::Listing;
use crate::telemetry::metrics::Metrics;
use client::Client;
use queue::{Pace, Queue};
use rate::Pacer;
use tasks::{Known, Search};

/// The service's limit of upload policies, per account and model (dashscope-protocol.md 5); without a limit of ours the only one.
const POLICIES_PER_SECOND: u32 = 100;

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
    queries: Pace,
    policies: Pace,
    known: Known,
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
                client: Client::new(config.base_url(), key, key_file, timeouts)?,
                flash: queue(Engine::Flash),
                filetrans: queue(Engine::Filetrans),
                queries: Pace::new(Pacer::per_second(config.task_queries_per_second)),
                policies: Pace::new(match config.requests_per_minute {
                    0 => Pacer::per_second(POLICIES_PER_SECOND),
                    submits => Pacer::per_minute(submits),
                }),
                known: Known::default(),
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
        let outcome = flash::recognize(&self.inner.client, turn, request, listener).await;
        let billed = match &outcome {
            Ok(transcript) => transcript.billed_seconds,
            Err(error) => error.billed_seconds,
        };
        self.billed(Engine::Flash, billed);
        outcome
    }

    /// Streams a recording to the service's temporary storage, for the model named, under a name that nobody used before. Costs
    /// nothing, so it needs no turn; while the account is refused it waits like one. Gives the `oss://` URL.
    ///
    /// # Errors
    /// Another try is free, and needs another name; or the recording changed, or is too large.
    pub async fn upload(&self, model: &str, content: Content, name: &str) -> Result<String, Error> {
        let turn = self.inner.filetrans.admission().await;
        if turn.is_probe() {
            self.inner.client.reread_key().await;
        }
        // As often as submits, which it comes before: a service that is away is not asked for one by every recording at once.
        let policy = self.inner.policies.free(upload::policy(&self.inner.client, model)).await;
        let policy = turn.settle_free(policy)?;
        upload::store(&self.inner.client, policy, content, name).await
    }

    /// Submits a task. Gives its id. Not cancel-safe: a submit that is dropped on its way has an unknown fate.
    ///
    /// # Errors
    /// See [`Error::into_failure`].
    pub async fn submit(&self, turn: Turn, request: &SubmitRequest<'_>) -> Result<String, Error> {
        turn.settle(filetrans::submit(&self.inner.client, request).await)
    }

    /// How a task stands. Waits for its place among all queries and lists of the account.
    ///
    /// # Errors
    /// The question failed, which says nothing about the task: it is untouched, and is to be asked again after [`Error::retry`].
    pub async fn query(&self, task_id: &str) -> Result<Task, Error> {
        let inner = &*self.inner;
        let sent = Instant::now();
        let mut answer = inner.queries.free(filetrans::query(&inner.client, task_id)).await;
        inner.filetrans.learn(sent, &mut answer);
        let mut task = self.reread_if_refused(answer).await?;
        match &mut task {
            Task::NothingSaid { seconds } => self.billed(Engine::Filetrans, *seconds),
            Task::Failed(error) => {
                // One that is not found, or not understood, is asked for again.
                if error.verdict != Verdict::Unknown {
                    self.billed(Engine::Filetrans, error.billed_seconds);
                }
                inner.filetrans.learn_from_task(error);
            }
            _ => {}
        }
        Ok(task)
    }

    /// Fetches the result of a task that succeeded, and was charged with so many `seconds`; and remembers what it was for, so that no
    /// search for another task has to.
    ///
    /// # Errors
    /// The task is paid for all the same. [`Verdict::Unknown`] (gone, unreadable): a query gives a fresh URL; if that does not help
    /// either, the transcript is lost and only another submit brings it. Else ask again after [`Error::retry`].
    pub async fn result(&self, task_id: &str, url: &str, seconds: u64) -> Result<Transcript, Error> {
        let file = filetrans::result(&self.inner.client, url).await?;
        if !file.file_url.is_empty() {
            self.inner.known.learn(task_id, &file.file_url);
        }
        self.billed(Engine::Filetrans, seconds);
        Ok(file.into_transcript(seconds))
    }

    /// What became of a submit of unknown fate: looks for a task whose result names the uploaded object.
    ///
    /// # Errors
    /// As of [`Recognizer::query`]; nothing is decided.
    pub async fn reconcile(&self, submit: LostSubmit<'_>) -> Result<Listing, Error> {
        let Inner { client, queries, known, .. } = &*self.inner;
        let listing = Search { client, pace: queries, known }.reconcile(submit).await;
        self.reread_if_refused(listing).await
    }

    /// Which of these tasks have ended, as far as the task list tells: a hint, and a hundred of them for the price of one query.
    /// `since`: not after the first was made.
    ///
    /// # Errors
    /// As of [`Recognizer::query`]; [`Error::retry`] is `None` where the service has no list.
    pub async fn survey(
        &self,
        model: &str,
        since: Timestamp,
        tasks: &HashSet<String>,
    ) -> Result<HashMap<String, bool>, Error> {
        let ended = list::survey(&self.inner.client, &self.inner.queries, model, since, tasks).await;
        self.reread_if_refused(ended).await
    }

    /// Whoever follows tasks sends no request that could probe: a new key is looked for as soon as the old one is refused.
    async fn reread_if_refused<T>(&self, outcome: Result<T, Error>) -> Result<T, Error> {
        if outcome.as_ref().is_err_and(|error| matches!(error.verdict, Verdict::Account { .. })) {
            self.inner.client.reread_key().await;
        }
        outcome
    }

    pub fn billed(&self, engine: Engine, seconds: u64) {
        self.inner.metrics.recognize_billed_seconds.with_label_values(&[engine.as_str()]).inc_by(seconds);
    }

    /// A paid result is gone at the service.
    pub fn result_lost(&self) {
        self.inner.metrics.recognize_results_lost.inc();
    }

    /// So many results may be deleted soon.
    pub fn results_expiring(&self, count: usize) {
        self.inner.metrics.recognize_results_expiring.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    fn queue(&self, engine: Engine) -> &Arc<Queue> {
        match engine {
            Engine::Flash => &self.inner.flash,
            Engine::Filetrans => &self.inner.filetrans,
        }
    }
}
