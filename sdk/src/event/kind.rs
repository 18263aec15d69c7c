//! The kinds of events, by their names on the wire.

use std::fmt;
use std::str::FromStr;

use super::is_token;

/// Version of the events' bodies. A change that breaks readers raises it; new kinds and new fields do not.
pub const SCHEMA_VERSION: u32 = 1;

/// `ce-dataschema` of a kind, `family.name`: the name of its body's schema.
pub fn data_schema(kind: &str) -> String {
    format!("urn:hark:{kind}:{SCHEMA_VERSION}")
}

/// What an event is about: `family.name`, the middle of its NATS subject and the tail of its `ce-type`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `job.accepted`: the recording is in the ledger.
    JobAccepted,
    /// `job.submitted`: the service has it.
    JobSubmitted,
    /// `job.retrying`: an attempt failed, another follows.
    JobRetrying,
    /// `job.completed`: last event of a job that succeeded.
    JobCompleted,
    /// `job.failed`: last event of a job that failed.
    JobFailed,
    /// `transcript.partial`: text so far; lossy, never stored by default.
    TranscriptPartial,
    /// `transcript.segment`: a piece of a recording that is sent in several is heard.
    TranscriptSegment,
    /// `transcript.final`: once per job.
    TranscriptFinal,
    /// `annotation.language`.
    AnnotationLanguage,
    /// `annotation.emotion`.
    AnnotationEmotion,
    /// `annotation.speech`: who spoke how long, measured from the audio.
    AnnotationSpeech,
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
            Kind::TranscriptSegment => ("transcript", "segment"),
            Kind::TranscriptFinal => ("transcript", "final"),
            Kind::AnnotationLanguage => ("annotation", "language"),
            Kind::AnnotationEmotion => ("annotation", "emotion"),
            Kind::AnnotationSpeech => ("annotation", "speech"),
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

/// A kind that the contract does not define.
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
            "transcript.segment" => Kind::TranscriptSegment,
            "transcript.final" => Kind::TranscriptFinal,
            "annotation.language" => Kind::AnnotationLanguage,
            "annotation.emotion" => Kind::AnnotationEmotion,
            "annotation.speech" => Kind::AnnotationSpeech,
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
