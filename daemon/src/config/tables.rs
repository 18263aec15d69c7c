//! The plain tables, one struct each, with their defaults.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::units;
use crate::telemetry::logging::LogFormat;

/// The service's region: it decides address, models, price and which engines exist.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Region {
    #[default]
    Singapore,
    Us,
    Beijing,
}

impl Region {
    /// The cost of a second of audio in this region, in billionths of a dollar (dashscope-protocol.md).
    pub fn nano_usd_per_second(self) -> u64 {
        match self {
            Region::Singapore => 35_000,
            Region::Us | Region::Beijing => 32_000,
        }
    }
}

/// `[dashscope]`: the service.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dashscope {
    pub region: Region,
    /// Overrides the region's address; up to and including `/api/v1`.
    pub base_url: String,
    /// Empty: `$CREDENTIALS_DIRECTORY/dashscope_api_key`, else `DASHSCOPE_API_KEY`.
    pub api_key_file: PathBuf,
    /// Empty: the region's stable model.
    pub flash_model: String,
    /// Empty: the region's stable model.
    pub filetrans_model: String,
    /// Per model, spread evenly; 0: Hark sets no limit.
    pub requests_per_minute: u32,
    /// Per account, submits and uploads not counted.
    pub task_queries_per_second: u32,
    /// Flash requests in flight.
    pub concurrency: usize,
    /// Filetrans tasks in flight.
    pub filetrans_concurrency: usize,
    /// First wait between two queries of a task; grows.
    #[serde(with = "units::duration")]
    pub poll_interval: Duration,
    /// How often a request of unknown fate may be repeated.
    pub ambiguous_retries: u32,
    /// Whether local files may go to the service's own 48 h storage.
    pub allow_temporary_upload: bool,
}

impl Default for Dashscope {
    fn default() -> Self {
        Dashscope {
            region: Region::Singapore,
            base_url: String::new(),
            api_key_file: PathBuf::new(),
            flash_model: String::new(),
            filetrans_model: String::new(),
            requests_per_minute: 100,
            task_queries_per_second: 20,
            concurrency: 32,
            filetrans_concurrency: 1000,
            poll_interval: Duration::from_secs(2),
            ambiguous_retries: 1,
            allow_temporary_upload: true,
        }
    }
}

/// `[nats]`: the broker, and the streams that the daemon creates where they are absent.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
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
    pub events_max_age: Duration,
    #[serde(with = "units::size")]
    pub events_max_bytes: u64,
    pub audio_stream: String,
    pub replicas: usize,
    pub store_partials: bool,
    /// The domain of the JetStream that Hark uses; empty: the server's own.
    pub jetstream_domain: String,
    /// How long a daemon that does not confirm keeps a message before the server delivers it to another daemon.
    #[serde(with = "units::duration")]
    pub ack_wait: Duration,
}

impl Default for Nats {
    fn default() -> Self {
        Nats {
            servers: vec!["nats://127.0.0.1:4222".into()],
            credentials_file: PathBuf::new(),
            user: String::new(),
            password_file: PathBuf::new(),
            token_file: PathBuf::new(),
            nkey_file: PathBuf::new(),
            tls_ca: PathBuf::new(),
            tls_cert: PathBuf::new(),
            tls_key: PathBuf::new(),
            subject_prefix: "hark".into(),
            events_stream: "HARK_EVENTS".into(),
            events_max_age: Duration::from_secs(90 * 86_400),
            events_max_bytes: 10 << 30,
            audio_stream: "HARK_AUDIO".into(),
            replicas: 1,
            store_partials: false,
            jetstream_domain: String::new(),
            ack_wait: Duration::from_secs(30),
        }
    }
}

/// `[state]`: what survives a restart, and its limits.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct State {
    pub directory: PathBuf,
    /// Texts and events of ended jobs are kept this long; a file's identity for as long as the file is there.
    #[serde(with = "units::duration")]
    pub keep: Duration,
    /// Limit of ledger, outbox, spool and temporary files together; when it is reached, sources wait.
    #[serde(with = "units::size")]
    pub max_size: u64,
}

impl Default for State {
    fn default() -> Self {
        State {
            directory: "/var/lib/hark".into(),
            keep: Duration::from_secs(30 * 86_400),
            max_size: 20 << 30,
        }
    }
}

/// `[log]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    pub format: LogFormat,
    /// A level, or tracing directives.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Log { format: LogFormat::Auto, level: "info".into() }
    }
}

/// `[storage]`: reserved; only the default is accepted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    pub url: String,
}

/// `[security]`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Security {
    /// Hosts or networks that an audio URL in a message may point to besides public https; http is then allowed too.
    pub allow_urls: Vec<String>,
}

/// `[budget]`: reserved; only the default is accepted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    pub daily_usd: f64,
}

/// `[http]`: metrics and health.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Empty: off.
    pub listen: String,
    /// Reserved, with TLS: beyond loopback both are required.
    pub token_file: PathBuf,
    pub tls_cert: PathBuf,
    pub tls_key: PathBuf,
}

impl Default for Http {
    fn default() -> Self {
        Http {
            listen: "127.0.0.1:9464".into(),
            token_file: PathBuf::new(),
            tls_cert: PathBuf::new(),
            tls_key: PathBuf::new(),
        }
    }
}

/// `[plugins]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plugins {
    pub directory: PathBuf,
}

impl Default for Plugins {
    fn default() -> Self {
        Plugins { directory: "/usr/lib/hark/plugins".into() }
    }
}
