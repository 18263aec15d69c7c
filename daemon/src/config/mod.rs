//! The configuration: the types of `config/harkd.toml`, one per table, and how a file is read into them.
//!
//! Three layers, each over the one before: the embedded `config/harkd.toml`, the operator's file, and the environment's
//! `HARK_SECTION__KEY`. The embedded file is the manual as well, and a test compares the defaults of the types with it. Each room gets its
//! own part; there is no global config.

mod abilities;
mod address;
mod allow_list;
mod changes;
mod context;
mod document;
mod effective;
mod entries;
mod environment;
mod fit;
mod hotword;
mod http_client;
mod inspect;
mod language;
mod lookup;
mod manual;
mod mistakes;
mod model;
mod name_pattern;
mod nearest;
mod private_only;
mod recognizer;
mod report;
mod schema;
mod secret;
mod server_tls;
mod source;
mod storage;
mod tables;
mod template;
#[cfg(test)]
mod tests;
mod units;
mod validate;
mod warnings;
mod webhook;

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use abilities::Unheeded;
pub use address::{is_inside, is_loopback_or_private, is_public};
pub use allow_list::{AllowList, is_in, plain};
pub use changes::Changes;
pub use context::ContextLimit;
pub use effective::{Effective, Entry, Layer, Table};
pub use entries::{Channels, ENGINES, Emotion, EngineChoice, OnFailure, Plugin, Route};
pub use hotword::{Hotword, is_han_or_kana};
pub use http_client::http_client;
pub use inspect::{Inspection, REFUSED, inspect, inspect_text};
pub use language::{Languages, language_code, language_codes};
pub use lookup::listen_address;
pub use mistakes::{Mistake, Mistakes, Place};
pub use model::{Family, Inputs, Model, Outputs};
pub use name_pattern::NamePattern;
pub use nearest::suggestion;
pub use private_only::PrivateOnly;
pub use recognizer::{DEAREST, PieceFormat, Recognizer, RecognizerKind, RequestShape};
pub use schema::schema;
pub use secret::Secret;
pub use server_tls::{UnusableTls, server_tls};
pub use source::{
    DirectorySource, Existing, NatsSource, Priority, Source, UNFINISHED_ENDINGS, UPLOADS, WhenDone,
};
pub use storage::{Addressing, Bucket, Credentials, Storage};
pub use tables::{Budget, Dashscope, Http, Log, ModelPrice, Nats, Plugins, Region, Security, State};
pub use template::Template;
pub use units::{parse_duration, parse_size, show_duration, show_size};
pub use webhook::{Webhook, signing_key};

/// The bottom layer: every key with its default, its unit and its reason.
pub const EMBEDDED: &str = include_str!("../../../config/harkd.toml");

/// The route that exists even where the config names none.
pub const DEFAULT_ROUTE: &str = "default";

/// The whole configuration.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub dashscope: Dashscope,
    #[serde(default)]
    pub recognizer: Vec<Recognizer>,
    pub nats: Nats,
    pub state: State,
    pub log: Log,
    #[serde(default)]
    pub price: Vec<ModelPrice>,
    pub storage: Storage,
    pub security: Security,
    pub budget: Budget,
    pub http: Http,
    pub plugins: Plugins,
    #[serde(default)]
    pub source: Vec<Source>,
    #[serde(default)]
    pub route: Vec<Route>,
    #[serde(default)]
    pub plugin: Vec<Plugin>,
    #[serde(default)]
    pub webhook: Vec<Webhook>,
}

impl Config {
    /// Reads the file and this process's environment over the defaults. The result is valid, and has a route named `default`. Connects to
    /// nothing; reads the files that the config names only where a rule needs it (`route.context_file`).
    ///
    /// # Errors
    /// Every mistake at once, each with its line and its remedy.
    pub fn load(path: &Path) -> Result<Config, Mistakes> {
        inspect(path).into_result()
    }
}
