//! Recognition: the requests to a recognizer, its answers, and what each answer means.
//!
//! A recognizer is a folder here, with one implementation of [`Recognizer`] for each kind of request. Outside its folder no code depends on
//! which recognizer made a text: [`route`] chooses by [`Limits`], and the lanes of `work` read the fate and next of an [`Error`].
//!
//! Delivery promise: a paid request is sent exactly when its caller asks for it, once, and is never resent by itself. Every paid request
//! needs a [`Permit`] first; the recognizer's pacer learns from its outcome.

pub mod dashscope;
mod echo;
mod error;
mod examine;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod hints;
pub mod http;
mod limits;
mod message;
mod openai;
mod pacer;
mod recognizers;
pub mod route;
pub mod sse;
mod storage;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use hark_sdk::event::{Blame, Engine, Fault, Segment, Timing, Usage};
use jiff::Timestamp;

pub use self::echo::Echo;
pub use self::error::{Error, Tries};
pub use self::examine::{Examined, Trouble};
pub use self::hints::Hints;
pub use self::http::{BuildError, Content, Timeouts};
pub use self::limits::{Delivers, Limits, Pieces, Tasks};
pub use self::pacer::{Pacer, Permit};
pub use self::recognizers::Recognizers;
pub use self::storage::Bucket;
pub use crate::job::Next;
pub use crate::job::piece_machine::Resolution;

use crate::config::{self, Config, Dashscope, Priority, Secret};
use crate::job::{Transcript, fault};

/// What identifies a recognizer, and what it accepts. Fixed for the recognizer's life.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// The recognizer's name in config, events and metrics.
    pub engine: Engine,
    /// The service's name of the model.
    pub model: String,
    /// What the recognizer accepts.
    pub limits: Limits,
    /// Why no new recording is planned for it, and what to change. It still follows tasks that were created before the config was changed.
    pub unavailable: Option<Fault>,
    /// Only a route that names the recognizer gets it: `auto` never does.
    pub only_by_name: bool,
    /// Requests in flight; tasks have a limit of their own.
    pub concurrency: usize,
}

/// Turns audio into text.
pub trait Recognizer: Send + Sync + fmt::Debug {
    /// The recognizer's name, model and limits.
    fn profile(&self) -> &Profile;

    /// The pacing of its requests.
    fn pacer(&self) -> &Arc<Pacer>;

    /// Waits for a permit to send one paid request: for the rate, for the end of a 429's hold, for an account that is refused (one
    /// request at a time is sent to find out whether it still is). Permits are granted by the priority of the recordings' sources, then in the
    /// order of the calls; every eighth goes to an archive that waits. A probe uses the newest key. Dropping the future gives up its
    /// place.
    fn permit(&self, priority: Priority) -> BoxFuture<'_, Permit> {
        Box::pin(self.pacer().permit(priority))
    }

    /// Sends one request, once. `listener` is informed of progress. Not cancel-safe: the fate of a request whose future is dropped is
    /// unknown.
    fn send<'a>(
        &'a self,
        permit: Permit,
        request: Request<'a>,
        listener: &'a mut dyn Listener,
    ) -> BoxFuture<'a, Result<Sent, Error>>;

    /// The object that an upload of this name creates and that the caller has to [`Recognizer::discard`]; `None`: uploads expire by themselves.
    fn object(&self, _name: &str) -> Option<String> {
        None
    }

    /// Streams a recording to the operator's bucket, or else to the service's storage, under a name that was never used before, and returns
    /// the URL for [`Request::audio`], which ends with the name. Costs nothing and needs no permit, but waits like a permit while the
    /// account, or the bucket, is refused. Whatever the error's fate, another attempt is free; it needs another name.
    fn upload<'a>(
        &'a self,
        _model: &'a str,
        _content: Content,
        _name: &'a str,
    ) -> BoxFuture<'a, Result<Uploaded, Error>> {
        let error = unsupported(self.profile(), "UploadNotAllowed", "takes no uploads");
        Box::pin(async { Err(error) })
    }

    /// Deletes an object of [`Recognizer::object`], whether or not it was ever made. `None`: it is of no bucket that this recognizer uploads
    /// to. An error: it may still be there.
    fn discard<'a>(&'a self, _object: &'a str) -> Option<BoxFuture<'a, Result<(), Error>>> {
        None
    }

    /// The state of a task. An error: the query failed, and the task is unchanged; [`Error::raw`] is set if an answer came and could not be
    /// read.
    fn poll<'a>(&'a self, _handle: &'a str) -> BoxFuture<'a, Result<Polled, Error>> {
        let error = unsupported(self.profile(), "TaskUnknown", "has no tasks");
        Box::pin(async { Ok(Polled::Failed(error)) })
    }

    /// Fetches the result of a task that is [`Polled::Ready`]. An error: the task is paid nevertheless. [`Next::Never`]: the result is
    /// gone; [`Error::raw`]: the result came and could not be read; else it could not be fetched now. A poll returns a fresh [`Ready`].
    fn fetch(&self, _ready: Ready) -> BoxFuture<'_, Result<Transcript, Error>> {
        let error = unsupported(self.profile(), "TaskUnknown", "has no tasks");
        Box::pin(async { Err(error) })
    }

    /// Asks the service to drop a task. `true`: its work had not begun, and it is not billed; `false`: the task goes on.
    fn stop<'a>(&'a self, _handle: &'a str) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async { Ok(false) })
    }

    /// The fate of a request whose answer was lost. An error: nothing is decided; ask again after [`Error::next`].
    fn resolve<'a>(&'a self, _lost: Lost<'a>) -> BoxFuture<'a, Result<Resolution, Error>> {
        Box::pin(async { Ok(Resolution::Unknown) })
    }
}

/// The only segment of an answer without times: it is as long as the audio, where that length is known.
fn segment_of_all(duration_ms: Option<u64>, text: String) -> Segment {
    Segment {
        begin_ms: duration_ms.map(|_| 0),
        end_ms: duration_ms,
        timing: if duration_ms.is_some() { Timing::Chunk } else { Timing::None },
        text,
        ..Segment::default()
    }
}

fn unsupported(profile: &Profile, code: &str, what: &str) -> Error {
    let message = format!("the recognizer {} {what}", profile.engine);
    Error::give_up(fault(code, Blame::Hark, message))
}

/// What to recognize, and how.
pub struct Request<'a> {
    /// The service's model name.
    pub model: &'a str,
    /// The audio.
    pub audio: Audio<'a>,
    /// Container of the audio behind a URL, if it is known.
    pub format: Option<&'a str>,
    /// Channels to recognize, from 0; each is billed separately if the recognizer separates them.
    pub channels: &'a [u32],
    /// As the recognizer takes them ([`Hints::fit`]).
    pub hints: &'a Hints,
    /// Numbers as digits.
    pub itn: bool,
    /// Times of words, if the recognizer tells them.
    pub words: bool,
    /// Who speaks, if the recognizer tells it. 0: do not ask; 1: as many as there are; more: a hint of how many.
    pub speakers: u32,
    /// Whether the text is to stream back.
    pub partials: bool,
    /// Length of the audio that is sent; the times of the segments are within it.
    pub duration_ms: Option<u64>,
    /// The unique name of the uploaded object, by which [`Recognizer::resolve`] can identify the task.
    pub marker: Option<&'a str>,
    /// Asked before the last part of the body is sent; `None`: it is sent in any case.
    pub clearance: Option<Arc<dyn Clearance>>,
}

/// Decides whether a request is completed. No recognizer can take a request, and so bill it, before the last part of the body has arrived. A
/// process may be stopped for minutes at any moment before that, and meanwhile another daemon may take the job over.
pub trait Clearance: Send + Sync {
    /// Whether the last part of the body may be sent. `false`: the request is cut off, and its error has the fate `NotSent`.
    fn is_given(&self) -> BoxFuture<'_, bool>;
}

/// Where the audio of a request is.
#[derive(Debug)]
pub enum Audio<'a> {
    /// Sent in the request, read from disk meanwhile.
    Inline {
        /// The bytes.
        content: Content,
        /// Container: `wav`, `mp3`, …
        format: &'a str,
    },
    /// Fetched by the service. Also the URL that [`Recognizer::upload`] returned.
    Url(&'a str),
}

/// A recording that was uploaded.
#[derive(Debug)]
pub struct Uploaded {
    /// A secret, because it may grant the right to read the recording.
    pub url: Secret,
    /// An older upload is not to be submitted: the service could not fetch it any more when its task is due.
    pub fresh_for: Duration,
}

/// Informed of a request's progress. Called between two reads of the answer: must not block.
pub trait Listener: Send {
    /// The service has the request: it answered 200, and the first part of its answer arrived.
    fn on_taken(&mut self);
    /// The whole text of the request so far.
    fn on_text(&mut self, text: &str);
}

/// The outcome of a request.
#[derive(Debug)]
pub enum Sent {
    /// The text.
    Heard(Transcript),
    /// A task was created, to be polled by this handle.
    Accepted { handle: String },
}

/// The state of a task.
#[derive(Debug)]
pub enum Polled {
    /// The task has not ended.
    Open,
    /// The task succeeded; its result is to be fetched.
    Ready(Ready),
    /// The task succeeded, and this is its whole result.
    Heard(Transcript),
    /// The task ended without a result, and another poll changes nothing. The fates: `Refused` (not billed), `Taken` (billed), `Unknown`
    /// (the service does not know the task; its state may lag, so a second and a third poll have to confirm that).
    Failed(Error),
}

/// A task that succeeded.
#[derive(Debug, Clone)]
pub struct Ready {
    /// The task.
    pub handle: String,
    /// The URL of the result: a secret, because it may grant the right to read the result.
    pub result_url: Secret,
    /// What the service charged.
    pub billed: Usage,
}

/// A request of which it is unknown whether the service took it.
#[derive(Debug, Clone, Copy)]
pub struct Lost<'a> {
    /// The service's model name.
    pub model: &'a str,
    /// [`Request::marker`].
    pub marker: &'a str,
    /// A time before the request left. With a later time the search would miss the task, and the recording would be paid for again.
    pub since: Timestamp,
    /// A time after the daemon gave the request up: tasks that were created later belong to other requests. `None`: not known.
    pub until: Option<Timestamp>,
    /// Handles of this daemon's other recordings, past ones included, and when they were created.
    pub known: &'a HashMap<String, Timestamp>,
}

/// What the recognizers of a config accept, without building one: in the order in which `auto` prefers them.
pub fn profiles(config: &Config) -> Vec<Profile> {
    let own = config.recognizer.iter().map(openai::profile);
    let has_bucket = !config.storage.url.is_empty();
    dashscope::profiles(&config.dashscope, has_bucket).into_iter().chain(own).collect()
}

/// Asks DashScope what costs nothing: about the key, and where that is taken about each model.
pub async fn examine_service(config: &Dashscope, key: Secret) -> Vec<Examined> {
    dashscope::examine(config, key).await.unwrap_or_else(|error| {
        let trouble = Trouble {
            passes: false,
            message: error.to_string(),
            remedy: "install the package ca-certificates".to_owned(),
        };
        vec![Examined { about: "key".to_owned(), outcome: Err(trouble), ahead: None }]
    })
}

/// Asks a speech server of the operator's own for its models, which costs nothing.
pub async fn examine_own(config: &config::Recognizer) -> Examined {
    openai::examine(config).await
}
