//! The result file: for each channel its text, its sentences with their times, and the words if requested.

use serde_json::{Value, json};

use crate::audio3;
use crate::faults::FaultKind;
use crate::media::Media;
use crate::service::{Family, Service};
use crate::text;
use crate::transcript::{self, Sentence};

use super::submit::Order;

/// The file's content; `None` if no channel has any speech.
pub(super) fn result(service: &Service, order: &Order, sha256: &str, media: &Media) -> Option<Value> {
    let duration_ms = u64::try_from(media.duration.as_millis()).unwrap_or(u64::MAX);
    let mut transcripts = Vec::with_capacity(order.channels.len());
    let mut silent = true;
    for channel in &order.channels {
        let mut sentences =
            transcript::hear_channel(service, sha256, *channel, duration_ms, order.language.as_deref());
        if order.fired.has(FaultKind::Echo) {
            sentences = transcript::echo(&order.context, duration_ms);
        }
        if order.is_masked {
            sentences.iter_mut().for_each(|sentence| sentence.text = audio3::masked(&sentence.text));
        }
        silent &= sentences.is_empty();
        let text = text::join(sentences.iter().map(|sentence| sentence.text.as_str()));
        let body = |(number, sentence): (usize, &Sentence)| match order.family {
            Family::Qwen3 => of_qwen3(number, sentence, order.enable_words),
            Family::Audio3 => of_audio3(number + 1, sentence, order.speakers),
        };
        let bodies: Vec<Value> = sentences.iter().enumerate().map(body).collect();
        let mut transcript = json!({"channel_id": channel, "text": text, "sentences": bodies});
        if order.family == Family::Audio3 {
            let spoken: u64 =
                sentences.iter().map(|sentence| sentence.end.saturating_sub(sentence.begin)).sum();
            transcript["content_duration_in_milliseconds"] = spoken.into();
        }
        transcripts.push(transcript);
    }
    let mut result = json!({"file_url": order.file_url, "transcripts": transcripts});
    match order.family {
        Family::Qwen3 => {
            result["audio_info"] =
                json!({"format": media.container.name(), "sample_rate": media.sample_rate});
        }
        Family::Audio3 => {
            result["properties"] = json!({
                "audio_format": media.container.name(),
                "channels": order.channels,
                "original_sampling_rate": media.sample_rate,
                "original_duration_in_milliseconds": duration_ms,
            });
        }
    }
    (!silent).then_some(result)
}

fn of_qwen3(number: usize, sentence: &Sentence, with_words: bool) -> Value {
    let mut body = json!({
        "sentence_id": number,
        "begin_time": sentence.begin,
        "end_time": sentence.end,
        "language": sentence.language,
        "emotion": sentence.emotion,
        "text": sentence.text,
    });
    if with_words {
        body["words"] = Value::Array(transcript::words(sentence, false));
    }
    body
}

/// Neither language nor emotion; words always.
fn of_audio3(number: usize, sentence: &Sentence, with_speaker: bool) -> Value {
    let mut body = json!({
        "sentence_id": number,
        "begin_time": sentence.begin,
        "end_time": sentence.end,
        "text": sentence.text,
        "words": transcript::words(sentence, true),
    });
    if with_speaker {
        body["speaker_id"] = sentence.speaker.into();
    }
    body
}
