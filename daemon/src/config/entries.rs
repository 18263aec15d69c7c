//! The arrays of tables: `[[source]]`, `[[route]]`, `[[plugin]]`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Plugins, units};

/// One `[[source]]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
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

    /// The route of its recordings.
    pub fn route(&self) -> &str {
        match self {
            Source::Directory(source) => &source.route,
            Source::Nats(source) => &source.route,
        }
    }
}

/// What to do with files that existed before the first start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Existing {
    #[default]
    Skip,
    Process,
}

/// What happens to a file after its job's last event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenDone {
    #[default]
    Keep,
    Move,
    Delete,
}

/// Endings, in small letters, of names of unfinished uploads (RELIABILITY 2), which are not recordings yet.
pub const UNFINISHED_ENDINGS: [&str; 5] = [".part", ".tmp", ".filepart", ".crdownload", "~"];

/// A watched folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectorySource {
    pub name: String,
    pub path: PathBuf,
    #[serde(default = "default_route")]
    pub route: String,
    #[serde(default = "yes")]
    pub recursive: bool,
    /// Globs against the path below `path`.
    #[serde(default = "default_include")]
    pub include: Vec<String>,
    /// Globs against the path below `path`, of files and folders.
    #[serde(default)]
    pub exclude: Vec<String>,
    #[serde(default)]
    pub existing: Existing,
    /// Size, mtime and ctime must not change for this long.
    #[serde(default = "default_settle", with = "units::duration")]
    pub settle: Duration,
    /// `None`: "auto".
    #[serde(default, with = "units::auto_duration")]
    pub rescan: Option<Duration>,
    #[serde(default)]
    pub when_done: WhenDone,
    #[serde(default)]
    pub done_directory: PathBuf,
    #[serde(default)]
    pub failed_directory: PathBuf,
    /// Reserved; only empty is accepted.
    #[serde(default)]
    pub metadata_from_name: String,
}

/// A JetStream subject.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatsSource {
    pub name: String,
    pub subject: String,
    /// Empty: `nats.audio_stream`.
    #[serde(default)]
    pub stream: String,
    #[serde(default = "default_route")]
    pub route: String,
}

/// How the engine is chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineChoice {
    #[default]
    Auto,
    Flash,
    Filetrans,
}

impl EngineChoice {
    /// The recognizer that the config names; `None`: any that fits.
    pub fn name(self) -> Option<&'static str> {
        match self {
            EngineChoice::Auto => None,
            EngineChoice::Flash => Some("flash"),
            EngineChoice::Filetrans => Some("filetrans"),
        }
    }
}

/// What to do with several channels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channels {
    #[default]
    Mix,
    /// Reserved.
    Split,
}

/// One `[[route]]`: how recordings are recognized.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    pub name: String,
    #[serde(default)]
    pub engine: EngineChoice,
    /// Empty: detect.
    #[serde(default)]
    pub language: String,
    #[serde(default)]
    pub context: String,
    #[serde(default)]
    pub context_file: PathBuf,
    #[serde(default)]
    pub itn: bool,
    #[serde(default)]
    pub channels: Channels,
    #[serde(default)]
    pub roles: Vec<String>,
    #[serde(default = "yes")]
    pub partials: bool,
    /// Reserved; only false is accepted.
    #[serde(default)]
    pub skip_silence: bool,
    /// Reserved; only true is accepted.
    #[serde(default = "emotion_on")]
    pub emotion: toml::Value,
}

impl Route {
    /// The route that exists when the config names none: `default`, everything at its default.
    pub fn named(name: &str) -> Self {
        Route {
            name: name.to_owned(),
            engine: EngineChoice::Auto,
            language: String::new(),
            context: String::new(),
            context_file: PathBuf::new(),
            itn: false,
            channels: Channels::Mix,
            roles: Vec::new(),
            partials: true,
            skip_silence: false,
            emotion: emotion_on(),
        }
    }
}

/// What to do with a job whose transcript a plugin cannot process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    #[default]
    Skip,
    Hold,
}

/// One `[[plugin]]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plugin {
    pub name: String,
    /// A name (`<plugins.directory>/lib<name>.so`) or a path.
    pub library: String,
    /// Empty: all.
    #[serde(default)]
    pub sources: Vec<String>,
    #[serde(default = "default_timeout", with = "units::duration")]
    pub timeout: Duration,
    #[serde(default = "default_memory", with = "units::size")]
    pub memory_limit: u64,
    #[serde(default)]
    pub network: bool,
    #[serde(default)]
    pub write: Vec<PathBuf>,
    #[serde(default)]
    pub sha256: String,
    #[serde(default)]
    pub on_failure: OnFailure,
    /// Passed to the plugin as JSON.
    #[serde(default)]
    pub config: BTreeMap<String, serde_json::Value>,
}

impl Plugin {
    /// Where the library is.
    pub fn library_path(&self, plugins: &Plugins) -> PathBuf {
        if self.library.contains('/') {
            PathBuf::from(&self.library)
        } else {
            plugins.directory.join(format!("lib{}.so", self.library))
        }
    }
}

fn yes() -> bool {
    true
}

fn default_route() -> String {
    "default".into()
}

fn default_include() -> Vec<String> {
    vec!["**/*.{wav,mp3,m4a,flac,ogg,opus}".into()]
}

fn default_settle() -> Duration {
    Duration::from_secs(2)
}

fn default_timeout() -> Duration {
    Duration::from_secs(2)
}

fn default_memory() -> u64 {
    256 << 20
}

fn emotion_on() -> toml::Value {
    toml::Value::Boolean(true)
}
