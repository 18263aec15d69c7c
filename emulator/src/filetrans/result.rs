//! The result file: for each channel its text, its sentences with their times, and the words if requested.

use serde_json::{Value, json};

use crate::media::Media;
use crate::service::Service;
use crate::text;
use crate::transcript::{self, Sentence};

use super::submit::Order;

/// The file's content; `None` if no channel has any speech.
pub(super) fn result(service: &Service, order: &Order, sha256: &str, media: &Media) -> Option<Value> {
    let duration_ms = u64::try_from(media.duration.as_millis()).unwrap_or(u64::MAX);
    let mut transcripts = Vec::with_capacity(order.channels.len());
    let mut silent = true;
    for channel in &order.channels {
        let sentences =
            transcript::hear_channel(service, sha256, *channel, duration_ms, order.language.as_deref());
        silent &= sentences.is_empty();
        let text = text::join(sentences.iter().map(|sentence| sentence.text.as_str()));
        let sentences: Vec<Value> = sentences
            .iter()
            .enumerate()
            .map(|(number, sentence)| sentence_body(number, sentence, order.enable_words))
            .collect();
        transcripts.push(json!({"channel_id": channel, "text": text, "sentences": sentences}));
    }
    let result = json!({
        "file_url": order.file_url,
        "audio_info": {"format": media.container.name(), "sample_rate": media.sample_rate},
        "transcripts": transcripts,
    });
    (!silent).then_some(result)
}

fn sentence_body(number: usize, sentence: &Sentence, with_words: bool) -> Value {
    let mut body = json!({
        "sentence_id": number,
        "begin_time": sentence.begin,
        "end_time": sentence.end,
        "language": sentence.language,
        "emotion": sentence.emotion,
        "text": sentence.text,
    });
    if with_words {
        body["words"] = Value::Array(words(sentence));
    }
    body
}

/// The words share the time of their sentence. Punctuation behind a word stands by itself.
fn words(sentence: &Sentence) -> Vec<Value> {
    let pieces = text::pieces(&sentence.text);
    let spans = transcript::share(sentence.end.saturating_sub(sentence.begin), &pieces);
    let word = |(piece, (begin, end)): (&&str, (u64, u64))| {
        let piece = piece.trim();
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
