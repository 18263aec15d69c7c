//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::faults::{Fault, parse_fault};

/// A local stand-in for the Qwen3-ASR service, for demos and tests. It recognizes nothing.
///
/// Two listeners: the API under /api/v1, and the object storage (temporary uploads, result files).
/// When both are bound, one line of JSON on stdout names them: {"api": "…/api/v1", "storage": "…"}.
#[derive(Debug, Clone, Parser)]
#[command(name = "dashscope-emulator", version, max_term_width = 110, after_long_help = MORE_HELP)]
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
    /// "speaker_id"?, "begin_time", "end_time", "text", "language"?, "emotion"?}]}, times in milliseconds
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

    /// Flash streams this many words in place of the text; each is the time when it left, in nanoseconds since the
    /// epoch, so that its reader knows how old it is
    #[arg(long, value_name = "NUMBER")]
    pub clock_words: Option<usize>,

    /// Time from the submit of a filetrans task to its end: half PENDING, half RUNNING
    #[arg(long, default_value = "500ms", value_parser = parse_duration, value_name = "DURATION")]
    pub task_delay: Duration,

    /// How long an ended task and its result file are kept
    #[arg(long, default_value = "24h", value_parser = parse_duration, value_name = "DURATION")]
    pub result_ttl: Duration,

    /// How long an upload policy is valid
    #[arg(long, default_value = "300s", value_parser = parse_duration, value_name = "DURATION")]
    pub policy_ttl: Duration,

    /// Largest upload, in MiB
    #[arg(long, default_value_t = 1024, value_name = "MIB")]
    pub upload_limit_mb: u64,

    /// Refuse with 429 what goes beyond the account's rates
    #[arg(long)]
    pub enforce_limits: bool,

    /// With --enforce-limits: requests a minute for each model; a 60th of it, rounded up, in any second
    #[arg(long, default_value_t = 100, value_name = "NUMBER")]
    pub requests_per_minute: usize,

    /// With --enforce-limits: queries, lists and cancels a second
    #[arg(long, default_value_t = 20, value_name = "NUMBER")]
    pub task_queries_per_second: usize,

    /// A fault to inject, KIND[,NAME=VALUE…]; may be repeated; --help lists the kinds
    #[arg(long = "fault", value_parser = parse_fault, value_name = "FAULT")]
    pub faults: Vec<Fault>,

    /// How long a download of an audio URL may take
    #[arg(long, default_value = "30s", value_parser = parse_duration, value_name = "DURATION")]
    pub download_timeout: Duration,

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

const MORE_HELP: &str = "\
Faults, as in --fault throttle,on=flash+submit,next=2,retry_after=1:
  Which requests, and how often (every one, unless said):
    on=KIND[+KIND…]       flash submit query list cancel policy upload result
    skip=N                skips the first N
    next=N                hits at most N
    probability=P         hits each with P between 0 and 1
    seed=N                decides which; the same on every run
  Before the work; nothing is charged:
    throttle              429; code=Throttling.RateQuota, retry_after=SECONDS
    status                status=500; code=…, retry_after=SECONDS, html
    arrearage             400
    bad_key               401
    reset                 the connection is reset
  After the work, which is charged:
    drop_answer           reset before the first byte
    cut_answer            reset after after_bytes=0 of the body
    stall                 ms=60000 of silence; in a stream after after_events=N
    split_bytes           one byte at a time
    garbage               200 and no JSON
    length                half of the text, finish_reason is length
    empty_text            content is []; models that have a code for silence refuse
    echo                  the text is the request's context
  In streams:
    slow_tokens           ms=60000 between events
    no_stop               ends without it; behind after_events=N
    stream_error          event:error behind after_events=1; status=500, code=InternalError.Algo
  Tasks, results, downloads:
    task_failed           code=FILE_DOWNLOAD_FAILED
    task_stuck            stays PENDING; with running stays RUNNING
    task_canceled         as if by another user
    task_unknown          for this query; on=submit: for ever
    result_expired        status=403, or 404
    require_content_length

While it runs, on the API's listener:
  GET /emulator/faults    what is in force, with how often it was seen and hit
  PUT /emulator/faults    a JSON array of faults with the names above; it replaces all earlier faults
  GET /emulator/journal   the journal so far

Journal lines have time, kind (as above, and task: the end of a filetrans task), request_id, outcome (ok or a
code) and what applies of http_status, key (masked), model, sha256, bytes, file_url, task_id, task_status,
channels, faults, and charged_seconds where the line costs money.";

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
