//! The transcript as text and as JSON.

use hark_sdk::Transcript;
use hark_sdk::event::{Segment, Word};
use serde::Serialize;

use crate::speaker::{Speaker, label};

/// A line for each change of speaker, with the name before it. A transcript without segments is its text.
pub(crate) fn txt(transcript: &Transcript, has_names: bool) -> String {
    let mut file = String::new();
    let segments = transcript.segments.as_deref().unwrap_or_default();
    let mut before = None;
    for segment in segments {
        let text = words(&segment.text);
        let speaker = Speaker::of(segment);
        if text.is_empty() {
            continue;
        }
        if before == Some(speaker) {
            file.push_str(if is_joined(&file, &text) { "" } else { " " });
        } else {
            file.push_str(if before.is_some() { "\n" } else { "" });
            file.push_str(&speaker.name().filter(|_| has_names).map(|name| label(&name)).unwrap_or_default());
        }
        file.push_str(&text);
        before = Some(speaker);
    }
    if segments.is_empty() {
        file.push_str(transcript.text.trim());
    }
    if !file.is_empty() {
        file.push('\n');
    }
    file
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether two texts follow each other without a space: both sides are Chinese or Japanese.
fn is_joined(one: &str, other: &str) -> bool {
    let is_wide = |character: Option<char>| matches!(u32::from(character.unwrap_or(' ')), 0x3000..=0x30FF | 0x3400..=0x9FFF | 0xFF00..=0xFFEF | 0x20000..=0x323AF);
    is_wide(one.chars().next_back()) && is_wide(other.chars().next())
}

/// `.transcript.json`. docs/plugins/subtitles.md documents the fields.
#[derive(Debug, Serialize)]
struct Json<'a> {
    job: String,
    recording: Recording<'a>,
    engine: &'a str,
    model: &'a str,
    language: Option<&'a str>,
    text: &'a str,
    segments: Vec<Piece<'a>>,
}

#[derive(Debug, Serialize)]
struct Recording<'a> {
    name: Option<&'a str>,
    sha256: Option<&'a str>,
    duration_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Piece<'a> {
    channel: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    speaker: Option<&'a str>,
    begin_ms: Option<u64>,
    end_ms: Option<u64>,
    language: Option<&'a str>,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    words: Option<&'a [Word]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

impl<'a> Piece<'a> {
    fn of(segment: &'a Segment) -> Piece<'a> {
        Piece {
            channel: segment.channel,
            role: segment.role.as_deref(),
            speaker: segment.speaker.as_deref(),
            begin_ms: segment.begin_ms,
            end_ms: segment.end_ms,
            language: segment.language.as_deref(),
            text: &segment.text,
            words: segment.words.as_deref(),
            error: segment.error.as_ref().map(|fault| fault.code.as_str()),
        }
    }
}

/// The transcript for programs.
///
/// # Errors
/// Those of serde; none are known.
pub(crate) fn json(transcript: &Transcript) -> Result<String, serde_json::Error> {
    let recording = &transcript.event.recording;
    let json = Json {
        job: transcript.event.job.to_string(),
        recording: Recording {
            name: recording.name.as_deref(),
            sha256: recording.sha256.as_deref(),
            duration_ms: recording.duration_ms,
        },
        engine: transcript.engine.as_str(),
        model: &transcript.model,
        language: transcript.language.as_deref(),
        text: &transcript.text,
        segments: transcript.segments.iter().flatten().map(Piece::of).collect(),
    };
    Ok(serde_json::to_string_pretty(&json)? + "\n")
}
