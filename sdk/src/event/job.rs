//! The family `job`: the progress and outcome of a recording.

use std::borrow::Cow;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// `job.accepted`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobAccepted {
    /// Name of the route.
    pub route: String,
    /// The job whose recording is recognized again, at an operator's wish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<Uuid>,
    /// What came with the recording and could not be used; the job goes on without it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

/// Something that came with a recording and could not be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Warning {
    /// What kind of thing, such as `SidecarUnreadable`.
    pub code: String,
    /// For people: names the thing, and says why.
    pub message: String,
}

/// Which recognizer: `flash`, `filetrans`, or the name of another one. An open set: a reader passes over names that it does not know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("examples" = ["flash", "filetrans"]))]
pub struct Engine(Cow<'static, str>);

impl Engine {
    /// Up to 5 minutes of audio; answers at once and streams text.
    pub const FLASH: Engine = Engine(Cow::Borrowed("flash"));
    /// Up to 12 hours of audio; an asynchronous task.
    pub const FILETRANS: Engine = Engine(Cow::Borrowed("filetrans"));

    /// The recognizer of this name.
    pub fn new(name: impl Into<String>) -> Engine {
        Engine(Cow::Owned(name.into()))
    }

    /// The name in config, events and metrics.
    pub fn as_str(&self) -> &str {
        &self.0
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
    /// Which recognizer was asked.
    pub engine: Engine,
    /// The service's model name.
    pub model: String,
    /// The service's task, for filetrans.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// How many pieces the recording is sent in, where they are several and all of them are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pieces: Option<u32>,
    /// Present and true where a request of unknown fate was repeated: the service may charge twice.
    #[serde(default, skip_serializing_if = "super::is_false")]
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
    /// The piece, from 1, where the recording is sent in several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub piece: Option<u32>,
}

/// Who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Blame {
    /// The recording: another try would fail alike.
    Audio,
    /// Key, rights, quota, arrears: jobs are held until it is mended.
    Account,
    /// The service, or an unknown cause.
    Service,
    /// A plugin that holds the job.
    Plugin,
    /// An operator, who canceled the job.
    Operator,
    /// Hark itself, its disk or its config.
    Hark,
}

impl Blame {
    /// The name in events and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Blame::Audio => "audio",
            Blame::Account => "account",
            Blame::Service => "service",
            Blame::Plugin => "plugin",
            Blame::Operator => "operator",
            Blame::Hark => "hark",
        }
    }
}

/// An error in an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Fault {
    /// The service's code, or one of Hark's own (docs/errors.md).
    pub code: String,
    /// Who has to act.
    pub blame: Blame,
    /// For a person: what it was about and what to do. Never transcript text, a key or a URL's query.
    pub message: String,
    /// Tries made; only in `job.failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
}

/// Tokens that were billed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tokens {
    /// Of requests.
    pub input: u64,
    /// Of answers.
    pub output: u64,
}

/// What a job took, in its last event.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Bill {
    /// Length of the recording in seconds; null where it was not measured.
    pub audio_seconds: Option<f64>,
    /// Sum of every `usage.seconds` that the service told.
    pub billed_seconds: u64,
    /// Sums of the tokens that the service told; absent where no model was billed by tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billed_tokens: Option<Tokens>,
    /// The price of what was billed, by model and region, with at most six decimals.
    pub cost_usd: f64,
    /// Seconds that were not sent, of the recording times its channels: silence, silent channels, channels that repeat others. Absent where
    /// all was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved_seconds: Option<f64>,
    /// What sending them would have cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved_usd: Option<f64>,
    /// Milliseconds from acceptance to this event.
    pub elapsed_ms: u64,
    /// Present and true where a request of unknown fate was repeated: the service may have charged twice.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub possible_duplicate_charge: bool,
}

/// `job.completed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobCompleted {
    /// Present and true where a part of the recording could not be recognized: the final has it as segments with an `error`.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub incomplete: bool,
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
