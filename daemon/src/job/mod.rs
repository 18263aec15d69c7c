//! A job: one recording on one route, from acceptance to the last event and the source's settlement.
//!
//! A job has pieces: each piece is what one request carries. A piece has attempts, each with a stored fate. Two pure machines change their
//! states ([`job_machine`], [`piece_machine`]).
//!
//! Delivery promise: a state changes in the same SQLite transaction that writes the events that the change causes. So after any crash the
//! ledger tells exactly what is owed ([`Duty`]), and the lane of that duty does the work again under the same ids.

pub mod annotate;
mod attempt;
pub mod audio;
mod budget;
pub mod emission;
mod fate;
pub mod halves;
#[cfg(test)]
pub(crate) mod history;
pub mod job_machine;
pub mod ledger;
pub mod metadata;
mod origin;
pub mod paid;
pub mod persisted;
mod piece;
pub mod piece_machine;
mod price;
mod repetition;
pub mod spool;
mod stage;
mod ticket;
pub mod transcript;

use hark_sdk::event::{Body, Engine, Event, ObjectRef, Recording, Segment, Usage};
use hark_sdk::joined::joined;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

pub use crate::config::PieceFormat;

pub use self::attempt::{Attempt, Failure, Next, fault};
pub use self::budget::{Budget, Spent};
pub use self::fate::Fate;
pub use self::halves::Halves;
pub use self::origin::{FileIdentity, Origin};
pub use self::paid::Paid;
pub use self::piece::{MOST_CHANNELS, Piece, PieceId, PieceState, Span};
pub use self::price::{Price, Prices};
pub use self::stage::{Duty, Stage};
pub use self::ticket::Ticket;

/// What the ledger holds of a job. Its pieces are rows of their own. Fields at their default are not written: a row of more than a
/// kilobyte would take a whole page of its own (SQLite, WITHOUT ROWID).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// A UUIDv7: sorts by time of acceptance.
    pub id: Uuid,
    /// Name of the source.
    pub source: String,
    /// Name of the route.
    pub route: String,
    /// Where the bytes are.
    pub origin: Origin,
    /// What the daemon knows about the recording.
    pub recording: Recording,
    /// The metadata that the sender gave with the recording.
    #[serde(default, skip_serializing_if = "is_default")]
    pub metadata: Map<String, Value>,
    /// The object that its message names; deleted after the job's last event.
    #[serde(default, skip_serializing_if = "is_default")]
    pub object: Option<ObjectRef>,
    /// The sidecar whose fields are in `metadata`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sidecar: Option<Sidecar>,
    /// The message's own language; it overrides the route's.
    #[serde(default, skip_serializing_if = "is_default")]
    pub language: Option<String>,
    /// The message's own context; it overrides the route's.
    #[serde(default, skip_serializing_if = "is_default")]
    pub context: Option<String>,
    /// Where its message is claimed among the daemons that share a stream; `None` for a job that did not come in a message.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ticket: Option<Ticket>,
    /// What the stream already had of its events when this daemon took the job over.
    #[serde(default, skip_serializing_if = "is_default")]
    pub stored: StoredBefore,
    /// Another daemon may have paid for it, and the claim that recorded this is lost: its first piece begins with an attempt of unknown
    /// fate.
    #[serde(default, skip_serializing_if = "is_default")]
    pub maybe_paid: bool,
    /// What former owners may have paid for its pieces, where the recording is cut here; read as each piece is cut.
    #[serde(default, skip_serializing_if = "is_default")]
    pub paid: Vec<Paid>,
    /// For an open job: its file was once not at its path, and the daemon looks for it a second time. For a settled job: its file was not
    /// there to be moved or deleted, and the daemon does that when the file is found.
    #[serde(default, skip_serializing_if = "is_default")]
    pub missing: bool,
    /// What its events have reported about a plugin that holds it: 0 nothing, 1 the hold, 2 that the plugin is quarantined.
    #[serde(default, skip_serializing_if = "is_default")]
    pub hold_reported: u32,
    /// Its events have reported that it waits for the budget of another day.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reported_over_budget: bool,
    /// A `job.submitted` was written for it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub submitted: bool,
    /// The job whose recording is recognized again, at the operator's wish.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retry_of: Option<Uuid>,
    /// The operator has canceled it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub canceled: bool,
    /// After its end its source has to be settled: a message acknowledged, a file moved or deleted.
    #[serde(default, skip_serializing_if = "is_default")]
    pub owes_source: bool,
    /// When it entered the ledger.
    pub accepted_at: Timestamp,
    /// Its stage.
    pub stage: Stage,
    /// How it is recognized: made once, by `recognize::route`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub plan: Option<Plan>,
    /// How many pieces the plan made.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pieces: u32,
    /// Milliseconds of speech in the recording; `None`: the audio was not decoded here.
    #[serde(default, skip_serializing_if = "is_default")]
    pub speech_ms: Option<u64>,
    /// The length that the probe found, of a recording that was listened to since: its plan was made for this length.
    #[serde(default, skip_serializing_if = "is_default")]
    pub probed_ms: Option<u64>,
    /// What was not sent of the recording, of all of its channels; `None`: the audio was not decoded here.
    #[serde(default, skip_serializing_if = "is_default")]
    pub saved: Option<Saved>,
    /// An `annotation.speech` was written for it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub speech_reported: bool,
    /// Highest revision that a partial of this job may have had.
    #[serde(default, skip_serializing_if = "is_default")]
    pub revision: u64,
    /// Sequence of the last stored event written to the outbox.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sequence: u64,
}

/// What was not sent of a recording: silence, silent channels, channels that repeat others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// Milliseconds, over all channels.
    pub ms: u64,
    /// What sending them would have cost, in millionths of a dollar.
    pub cost_micro: u64,
}

/// Whether a value is its type's default.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What the stream has of a job's events from its former owners.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredBefore {
    /// How many annotations are stored before the final.
    pub annotations: usize,
    /// Whether the final is stored.
    pub has_final: bool,
    /// Whether an `annotation.speech` is stored.
    pub has_speech: bool,
}

impl Job {
    /// An event of this job, as of now. `sequence` is set for a stored event only.
    pub fn event(&self, sequence: Option<u64>, body: Body) -> Event {
        Event {
            job: self.id,
            source: self.source.clone(),
            sequence,
            time: Timestamp::now(),
            recording: self.recording.clone(),
            metadata: self.metadata.clone(),
            body,
        }
    }

    /// Whether an operator may still cancel it: its last event is not written, and no former owner has published its final.
    pub fn can_be_canceled(&self) -> bool {
        !self.stage.has_ended() && !self.stored.has_final
    }

    /// The extension of the recording's name, if it has one.
    pub fn extension(&self) -> Option<&str> {
        let name = self.recording.name.as_deref().or(match &self.origin {
            Origin::File { below, .. } => below.to_str(),
            _ => None,
        });
        name.and_then(|name| name.rsplit_once('.')).map(|(_, extension)| extension)
    }

    /// A job that the daemon has just accepted.
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
            owes_source: true,
            accepted_at: Timestamp::now(),
            ..Job::default()
        }
    }
}

/// A file beside a recording with metadata of it, as it was when it was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sidecar {
    /// From `stat`.
    pub identity: FileIdentity,
    /// Of its bytes, in hex.
    pub sha256: String,
}

/// How a recording is recognized. `recognize::route` makes it; the lanes carry it out unchanged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The engine, which is also the name of its recognizer.
    pub engine: Engine,
    /// The service's model name.
    pub model: String,
    /// How the audio gets to the service.
    pub delivery: Delivery,
    /// How the recording is cut into pieces; `None`: it is sent whole, as it is.
    pub cut: Option<Cut>,
    /// Each channel is recognized by itself; `None`: the channels are mixed.
    pub split: Option<Split>,
    /// Why this plan was chosen, as text for people.
    pub reason: String,
}

impl Plan {
    /// Whether the recording is listened to here before any of it is sent.
    pub fn is_surveyed(&self) -> bool {
        self.cut.is_some() || self.split.is_some()
    }

    /// The role of a channel, if the route names it.
    pub fn role(&self, channel: u32) -> Option<String> {
        let role = self.split.as_ref()?.roles.get(channel as usize)?;
        (!role.is_empty()).then(|| role.clone())
    }
}

/// How the channels of a recording are told apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// The names of the channels, by their numbers.
    pub roles: Vec<String>,
}

/// How a recording is decoded and cut at silence; each piece is sent inline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// The longest piece, in milliseconds.
    pub longest_ms: u64,
    /// What the pieces are sent as.
    pub format: PieceFormat,
    /// Long silence is left out.
    pub skip_silence: bool,
    /// The file's header is one that a recognizer may refuse or misread, so that the file is not sent as it is, however short it is. Kept
    /// for the comparison with the plan that a changed config gives.
    pub misleading_header: bool,
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

/// The transcript of a piece as the recognizer returned it, before any plugin.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Transcript {
    /// The whole text as the service returned it.
    pub text: String,
    /// Ordered by begin, then channel.
    pub segments: Vec<Segment>,
    /// The service cut the text.
    pub truncated: bool,
    /// What the recognizer billed.
    #[serde(default, skip_serializing_if = "Usage::is_nothing")]
    pub billed: Usage,
}

impl Transcript {
    /// The transcript as transforms left it.
    pub fn with_segments(self, segments: Vec<Segment>) -> Transcript {
        if segments == self.segments {
            return self;
        }
        let text = joined(segments.iter().map(|segment| segment.text.as_str()));
        Transcript { text, segments, ..self }
    }

    /// The transcript without the emotion of the segments whose role `keeps` refuses.
    pub fn without_emotion(mut self, keeps: impl Fn(Option<&str>) -> bool) -> Transcript {
        for segment in self.segments.iter_mut().filter(|segment| !keeps(segment.role.as_deref())) {
            segment.emotion = None;
        }
        self
    }

    /// The transcript of a piece that carries `span` with the times of the whole recording, its channels and their roles.
    pub fn placed(mut self, span: &Span, plan: &Plan) -> Transcript {
        for segment in &mut self.segments {
            (segment.begin_ms, segment.end_ms) = match (segment.begin_ms, segment.end_ms) {
                (Some(begin), Some(end)) => {
                    let (begin, end) = span.placed(begin, end);
                    (Some(begin), Some(end))
                }
                (begin, end) => (begin.map(|time| span.begins_at(time)), end.map(|time| span.ends_at(time))),
            };
            for word in segment.words.iter_mut().flatten() {
                (word.begin_ms, word.end_ms) = span.placed(word.begin_ms, word.end_ms);
            }
            if let (Some(_), [channel]) = (&plan.split, &span.channels[..]) {
                segment.channel = *channel;
            }
            segment.role = plan.role(segment.channel);
        }
        self
    }
}
