//! A job: one recording on one route, from acceptance to the last event and the source's settlement.
//!
//! Delivery promise: a job's state changes in the same SQLite transaction that writes the events that the change causes. So after
//! any crash the ledger says exactly what is owed ([`Duty`]), and whoever owes it does it again under the same ids.

pub mod annotate;
pub mod audio;
mod fate;
#[cfg(test)]
mod history;
pub mod ledger;
pub mod machine;
mod origin;
pub mod spool;
mod state;

use std::time::Duration;

use hark_sdk::event::{Engine, Fault, Recording, Segment};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

pub use self::fate::Fate;
pub use self::origin::{FileIdentity, Origin};
pub use self::state::{Duty, State};

/// What the ledger holds of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// A UUIDv7: sorts by time of acceptance.
    pub id: Uuid,
    /// Name of the source.
    pub source: String,
    /// Name of the route.
    pub route: String,
    /// Where the bytes are.
    pub origin: Origin,
    /// What is known of the recording.
    pub recording: Recording,
    /// What the sender said about it.
    pub metadata: Map<String, Value>,
    /// The message's own language, over the route's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// The message's own context, over the route's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Where its message is claimed among the daemons that share a stream; none for a job that no message brought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<Ticket>,
    /// It was taken over while a request of another daemon's was of unknown fate: that one may yet wake up and send it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inherited: bool,
    /// Annotations that former owners have stored; they are not told again.
    #[serde(default, rename = "told", skip_serializing_if = "is_zero")]
    pub annotations_told: usize,
    /// A former owner has stored the final.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub final_told: bool,
    /// What plugins said after the final, as far as former owners have stored it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub emitted_told: usize,
    /// A request that costs may have been handed on by whoever refused it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unsure: bool,
    /// Its file was not where it was taken in, once; it is looked for a second time. Of one that is over: it was not there to be put
    /// away, which is done when it is found.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub missing: bool,
    /// How much its events have told of a plugin that holds it: 1 that it does, 2 that the plugin is quarantined.
    #[serde(default, skip_serializing_if = "no_warning")]
    pub hold_told: u32,
    /// When it entered the ledger.
    pub accepted_at: Timestamp,
    /// Where it stands.
    pub state: State,
    /// Tries that failed so far, of any kind.
    pub attempts: u32,
    /// Of these, tries that the service refused for reasons of its own; they have a budget.
    pub refusals: u32,
    /// Of these, requests of unknown fate; they have a budget of their own.
    pub ambiguous: u32,
    /// A request of unknown fate was repeated.
    pub possible_duplicate_charge: bool,
    /// The request under way is the first such repeat: where it provably comes to nothing, nothing was repeated.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub marks: bool,
    /// Sum of every `usage.seconds` heard.
    pub billed_seconds: u64,
    /// Highest revision that a partial of this job may have had.
    pub revision: u64,
    /// Sequence of the last stored event written to the outbox.
    pub sequence: u64,
}

impl Job {
    /// A job that was just taken in.
    pub fn new(
        id: Uuid,
        source: &str,
        route: &str,
        origin: Origin,
        recording: Recording,
        metadata: Map<String, Value>,
    ) -> Self {
        Job {
            id,
            source: source.to_owned(),
            route: route.to_owned(),
            origin,
            recording,
            metadata,
            language: None,
            context: None,
            ticket: None,
            inherited: false,
            annotations_told: 0,
            final_told: false,
            emitted_told: 0,
            unsure: false,
            missing: false,
            hold_told: 0,
            accepted_at: Timestamp::now(),
            state: State::Accepted,
            attempts: 0,
            refusals: 0,
            ambiguous: 0,
            possible_duplicate_charge: false,
            marks: false,
            billed_seconds: 0,
            revision: 0,
            sequence: 0,
        }
    }
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

fn no_warning(count: &u32) -> bool {
    *count == 0
}

/// Where a message's job is claimed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// Key in the bucket `HARK_JOBS`.
    pub key: String,
    /// `<stream>.<sequence>@<time>` of the message.
    pub place: String,
}

/// How a recording reaches the service; made by `recognize::route`, carried out as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Which engine.
    pub engine: Engine,
    /// The service's model name.
    pub model: String,
    /// How the audio gets there.
    pub delivery: Delivery,
    /// Why, for people.
    pub reason: String,
}

/// How the audio gets to the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Base64 inside the request.
    Inline,
    /// Through the service's temporary upload storage.
    Upload,
    /// The service fetches the message's own URL.
    Url,
}

/// What the service heard, before any plugin.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Transcript {
    /// The whole text as the service tells it.
    pub text: String,
    /// In order of begin and channel.
    pub segments: Vec<Segment>,
    /// The service cut the text.
    pub truncated: bool,
    /// `usage.seconds`.
    pub billed_seconds: u64,
}

/// A try that failed, and what follows from it. Decided where the knowledge is (`recognize::Error`), carried out by the machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// For the event.
    pub fault: Fault,
    /// What follows.
    pub consequence: Consequence,
    /// It was refused by somebody in between, who may have handed it on before: a repeat may be charged twice.
    pub unsure: bool,
}

impl Failure {
    /// The same failure of a step that costs nothing: unknown fate is no more than another try.
    pub fn unpaid(mut self) -> Self {
        if self.consequence == Consequence::Unknown {
            self.consequence = Consequence::Retry { after: Duration::from_secs(2), counts: true };
        }
        self.unsure = false;
        self
    }
}

/// What follows from a failed try.
#[derive(Debug, Clone, PartialEq)]
pub enum Consequence {
    /// Another try would fail alike.
    GiveUp,
    /// Another try costs nothing and may succeed. `counts`: against the budget of refusals (a service that keeps failing this one).
    Retry { after: Duration, counts: bool },
    /// The account's fault: the job waits with its whole queue. `announce`: nobody has said so yet.
    Hold { after: Duration, announce: bool },
    /// The request may have been taken and charged.
    Unknown,
}
