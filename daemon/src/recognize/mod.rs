//! Recognition: what a recognizer is asked, what it answers, and what each answer means.
//!
//! A recognizer is a folder here, with one implementation of [`Recognizer`] for each kind of request that it takes. Nothing outside
//! its folder knows which one made a text: [`route`] chooses by [`Limits`], and the lanes of `work` read an [`Error`]'s fate and next.
//!
//! Delivery promise: a request that costs leaves exactly when it is called for, once, and never again by itself. A [`Permit`] comes
//! before everything that costs; the pacer of the recognizer learns from what became of it.

pub mod dashscope;
mod error;
pub mod http;
mod limits;
mod message;
mod pacer;
pub mod route;
pub mod sse;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;
use hark_sdk::event::{Blame, Engine};
use jiff::Timestamp;

pub use self::error::{Error, Tries};
pub use self::http::{BuildError, Content, Timeouts};
pub use self::limits::{Delivers, Limits, Tasks};
pub use self::pacer::Permit;
pub use crate::job::Next;

use self::route::Offer;
use crate::config::{Dashscope, Secret};
use crate::job::Transcript;
use crate::telemetry::metrics::Metrics;

/// What makes text of audio.
pub trait Recognizer: Send + Sync + fmt::Debug {
    /// The word for it in config, events and metrics.
    fn name(&self) -> &str;

    /// The service's name of the model.
    fn model(&self) -> &str;

    /// What it takes.
    fn limits(&self) -> &Limits;

    /// Waits for leave to send one request that costs: for the rate, for the end of a 429's hold, for an account that is refused (one
    /// request at a time goes through to find out whether it still is). In order of asking. Dropping the future gives the place up.
    fn permit(&self) -> BoxFuture<'_, Permit>;

    /// Sends one request, once. `listener` hears of progress. Not cancel-safe: what became of a request that is dropped on its way is
    /// not known.
    fn send<'a>(
        &'a self,
        permit: Permit,
        request: Request<'a>,
        listener: &'a mut dyn Listener,
    ) -> BoxFuture<'a, Result<Sent, Error>>;

    /// Streams a recording to the service's storage under a name that was never used before, and gives the URL for
    /// [`Request::audio`]. Costs nothing and needs no permit; while the account is refused it waits like one. Whatever the error's
    /// fate, another attempt is free; it needs another name.
    fn upload<'a>(
        &'a self,
        _model: &'a str,
        _content: Content,
        _name: &'a str,
    ) -> BoxFuture<'a, Result<String, Error>> {
        let message = format!("{} takes no uploads", self.name());
        Box::pin(async { Err(Error::give_up(error::fault("UploadNotAllowed", Blame::Hark, message))) })
    }

    /// How a task stands. An error: the question failed, and the task is as it was; [`Error::raw`] is there where the answer came and
    /// could not be read.
    fn poll<'a>(&'a self, handle: &'a str) -> BoxFuture<'a, Result<Polled, Error>> {
        let error = no_task(self.name(), handle);
        Box::pin(async { Ok(Polled::Failed(error)) })
    }

    /// Fetches the result of a task that is [`Polled::Ready`]. An error: the task is paid all the same. [`Next::Never`]: the result is
    /// gone; [`Error::raw`]: it came and could not be read; else it could not be had now. A poll gives a fresh [`Ready`].
    fn fetch(&self, ready: Ready) -> BoxFuture<'_, Result<Transcript, Error>> {
        let error = no_task(self.name(), &ready.handle);
        Box::pin(async { Err(error) })
    }

    /// What became of a request whose answer was lost. An error: nothing is decided; ask again after [`Error::next`].
    fn resolve<'a>(&'a self, _lost: Lost<'a>) -> BoxFuture<'a, Result<Resolution, Error>> {
        Box::pin(async { Ok(Resolution::Unknown) })
    }

    /// Which of these tasks have ended, as far as one cheap question tells: a hint, for [`Recognizer::poll`] to confirm. Tasks that
    /// are missing in the answer are asked for one by one. `since`: not after the first was made.
    fn ended<'a>(
        &'a self,
        _model: &'a str,
        _since: Timestamp,
        _handles: &'a HashSet<String>,
    ) -> BoxFuture<'a, Result<HashMap<String, bool>, Error>> {
        Box::pin(async { Ok(HashMap::new()) })
    }
}

fn no_task(name: &str, handle: &str) -> Error {
    let message = format!("{name} has no tasks, and was asked for {handle}");
    Error::give_up(error::fault("TaskUnknown", Blame::Hark, message))
}

/// What to recognize, and how.
#[derive(Debug)]
pub struct Request<'a> {
    /// The service's model name.
    pub model: &'a str,
    /// The audio.
    pub audio: Audio<'a>,
    /// Channels to recognize, from 0; each is billed by itself where the recognizer tells them apart.
    pub channels: &'a [u32],
    /// The service's language code; `None`: detect.
    pub language: Option<&'a str>,
    /// Names, terms, prose that bias the vocabulary.
    pub context: Option<&'a str>,
    /// Numbers as digits.
    pub itn: bool,
    /// Whether the text is to stream back.
    pub partials: bool,
    /// Length of the audio, for the segment's times.
    pub duration_ms: Option<u64>,
    /// The unique name of the uploaded object, by which [`Recognizer::resolve`] can tell the task from all others.
    pub marker: Option<&'a str>,
}

/// Where the audio of a request is.
#[derive(Debug)]
pub enum Audio<'a> {
    /// Sent along, read from disk while it leaves.
    Inline {
        /// The bytes.
        content: Content,
        /// Container: `wav`, `mp3`, …
        format: &'a str,
    },
    /// Fetched by the service. What [`Recognizer::upload`] gave, too.
    Url(&'a str),
}

/// Hears of a request while it is under way. Called between two reads of the answer: must not block.
pub trait Listener: Send {
    /// The service has the request: it answered 200, and the first of its answer is in.
    fn on_taken(&mut self);
    /// The whole text of the request so far.
    fn on_text(&mut self, text: &str);
}

/// What came of a request.
#[derive(Debug)]
pub enum Sent {
    /// The text.
    Heard(Transcript),
    /// A task, to be polled by this handle.
    Accepted { handle: String },
}

/// How a task stands.
#[derive(Debug)]
pub enum Polled {
    /// It has not ended.
    Open,
    /// It succeeded; its result is to be fetched.
    Ready(Ready),
    /// It succeeded, and this is all of it.
    Heard(Transcript),
    /// It ended without a result, and polling again changes nothing. The fates: `Refused` (not billed), `Taken` (billed), `Unknown`
    /// (the service does not know the task; it may lag behind, so a second and a third poll have to say the same).
    Failed(Error),
}

/// A task that succeeded.
#[derive(Debug, Clone)]
pub struct Ready {
    /// The task.
    pub handle: String,
    /// Where the result is: a secret, for the URL may be the right to read it.
    pub result_url: Secret,
    /// What the service charged.
    pub billed_seconds: u64,
}

/// A request of which it is not known whether the service took it.
#[derive(Debug, Clone, Copy)]
pub struct Lost<'a> {
    /// The service's model name.
    pub model: &'a str,
    /// [`Request::marker`].
    pub marker: &'a str,
    /// Not after it may have left: a later time would find nothing and have it paid again.
    pub since: Timestamp,
    /// Not before it was given up: tasks that were made after that are others'. `None`: not known.
    pub until: Option<Timestamp>,
    /// Handles that other recordings of this daemon's have, or had, and when they were made.
    pub known: &'a HashMap<String, Timestamp>,
}

/// What became of a request whose answer was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// The service took it, and this is its task.
    Found { handle: String },
    /// The service provably does not have it. It may lag behind a request that it took: a second look some seconds later confirms it.
    Absent,
    /// Not decided yet; ask again later.
    Undecided,
    /// It can never be told.
    Unknown,
}

/// Every recognizer of the config.
#[derive(Debug, Default)]
pub struct Recognizers {
    by_name: HashMap<String, Arc<dyn Recognizer>>,
    offers: Vec<Offer>,
}

impl Recognizers {
    /// Builds all of them; connects to nothing yet. `key_file`: where `key` came from, read again while the account is refused.
    ///
    /// # Errors
    /// An address is none, or there are no root certificates.
    pub fn build(
        config: &Dashscope,
        key: Secret,
        key_file: Option<PathBuf>,
        metrics: &Metrics,
        timeouts: Timeouts,
    ) -> Result<Recognizers, BuildError> {
        let mut recognizers = Recognizers::default();
        dashscope::add_to(&mut recognizers, config, key, key_file, metrics, timeouts)?;
        Ok(recognizers)
    }

    fn add(&mut self, recognizer: impl Recognizer + 'static, offer: Offer) {
        self.by_name.insert(recognizer.name().to_owned(), Arc::new(recognizer));
        self.offers.push(offer);
    }

    /// The recognizer that a plan names; `None`: the config has it no more.
    pub fn get(&self, engine: &Engine) -> Option<&Arc<dyn Recognizer>> {
        self.by_name.get(engine.as_str())
    }

    /// The names of those whose requests become tasks.
    pub fn with_tasks(&self) -> Vec<String> {
        let with_tasks = self.by_name.iter().filter(|(_, recognizer)| recognizer.limits().tasks.is_some());
        with_tasks.map(|(name, _)| name.clone()).collect()
    }

    /// The names of all of them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// What they offer, for [`route::plan`].
    pub fn offers(&self) -> &[Offer] {
        &self.offers
    }
}
