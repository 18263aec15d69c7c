//! `[[source]]`: watched folders and subjects, with their defaults. Keys without a useful default are empty there, and the validation asks for
//! them.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DEFAULT_ROUTE, units};

/// One `[[source]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    Directory(DirectorySource),
    Nats(NatsSource),
}

impl Source {
    /// The source's name, a subject token.
    pub fn name(&self) -> &str {
        match self {
            Source::Directory(source) => &source.name,
            Source::Nats(source) => &source.name,
        }
    }

    /// The source, if it watches a folder.
    pub fn folder(&self) -> Option<&DirectorySource> {
        match self {
            Source::Directory(source) => Some(source),
            Source::Nats(_) => None,
        }
    }

    /// The source, if it takes messages from NATS.
    pub fn intake(&self) -> Option<&NatsSource> {
        match self {
            Source::Nats(source) => Some(source),
            Source::Directory(_) => None,
        }
    }

    /// Which sources' recordings go first.
    pub fn priority(&self) -> Priority {
        match self {
            Source::Directory(source) => source.priority,
            Source::Nats(source) => source.priority,
        }
    }

    /// Its own part of the budget, in dollars a UTC day; 0: no limit of its own.
    pub fn daily_usd(&self) -> f64 {
        match self {
            Source::Directory(source) => source.daily_usd,
            Source::Nats(source) => source.daily_usd,
        }
    }

    /// The route of its recordings.
    pub fn route(&self) -> &str {
        match self {
            Source::Directory(source) => &source.route,
            Source::Nats(source) => &source.route,
        }
    }
}

/// What to do with files that existed before the first start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Existing {
    Skip,
    Process,
}

/// What happens to a file after its job's last event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenDone {
    Keep,
    Move,
    Delete,
}

/// Which recordings go first. The order is that of the variants.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    Live,
    #[default]
    Normal,
    /// After all other recordings; but one turn in eight is reserved for an archive.
    Archive,
}

/// Endings, in small letters, of names of unfinished uploads, which are not recordings yet.
pub const UNFINISHED_ENDINGS: [&str; 5] = [".part", ".tmp", ".filepart", ".crdownload", "~"];

/// A watched folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DirectorySource {
    pub name: String,
    pub path: PathBuf,
    /// The `[[route]]` of its recordings.
    pub route: String,
    pub recursive: bool,
    /// Globs against the path below `path`.
    pub include: Vec<String>,
    /// Globs against the path below `path`, of files and folders.
    pub exclude: Vec<String>,
    pub existing: Existing,
    /// Size, mtime and ctime must not change for this long.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub settle: Duration,
    /// `None`: "auto".
    #[serde(with = "units::auto_duration")]
    #[schemars(with = "units::AutoDurationText")]
    pub rescan: Option<Duration>,
    pub when_done: WhenDone,
    pub done_directory: PathBuf,
    pub failed_directory: PathBuf,
    /// A preset, or a regular expression with named groups.
    pub metadata_from_name: String,
    /// Whether `<base name>.json` beside a recording has metadata of it.
    pub metadata_sidecar: bool,
    /// This source's own part of the budget; 0: no limit of its own.
    pub daily_usd: f64,
    pub priority: Priority,
}

impl Default for DirectorySource {
    fn default() -> Self {
        DirectorySource {
            name: String::new(),
            path: PathBuf::new(),
            route: DEFAULT_ROUTE.into(),
            recursive: true,
            include: vec!["**/*.{3g2,3gp,aac,aif,aifc,aiff,amr,ape,asf,au,avi,caf,flac,flv,g729,gsm,m4a,m4b,mka,mkv,mov,mp2,mp3,mp4,mpeg,mpg,oga,ogg,opus,spx,ts,w64,wav,webm,wma,wmv,wv}".into()],
            exclude: Vec::new(),
            existing: Existing::Skip,
            settle: Duration::from_secs(2),
            rescan: None,
            when_done: WhenDone::Keep,
            done_directory: PathBuf::new(),
            failed_directory: PathBuf::new(),
            metadata_from_name: String::new(),
            metadata_sidecar: true,
            daily_usd: 0.0,
            priority: Priority::Normal,
        }
    }
}

/// The object bucket of audio that is too large for a message.
pub const UPLOADS: &str = "HARK_UPLOADS";

/// A JetStream subject.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NatsSource {
    /// A token of subjects.
    pub name: String,
    pub subject: String,
    /// Empty: `nats.audio_stream`.
    pub stream: String,
    /// The `[[route]]` of its recordings.
    pub route: String,
    /// Routes that a message may choose besides `route`.
    pub allow_routes: Vec<String>,
    /// Object buckets that a message may refer to.
    pub allow_buckets: Vec<String>,
    /// This source's own part of the budget; 0: no limit of its own.
    pub daily_usd: f64,
    pub priority: Priority,
}

impl Default for NatsSource {
    fn default() -> Self {
        NatsSource {
            name: String::new(),
            subject: String::new(),
            stream: String::new(),
            route: DEFAULT_ROUTE.into(),
            allow_routes: Vec::new(),
            allow_buckets: vec![UPLOADS.into()],
            daily_usd: 0.0,
            priority: Priority::Normal,
        }
    }
}
