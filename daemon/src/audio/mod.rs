//! Determines format, length and channels of a recording before the service charges for it.
//!
//! Audio files are treated as hostile (parsers have panicked, looped and asked for gigabytes), so the daemon never parses one: [`Workers`]
//! passes the open file to a child process that can do nothing but read the file (`worker`), and accepts only a small JSON answer.
//! Everything that `probe` calls runs in that child.

mod containers;
mod frames;
mod length;
mod pool;
mod probe;
mod source;
#[cfg(test)]
mod tests;
mod wav;
pub mod worker;

use hark_sdk::event::Blame;
use serde::{Deserialize, Serialize};

pub use pool::Workers;
pub use probe::probe;

/// What a file turned out to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The container by its content, whatever the file's name: `wav flac mp3 mp1 mp2 aac m4a mp4 mov 3gp ogg opus webm mkv aiff caf`, and
    /// recognized by their first bytes only: `amr wma avi flv mpeg au ape wv`.
    pub format: String,
    /// The codec of the audio track, as in `pcm mp3 aac opus vorbis flac alac alaw mulaw adpcm`; `None`: unknown.
    pub codec: Option<String>,
    /// Length of the audio that the file really holds, in milliseconds, whatever its header states. Files with more than 256 MiB of frames
    /// are measured at their beginning and projected. `None` if the format is recognized by its first bytes only.
    pub duration_ms: Option<u64>,
    pub channels: Option<u32>,
    /// In hertz.
    pub sample_rate: Option<u32>,
    /// Size of the file when it was probed.
    pub bytes: u64,
    /// The file ends before its audio does. `duration_ms` counts the audio in the file.
    #[serde(default)]
    pub truncated: bool,
}

/// Why a file has no [`Probe`]. The text is written for the person who provided the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum ProbeError {
    #[error("the file is empty")]
    Empty,
    #[error("the file is not audio that Hark knows: {0}")]
    NotAudio(String),
    #[error(
        "the file breaks off before any audio, or is damaged: {0}; copy it again from where it was recorded"
    )]
    Truncated(String),
    #[error("the file cannot be read: {0}")]
    Unreadable(String),
    /// The child reached its memory limit, or crashed or hung twice (once may be an accident).
    #[error(
        "the file makes the audio parser fail ({0}); it is damaged or made to do so, convert it with another program"
    )]
    ParserFailed(String),
    /// Nothing was found out about the file; a retry may succeed.
    #[error(
        "no process could look at the file: {0}; check memory, descriptors and process limits, and the disk that the file is on"
    )]
    NoWorker(String),
}

impl ProbeError {
    /// The stable name of the error, for events and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            ProbeError::Empty => "EmptyFile",
            ProbeError::NotAudio(_) => "NotAudio",
            ProbeError::Truncated(_) => "TruncatedAudio",
            ProbeError::Unreadable(_) => "UnreadableFile",
            ProbeError::ParserFailed(_) => "ParserFailed",
            ProbeError::NoWorker(_) => "NoAudioWorker",
        }
    }

    /// Whether the file or Hark is the cause. Only [`Blame::Hark`] is worth a retry.
    pub fn blame(&self) -> Blame {
        match self {
            ProbeError::NoWorker(_) => Blame::Hark,
            _ => Blame::Audio,
        }
    }
}

impl From<std::io::Error> for ProbeError {
    fn from(error: std::io::Error) -> Self {
        ProbeError::Unreadable(error.to_string())
    }
}
