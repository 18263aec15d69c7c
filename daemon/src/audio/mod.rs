//! What a recording is, before anybody pays for it: format, length, channels.
//!
//! Audio files are hostile until proven otherwise (parsers have panicked, looped and asked for gigabytes), so the daemon never
//! parses one: [`Workers`] hands the open file to a child process that can do nothing but read it (`worker`), and
//! takes no more than a small JSON answer. Everything below `probe` runs in that child.

mod containers;
mod flac;
mod frames;
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
    /// The container by its content, whatever the name says: `wav flac mp3 mp2 aac m4a mp4 mov 3gp ogg opus webm mkv aiff caf`, and known
    /// by their first bytes only: `amr wma avi flv au ape wv`.
    pub format: String,
    /// The codec of the audio track, as in `pcm mp3 aac opus vorbis flac alac alaw mulaw adpcm`; `None`: unknown.
    pub codec: Option<String>,
    /// Length of what is really there, in milliseconds. Exact for WAV, FLAC and MP3; what the container says for the others; `None`
    /// where only the first bytes are known.
    pub duration_ms: Option<u64>,
    pub channels: Option<u32>,
    /// In hertz.
    pub sample_rate: Option<u32>,
    /// Size of the file when it was probed.
    pub bytes: u64,
    /// The file ends before its audio does (WAV, FLAC, MP3, ISO media). `duration_ms` counts what is there, except in ISO media,
    /// whose index speaks of the whole.
    #[serde(default)]
    pub truncated: bool,
}

/// Why a file has no [`Probe`]. The sentence is for the person who put the file there.
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
    /// The child ran into its memory limit, or crashed or hung twice (once may be an accident).
    #[error(
        "the file makes the audio parser fail ({0}); it is damaged or made to do so, convert it with another program"
    )]
    ParserFailed(String),
    /// Nothing is known about the file; try again.
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

    /// Whose fault it is. Only [`Blame::Hark`] is worth another try.
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
