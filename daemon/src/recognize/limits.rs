//! What a recognizer accepts. `route` chooses by these limits; no other property of a recognizer is known outside its folder.

use std::time::Duration;

use crate::config::{Inputs, Outputs, PieceFormat};

/// What a recognizer accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Containers, as `recording.format` names them; empty: any.
    pub formats: &'static [&'static str],
    /// Longest recording of one request.
    pub longest: Option<Duration>,
    /// The audio is sent in the request.
    pub inline: Delivers,
    /// The audio is uploaded to the service's own storage first ([`super::Recognizer::upload`]).
    pub upload: Delivers,
    /// The service fetches the audio from a URL.
    pub url: Delivers,
    /// The text is streamed while it is recognized.
    pub streams: bool,
    /// Only the channels that a request names are recognized; otherwise the service mixes all channels down.
    pub selects_channels: bool,
    /// What it can be told besides the audio.
    pub inputs: Inputs,
    /// What it tells besides the text.
    pub outputs: Outputs,
    /// It takes recordings in pieces that are decoded and cut here, where it does not take them as they are.
    pub pieces: Option<Pieces>,
    /// For recognizers whose requests become tasks.
    pub tasks: Option<Tasks>,
}

/// Whether a recognizer accepts audio in one of these ways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivers {
    /// Yes, files of up to this many bytes.
    UpTo(u64),
    /// No.
    No,
    /// The config forbids it. The text tells the operator what to change.
    Forbidden(&'static str),
}

/// The pieces that a recognizer takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pieces {
    /// The longest; `None`: the route's `piece`.
    pub longest: Option<Duration>,
    /// What they are sent as.
    pub format: PieceFormat,
}

/// How long the service keeps tasks and their results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tasks {
    /// From a task's end until the service deletes its result.
    pub kept: Duration,
    /// The service itself ends a task that produces nothing for so long.
    pub longest: Duration,
}
