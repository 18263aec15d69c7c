//! Checks what a plugin emits: from the bytes of `emit`, `annotate` and `replace` to events.
//!
//! The daemon and the testing kit both use these functions: so a test refuses what the daemon would refuse.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::event::{About, Body, Event, Kind, PluginEvent, UnknownKind, is_token};
use crate::plain::Plain;

/// Most bytes of one emission: a NATS message holds 1 MiB by default, and an alert is a line.
pub const LARGEST: usize = 1 << 20;
/// Most emissions for one event: as many as the daemon stores of a job. The final of a call of many hours may have an alert in each segment.
pub const MOST: usize = 20_000;
/// Most bytes of all emissions for one event: enough for some thousand alerts and a long annotation.
pub const MOST_BYTES: usize = 8 << 20;
/// Most JSON values (numbers, texts, lists, …) in all emissions for one event. The two bytes `0,` become a value of 32 bytes in the daemon,
/// which keeps the value until it is stored.
pub const MOST_VALUES: usize = 1 << 16;

/// Placeholder for the plugin's configured name in the `alert` field of an alert. A plugin does not know its name, and two plugins that share a
/// library would otherwise raise alerts with the same identity.
pub const PLUGIN: &str = "{plugin}";
/// Most bytes of one file.
pub const LARGEST_FILE: usize = 16 << 20;
/// Most files for one event.
pub const MOST_FILES: usize = 8;
/// Most bytes of all files for one event.
pub const MOST_FILE_BYTES: usize = 32 << 20;
/// Most bytes of a file's suffix.
const LONGEST_SUFFIX: usize = 32;

/// A file that a plugin hands over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// What follows the recording's base name.
    pub suffix: String,
    /// The content.
    pub bytes: Vec<u8>,
}

/// Why the daemon does not forward an emission of a plugin.
#[derive(Debug, thiserror::Error)]
pub enum Rubbish {
    /// `emit` of a kind that only Hark emits.
    #[error("a plugin cannot emit {0:?}; it may emit \"alert.raised\", \"alert.retracted\" and \"plugin\"")]
    Kind(String),
    /// An unknown kind.
    #[error(transparent)]
    UnknownKind(#[from] UnknownKind),
    /// An emission under another plugin's name.
    #[error("a plugin cannot emit as plugin {0:?}; emit \"plugin\" and the daemon fills in the name")]
    ForeignName(String),
    /// An annotation whose name is not a token (`[a-z0-9_-]+`).
    #[error("{0:?} cannot name an annotation; use lower-case letters, digits, _ and -")]
    Name(String),
    /// Not JSON, or JSON of another shape.
    #[error("the JSON of {what} does not fit: {error}")]
    Shape {
        /// The kind, or the function.
        what: String,
        /// The error of serde.
        error: serde_json::Error,
    },
    /// An alert with an empty `alert` or `rule`: consumers could not refer to it.
    #[error("an alert needs a non-empty {0:?}")]
    Empty(&'static str),
    /// Over [`LARGEST`], or over [`MOST_BYTES`] for `replace`.
    #[error("{what} of {bytes} bytes; at most {most} are forwarded")]
    TooLarge {
        /// The kind, or the function.
        what: String,
        /// Its size.
        bytes: usize,
        /// The limit.
        most: usize,
    },
    /// Over [`MOST`], [`MOST_BYTES`] or [`MOST_VALUES`].
    #[error(
        "more than {MOST} events for one, or more than {MOST_BYTES} bytes or {MOST_VALUES} JSON values in them"
    )]
    TooMany,
    /// `replace` of an event that is no transcript.
    #[error(
        "only transcript.partial, transcript.segment and transcript.final have a text to replace, not {0}"
    )]
    NothingToReplace(Kind),
    /// `file` with a suffix that cannot end a file's name.
    #[error(
        "{0:?} cannot be a file's suffix; begin with a dot, and use at most 32 letters, digits, dots, _ and -"
    )]
    Suffix(String),
    /// `file` for an event that is not a transcript.final.
    #[error("only a transcript.final has files, not {0}")]
    NoFiles(Kind),
    /// Over [`MOST_FILES`] or [`MOST_FILE_BYTES`].
    #[error("more than {MOST_FILES} files for one event, or more than {MOST_FILE_BYTES} bytes in them")]
    TooManyFiles,
    /// `replace` without the flag [`TRANSFORM`](crate::abi::TRANSFORM).
    #[error("only a plugin that declares itself a transform may replace text")]
    NoTransform,
    /// `replace` with too few or too many segment texts: the original text of a segment could be published.
    #[error("replace gave {given} segment texts for {needed} segments; give one for each")]
    Segments {
        /// Number of texts in the `replace`.
        given: usize,
        /// Number of segments in the transcript.
        needed: usize,
    },
}

/// What a plugin may still emit for one event.
#[derive(Debug)]
pub struct Allowance {
    emissions: usize,
    bytes: usize,
    values: usize,
}

impl Default for Allowance {
    fn default() -> Self {
        Allowance { emissions: MOST, bytes: MOST_BYTES, values: MOST_VALUES }
    }
}

impl Allowance {
    /// Subtracts one emission: a body that was written in this many bytes.
    ///
    /// # Errors
    /// When not enough is left; then nothing is subtracted.
    pub fn take(&mut self, body: &Body, bytes: usize) -> Result<(), Rubbish> {
        let values = match body {
            Body::Plugin(event) => count(&event.data),
            _ => 1,
        };
        let left = || {
            Some(Allowance {
                emissions: self.emissions.checked_sub(1)?,
                bytes: self.bytes.checked_sub(bytes)?,
                values: self.values.checked_sub(values)?,
            })
        };
        *self = left().ok_or(Rubbish::TooMany)?;
        Ok(())
    }
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(values) => values.iter().map(count).sum(),
        Value::Object(fields) => fields.values().map(count).sum(),
        _ => 0,
    }
}

/// The event body that `emit(kind, json)` of the plugin named `plugin` makes.
///
/// # Errors
/// When a plugin may not emit it.
pub fn emitted(plugin: &str, kind: &str, json: &[u8]) -> Result<Body, Rubbish> {
    if kind == "plugin" {
        return Ok(own(plugin, parse(kind, json)?));
    }
    let kind: Kind = kind.parse()?;
    let mut value: Value = match &kind {
        Kind::Plugin(name) if name == plugin => return Ok(own(plugin, parse("plugin", json)?)),
        Kind::Plugin(name) => return Err(Rubbish::ForeignName(name.clone())),
        Kind::AlertRaised | Kind::AlertRetracted => parse(&kind.to_string(), json)?,
        other => return Err(Rubbish::Kind(other.to_string())),
    };
    if let Some(fields) = value.as_object_mut() {
        // The daemon fills these in.
        for key in ["piece", "revision"] {
            fields.remove(key);
        }
        let given = fields.insert("plugin".into(), plugin.into());
        if let Some(name) = given.as_ref().and_then(Value::as_str)
            && !name.is_empty()
            && name != plugin
        {
            return Err(Rubbish::ForeignName(name.to_owned()));
        }
        if let Some(Value::String(alert)) = fields.get_mut("alert") {
            *alert = alert.replace(PLUGIN, plugin);
        }
    }
    let body =
        Body::from_value(&kind, value).map_err(|error| Rubbish::Shape { what: kind.to_string(), error })?;
    if let Body::AlertRaised(alert) | Body::AlertRetracted(alert) = &body {
        for (name, text) in [("alert", &alert.alert), ("rule", &alert.rule)] {
            if text.is_empty() {
                return Err(Rubbish::Empty(name));
            }
        }
    }
    Ok(body)
}

/// The event body that `annotate(name, json)` of the plugin named `plugin` makes.
///
/// # Errors
/// When the name is not a token, or the JSON has another shape.
pub fn annotated(plugin: &str, name: &str, json: &[u8]) -> Result<Body, Rubbish> {
    if !is_token(name) {
        return Err(Rubbish::Name(name.chars().take(64).collect()));
    }
    let value: Value = parse(name, json)?;
    let shape = |error| Rubbish::Shape { what: format!("annotation {name:?}"), error };
    match name {
        "language" => Body::from_value(&Kind::AnnotationLanguage, value).map_err(shape),
        "emotion" => Body::from_value(&Kind::AnnotationEmotion, value).map_err(shape),
        _ => Ok(own(plugin, json!({ name: value }))),
    }
}

/// The event with its text replaced by `replace(json)`. A segment whose text changes loses its words: they would tell what the text hides.
/// A `transcript.segment` has no text beside its segments' texts, and a `transcript.partial` has no segments.
///
/// # Errors
/// When the event is no transcript, or the JSON does not have one text for each segment.
pub fn replaced(event: &Event, json: &[u8]) -> Result<Event, Rubbish> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Replacement {
        text: String,
        segments: Option<Vec<String>>,
    }
    let mut body = event.body.clone();
    let (whole, segments) = match &mut body {
        Body::TranscriptFinal(fields) => (Some(&mut fields.text), fields.segments.as_deref_mut()),
        Body::TranscriptSegment(fields) => (None, Some(&mut fields.segments[..])),
        Body::TranscriptPartial(fields) => (Some(&mut fields.text), None),
        _ => return Err(Rubbish::NothingToReplace(event.kind())),
    };
    let Replacement { text, segments: texts } =
        serde_json::from_slice(json).map_err(|error| Rubbish::Shape { what: "replace".into(), error })?;
    let segments = segments.unwrap_or_default();
    let needed = segments.len();
    let texts = match texts {
        None if needed <= 1 => vec![text.clone(); needed],
        given => given.unwrap_or_default(),
    };
    if texts.len() != needed {
        return Err(Rubbish::Segments { given: texts.len(), needed });
    }
    for (segment, text) in segments.iter_mut().zip(texts) {
        if segment.text != text {
            segment.words = None;
        }
        segment.text = text;
    }
    if let Some(whole) = whole {
        *whole = text;
    }
    Ok(Event { body, ..event.clone() })
}

/// Adds the file that `file(suffix, bytes)` hands over for an event to those before it; a file of the same suffix is replaced.
///
/// # Errors
/// When the event has no files, the suffix cannot be one, or a limit is exceeded; then nothing is added.
pub fn add_file(files: &mut Vec<File>, kind: &Kind, suffix: &str, bytes: Vec<u8>) -> Result<(), Rubbish> {
    if *kind != Kind::TranscriptFinal {
        return Err(Rubbish::NoFiles(kind.clone()));
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let name = suffix.strip_prefix('.').unwrap_or_default();
    if name.is_empty() || suffix.len() > LONGEST_SUFFIX || !name.bytes().all(is_plain) || name.ends_with('.')
    {
        return Err(Rubbish::Suffix(suffix.chars().take(2 * LONGEST_SUFFIX).collect()));
    }
    if bytes.len() > LARGEST_FILE {
        return Err(Rubbish::TooLarge { what: suffix.to_owned(), bytes: bytes.len(), most: LARGEST_FILE });
    }
    let others = || files.iter().filter(|file| file.suffix != suffix);
    let total: usize = others().map(|file| file.bytes.len()).sum();
    if others().count() >= MOST_FILES || total + bytes.len() > MOST_FILE_BYTES {
        return Err(Rubbish::TooManyFiles);
    }
    files.retain(|file| file.suffix != suffix);
    files.push(File { suffix: suffix.to_owned(), bytes });
    Ok(())
}

fn parse(what: &str, json: &[u8]) -> Result<Value, Rubbish> {
    if json.len() > LARGEST {
        return Err(Rubbish::TooLarge { what: what.to_owned(), bytes: json.len(), most: LARGEST });
    }
    let shape = |error| Rubbish::Shape { what: what.to_owned(), error };
    serde_json::from_slice(json).map(|Plain(value)| value).map_err(shape)
}

fn own(plugin: &str, data: Value) -> Body {
    Body::Plugin(PluginEvent { plugin: plugin.to_owned(), data, about: About::default() })
}
