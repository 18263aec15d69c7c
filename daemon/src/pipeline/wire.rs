//! The protocol between the daemon and a plugin's process: frames of a four-byte length (little-endian) and JSON.
//!
//! The daemon sends [`ToChild::Load`] first, receives [`FromChild::Loaded`] or [`FromChild::NotLoaded`], and then sends events, several at
//! once if several are waiting. The process answers them in order, each before it begins the next: so the daemon knows at which event a
//! process died. The daemon checks everything that it receives; after an invalid frame or answer it ends the process.

use std::io::{self, Read};
use std::path::PathBuf;

use hark_sdk::event::Kind;
use hark_sdk::{Wants, emission};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio_util::codec::LengthDelimitedCodec;

use crate::os::resource_use::ResourceUse;
use crate::telemetry::logging::readable;

/// Longest frame in bytes: an event of the longest recording (12 hours) takes some MiB.
pub const LONGEST: usize = 32 << 20;
/// Longest frame that the daemon receives. It holds all that a plugin may emit for one event with its kinds, and a replaced text; or a file in
/// base64. A plugin that writes frames of its own into the socket costs the daemon at most a small multiple of this memory.
const LONGEST_ANSWER: usize = emission::LARGEST_FILE / 3 * 4 + (1 << 20);
const _: () = assert!(LONGEST_ANSWER > 2 * emission::MOST_BYTES);
const HEAD: usize = 4;
/// Bytes that most frames do not exceed.
const USUAL: usize = 2 << 10;

/// From the daemon to a plugin's process.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToChild<B> {
    /// The first frame.
    Load(Load),
    /// An event. The daemon serializes its body; the process passes the JSON on to the plugin as it is.
    Event { kind: String, body: B },
    /// Asks how much memory and how many descriptors and threads the process holds, between two events; used by a trial.
    Measure,
}

/// The library to load, and the rights of its process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// The plugin's configured name.
    pub name: String,
    pub library: PathBuf,
    /// Hex digest that the library must have, or empty.
    pub sha256: String,
    /// `[plugin.config]` as JSON.
    pub config: String,
    /// Paths that the plugin may not read, see [`crate::os::sandbox::PluginRights`].
    pub hidden: Vec<PathBuf>,
    pub writable: Vec<PathBuf>,
    pub network: bool,
    /// The process answers with [`FromChild::Schema`], creates no plugin and ignores `config`.
    #[serde(default)]
    pub schema_only: bool,
}

/// From a plugin's process to the daemon.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromChild {
    Loaded(Description),
    NotLoaded(Refusal),
    /// The schema of the plugin's config, which has been read as one.
    Schema(Option<String>),
    Log {
        level: i32,
        line: String,
    },
    /// A file that the plugin hands over for the event whose answer follows.
    File {
        suffix: String,
        base64: String,
    },
    Answer(Answer),
    Measured(ResourceUse),
}

/// Why a library is not loaded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Refusal {
    pub error: String,
    /// If `[plugin.config]` does not fit the plugin's schema, or `create` names several mistakes: all of them, each beginning with its key.
    pub mistakes: Vec<String>,
}

impl Refusal {
    /// The refusal with its texts made fit for display.
    pub fn cleaned(self) -> Refusal {
        Refusal {
            error: clean(&self.error),
            mistakes: self.mistakes.iter().map(|text| clean(text)).collect(),
        }
    }
}

impl From<String> for Refusal {
    fn from(error: String) -> Self {
        Refusal { error, mistakes: Vec::new() }
    }
}

/// What a library declares about itself, and what the process found out about it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Description {
    /// The plugin's version; empty if it has none.
    pub version: String,
    /// Hex digest of the library's bytes.
    pub sha256: String,
    /// `HARK_WANTS_…`.
    pub wants: u32,
    /// Whether the plugin replaces text.
    pub transform: bool,
    /// Whether it brings a schema of its config.
    pub schema: bool,
    /// Parts of the sandbox that the kernel does not enforce, a sentence each.
    pub missing: Vec<String>,
    /// What the plugin logged as warnings while it was created: of its config.
    #[serde(default)]
    pub warnings: Vec<String>,
}

impl Description {
    /// The description with its texts made fit for display: a process can write anything here.
    pub fn cleaned(mut self) -> Description {
        for text in [&mut self.version, &mut self.sha256]
            .into_iter()
            .chain(&mut self.missing)
            .chain(&mut self.warnings)
        {
            *text = clean(text);
        }
        self
    }

    /// Kinds of events that the plugin asks for although the daemon never sends them to plugins, in words for its author.
    pub fn unsupported_wants(&self) -> Option<&'static str> {
        Wants::from_bits(self.wants).include(&Kind::JobAccepted).then_some("jobs")
    }
}

/// A process's answer to one event.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Answer {
    pub outcome: Outcome,
    pub said: Vec<Emitted>,
    pub replaced: Option<Box<RawValue>>,
    /// If something that the plugin emitted was refused: how many emissions, and the reasons of the first.
    pub refused: Option<String>,
    /// The files that came before the answer, not checked: suffix and base64.
    #[serde(skip)]
    pub files: Vec<(String, String)>,
}

/// The results that the ABI defines. Failures have a reason: what the plugin logged as an error, or what was refused.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    #[default]
    Ok,
    Error(String),
    Failed(String),
}

/// Text from a process made fit for logs, terminals and events: one line of at most 1 KiB.
pub fn clean(text: &str) -> String {
    const LONGEST: usize = 1024;
    readable(&text[..text.floor_char_boundary(LONGEST)]).into_owned()
}

/// One call of `emit` or `annotate`, with its JSON not parsed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Emitted {
    Emit { kind: String, json: Box<RawValue> },
    Annotate { name: String, json: Box<RawValue> },
}

/// A message as a frame.
///
/// # Errors
/// When it is longer than [`LONGEST`].
pub fn frame(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(USUAL);
    bytes.resize(HEAD, 0);
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - HEAD;
    check(length)?;
    bytes[..HEAD].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(bytes)
}

/// Splits frames off what the daemon receives.
pub fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().little_endian().max_frame_length(LONGEST_ANSWER).new_codec()
}

/// Reads a frame into `buffer`; false at the end of the stream.
///
/// # Errors
/// When the stream ends inside a frame, or the length is more than [`LONGEST`].
pub fn read_frame(reader: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<bool> {
    let mut head = [0; HEAD];
    match reader.read_exact(&mut head) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        other => other?,
    }
    buffer.resize(check(u32::from_le_bytes(head) as usize)?, 0);
    reader.read_exact(buffer)?;
    Ok(true)
}

fn check(length: usize) -> io::Result<usize> {
    if length > LONGEST {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a frame of {length} bytes; at most {LONGEST} can be passed on"),
        ));
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use tokio_util::codec::Decoder;

    use super::*;

    #[test]
    fn a_length_that_cannot_be_one_is_refused_before_memory_is_taken_for_it() {
        let mut received = bytes::BytesMut::from(&b"\xff\xff\xff\xff"[..]);
        assert!(codec().decode(&mut received).is_err());
        assert!(read_frame(&mut &b"\xff\xff\xff\xff"[..], &mut Vec::new()).is_err());
    }

    #[test]
    fn an_event_arrives_as_the_body_that_is_published() {
        let event = hark_sdk::testing::transcript(&["grüezi"]);
        let bytes = frame(&ToChild::Event { kind: event.kind().to_string(), body: &event }).unwrap();
        let mut buffer = Vec::new();
        assert!(read_frame(&mut &bytes[..], &mut buffer).unwrap());
        let Ok(ToChild::Event { kind, body }) = serde_json::from_slice::<ToChild<&RawValue>>(&buffer) else {
            panic!("no event")
        };
        assert_eq!(
            (kind.as_str(), body.get()),
            ("transcript.final", &*serde_json::to_string(&event).unwrap())
        );
    }
}
