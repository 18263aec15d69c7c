//! The family `qwen-audio-3.x-asr-flash`, `fun-asr-flash`: its request, and answers in which every event is a snapshot of everything so far.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::audio3;
use crate::call::Call;
use crate::faults::FaultKind;
use crate::media::Media;
use crate::refusal::Refusal;
use crate::service::Service;
use crate::text;
use crate::transcript::{self, Sentence};
use crate::validate::{optional_bool, wrong_type};

use super::request::{self, FlashRequest};
use super::stream::{Script, frame, play};

/// What a request of this family asks for.
pub(super) struct Ask {
    is_masked: bool,
    speakers: bool,
}

/// Reads the messages and the parameters. The audio is in the last message; what comes before it is context.
pub(super) fn read(
    model: String,
    mut messages: Vec<Value>,
    parameters: &Map<String, Value>,
) -> Result<FlashRequest, Refusal> {
    let last = messages.pop().ok_or_else(|| Refusal::missing("BadRequest.EmptyInput", "input.messages"))?;
    let audio = audio(&last)?;
    let context = audio3::context(&messages)?;
    match parameters.get("format") {
        Some(Value::String(format)) if !format.is_empty() => {}
        _ => return Err(Refusal::missing("InvalidParameter", "parameters.format")),
    }
    if parameters.get("sample_rate").is_some_and(|rate| !rate.is_string()) {
        return Err(wrong_type("sample_rate", "string"));
    }
    let speakers = optional_bool(parameters, "speaker_diarization_enabled")?.unwrap_or(false);
    if speakers && !model.starts_with("qwen-audio-3.1-") {
        return Err(Refusal::invalid("speaker_diarization_enabled is not supported by this model"));
    }
    optional_bool(parameters, "keep_dialect")?;
    let audio3::Parameters { language, is_masked } = audio3::parameters(&model, parameters)?;
    let ask = request::Ask::Audio3(Ask { is_masked, speakers });
    Ok(FlashRequest { model, audio, language, incremental_output: false, context, ask })
}

fn audio(message: &Value) -> Result<String, Refusal> {
    let wrong =
        || Refusal::invalid("The last message must be of the user and contain exactly one input_audio.");
    if message.get("role").and_then(Value::as_str) != Some("user") {
        return Err(wrong());
    }
    let Some([part]) = message.get("content").and_then(Value::as_array).map(Vec::as_slice) else {
        return Err(wrong());
    };
    let is_audio = part.get("type").and_then(Value::as_str) == Some("input_audio");
    let data = part.get("input_audio").and_then(|audio| audio.get("data")).and_then(Value::as_str);
    data.filter(|data| is_audio && !data.is_empty()).map(str::to_owned).ok_or_else(wrong)
}

/// Charges, and answers whole or as a stream.
pub(super) fn answer(
    service: &Arc<Service>,
    call: &mut Call,
    request: &FlashRequest,
    ask: &Ask,
    sha256: &str,
    media: &Media,
) -> Result<Response, Refusal> {
    let duration_ms = u64::try_from(media.duration.as_millis()).unwrap_or(u64::MAX);
    let mut sentences =
        transcript::hear_channel(service, sha256, 0, duration_ms, request.language.as_deref());
    if call.fired.has(FaultKind::Echo) {
        sentences = transcript::echo(&request.context, duration_ms);
    }
    if call.fired.has(FaultKind::Length) {
        sentences.truncate(sentences.len().div_ceil(2));
        if let [only] = &mut sentences[..] {
            let pieces = text::pieces(&only.text);
            only.text = pieces[..pieces.len() / 2].concat();
        }
    }
    if call.fired.has(FaultKind::EmptyText) || sentences.is_empty() {
        let code = "ASR_RESPONSE_HAVE_NO_WORDS";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, code, code));
    }
    if ask.is_masked {
        sentences.iter_mut().for_each(|sentence| sentence.text = audio3::masked(&sentence.text));
    }
    let seconds = duration_ms.div_ceil(1_000);
    call.entry.charged_seconds = Some(seconds);
    let whole = text::join(sentences.iter().map(|sentence| sentence.text.as_str()));
    let answer = Answer {
        has_tokens: !request.model.starts_with("qwen-audio-3.0-") && request.model.starts_with("qwen-audio-"),
        speakers: ask.speakers,
        was_cut: call.fired.has(FaultKind::Length),
        seconds,
        sentences,
        whole,
        request_id: call.entry.request_id.clone(),
    };
    if !call.event_stream {
        return Ok(Json(answer.last(false)).into_response());
    }
    let script = Script::new(&call.fired, false, service.options.token_delay);
    // Only 3.1 streams shorter audio.
    let has_partials = answer.has_tokens || media.duration >= Duration::from_secs(60);
    let events =
        if has_partials { answer.events() } else { vec![frame(1, "result", 200, &answer.last(true))] };
    Ok(play(events, &script, &answer.request_id))
}

struct Answer {
    /// The model is billed by tokens, and its last event has their number.
    has_tokens: bool,
    speakers: bool,
    was_cut: bool,
    seconds: u64,
    sentences: Vec<Sentence>,
    whole: String,
    request_id: String,
}

impl Answer {
    fn events(&self) -> Vec<Bytes> {
        let mut events = Vec::new();
        let mut end = 0;
        for piece in text::pieces(&self.whole) {
            end += piece.len();
            events.push(frame(events.len() + 1, "result", 200, &self.snapshot(end)));
        }
        events.push(frame(events.len() + 1, "result", 200, &self.last(true)));
        events
    }

    /// Everything so far: `end` bytes of the text, and the sentence that they end in.
    fn snapshot(&self, end: usize) -> Value {
        let (mut number, mut begin) = (0, 0);
        for (index, sentence) in self.sentences.iter().enumerate() {
            match self.whole[begin..].find(&sentence.text).map(|at| begin + at) {
                Some(at) if at < end => (number, begin) = (index, at),
                _ => break,
            }
        }
        let so_far = &self.whole[begin..end];
        let is_last = number + 1 == self.sentences.len();
        let has_ended = !is_last && so_far.len() >= self.sentences[number].text.len();
        let mut sentence = self.sentence(number);
        sentence["sentence_end"] = has_ended.into();
        sentence["text"] = so_far.trim_end().into();
        if !has_ended {
            sentence["words"] = json!([]);
            sentence["end_time"] = Value::Null;
        }
        let output = json!({"text": &self.whole[..end], "sentence": sentence});
        self.body(output, json!({"duration": self.seconds}))
    }

    /// The last event, or the whole answer. It has all sentences if the answer has turns of speakers, or if no event came before it.
    fn last(&self, is_stream: bool) -> Value {
        let mut output = json!({"text": self.whole, "sentence": self.sentence(self.sentences.len() - 1)});
        if self.speakers || (!is_stream && self.sentences.len() > 1) {
            let sentences: Vec<Value> =
                (0..self.sentences.len()).map(|number| self.sentence(number)).collect();
            output["sentences"] = sentences.into();
        }
        let mut usage = json!({"duration": self.seconds});
        if self.has_tokens {
            let input = self.seconds * 25 / 2 + 57;
            let output = if self.was_cut { 1_024 } else { text::pieces(&self.whole).len() as u64 };
            usage["input_tokens"] = input.into();
            usage["output_tokens"] = output.into();
            usage["total_tokens"] = (input + output).into();
        }
        self.body(output, usage)
    }

    fn sentence(&self, number: usize) -> Value {
        let sentence = &self.sentences[number];
        let mut body = json!({
            "sentence_id": number + 1,
            "sentence_end": true,
            "begin_time": sentence.begin,
            "end_time": sentence.end,
            "channel_id": 0,
            "text": sentence.text,
            "words": transcript::words(sentence, true),
        });
        if self.speakers {
            body["speaker_id"] = sentence.speaker.into();
        }
        body
    }

    fn body(&self, output: Value, usage: Value) -> Value {
        json!({"request_id": self.request_id, "output": output, "usage": usage})
    }
}
