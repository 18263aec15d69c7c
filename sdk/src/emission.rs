//! What a plugin may say, checked: from the bytes of `emit`, `annotate` and `replace` to events.
//!
//! The daemon reads a plugin's answers with these functions, and so does the testing kit: a test refuses what the daemon would refuse.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::event::{Body, Event, Kind, PluginEvent, TranscriptFinal, UnknownKind, is_token};
use crate::plain::Plain;

/// Most bytes of one emission: a NATS message takes 1 MiB unless configured, and an alert is a line.
pub const LARGEST: usize = 1 << 20;
/// Most emissions for one event: a rule that fires more often than this in one recording says nothing any more.
pub const MOST: usize = 256;
/// Most bytes of all that is emitted for one event: some hundred alerts, a long annotation, no more.
pub const MOST_BYTES: usize = 8 << 20;
/// Most JSON values (numbers, texts, lists, …) in it. Two bytes of `0,` are a value of 32 in the daemon, which keeps it until it is stored.
pub const MOST_VALUES: usize = 1 << 16;

/// Why the daemon does not forward what a plugin said.
#[derive(Debug, thiserror::Error)]
pub enum Rubbish {
    /// `emit` of what is Hark's own to say.
    #[error("a plugin cannot emit {0:?}; it may emit \"alert.raised\", \"alert.retracted\" and \"plugin\"")]
    Kind(String),
    /// A kind that is none.
    #[error(transparent)]
    UnknownKind(#[from] UnknownKind),
    /// Words under somebody else's name.
    #[error("a plugin cannot speak for plugin {0:?}; emit \"plugin\" and the daemon fills in the name")]
    ForeignName(String),
    /// Neither language, emotion, nor a plain name.
    #[error("{0:?} cannot name an annotation; use lower-case letters, digits, _ and -")]
    Name(String),
    /// Not JSON, or JSON of another shape.
    #[error("the JSON of {what} does not fit: {error}")]
    Shape {
        /// The kind, or the function.
        what: String,
        /// What serde says of it.
        error: serde_json::Error,
    },
    /// An alert that nobody could refer to.
    #[error("an alert needs a non-empty {0:?}")]
    Empty(&'static str),
    /// Over [`LARGEST`], or over [`MOST_BYTES`] for what replaces a text.
    #[error("{what} of {bytes} bytes; at most {most} are forwarded")]
    TooLarge {
        /// The kind, or the function.
        what: String,
        /// How large it was.
        bytes: usize,
        /// How large it may be.
        most: usize,
    },
    /// Over [`MOST`], [`MOST_BYTES`] or [`MOST_VALUES`].
    #[error(
        "more than {MOST} events for one, or more than {MOST_BYTES} bytes or {MOST_VALUES} JSON values in them"
    )]
    TooMany,
    /// `replace` where there is nothing to replace.
    #[error("only a transcript.final has a text to replace, not {0}")]
    NothingToReplace(Kind),
    /// `replace` without the flag.
    #[error("only a plugin that declares itself a transform may replace text")]
    NoTransform,
    /// `replace` that would leave segments untouched, and what stands in them published.
    #[error("replace gave {given} segment texts for {needed} segments; give one for each")]
    Segments {
        /// In the answer.
        given: usize,
        /// In the transcript.
        needed: usize,
    },
}

/// What may still be said about one event.
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
    /// Takes from it what a body needs that was written in so many bytes.
    ///
    /// # Errors
    /// When there is not enough left; then nothing is taken.
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

/// What `emit(kind, json)` of the plugin called `plugin` means.
///
/// # Errors
/// When it means nothing that a plugin may say.
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
        let said = fields.insert("plugin".into(), plugin.into());
        if let Some(name) = said.as_ref().and_then(Value::as_str)
            && !name.is_empty()
            && name != plugin
        {
            return Err(Rubbish::ForeignName(name.to_owned()));
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

/// What `annotate(name, json)` of the plugin called `plugin` means.
///
/// # Errors
/// When the name is none, or the JSON has another shape.
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

/// The event with the text that `replace(json)` gives it.
///
/// # Errors
/// When the event is no final, or the JSON does not give a text for each segment.
pub fn replaced(event: &Event, json: &[u8]) -> Result<Event, Rubbish> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Replacement {
        text: String,
        segments: Option<Vec<String>>,
    }
    let Body::TranscriptFinal(transcript) = &event.body else {
        return Err(Rubbish::NothingToReplace(event.kind()));
    };
    let Replacement { text, segments } =
        serde_json::from_slice(json).map_err(|error| Rubbish::Shape { what: "replace".into(), error })?;
    let needed = transcript.segments.as_ref().map_or(0, Vec::len);
    let segments = match segments {
        None if needed <= 1 => vec![text.clone(); needed],
        given => given.unwrap_or_default(),
    };
    if segments.len() != needed {
        return Err(Rubbish::Segments { given: segments.len(), needed });
    }
    let mut transcript = TranscriptFinal { text, ..transcript.clone() };
    for (segment, text) in transcript.segments.iter_mut().flatten().zip(segments) {
        segment.text = text;
    }
    Ok(Event { body: Body::TranscriptFinal(transcript), ..event.clone() })
}

fn parse(what: &str, json: &[u8]) -> Result<Value, Rubbish> {
    if json.len() > LARGEST {
        return Err(Rubbish::TooLarge { what: what.to_owned(), bytes: json.len(), most: LARGEST });
    }
    let shape = |error| Rubbish::Shape { what: what.to_owned(), error };
    serde_json::from_slice(json).map(|Plain(value)| value).map_err(shape)
}

fn own(plugin: &str, data: Value) -> Body {
    Body::Plugin(PluginEvent { plugin: plugin.to_owned(), data })
}
