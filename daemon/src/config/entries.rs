//! The arrays of tables `[[source]]`, `[[route]]` and `[[plugin]]`, with their defaults; `[[recognizer]]` is in [`super::recognizer`]. Keys
//! without a useful default are empty there, and the validation asks for them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{DEFAULT_ROUTE, Hotword, Plugins, units};

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

    /// Whether its recordings go before those of other sources.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Existing {
    Skip,
    Process,
}

/// What happens to a file after its job's last event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenDone {
    Keep,
    Move,
    Delete,
}

/// Which recordings go first. The order is that of the variants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    Live,
    #[default]
    Normal,
    /// After all others, but for one place in eight.
    Archive,
}

/// Endings, in small letters, of names of unfinished uploads (RELIABILITY 2), which are not recordings yet.
pub const UNFINISHED_ENDINGS: [&str; 5] = [".part", ".tmp", ".filepart", ".crdownload", "~"];

/// A watched folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DirectorySource {
    pub name: String,
    pub path: PathBuf,
    pub route: String,
    pub recursive: bool,
    /// Globs against the path below `path`.
    pub include: Vec<String>,
    /// Globs against the path below `path`, of files and folders.
    pub exclude: Vec<String>,
    pub existing: Existing,
    /// Size, mtime and ctime must not change for this long.
    #[serde(with = "units::duration")]
    pub settle: Duration,
    /// `None`: "auto".
    #[serde(with = "units::auto_duration")]
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
            include: vec!["**/*.{3gp,aac,aif,aiff,amr,ape,au,avi,caf,flac,flv,m4a,mkv,mov,mp2,mp3,mp4,mpeg,mpg,oga,ogg,opus,ts,w64,wav,webm,wma,wmv,wv}".into()],
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
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NatsSource {
    pub name: String,
    pub subject: String,
    /// Empty: `nats.audio_stream`.
    pub stream: String,
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

/// How the engine is chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum EngineChoice {
    Auto,
    Flash,
    Filetrans,
    /// The `[[recognizer]]` of this name.
    Own(String),
}

/// The values of `engine` that are not the name of a `[[recognizer]]`.
pub const ENGINES: [&str; 3] = ["auto", "flash", "filetrans"];

impl EngineChoice {
    /// The recognizer that the config names; `None`: any of DashScope's that fits.
    pub fn name(&self) -> Option<&str> {
        match self {
            EngineChoice::Auto => None,
            EngineChoice::Flash => Some("flash"),
            EngineChoice::Filetrans => Some("filetrans"),
            EngineChoice::Own(name) => Some(name),
        }
    }
}

impl From<String> for EngineChoice {
    fn from(written: String) -> Self {
        match written.as_str() {
            "auto" => EngineChoice::Auto,
            "flash" => EngineChoice::Flash,
            "filetrans" => EngineChoice::Filetrans,
            _ => EngineChoice::Own(written),
        }
    }
}

impl From<EngineChoice> for String {
    fn from(choice: EngineChoice) -> Self {
        choice.name().unwrap_or("auto").to_owned()
    }
}

/// What to do with several channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channels {
    /// They are mixed to one.
    Mix,
    /// Each is recognized by itself.
    Split,
}

/// Whose emotion is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "is true, false, or a list of roles such as [\"customer\"]")]
pub enum Emotion {
    /// Everyone's, or nobody's.
    All(bool),
    /// That of the channels with these roles, and of no other.
    Roles(Vec<String>),
}

impl Emotion {
    /// Whether the emotion of speech of this role is kept.
    pub fn keeps(&self, role: Option<&str>) -> bool {
        match self {
            Emotion::All(keeps) => *keeps,
            Emotion::Roles(roles) => role.is_some_and(|role| roles.iter().any(|kept| kept == role)),
        }
    }
}

/// One `[[route]]`: how recordings are recognized.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Route {
    pub name: String,
    pub engine: EngineChoice,
    /// Empty: detect.
    pub language: String,
    pub context: String,
    pub context_file: PathBuf,
    pub hotwords: Vec<Hotword>,
    pub itn: bool,
    /// Times of words, where the recognizer tells them.
    pub words: bool,
    /// 0: none; 1: as many as there are; more: a hint of how many.
    pub speakers: u32,
    pub channels: Channels,
    /// Names of the channels, by their numbers.
    pub roles: Vec<String>,
    pub partials: bool,
    /// Long silence is left out of what is sent.
    pub skip_silence: bool,
    /// Longest piece of a long recording that goes through flash.
    #[serde(with = "units::duration")]
    pub piece: Duration,
    /// Whose emotion is kept.
    pub emotion: Emotion,
}

impl Default for Route {
    fn default() -> Self {
        Route {
            name: String::new(),
            engine: EngineChoice::Auto,
            language: String::new(),
            context: String::new(),
            context_file: PathBuf::new(),
            hotwords: Vec::new(),
            itn: false,
            words: false,
            speakers: 0,
            channels: Channels::Mix,
            roles: Vec::new(),
            partials: true,
            skip_silence: false,
            piece: Duration::from_secs(180),
            emotion: Emotion::All(true),
        }
    }
}

impl Route {
    /// A route with everything at its default.
    pub fn named(name: &str) -> Self {
        Route { name: name.to_owned(), ..Route::default() }
    }
}

/// What to do with a job whose transcript a plugin cannot process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    Skip,
    Hold,
}

/// One `[[plugin]]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plugin {
    pub name: String,
    /// A name (`<plugins.directory>/lib<name>.so`) or a path.
    pub library: String,
    /// Empty: all.
    pub sources: Vec<String>,
    #[serde(with = "units::duration")]
    pub timeout: Duration,
    #[serde(with = "units::size")]
    pub memory_limit: u64,
    pub network: bool,
    pub write: Vec<PathBuf>,
    pub sha256: String,
    pub on_failure: OnFailure,
    /// Passed to the plugin as JSON.
    pub config: BTreeMap<String, serde_json::Value>,
}

impl Default for Plugin {
    fn default() -> Self {
        Plugin {
            name: String::new(),
            library: String::new(),
            sources: Vec::new(),
            timeout: Duration::from_secs(2),
            memory_limit: 256 << 20,
            network: false,
            write: Vec::new(),
            sha256: String::new(),
            on_failure: OnFailure::Skip,
            config: BTreeMap::new(),
        }
    }
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
