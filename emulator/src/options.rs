//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

/// A local stand-in for the Qwen3-ASR service, for demos and tests. It recognizes nothing.
///
/// Two listeners: the API under /api/v1, and the object storage (temporary uploads, result files).
/// When both are bound, one line of JSON on stdout names them: {"api": "…/api/v1", "storage": "…"}.
#[derive(Debug, Clone, Parser)]
#[command(name = "dashscope-emulator", version, max_term_width = 110)]
pub struct Options {
    /// Address of the API; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8700", value_name = "ADDRESS")]
    pub listen: SocketAddr,

    /// Address of the object storage; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8701", value_name = "ADDRESS")]
    pub storage_listen: SocketAddr,

    /// Region whose keys and model names are valid
    #[arg(long, value_enum, default_value_t = Region::Singapore)]
    pub region: Region,

    /// Accepted API key, may be repeated; without any, everything that begins with "sk-" is accepted
    #[arg(long = "api-key", value_name = "KEY")]
    pub api_keys: Vec<String>,

    /// JSON: sha256 of the audio bytes in hex -> {"text", "language", "emotion", "sentences"?: [{"channel_id"?,
    /// "begin_time", "end_time", "text", "language"?, "emotion"?}]}, times in milliseconds
    #[arg(long, value_name = "FILE")]
    pub manifest: Option<PathBuf>,

    /// Appends a JSON line for every request as the service saw it, written before the answer leaves
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,

    /// Directory for uploads, result files and what is downloaded [default: a temporary one, removed at exit]
    #[arg(long, value_name = "DIRECTORY")]
    pub data: Option<PathBuf>,

    /// Time before the first piece of a flash answer
    #[arg(long, default_value = "0ms", value_parser = parse_duration, value_name = "DURATION")]
    pub flash_delay: Duration,

    /// Time between two streamed pieces of text
    #[arg(long, default_value = "5ms", value_parser = parse_duration, value_name = "DURATION")]
    pub token_delay: Duration,

    /// How long a download of an audio URL may take
    #[arg(long, default_value = "30s", value_parser = parse_duration, value_name = "DURATION")]
    pub download_timeout: Duration,

    /// Refuse audio URLs whose server does not send a Content-Length
    #[arg(long)]
    pub require_content_length: bool,

    /// Log directives for stderr
    #[arg(long, default_value = "warn", value_name = "DIRECTIVES")]
    pub log: String,
}

/// The regions of the service; each has its own keys and model names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Region {
    Singapore,
    Us,
    Beijing,
}

/// Reads `250ms`, `2s`, `5m`, `24h`, or a plain number of milliseconds.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 =
        number.parse().map_err(|_| format!("\"{text}\" is no duration; write 500ms, 2s or 24h"))?;
    let milliseconds_in_unit = match unit {
        "" | "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(format!("\"{unit}\" is no unit of time; use ms, s, m or h")),
    };
    number
        .checked_mul(milliseconds_in_unit)
        .map(Duration::from_millis)
        .ok_or_else(|| format!("\"{text}\" is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_plain_numbers_are_milliseconds() {
        assert_eq!(parse_duration("40"), Ok(Duration::from_millis(40)));
        assert_eq!(parse_duration("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(parse_duration("24h"), Ok(Duration::from_secs(86_400)));
        assert!(parse_duration("soon").is_err());
        assert!(parse_duration("1d").is_err());
    }
}
