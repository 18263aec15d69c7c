//! `[[recognizer]]`: a speech server of the operator's own.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Secret, lookup, units};

/// The protocols that Hark speaks with a speech server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecognizerKind {
    /// `/v1/audio/transcriptions` or `/v1/chat/completions`.
    Openai,
}

/// The shape of the requests to a server of kind `openai`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RequestShape {
    /// `chat` for a model whose name has "qwen3-asr", else `transcriptions`.
    #[default]
    Auto,
    Chat,
    Transcriptions,
}

/// What pieces of recordings are sent as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PieceFormat {
    #[default]
    Flac,
    Wav,
}

impl PieceFormat {
    /// The container's name.
    pub fn as_str(self) -> &'static str {
        match self {
            PieceFormat::Flac => "flac",
            PieceFormat::Wav => "wav",
        }
    }
}

/// One `[[recognizer]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recognizer {
    /// What a route names as its engine.
    pub name: String,
    pub kind: RecognizerKind,
    /// Up to and including `/v1`.
    pub base_url: String,
    /// The server's name of the model.
    pub model: String,
    #[serde(default)]
    pub request: RequestShape,
    /// Empty: requests carry no key.
    #[serde(default)]
    pub api_key_file: PathBuf,
    /// Longest piece of a recording.
    #[serde(default = "default_piece", with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub piece: Duration,
    #[serde(default)]
    pub format: PieceFormat,
    /// Requests in flight.
    #[serde(default = "default_concurrency")]
    pub concurrency: usize,
    /// For a whole request.
    #[serde(default = "default_timeout", with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub timeout: Duration,
    /// The price of a second of audio.
    #[serde(default)]
    pub usd_per_second: f64,
}

impl Recognizer {
    /// Whether requests go to `/v1/chat/completions`.
    pub fn is_chat(&self) -> bool {
        match self.request {
            RequestShape::Auto => self.model.to_ascii_lowercase().contains("qwen3-asr"),
            RequestShape::Chat => true,
            RequestShape::Transcriptions => false,
        }
    }

    /// The key for its requests; `None`: the config names no file.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the file.
    pub fn api_key(&self) -> Result<Option<Secret>, String> {
        if self.api_key_file.as_os_str().is_empty() {
            return Ok(None);
        }
        let key = format!("api_key_file of recognizer {:?}", self.name);
        lookup::key_in_file(&self.api_key_file, &key).map(Some)
    }
}

/// No server costs a thousand dollars a second: a higher price is a mistake, and sums with it might overflow.
pub const DEAREST: f64 = 1_000.0;

fn default_piece() -> Duration {
    Duration::from_secs(30)
}

fn default_concurrency() -> usize {
    4
}

fn default_timeout() -> Duration {
    Duration::from_secs(120)
}
