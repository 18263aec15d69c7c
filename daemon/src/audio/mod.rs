//! Determines format, length and channels of a recording before the service charges for it.
//!
//! Audio files are treated as hostile (parsers have panicked, looped and asked for gigabytes), so the daemon never parses one: [`Workers`]
//! passes the open file to a child process that can do nothing but read the file (`worker`), and accepts only a small JSON answer.
//! Everything that `probe` calls runs in that child.

mod analysis;
mod boxes;
mod byte_order;
mod child;
mod chunks;
mod codec;
mod containers;
mod decode;
mod doubles;
mod edits;
mod encode;
pub mod ffmpeg;
mod flac;
mod frames;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod index_first;
mod last_frame;
mod layer2;
mod length;
mod listener;
mod matroska;
mod measure;
mod opus;
mod outside;
mod plan;
mod pool;
mod probe;
mod raw_speech;
mod resample;
mod sample;
mod signals;
mod signature;
mod silence;
mod source;
mod speech;
mod stated_end;
mod talk;
#[cfg(test)]
mod tests;
mod time;
mod unknown_codec;
mod wav;
mod wire;
pub mod worker;
mod workers;

use hark_sdk::event::{Blame, TimeSpan};
use serde::{Deserialize, Serialize};

use crate::job::MOST_CHANNELS;

pub use analysis::{Analysis, AnalysisPlan, ChannelSound};
pub use probe::probe;
pub use talk::{Talk, Turns};
pub use workers::Workers;

/// What a file turned out to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The container by its content, whatever the file's name: `wav flac mp3 mp1 mp2 aac m4a mp4 mov 3gp ogg opus webm mkv aiff caf`, and
    /// decoded with ffmpeg only: `amr wma wmv avi flv mpeg ts w64 au ape wv gsm g729`; `g723` is named and not decoded.
    pub format: String,
    /// The codec of the audio track, as in `pcm mp3 aac opus vorbis flac alac alaw mulaw adpcm`; `None`: unknown.
    pub codec: Option<String>,
    /// Length of the audio that the file really holds, in milliseconds, whatever its header states. Files with more than 256 MiB of frames
    /// are measured at their beginning and projected. `None` for a URL's audio and where nothing decodes it here.
    pub duration_ms: Option<u64>,
    pub channels: Option<u32>,
    /// In hertz.
    pub sample_rate: Option<u32>,
    /// Size of the file when it was probed.
    pub bytes: u64,
    /// The file ends before its audio does. `duration_ms` counts the audio in the file.
    #[serde(default)]
    pub truncated: bool,
    /// A WAV header that makes a service refuse the file or recognize only a part of it: a wrong block align, a chunk without padding, a missing
    /// or too small length, RF64, or a telephone codec (GSM, G.729). Send what [`Workers::piece`] makes of the recording, not the file.
    #[serde(default)]
    pub misleading_header: bool,
    /// If the length is unknown because the audio cannot be decoded here: the reason, and what to do.
    pub undecodable: Option<String>,
}

/// A section of a recording that is sent as one piece.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// The channel, from 0; `None`: all of them mixed.
    pub channel: Option<u32>,
    /// What is sent of it, in order of time, one part right behind the other; not empty.
    pub parts: Vec<TimeSpan>,
}

impl Section {
    /// Where it begins, in milliseconds of the recording.
    pub fn begin_ms(&self) -> u64 {
        self.parts.first().map_or(0, |part| part.begin_ms)
    }

    /// Where it ends, in milliseconds of the recording.
    pub fn end_ms(&self) -> u64 {
        self.parts.last().map_or(0, |part| part.end_ms)
    }

    /// Milliseconds of what is sent.
    pub fn length(&self) -> u64 {
        self.parts.iter().map(TimeSpan::length_ms).sum()
    }
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
    /// The container is known and its audio is not: nothing is wrong with the file.
    #[error("Hark cannot decode it: {0}; convert it to WAV, FLAC or MP3")]
    Undecodable(String),
    /// As [`Self::Undecodable`], and ffmpeg might decode it.
    #[error(
        "Hark needs ffmpeg to decode it, which is not installed here: {0}; install ffmpeg, or convert it to WAV, FLAC or MP3"
    )]
    NoFfmpeg(String),
    #[error("the file cannot be read: {0}")]
    Unreadable(String),
    /// The child reached its memory limit, or crashed or hung twice (once may be an accident).
    #[error(
        "the audio parser failed on this file ({0}); the file is damaged or crafted; convert it with another program"
    )]
    ParserFailed(String),
    /// Nothing was found out about the file; a retry may succeed.
    #[error(
        "no process could read the file: {0}; check memory, descriptors and process limits, and the disk that the file is on"
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
            ProbeError::Undecodable(_) | ProbeError::NoFfmpeg(_) => "UndecodableAudio",
            ProbeError::Unreadable(_) => "UnreadableFile",
            ProbeError::ParserFailed(_) => "ParserFailed",
            ProbeError::NoWorker(_) => "NoAudioWorker",
        }
    }

    /// The same error with the names of codec and container, if it is one of decoding.
    fn of_codec(self, probe: &Probe) -> ProbeError {
        let audio = match probe.codec.as_deref().filter(|codec| *codec != probe.format) {
            Some(codec) => format!("{codec} in {}", probe.format),
            None => probe.format.clone(),
        };
        match self {
            ProbeError::Undecodable(why) => ProbeError::Undecodable(format!("{audio}: {why}")),
            ProbeError::NoFfmpeg(_) => ProbeError::NoFfmpeg(audio),
            error => error,
        }
    }

    /// The error of audio that is read and yields no sample.
    fn nothing() -> ProbeError {
        ProbeError::Undecodable("none of its audio can be decoded".into())
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
