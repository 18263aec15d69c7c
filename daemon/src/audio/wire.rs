//! The protocol between daemon and audio worker: one packet for each message. Each request carries the descriptor of the file.
//!
//! A worker first says [`Ready`]. It answers a request with any number of [`Reply::Bytes`], [`Reply::Piece`], [`Reply::Until`] and
//! [`Reply::Interruptions`], and one message that ends the answer.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::analysis::{Analysis, AnalysisPlan};
use super::{Probe, ProbeError, Section};
use crate::config::PieceFormat;

/// The longest packet in either direction, in bytes. A socket's buffer holds several.
pub(super) const PACKET: usize = 32 << 10;

/// The first packet that a worker sends.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ready {
    /// Parts of the sandbox that the kernel does not provide, for the log.
    pub(super) missing: Vec<String>,
}

/// The daemon's request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Request {
    /// Of the file's name.
    pub(super) extension: Option<String>,
    pub(super) task: Task,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Task {
    Probe,
    /// As [`Task::Probe`], with the length that decoding finds.
    Measure,
    Analyze(AnalysisPlan),
    /// If the last request was for the same recording and channel, the worker continues decoding where that request ended.
    Piece {
        recording: u64,
        section: Section,
        format: PieceFormat,
    },
}

impl Task {
    pub(super) fn is_piece(&self) -> bool {
        matches!(self, Task::Piece { .. })
    }
}

/// The most interruptions of one message.
pub(super) const MOST_INTERRUPTIONS: usize = 1_000;

/// A worker's message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Reply {
    /// Of an analysis: the next piece to send.
    Piece(Section),
    /// Of an analysis, at its end: interruptions, from this one on.
    Interruptions(usize, Vec<(u32, u64)>),
    /// Of an analysis: this many milliseconds of the recording are decoded.
    Until(u64),
    /// Of a piece: its next bytes.
    #[serde(skip)]
    Bytes(Vec<u8>),
    /// The daemon is to have ffmpeg decode the file with this demuxer; it answers [`Piped`].
    Decode(String),
    /// Ends the answer to [`Task::Probe`] and [`Task::Measure`].
    Probed(Result<Probe, ProbeError>),
    /// Ends the answer to [`Task::Analyze`]; without the sections and the interruptions, which were sent before.
    Analyzed(Result<Analysis, ProbeError>),
    /// Ends the answer to [`Task::Piece`].
    Made(Result<(), ProbeError>),
}

/// The daemon's answer to [`Reply::Decode`]; with `Ok` comes the end of a pipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Piped(pub(super) Result<(), ProbeError>);

/// Begins a packet of bytes. No JSON begins so.
const BYTES: u8 = 0;

/// The most bytes of a piece that fit into a packet.
pub(super) const MOST_BYTES: usize = PACKET - 1;

impl Reply {
    /// Whether it ends an answer.
    pub(super) fn is_last(&self) -> bool {
        matches!(self, Reply::Probed(_) | Reply::Analyzed(_) | Reply::Made(_))
    }

    /// The packet of this message.
    ///
    /// # Errors
    /// None is known.
    pub(super) fn to_packet(&self) -> serde_json::Result<Vec<u8>> {
        match self {
            Reply::Bytes(bytes) => Ok([&[BYTES], &bytes[..]].concat()),
            reply => serde_json::to_vec(reply),
        }
    }

    /// Reads a packet.
    ///
    /// # Errors
    /// When it is none of a worker's.
    pub(super) fn of_packet(packet: &[u8]) -> serde_json::Result<Reply> {
        match packet {
            [BYTES, bytes @ ..] => Ok(Reply::Bytes(bytes.to_vec())),
            packet => from_packet(packet),
        }
    }
}

/// Reads a packet that holds JSON.
///
/// # Errors
/// When it holds something else.
pub(super) fn from_packet<T: DeserializeOwned>(packet: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(packet)
}
