//! What a recognizer takes. `route` chooses by it; nothing else about a recognizer is known outside its folder.

use std::borrow::Cow;
use std::time::Duration;

/// What a recognizer takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Containers, as `recording.format` names them; empty: any.
    pub formats: Cow<'static, [&'static str]>,
    /// Longest recording of one request.
    pub longest: Option<Duration>,
    /// The audio stands in the request.
    pub inline: Delivers,
    /// The audio goes to the service's own storage first ([`super::Recognizer::upload`]).
    pub upload: Delivers,
    /// The service fetches the audio from a URL.
    pub url: Delivers,
    /// Text comes back while it is made.
    pub streams: bool,
    /// For recognizers whose requests become tasks.
    pub tasks: Option<Tasks>,
}

/// Whether audio can be brought to the recognizer in one of the ways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivers {
    /// It can, up to so many bytes of a file.
    UpTo(u64),
    /// It can, up to so many bytes of a data URL: prefix and base64 included.
    UpToEncoded(u64),
    /// It cannot.
    No,
    /// The config forbids it. For a person: what to change.
    Forbidden(&'static str),
}

/// How long tasks and their results live at the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tasks {
    /// From a task's end until the service deletes its result.
    pub kept: Duration,
    /// The service itself ends a task that brings nothing for so long.
    pub longest: Duration,
}

/// The media type of a container.
pub(crate) fn mime(format: &str) -> &'static str {
    match format {
        "aac" => "audio/aac",
        "aiff" => "audio/aiff",
        "amr" => "audio/amr",
        "avi" => "video/x-msvideo",
        "flac" => "audio/flac",
        "flv" => "video/x-flv",
        "m4a" => "audio/mp4",
        "mkv" => "video/x-matroska",
        "mp3" => "audio/mpeg",
        "mpeg" => "video/mpeg",
        "ogg" | "opus" => "audio/ogg",
        "wav" => "audio/wav",
        "webm" => "audio/webm",
        "wma" => "audio/x-ms-wma",
        "wmv" => "video/x-ms-wmv",
        _ => "application/octet-stream",
    }
}

/// Bytes of the data URL of so many bytes in this container.
pub(crate) fn data_url_length(bytes: u64, format: &str) -> u64 {
    encoded_length(bytes) + "data:;base64,".len() as u64 + mime(format).len() as u64
}

/// Length of the base64 of so many bytes.
pub(crate) fn encoded_length(bytes: u64) -> u64 {
    bytes.div_ceil(3) * 4
}
