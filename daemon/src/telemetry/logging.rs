//! Log lines: to standard error, human on a terminal, else JSON with the fields of the event and of its spans side by side.
//!
//! Lines of libraries above `info` (`debug`, `trace`) are capped unless the config names the library: their `trace` shows headers, and URLs
//! with queries; both may contain keys. The daemon itself logs, less often, what the NATS client would log at `info`.

mod journal;
mod line;
mod readable;

use std::fmt;
use std::io::IsTerminal;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{Directive, EnvFilter};
use tracing_subscriber::fmt::format::JsonFields;

pub use self::journal::priority;
use self::line::Line;
pub use self::readable::{readable, readable_json};

/// Libraries whose lines contain what must not be logged, or outnumber all others, and the highest level of each.
const CAPPED: [(&str, LevelFilter); 11] = [
    ("async_nats", LevelFilter::WARN),
    ("axum", LevelFilter::INFO),
    ("globset", LevelFilter::INFO),
    ("h2", LevelFilter::INFO),
    ("hyper", LevelFilter::INFO),
    ("hyper_util", LevelFilter::INFO),
    ("notify", LevelFilter::ERROR),
    ("reqwest", LevelFilter::INFO),
    ("rustls", LevelFilter::INFO),
    ("symphonia", LevelFilter::INFO),
    ("tungstenite", LevelFilter::INFO),
];

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Human on a terminal, else JSON.
    Auto,
    Human,
    Json,
}

/// Sets the level while the process runs.
#[derive(Clone)]
pub struct Level(Arc<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>);

impl fmt::Debug for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Level")
    }
}

impl Level {
    /// Sets `log.level`.
    ///
    /// # Errors
    /// When it cannot be read; then the level stays.
    pub fn set(&self, level: &str) -> Result<(), String> {
        (self.0)(filter(level)?)
    }
}

/// Sends this process's log lines to standard error from now on. A write blocks while the reader of standard error does not read. If the reader
/// has gone, only the lines are lost.
///
/// # Errors
/// When `log.level` cannot be read, or logging was set up before.
pub fn init(format: LogFormat, level: &str) -> Result<Level, String> {
    let terminal = std::io::stderr().is_terminal();
    let line = match (format, terminal) {
        (LogFormat::Human, _) | (LogFormat::Auto, true) => Line::Human,
        (LogFormat::Json, _) | (LogFormat::Auto, false) => Line::Json,
    };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter(level)?)
        .with_writer(std::io::stderr)
        .with_ansi(terminal)
        .fmt_fields(JsonFields::new())
        .event_format(line)
        .with_filter_reloading();
    let handle = subscriber.reload_handle();
    subscriber.try_init().map_err(|error| format!("logging was set up twice in this process: {error}"))?;
    Ok(Level(Arc::new(move |filter| handle.reload(filter).map_err(|error| error.to_string()))))
}

/// Reads `log.level`: a level, or directives such as `info,harkd::recognize=debug`.
///
/// # Errors
/// A sentence that names the part that cannot be parsed. A lone word that is not a level counts as a typing error, though tracing takes it
/// for a module.
pub fn filter(level: &str) -> Result<EnvFilter, String> {
    let mut default = None;
    let mut directives = Vec::new();
    let mut named = Vec::new();
    for part in level.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        if let Ok(level) = part.parse::<LevelFilter>() {
            default = Some(level);
            continue;
        }
        if !part.contains(['=', ':', '[']) {
            return Err(format!(
                "log.level: {part:?} is not a level; use error, warn, info, debug or trace, or write target=level"
            ));
        }
        let directive: Directive =
            part.parse().map_err(|error| format!("log.level: {part:?} is not a directive: {error}"))?;
        named.push(part.split(['=', ':', '[']).next().unwrap_or_default().to_owned());
        directives.push(directive);
    }
    if default.is_none() && directives.is_empty() {
        return Err("log.level is empty; use error, warn, info, debug or trace".into());
    }
    let default = default.unwrap_or(LevelFilter::ERROR);
    let mut filter = EnvFilter::default().add_directive(default.into());
    for (target, most) in CAPPED.iter().filter(|(target, _)| !named.iter().any(|name| name == target)) {
        let cap = format!("{target}={}", default.min(*most));
        filter = filter.add_directive(cap.parse().map_err(|error| format!("log.level: {error}"))?);
    }
    Ok(directives.into_iter().fold(filter, EnvFilter::add_directive))
}

#[cfg(test)]
mod tests;
