//! The plain tables, one struct each. Their defaults stand in the embedded file, which has every key.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Config, units};
use crate::telemetry::logging::LogFormat;

/// The service's region: it decides address, models, price and which engines exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Region {
    Singapore,
    Us,
    Beijing,
}

/// `[dashscope]`: the service.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dashscope {
    pub region: Region,
    /// The workspace whose own host is used; empty: the region's general host.
    pub workspace: String,
    /// Overrides the region's and the workspace's address; up to and including `/api/v1`.
    pub base_url: String,
    /// Empty: `$CREDENTIALS_DIRECTORY/dashscope_api_key`, else `DASHSCOPE_API_KEY`.
    pub api_key_file: PathBuf,
    /// Its family follows from the name. Empty: the region's stable model.
    pub flash_model: String,
    /// Its family follows from the name. Empty: the region's stable model.
    pub filetrans_model: String,
    /// Per model, spread evenly; 0: Hark sets no limit.
    pub requests_per_minute: u32,
    /// Limit of task queries per account; submits and uploads do not count.
    pub task_queries_per_second: u32,
    /// Flash requests in flight.
    pub concurrency: usize,
    /// Filetrans tasks in flight.
    pub filetrans_concurrency: usize,
    /// First wait between two queries of a task; grows.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub poll_interval: Duration,
    /// How often a request of unknown fate may be repeated.
    pub ambiguous_retries: u32,
    /// Whether local files may go to the service's own 48 h storage.
    pub allow_temporary_upload: bool,
}

/// `[nats]`: the broker, and the streams that the daemon creates where they are absent.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nats {
    pub servers: Vec<String>,
    pub credentials_file: PathBuf,
    pub user: String,
    pub password_file: PathBuf,
    pub token_file: PathBuf,
    pub nkey_file: PathBuf,
    pub tls_ca: PathBuf,
    pub tls_cert: PathBuf,
    pub tls_key: PathBuf,
    pub subject_prefix: String,
    pub events_stream: String,
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub events_max_age: Duration,
    #[serde(with = "units::size")]
    #[schemars(with = "units::SizeText")]
    pub events_max_bytes: u64,
    pub audio_stream: String,
    pub replicas: usize,
    pub store_partials: bool,
    /// The domain of the JetStream that Hark uses; empty: the server's own.
    pub jetstream_domain: String,
    /// How long a daemon that does not confirm keeps a message before the server delivers it to another daemon.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub ack_wait: Duration,
}

/// `[state]`: what survives a restart, and its limits.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct State {
    pub directory: PathBuf,
    /// Texts and events of ended jobs are kept this long; a file's identity for as long as the file is there.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub keep: Duration,
    /// Limit of ledger, outbox, spool and temporary files together; when it is reached, sources wait.
    #[serde(with = "units::size")]
    #[schemars(with = "units::SizeText")]
    pub max_size: u64,
    /// The audio of failed messages is kept this long.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub keep_failed: Duration,
}

/// `[log]`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub format: LogFormat,
    /// A level, or tracing directives.
    pub level: String,
}

/// One `[[price]]`: the price of the service's models whose names match.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelPrice {
    /// A glob over the model's name.
    pub model: String,
    /// `None`, written as an empty text: every region.
    #[serde(default, with = "every_region")]
    #[schemars(with = "every_region::Text")]
    pub region: Option<Region>,
    /// Of audio.
    #[serde(default)]
    pub usd_per_second: f64,
    /// Of requests.
    #[serde(default)]
    pub usd_per_million_input_tokens: f64,
    /// Of answers.
    #[serde(default)]
    pub usd_per_million_output_tokens: f64,
}

/// `[security]`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Security {
    /// Hosts or networks that an audio URL in a message may point to besides public https; http is then allowed too.
    pub allow_urls: Vec<String>,
}

/// `[budget]`: what this daemon may spend.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// In a UTC day; 0: no limit.
    pub daily_usd: f64,
}

/// `[http]`: metrics, health, the live page and the API.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Empty: off.
    pub listen: String,
    /// Holds the token that page and API ask for; empty: the daemon makes one in its state directory.
    pub token_file: PathBuf,
    /// PEM. Beyond loopback TLS is required.
    pub tls_cert: PathBuf,
    /// PEM, of `tls_cert`.
    pub tls_key: PathBuf,
    /// File with a token for reading only; empty: there is none.
    pub read_token_file: PathBuf,
    /// Further names that the Host header may have.
    pub hosts: Vec<String>,
    /// Whether the live page plays recordings that still lie in their folder.
    pub audio: bool,
}

/// `[plugins]`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plugins {
    pub directory: PathBuf,
}

/// A region, or an empty text for every region.
mod every_region {
    use schemars::JsonSchema;
    use serde::de::value::StrDeserializer;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Region;

    /// What stands in the file.
    #[derive(JsonSchema)]
    #[serde(untagged)]
    #[allow(dead_code, reason = "only its shape is used")]
    pub(super) enum Text {
        One(Region),
        Every(Empty),
    }

    #[derive(JsonSchema)]
    #[allow(dead_code, reason = "only its shape is used")]
    pub(super) enum Empty {
        #[serde(rename = "")]
        Empty,
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Region>, D::Error> {
        match String::deserialize(from)?.as_str() {
            "" => Ok(None),
            name => Region::deserialize(StrDeserializer::new(name)).map(Some),
        }
    }

    pub(super) fn serialize<S: Serializer>(region: &Option<Region>, to: S) -> Result<S::Ok, S::Error> {
        match region {
            Some(region) => region.serialize(to),
            None => to.serialize_str(""),
        }
    }
}

impl Default for Dashscope {
    fn default() -> Self {
        Config::default().dashscope
    }
}

impl Default for Nats {
    fn default() -> Self {
        Config::default().nats
    }
}

impl Default for Plugins {
    fn default() -> Self {
        Config::default().plugins
    }
}
