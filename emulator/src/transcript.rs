//! The text of a recording: from the manifest, else made from the hash.

use crate::manifest::{KnownSentence, Recording};
use crate::service::Service;
use crate::text;

/// What flash answers: one text for all channels together.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    pub text: String,
    pub language: String,
    pub emotion: String,
}

/// A sentence with its times in milliseconds from the start of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Sentence {
    pub begin: u64,
    pub end: u64,
    pub text: String,
    pub language: String,
    pub emotion: String,
}

/// The recording's text from flash. `language` is the one that the request named: it is echoed.
pub fn hear(service: &Service, sha256: &str, language: Option<&str>) -> Heard {
    let known = service.manifest.get(sha256);
    let text = match known {
        Some(recording) => whole_text(recording),
        None => text::text_for(sha256),
    };
    Heard {
        text,
        language: language_of(known, None, language),
        emotion: known
            .and_then(|recording| recording.emotion.clone())
            .unwrap_or_else(|| "neutral".to_owned()),
    }
}

/// The recording's text from filetrans for one channel: sentences in order of time, none of them beyond `duration_ms`.
pub fn hear_channel(
    service: &Service,
    sha256: &str,
    channel: u32,
    duration_ms: u64,
    language: Option<&str>,
) -> Vec<Sentence> {
    let known = service.manifest.get(sha256);
    match known {
        Some(recording) if !recording.sentences.is_empty() => {
            let mut sentences: Vec<&KnownSentence> = recording
                .sentences
                .iter()
                .filter(|sentence| sentence.channel_id.is_none_or(|id| id == channel))
                .collect();
            sentences.sort_by_key(|sentence| sentence.begin_time);
            let sentence = |known_sentence: &KnownSentence| Sentence {
                begin: known_sentence.begin_time.min(duration_ms),
                end: known_sentence.end_time.min(duration_ms),
                text: known_sentence.text.clone(),
                language: language_of(known, known_sentence.language.as_deref(), language),
                emotion: emotion_of(known, known_sentence.emotion.as_deref()),
            };
            sentences.into_iter().map(sentence).collect()
        }
        _ => {
            let text = match known {
                Some(recording) => whole_text(recording),
                None => text::text_for_channel(sha256, channel),
            };
            let parts = text::sentences(&text);
            let spans = share(duration_ms, &parts);
            let sentence = |(part, (begin, end)): (&&str, (u64, u64))| Sentence {
                begin,
                end,
                text: (*part).to_owned(),
                language: language_of(known, None, language),
                emotion: emotion_of(known, None),
            };
            parts.iter().zip(spans).map(sentence).collect()
        }
    }
}

/// Divides a span of time among texts, by their lengths in characters.
pub fn share(duration_ms: u64, parts: &[&str]) -> Vec<(u64, u64)> {
    let letters = |part: &&str| part.chars().count() as u64;
    let total: u64 = parts.iter().map(letters).sum::<u64>().max(1);
    let mut spoken = 0;
    let mut spans = Vec::with_capacity(parts.len());
    for part in parts {
        let begin = duration_ms.saturating_mul(spoken) / total;
        spoken += letters(part);
        spans.push((begin, duration_ms.saturating_mul(spoken) / total));
    }
    spans
}

fn whole_text(recording: &Recording) -> String {
    match &recording.text {
        Some(text) => text.clone(),
        None => {
            let mut sentences: Vec<&KnownSentence> = recording.sentences.iter().collect();
            sentences.sort_by_key(|sentence| sentence.begin_time);
            text::join(sentences.into_iter().map(|sentence| sentence.text.as_str()))
        }
    }
}

fn language_of(known: Option<&Recording>, of_sentence: Option<&str>, asked: Option<&str>) -> String {
    let of_recording = known.and_then(|recording| recording.language.as_deref());
    asked.or(of_sentence).or(of_recording).unwrap_or("en").to_owned()
}

fn emotion_of(known: Option<&Recording>, of_sentence: Option<&str>) -> String {
    let of_recording = known.and_then(|recording| recording.emotion.as_deref());
    of_sentence.or(of_recording).unwrap_or("neutral").to_owned()
}
