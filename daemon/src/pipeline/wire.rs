//! The protocol between the daemon and a plugin's process: frames of a four-byte length (little-endian) and JSON.
//!
//! The daemon sends [`ToChild::Load`] first, receives [`FromChild::Loaded`] or [`FromChild::NotLoaded`], and then sends events, several at
//! once if several are waiting. The process answers them in order, each before it begins the next: so the daemon knows at which event a
//! process died. The daemon checks everything that it receives; after an invalid frame it ends the process.

use std::fmt;
use std::io::{self, Read, Write};
use std::marker::PhantomData;
use std::path::PathBuf;

use hark_sdk::event::{Event, Kind};
use hark_sdk::{Wants, emission};
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::telemetry::logging::readable;

/// Longest frame in bytes: an event of the longest recording (12 hours) takes some MiB.
pub const LONGEST: usize = 32 << 20;
const HEAD: usize = 4;
/// Number of refusals whose reasons are reported; further refusals are only counted.
pub const MOST_REASONS: usize = 4;

/// From the daemon to a plugin's process.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToChild<'a> {
    /// The first frame.
    Load(Load),
    /// An event; the plugin receives `body` as it is.
    Event {
        kind: String,
        #[serde(borrow)]
        body: &'a RawValue,
    },
}

/// The library to load, and the rights of its process.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
}

/// From a plugin's process to the daemon.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromChild {
    Loaded(Description),
    NotLoaded { error: String },
    Log { level: i32, line: String },
    Answer(Answer),
}

/// What a library declares about itself, and what the process found out about it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The plugin's version; empty if it has none.
    pub version: String,
    /// Hex digest of the library's bytes.
    pub sha256: String,
    /// `HARK_WANTS_…`.
    pub wants: u32,
    /// Whether the plugin replaces text.
    pub transform: bool,
    /// Parts of the sandbox that the kernel does not enforce, a sentence each.
    #[serde(deserialize_with = "few::<16, _, _>")]
    pub missing: Vec<String>,
}

impl Description {
    /// The description with its texts made fit for display: a process can write anything here.
    pub fn cleaned(mut self) -> Description {
        for text in [&mut self.version, &mut self.sha256].into_iter().chain(&mut self.missing) {
            *text = clean(text);
        }
        self
    }

    /// Kinds of events that the plugin wants and never gets, in words for its author: so far the daemon calls plugins with finals and
    /// partials only.
    pub fn unheard(&self) -> Option<&'static str> {
        let wants = Wants::from_bits(self.wants);
        match (wants.include(&Kind::JobAccepted), wants.include(&Kind::AnnotationLanguage)) {
            (true, true) => Some("jobs and annotations"),
            (true, false) => Some("jobs"),
            (false, true) => Some("annotations"),
            (false, false) => None,
        }
    }
}

/// A process's answer to one event.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    pub result: Outcome,
    /// The last line that the plugin logged at error, if the call failed.
    pub error: Option<String>,
    #[serde(deserialize_with = "few::<{ emission::MOST }, _, _>")]
    pub said: Vec<Said>,
    pub replaced: Option<Box<RawValue>>,
    /// The last `replace` was refused, so the text is not what the plugin intended.
    pub replace_refused: bool,
    /// Reasons of the first refusals; `refused_count` is the number of all.
    #[serde(deserialize_with = "few::<MOST_REASONS, _, _>")]
    pub refused: Vec<String>,
    pub refused_count: u64,
}

impl Answer {
    /// Why a call failed: the plugin's error line, else the first refusal.
    pub fn why(&self) -> String {
        match (&self.error, self.refused.first()) {
            (Some(error), _) => clean(error),
            (None, Some(refusal)) => format!("it gave up when this was refused: {}", clean(refusal)),
            (None, None) => "it gave no reason".to_owned(),
        }
    }
}

/// Reads a list of at most `MOST` elements, which is all that `plugin-host` sends. A longer list is forged by the plugin: a frame has room
/// for ten million texts.
fn few<'de, const MOST: usize, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    struct Few<T, const MOST: usize>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Few<T, MOST> {
        type Value = Vec<T>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(formatter, "a list of at most {MOST}")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Vec<T>, A::Error> {
            let mut list = Vec::new();
            while let Some(one) = sequence.next_element()? {
                if list.len() == MOST {
                    return Err(de::Error::invalid_length(MOST + 1, &self));
                }
                list.push(one);
            }
            Ok(list)
        }
    }
    deserializer.deserialize_seq(Few::<T, MOST>(PhantomData))
}

/// Text from a process made fit for logs, terminals and events: one line of at most 1 KiB.
pub fn clean(text: &str) -> String {
    const LONGEST: usize = 1024;
    readable(&text[..text.floor_char_boundary(LONGEST)]).into_owned()
}

/// The results that the ABI defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Ok,
    Error,
    Failed,
}

/// One call of `emit` or `annotate`, with its JSON not parsed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    Emit { kind: String, json: Box<RawValue> },
    Annotate { name: String, json: Box<RawValue> },
}

/// A frame with an event in it: [`ToChild::Event`], written straight from the event.
///
/// # Errors
/// When it is longer than [`LONGEST`].
pub fn event_frame(event: &Event) -> io::Result<Vec<u8>> {
    #[derive(Serialize)]
    #[serde(rename_all = "snake_case")]
    enum EventFrame<'a> {
        Event { kind: String, body: &'a Event },
    }
    frame(&EventFrame::Event { kind: event.kind().to_string(), body: event })
}

/// A message as a frame.
///
/// # Errors
/// When it is longer than [`LONGEST`].
pub fn frame(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; HEAD];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - HEAD;
    check(length)?;
    bytes[..HEAD].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(bytes)
}

/// Splits the first complete frame off what was received so far and returns the bytes of its message.
///
/// # Errors
/// When the length is more than [`LONGEST`].
pub fn split_frame(received: &mut bytes::BytesMut) -> io::Result<Option<bytes::BytesMut>> {
    let Some(head) = received.first_chunk::<HEAD>() else { return Ok(None) };
    let length = check(u32::from_le_bytes(*head) as usize)?;
    if received.len() < HEAD + length {
        return Ok(None);
    }
    let mut frame = received.split_to(HEAD + length);
    Ok(Some(frame.split_off(HEAD)))
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

/// Writes a message as a frame.
///
/// # Errors
/// When the frame is too long, or the peer has closed the socket.
pub fn write_frame(writer: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    writer.write_all(&frame(message)?)
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
    use super::*;

    #[test]
    fn a_frame_is_read_however_it_is_cut() {
        let sent = FromChild::NotLoaded { error: "no".into() };
        let bytes = [frame(&sent).unwrap(), frame(&sent).unwrap()].concat();
        for piece in 1..bytes.len() {
            let mut received = bytes::BytesMut::new();
            let mut frames = 0;
            for chunk in bytes.chunks(piece) {
                received.extend_from_slice(chunk);
                while let Some(message) = split_frame(&mut received).unwrap() {
                    assert!(matches!(serde_json::from_slice(&message), Ok(FromChild::NotLoaded { .. })));
                    frames += 1;
                }
            }
            assert_eq!((frames, received.len()), (2, 0));
        }
    }

    #[test]
    fn a_length_that_cannot_be_one_is_refused_before_memory_is_taken_for_it() {
        let mut received = bytes::BytesMut::from(&b"\xff\xff\xff\xff"[..]);
        assert!(split_frame(&mut received).is_err());
        assert!(read_frame(&mut &b"\xff\xff\xff\xff"[..], &mut Vec::new()).is_err());
    }

    #[test]
    fn a_list_that_only_a_forger_would_send_is_not_held() {
        let answer = |said: &str, refused: &str| {
            let text = format!(
                r#"{{"answer":{{"result":"ok","error":null,"said":[{said}],"replaced":null,"replace_refused":false,"refused":[{refused}],"refused_count":0}}}}"#
            );
            serde_json::from_str::<FromChild>(&text).map(drop)
        };
        let many = |one: &str, count| vec![one; count].join(",");
        let one = r#"{"emit":{"kind":"plugin","json":0}}"#;
        answer(&many(one, emission::MOST), &many(r#""""#, MOST_REASONS)).unwrap();
        assert!(answer(&many(one, emission::MOST + 1), "").is_err());
        assert!(answer("", &many(r#""""#, MOST_REASONS + 1)).is_err());
    }

    #[test]
    fn an_event_arrives_as_the_body_that_is_published() {
        let event = hark_sdk::testing::transcript(&["grüezi"]);
        let bytes = event_frame(&event).unwrap();
        let mut buffer = Vec::new();
        assert!(read_frame(&mut &bytes[..], &mut buffer).unwrap());
        let Ok(ToChild::Event { kind, body }) = serde_json::from_slice(&buffer) else { panic!("no event") };
        assert_eq!(
            (kind.as_str(), body.get()),
            ("transcript.final", &*serde_json::to_string(&event).unwrap())
        );
    }
}
