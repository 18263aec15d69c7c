//! The events that Hark publishes, as types.
//!
//! The body of an event is one JSON object: [`Event`] flattens the common fields and the fields of the kind into it. The kind itself
//! travels beside the body (`ce-type` on NATS, `type` in a plugin's frame), so a body is read with [`Event::parse`].

mod job;
mod kind;
mod plugin;
mod transcript;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};
use uuid::Uuid;

pub use self::job::{
    Bill, Blame, Engine, Fault, JobAccepted, JobCompleted, JobFailed, JobRetrying, JobSubmitted, Tokens,
    Warning,
};
pub use self::kind::{Kind, SCHEMA_VERSION, UnknownKind, data_schema};
pub use self::plugin::{About, Alert, AlertState, PluginEvent, Severity};
pub use self::transcript::{
    Annotation, AnnotationSpeech, ChannelSpeech, Interruption, ObjectRef, Quality, Segment, TimeSpan, Timing,
    TranscriptFinal, TranscriptPartial, TranscriptSegment, Usage, Word,
};

/// Whether `name` may be a token of a subject: `[a-z0-9_-]+`, as names of sources, plugins and rules must be.
pub fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
}

/// One event: the common fields of every body, then the fields of its kind.
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

    /// Reads a body of a known kind. Unknown fields are ignored, so that old readers accept new fields.
    ///
    /// # Errors
    /// When the JSON is not an object of this kind's shape.
    pub fn parse(kind: &Kind, body: &[u8]) -> Result<Event, serde_json::Error> {
        Event::from_value(kind, serde_json::from_slice(body)?)
    }

    /// As [`Event::parse`], from parsed JSON.
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
    /// Present and true where the file ends before its audio does: it is heard as far as it goes.
    #[serde(default, skip_serializing_if = "is_false")]
    pub truncated: bool,
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
    TranscriptSegment(TranscriptSegment),
    TranscriptFinal(TranscriptFinal),
    AnnotationLanguage(Annotation),
    AnnotationEmotion(Annotation),
    AnnotationSpeech(AnnotationSpeech),
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
            Body::TranscriptSegment(_) => Kind::TranscriptSegment,
            Body::TranscriptFinal(_) => Kind::TranscriptFinal,
            Body::AnnotationLanguage(_) => Kind::AnnotationLanguage,
            Body::AnnotationEmotion(_) => Kind::AnnotationEmotion,
            Body::AnnotationSpeech(_) => Kind::AnnotationSpeech,
            Body::AlertRaised(_) => Kind::AlertRaised,
            Body::AlertRetracted(_) => Kind::AlertRetracted,
            Body::Plugin(event) => Kind::Plugin(event.plugin.clone()),
        }
    }

    /// What a plugin was called with when it emitted this; `None`: plugins do not emit this kind.
    pub fn about(&self) -> Option<About> {
        match self {
            Body::AlertRaised(alert) | Body::AlertRetracted(alert) => Some(alert.about),
            Body::AnnotationLanguage(annotation) | Body::AnnotationEmotion(annotation) => {
                Some(annotation.about)
            }
            Body::Plugin(event) => Some(event.about),
            _ => None,
        }
    }

    /// Notes what a plugin was called with when it emitted this.
    pub fn set_about(&mut self, called_with: About) {
        match self {
            Body::AlertRaised(alert) | Body::AlertRetracted(alert) => alert.about = called_with,
            Body::AnnotationLanguage(annotation) | Body::AnnotationEmotion(annotation) => {
                annotation.about = called_with;
            }
            Body::Plugin(event) => event.about = called_with,
            _ => {}
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
            Kind::TranscriptSegment => Body::TranscriptSegment(read(value)?),
            Kind::TranscriptFinal => Body::TranscriptFinal(read(value)?),
            Kind::AnnotationLanguage => Body::AnnotationLanguage(read(value)?),
            Kind::AnnotationEmotion => Body::AnnotationEmotion(read(value)?),
            Kind::AnnotationSpeech => Body::AnnotationSpeech(read(value)?),
            Kind::AlertRaised => Body::AlertRaised(read(value)?),
            Kind::AlertRetracted => Body::AlertRetracted(read(value)?),
            Kind::Plugin(_) => Body::Plugin(read(value)?),
        })
    }
}

// Written by hand instead of derived with `untagged`: reading needs the kind (see `from_value`), so only `Serialize` is implemented.
impl Serialize for Body {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Body::JobAccepted(fields) => fields.serialize(serializer),
            Body::JobSubmitted(fields) => fields.serialize(serializer),
            Body::JobRetrying(fields) => fields.serialize(serializer),
            Body::JobCompleted(fields) => fields.serialize(serializer),
            Body::JobFailed(fields) => fields.serialize(serializer),
            Body::TranscriptPartial(fields) => fields.serialize(serializer),
            Body::TranscriptSegment(fields) => fields.serialize(serializer),
            Body::TranscriptFinal(fields) => fields.serialize(serializer),
            Body::AnnotationLanguage(fields) | Body::AnnotationEmotion(fields) => {
                fields.serialize(serializer)
            }
            Body::AnnotationSpeech(fields) => fields.serialize(serializer),
            Body::AlertRaised(fields) | Body::AlertRetracted(fields) => fields.serialize(serializer),
            Body::Plugin(fields) => fields.serialize(serializer),
        }
    }
}

/// For `skip_serializing_if`: a flag that is false is not written.
fn is_false(value: &bool) -> bool {
    !value
}
