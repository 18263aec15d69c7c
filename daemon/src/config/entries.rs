//! The arrays of tables `[[route]]` and `[[plugin]]`, with their defaults; `[[source]]` is in [`super::source`], `[[recognizer]]` in
//! [`super::recognizer`], `[[webhook]]` in [`super::webhook`]. Keys without a useful default are empty there, and the validation asks for them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{Hotword, Plugins, units};

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

impl JsonSchema for EngineChoice {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Engine".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "enum": ENGINES }, { "type": "string", "pattern": super::schema::NAME }] })
    }
}

impl From<EngineChoice> for String {
    fn from(choice: EngineChoice) -> Self {
        choice.name().unwrap_or("auto").to_owned()
    }
}

/// What to do with several channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Channels {
    /// They are mixed to one.
    Mix,
    /// Each is recognized by itself.
    Split,
}

/// Whose emotion is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "is true, false, or a list of roles such as [\"customer\"]")]
pub enum Emotion {
    /// That of all channels, or of none.
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Route {
    /// What a source, or a message, names as its route.
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
    #[schemars(with = "units::DurationText")]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    Skip,
    Hold,
}

/// One `[[plugin]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Plugin {
    pub name: String,
    /// A name (`<plugins.directory>/lib<name>.so`) or a path.
    pub library: String,
    /// Empty: all.
    pub sources: Vec<String>,
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub timeout: Duration,
    #[serde(with = "units::size")]
    #[schemars(with = "units::SizeText")]
    pub memory_limit: u64,
    pub network: bool,
    pub write: Vec<PathBuf>,
    /// Where the daemon writes the files that the plugin hands over; empty: beside the recording.
    pub files: PathBuf,
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
            files: PathBuf::new(),
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
