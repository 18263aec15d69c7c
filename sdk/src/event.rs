//! The events that Hark publishes, as types.
//!
//! The body of an event is one JSON object: [`Event`] flattens what every body begins with and what the kind adds. The kind itself
//! travels beside the body (`ce-type` on NATS, `type` in a plugin's frame), so a body is read with [`Event::parse`].

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};
use uuid::Uuid;

/// What an event is about: `family.name`, the middle of its NATS subject and the tail of its `ce-type`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `job.accepted`: the recording is in the ledger.
    JobAccepted,
    /// `job.submitted`: the service has it.
    JobSubmitted,
    /// `job.retrying`: a try failed, another follows.
    JobRetrying,
    /// `job.completed`: last event of a job that ended well.
    JobCompleted,
    /// `job.failed`: last event of a job that did not.
    JobFailed,
    /// `transcript.partial`: text so far; lossy, never stored by default.
    TranscriptPartial,
    /// `transcript.final`: once per job.
    TranscriptFinal,
    /// `annotation.language`.
    AnnotationLanguage,
    /// `annotation.emotion`.
    AnnotationEmotion,
    /// `alert.raised`.
    AlertRaised,
    /// `alert.retracted`.
    AlertRetracted,
    /// `plugin.<name>`: any other event of a plugin; the name is the plugin's, `[a-z0-9_-]+`.
    Plugin(String),
}

impl Kind {
    /// First word: `job`, `transcript`, `annotation`, `alert` or `plugin`.
    pub fn family(&self) -> &'static str {
        self.words().0
    }

    /// Second word: `accepted`, `final`, …; of a plugin's event the plugin's name.
    pub fn name(&self) -> &str {
        self.words().1
    }

    /// Whether the event is stored in JetStream (everything but partials) and so has a `sequence`.
    pub fn is_stored(&self) -> bool {
        *self != Kind::TranscriptPartial
    }

    /// Whether it is the last event of its job.
    pub fn is_last(&self) -> bool {
        matches!(self, Kind::JobCompleted | Kind::JobFailed)
    }

    fn words(&self) -> (&'static str, &str) {
        match self {
            Kind::JobAccepted => ("job", "accepted"),
            Kind::JobSubmitted => ("job", "submitted"),
            Kind::JobRetrying => ("job", "retrying"),
            Kind::JobCompleted => ("job", "completed"),
            Kind::JobFailed => ("job", "failed"),
            Kind::TranscriptPartial => ("transcript", "partial"),
            Kind::TranscriptFinal => ("transcript", "final"),
            Kind::AnnotationLanguage => ("annotation", "language"),
            Kind::AnnotationEmotion => ("annotation", "emotion"),
            Kind::AlertRaised => ("alert", "raised"),
            Kind::AlertRetracted => ("alert", "retracted"),
            Kind::Plugin(name) => ("plugin", name),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (family, name) = self.words();
        write!(f, "{family}.{name}")
    }
}

/// A kind that is none of the contract's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown event kind {0:?}; kinds look like \"transcript.final\" or \"plugin.<name>\"")]
pub struct UnknownKind(pub String);

impl FromStr for Kind {
    type Err = UnknownKind;

    /// Reads `family.name`, with or without the `hark.` of a `ce-type` in front.
    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let unknown = || UnknownKind(text.to_owned());
        let words = text.strip_prefix("hark.").unwrap_or(text);
        Ok(match words {
            "job.accepted" => Kind::JobAccepted,
            "job.submitted" => Kind::JobSubmitted,
            "job.retrying" => Kind::JobRetrying,
            "job.completed" => Kind::JobCompleted,
            "job.failed" => Kind::JobFailed,
            "transcript.partial" => Kind::TranscriptPartial,
            "transcript.final" => Kind::TranscriptFinal,
            "annotation.language" => Kind::AnnotationLanguage,
            "annotation.emotion" => Kind::AnnotationEmotion,
            "alert.raised" => Kind::AlertRaised,
            "alert.retracted" => Kind::AlertRetracted,
            other => {
                let name = other.strip_prefix("plugin.").ok_or_else(unknown)?;
                if !is_token(name) {
                    return Err(unknown());
                }
                Kind::Plugin(name.to_owned())
            }
        })
    }
}

/// Whether `name` may stand in a subject: `[a-z0-9_-]+`, as source, plugin and rule names must.
pub fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
}

/// One event: what every body begins with, then the fields of its kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// The job, a UUIDv7.
    pub job: Uuid,
    /// Name of the source that the recording came from.
    pub source: String,
    /// 1, 2, … without a gap over the job's stored events; a partial has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// When the event happened (UTC).
    pub time: Timestamp,
    /// What was heard.
    pub recording: Recording,
    /// What the sender, the file's name or the config said about it.
    pub metadata: Map<String, Value>,
    /// The kind's own fields.
    #[serde(flatten)]
    pub body: Body,
}

impl Event {
    /// The kind of this event.
    pub fn kind(&self) -> Kind {
        self.body.kind()
    }

    /// Reads a body of a known kind. Unknown fields are ignored, so that old readers survive new fields.
    ///
    /// # Errors
    /// When the JSON is not an object of this kind's shape.
    pub fn parse(kind: &Kind, body: &[u8]) -> Result<Event, serde_json::Error> {
        Event::from_value(kind, serde_json::from_slice(body)?)
    }

    /// As [`Event::parse`], from JSON that was read already.
    ///
    /// # Errors
    /// When the value is not an object of this kind's shape.
    pub fn from_value(kind: &Kind, value: Value) -> Result<Event, serde_json::Error> {
        #[derive(Deserialize)]
        struct Common {
            job: Uuid,
            source: String,
            sequence: Option<u64>,
            time: Timestamp,
            recording: Recording,
            #[serde(default)]
            metadata: Map<String, Value>,
        }
        let common: Common = Deserialize::deserialize(&value)?;
        Ok(Event {
            job: common.job,
            source: common.source,
            sequence: common.sequence,
            time: common.time,
            recording: common.recording,
            metadata: common.metadata,
            body: Body::from_value(kind, value)?,
        })
    }
}

/// What was heard: audio with an identity and an origin. What is not known (a URL that Hark did not open, garbage) is null.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Recording {
    /// Where it came from: `file:///…`, `nats:<stream>/<sequence>`, or the URL without its query.
    pub uri: String,
    /// The file's or the message's name; readable, so lossy where the name is not UTF-8 (then see `path_b64`).
    pub name: Option<String>,
    /// Lower-case hex of the bytes.
    pub sha256: Option<String>,
    /// Size in bytes.
    pub bytes: Option<u64>,
    /// Container: `wav`, `mp3`, `flac`, …
    pub format: Option<String>,
    /// Length in milliseconds.
    pub duration_ms: Option<u64>,
    /// Number of channels.
    pub channels: Option<u32>,
    /// The incoming message's `Nats-Msg-Id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// Base64 of the path's bytes, where they are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_b64: Option<String>,
}

/// The kind's own fields.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "each variant is its type, and that is documented")]
pub enum Body {
    JobAccepted(JobAccepted),
    JobSubmitted(JobSubmitted),
    JobRetrying(JobRetrying),
    JobCompleted(JobCompleted),
    JobFailed(JobFailed),
    TranscriptPartial(TranscriptPartial),
    TranscriptFinal(TranscriptFinal),
    AnnotationLanguage(Annotation),
    AnnotationEmotion(Annotation),
    AlertRaised(Alert),
    AlertRetracted(Alert),
    Plugin(PluginEvent),
}

impl Body {
    /// The kind that these fields belong to.
    pub fn kind(&self) -> Kind {
        match self {
            Body::JobAccepted(_) => Kind::JobAccepted,
            Body::JobSubmitted(_) => Kind::JobSubmitted,
            Body::JobRetrying(_) => Kind::JobRetrying,
            Body::JobCompleted(_) => Kind::JobCompleted,
            Body::JobFailed(_) => Kind::JobFailed,
            Body::TranscriptPartial(_) => Kind::TranscriptPartial,
            Body::TranscriptFinal(_) => Kind::TranscriptFinal,
            Body::AnnotationLanguage(_) => Kind::AnnotationLanguage,
            Body::AnnotationEmotion(_) => Kind::AnnotationEmotion,
            Body::AlertRaised(_) => Kind::AlertRaised,
            Body::AlertRetracted(_) => Kind::AlertRetracted,
            Body::Plugin(event) => Kind::Plugin(event.plugin.clone()),
        }
    }

    /// Reads the fields of a kind out of a body; fields of the common part are ignored.
    ///
    /// # Errors
    /// When a field is missing or has another shape.
    pub fn from_value(kind: &Kind, value: Value) -> Result<Body, serde_json::Error> {
        use serde_json::from_value as read;
        Ok(match kind {
            Kind::JobAccepted => Body::JobAccepted(read(value)?),
            Kind::JobSubmitted => Body::JobSubmitted(read(value)?),
            Kind::JobRetrying => Body::JobRetrying(read(value)?),
            Kind::JobCompleted => Body::JobCompleted(read(value)?),
            Kind::JobFailed => Body::JobFailed(read(value)?),
            Kind::TranscriptPartial => Body::TranscriptPartial(read(value)?),
            Kind::TranscriptFinal => Body::TranscriptFinal(read(value)?),
            Kind::AnnotationLanguage => Body::AnnotationLanguage(read(value)?),
            Kind::AnnotationEmotion => Body::AnnotationEmotion(read(value)?),
            Kind::AlertRaised => Body::AlertRaised(read(value)?),
            Kind::AlertRetracted => Body::AlertRetracted(read(value)?),
            Kind::Plugin(_) => Body::Plugin(read(value)?),
        })
    }
}

// By hand and not `untagged`: reading needs the kind (see `from_value`), so only writing is derived from the variants.
impl Serialize for Body {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Body::JobAccepted(fields) => fields.serialize(serializer),
            Body::JobSubmitted(fields) => fields.serialize(serializer),
            Body::JobRetrying(fields) => fields.serialize(serializer),
            Body::JobCompleted(fields) => fields.serialize(serializer),
            Body::JobFailed(fields) => fields.serialize(serializer),
            Body::TranscriptPartial(fields) => fields.serialize(serializer),
            Body::TranscriptFinal(fields) => fields.serialize(serializer),
            Body::AnnotationLanguage(fields) | Body::AnnotationEmotion(fields) => {
                fields.serialize(serializer)
            }
            Body::AlertRaised(fields) | Body::AlertRetracted(fields) => fields.serialize(serializer),
            Body::Plugin(fields) => fields.serialize(serializer),
        }
    }
}

/// `job.accepted`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobAccepted {
    /// Name of the route.
    pub route: String,
}

/// Which of the service's two models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// Up to 5 minutes, answers at once, text streams back.
    Flash,
    /// Up to 12 hours, an asynchronous task.
    Filetrans,
}

impl Engine {
    /// The word in config, events and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Engine::Flash => "flash",
            Engine::Filetrans => "filetrans",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `job.submitted`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobSubmitted {
    /// Which engine was asked.
    pub engine: Engine,
    /// The service's model name.
    pub model: String,
    /// The service's task, for filetrans.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// Present and true where a request of unknown fate was repeated: the service may charge twice.
    #[serde(default, skip_serializing_if = "is_false")]
    pub possible_duplicate_charge: bool,
}

/// `job.retrying`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobRetrying {
    /// The try that failed: 1, 2, …
    pub attempt: u32,
    /// Why it failed.
    pub error: Fault,
    /// Milliseconds until the next try, as far as is known now.
    pub retry_in_ms: u64,
}

/// Who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Blame {
    /// The recording: another try would fail alike.
    Audio,
    /// Key, rights, quota, arrears: jobs are held until it is mended.
    Account,
    /// The service: it failed, or nobody knows.
    Service,
    /// A plugin that holds the job.
    Plugin,
    /// Hark itself, its disk or its config.
    Hark,
}

impl Blame {
    /// The word in events and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Blame::Audio => "audio",
            Blame::Account => "account",
            Blame::Service => "service",
            Blame::Plugin => "plugin",
            Blame::Hark => "hark",
        }
    }
}

/// An error in an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Fault {
    /// The service's code, or one of Hark's own (README, "Errors").
    pub code: String,
    /// Who has to act.
    pub blame: Blame,
    /// For a person: what it was about and what to do. Never transcript text, a key or a URL's query.
    pub message: String,
    /// Tries made; only in `job.failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
}

/// What a job took, in its last event.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Bill {
    /// Length of the recording in seconds; null where nobody measured it.
    pub audio_seconds: Option<f64>,
    /// Sum of every `usage.seconds` that the service told.
    pub billed_seconds: u64,
    /// `billed_seconds` at the configured price.
    pub cost_usd: f64,
    /// Milliseconds from acceptance to this event.
    pub elapsed_ms: u64,
    /// Present and true where a request of unknown fate was repeated: the service may have charged twice.
    #[serde(default, skip_serializing_if = "is_false")]
    pub possible_duplicate_charge: bool,
}

/// `job.completed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobCompleted {
    /// What it took.
    #[serde(flatten)]
    pub bill: Bill,
}

/// `job.failed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobFailed {
    /// Why; `attempts` is set.
    pub error: Fault,
    /// What it took all the same.
    #[serde(flatten)]
    pub bill: Bill,
}

/// `transcript.partial`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TranscriptPartial {
    /// 1, 2, … per job; a later one replaces an earlier one of the same channel and piece.
    pub revision: u64,
    /// Channel, from 0.
    pub channel: u32,
    /// The channel's role, where the route names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Where the piece starts, in milliseconds of the recording.
    pub begin_ms: u64,
    /// The text of the piece so far.
    pub text: String,
}

/// `transcript.final`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TranscriptFinal {
    /// Which engine made it.
    pub engine: Engine,
    /// The service's model name.
    pub model: String,
    /// The whole text; empty where nothing was said.
    pub text: String,
    /// Language of most of the speech, null if unknown.
    pub language: Option<String>,
    /// Emotion of most of the speech, null if unknown.
    pub emotion: Option<String>,
    /// Present and true where the service cut the text (`finish_reason` "length"), or where the text alone would not fit into a
    /// message: then the segments have it whole.
    #[serde(default, skip_serializing_if = "is_false")]
    pub truncated: bool,
    /// The pieces, by begin and channel. Left out where they are in `segments_object`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segments: Option<Vec<Segment>>,
    /// Where the segments are when the body would not fit into a message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segments_object: Option<ObjectRef>,
    /// What the service charged for this transcript.
    pub usage: Usage,
}

/// A piece of a transcript.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Segment {
    /// Channel, from 0.
    pub channel: u32,
    /// The channel's role, where the route names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Begin in milliseconds of the recording; null where nobody measured it.
    pub begin_ms: Option<u64>,
    /// End in milliseconds of the recording; null where nobody measured it.
    pub end_ms: Option<u64>,
    /// Where the times come from.
    pub timing: Timing,
    /// What was said.
    pub text: String,
    /// The service's language code.
    pub language: Option<String>,
    /// The service's emotion.
    pub emotion: Option<String>,
}

/// Where a segment's times come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Timing {
    /// The service measured them.
    Service,
    /// They are the borders of the piece that was sent.
    Chunk,
    /// Nobody measured them; they are null.
    None,
}

/// An object in a JetStream object store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectRef {
    /// The bucket.
    pub bucket: String,
    /// The object's name.
    pub name: String,
}

/// What the service charged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Billed seconds of audio.
    pub seconds: u64,
}

/// `annotation.language` and `annotation.emotion`: one per channel and run of equal values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Annotation {
    /// Channel, from 0.
    pub channel: u32,
    /// The channel's role, where the route names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Begin in milliseconds, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begin_ms: Option<u64>,
    /// End in milliseconds, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_ms: Option<u64>,
    /// The language code or the emotion.
    pub value: String,
}

/// How much an alert matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// To know.
    Info,
    /// To look at.
    #[default]
    Warning,
    /// To act on.
    Critical,
}

/// How sure an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// From a partial; the final decides.
    Tentative,
    /// From the final.
    Confirmed,
}

/// `alert.raised` and `alert.retracted`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Alert {
    /// Identity of the alert within its job: a retraction or confirmation names the same.
    pub alert: String,
    /// The plugin's configured name.
    pub plugin: String,
    /// The rule that fired.
    pub rule: String,
    /// How much it matters.
    pub severity: Severity,
    /// How sure it is.
    pub state: AlertState,
    /// Channel, from 0, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<u32>,
    /// The channel's role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Begin of the segment it stands in, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begin_ms: Option<u64>,
    /// End of the segment it stands in, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_ms: Option<u64>,
    /// The words that matched, as they stand in the text.
    pub quote: String,
}

/// `plugin.<name>`: any other event of a plugin, and what the daemon has to say of the plugin itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PluginEvent {
    /// The plugin's configured name.
    pub plugin: String,
    /// The plugin's own JSON; of the daemon's words about a plugin: `{"error": …, "quarantined": bool}`.
    pub data: Value,
}

fn is_false(value: &bool) -> bool {
    !value
}
