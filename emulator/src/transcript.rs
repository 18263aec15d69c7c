//! The text of a recording: from the manifest, else made from the hash.

use serde_json::{Value, json};

use crate::manifest::{KnownSentence, Recording};
use crate::service::Service;
use crate::text;

/// What flash answers: one text for all channels together.
#[derive(Debug, Clone, PartialEq)]
pub struct Recognized {
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
    pub speaker: u32,
}

/// The recording's text from flash. `language` is the language that the request named; the answer repeats it.
pub fn hear(service: &Service, sha256: &str, language: Option<&str>) -> Recognized {
    let known = service.manifest.get(sha256);
    let text = match known {
        Some(recording) => whole_text(recording),
        None => text::text_for(sha256),
    };
    Recognized {
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
                speaker: known_sentence.speaker_id.unwrap_or(0),
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
            // If the manifest names no speakers, two speakers alternate.
            let sentence = |(number, (part, (begin, end))): (usize, (&&str, (u64, u64)))| Sentence {
                speaker: (number % 2) as u32,
                begin,
                end,
                text: (*part).to_owned(),
                language: language_of(known, None, language),
                emotion: emotion_of(known, None),
            };
            parts.iter().zip(spans).enumerate().map(sentence).collect()
        }
    }
}

/// Returns the context as if it were the transcript, as a recognizer may do on silence.
pub fn echo(context: &str, duration_ms: u64) -> Vec<Sentence> {
    let parts = text::sentences(context);
    let spans = share(duration_ms, &parts);
    let sentence = |(part, (begin, end)): (&&str, (u64, u64))| Sentence {
        begin,
        end,
        text: (*part).to_owned(),
        language: "en".to_owned(),
        emotion: "neutral".to_owned(),
        speaker: 0,
    };
    parts.iter().zip(spans).map(sentence).collect()
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

/// The words of a sentence share its time. Punctuation behind a word stands by itself. `with_blanks`: a word has the blank before it.
pub fn words(sentence: &Sentence, with_blanks: bool) -> Vec<Value> {
    let pieces = text::pieces(&sentence.text);
    let spans = share(sentence.end.saturating_sub(sentence.begin), &pieces);
    let word = |(piece, (begin, end)): (&&str, (u64, u64))| {
        let piece = if with_blanks { piece } else { piece.trim() };
        let word = piece.trim_end_matches(|letter: char| !letter.is_alphanumeric());
        json!({
            "begin_time": sentence.begin + begin,
            "end_time": sentence.begin + end,
            "text": word,
            "punctuation": &piece[word.len()..],
        })
    };
    pieces.iter().zip(spans).map(word).collect()
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
