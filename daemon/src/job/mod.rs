//! A job: one recording on one route, from acceptance to the last event and the source's settlement.
//!
//! A job has pieces, each what one request carries; a piece has attempts, each with a stored fate. Two pure machines move them
//! ([`job_machine`], [`piece_machine`]).
//!
//! Delivery promise: a state changes in the same SQLite transaction that writes the events that the change causes. So after any crash the
//! ledger says exactly what is owed ([`Duty`]), and the lane of that duty does it again under the same ids.

pub mod annotate;
mod attempt;
pub mod audio;
pub mod codes;
mod emissions;
mod fate;
#[cfg(test)]
mod history;
pub mod job_machine;
pub mod ledger;
mod origin;
pub mod persisted;
mod piece;
pub mod piece_machine;
mod price;
pub mod spool;
mod stage;

use hark_sdk::event::{Engine, Recording, Segment};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

pub use self::attempt::{Attempt, Failure, Next};
pub use self::emissions::Emissions;
pub use self::fate::Fate;
pub use self::origin::{FileIdentity, Origin};
pub use self::piece::{Piece, PieceId, PieceState, SENDING, Span};
pub use self::price::Prices;
pub use self::stage::{Duty, SETTLED, Stage};

/// What the ledger holds of a job. Its pieces are rows of their own.
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
    /// What former owners have stored of its events.
    #[serde(default, skip_serializing_if = "StoredBefore::is_nothing")]
    pub stored: StoredBefore,
    /// Another daemon may have paid for it, and what told of that is lost: its first piece begins with an attempt of unknown fate.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub maybe_paid: bool,
    /// Its file was not where it was taken in, once; it is looked for a second time. Of one that is over: it was not there to be put
    /// away, which is done when it is found.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub missing: bool,
    /// How much its events have told of a plugin that holds it: 1 that it does, 2 that the plugin is quarantined.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hold_told: u32,
    /// Its events have told that a recognizer has it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub submitted: bool,
    /// Its source has to be told of its end: a message is acknowledged, a file moved or deleted.
    pub owes_source: bool,
    /// When it entered the ledger.
    pub accepted_at: Timestamp,
    /// Where it stands.
    pub stage: Stage,
    /// How it is recognized: made once, by `recognize::route`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// Pieces that the plan made.
    #[serde(default)]
    pub pieces: u32,
    /// Highest revision that a partial of this job may have had.
    pub revision: u64,
    /// Sequence of the last stored event written to the outbox.
    pub sequence: u64,
}

/// What the stream has of a job's events from daemons that had it before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredBefore {
    /// Annotations before the final.
    pub annotations: usize,
    /// The final.
    pub has_final: bool,
    /// What plugins said.
    pub emissions: Emissions,
}

impl StoredBefore {
    fn is_nothing(&self) -> bool {
        *self == StoredBefore::default()
    }
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
            stored: StoredBefore::default(),
            maybe_paid: false,
            missing: false,
            hold_told: 0,
            submitted: false,
            owes_source: true,
            accepted_at: Timestamp::now(),
            stage: Stage::Accepted,
            plan: None,
            pieces: 0,
            revision: 0,
            sequence: 0,
        }
    }
}

fn is_zero(count: &u32) -> bool {
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

/// What a recognizer heard of a piece, before any plugin.
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
