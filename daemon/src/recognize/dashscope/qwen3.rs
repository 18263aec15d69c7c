//! The family `qwen3-asr-…`: its requests and the answers of flash (the provider's documentation). Every event of a stream adds to the text,
//! and the last one, with `stop`, adds nothing.

use hark_sdk::event::{Segment, Usage};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answers::Answer;
use super::transcript::Reading;
use crate::job::Transcript;
use crate::recognize::{Request, segment_of_all};

/// The JSON of a flash request before and after the audio, which is a text with its quotes.
pub(super) fn flash_body(request: &Request<'_>, is_stream: bool) -> (String, String) {
    let mut system = String::new();
    if !request.hints.context.is_empty() {
        system = json!({"role": "system", "content": [{"text": request.hints.context}]}).to_string();
        system.push(',');
    }
    let mut options = json!({"enable_itn": request.itn});
    if let Some(language) = &request.hints.language {
        options["language"] = language.as_str().into();
    }
    let mut parameters = json!({"result_format": "message", "asr_options": options});
    if is_stream {
        parameters["incremental_output"] = true.into();
    }
    let model = Value::from(request.model);
    let before =
        format!(r#"{{"model":{model},"input":{{"messages":[{system}{{"role":"user","content":[{{"audio":"#);
    (before, format!(r#"}}]}}]}},"parameters":{parameters}}}"#))
}

/// The body of a submit.
pub(super) fn submit_body(request: &Request<'_>, file_url: &str) -> Value {
    // Parameters are always sent: the newer hosts accept a submit without them, and the task then fails.
    let mut parameters = json!({"channel_id": request.channels, "enable_itn": request.itn});
    if request.words {
        parameters["enable_words"] = true.into();
    }
    if let Some(language) = &request.hints.language {
        parameters["language"] = language.as_str().into();
    }
    if !request.hints.context.is_empty() {
        parameters["corpus"] = json!({"text": request.hints.context});
    }
    json!({"model": request.model, "input": {"file_url": file_url}, "parameters": parameters})
}

/// A whole answer of flash, or one event of its stream.
#[derive(Debug, Deserialize)]
pub(super) struct Flash {
    choices: [Choice; 1],
}

#[derive(Debug, Deserialize)]
struct Choice {
    /// `stop`: the text is complete; `length`: the service cut it. While the service is still recognizing, null or the string "null".
    finish_reason: Option<String>,
    message: Message,
}

#[derive(Debug, Deserialize)]
struct Message {
    /// Empty where no speech was recognized, and in the last event of a stream.
    content: Vec<Text>,
    #[serde(default)]
    annotations: Vec<Annotation>,
}

#[derive(Debug, Deserialize)]
struct Text {
    text: String,
}

#[derive(Debug, Deserialize)]
struct Annotation {
    language: Option<String>,
    emotion: Option<String>,
}

/// What its answers have told so far.
#[derive(Debug, Default)]
pub(super) struct FlashAnswer {
    text: String,
    language: Option<String>,
    emotion: Option<String>,
    billed: Usage,
    /// Once the service reported the end: whether it cut the text.
    truncated: Option<bool>,
}

impl Reading for FlashAnswer {
    type Answer = Answer<Flash>;

    fn add(&mut self, answer: Answer<Flash>) -> bool {
        let [choice] = answer.output.choices;
        self.billed = self.billed.max(answer.usage.into());
        for annotation in choice.message.annotations {
            self.language = annotation.language.or(self.language.take());
            self.emotion = annotation.emotion.or(self.emotion.take());
        }
        self.truncated = match choice.finish_reason.as_deref() {
            Some("stop") => Some(false),
            Some("length") => Some(true),
            _ => None,
        };
        let before = self.text.len();
        self.text.extend(choice.message.content.into_iter().map(|part| part.text));
        self.text.len() > before
    }

    fn text(&self) -> &str {
        &self.text
    }

    fn billed(&self) -> Usage {
        self.billed
    }

    fn is_over(&self) -> bool {
        self.truncated.is_some()
    }

    fn is_complete(&self, _is_whole: bool) -> bool {
        self.is_over()
    }

    /// One segment of the whole audio: this family's flash tells no times.
    fn into_transcript(self, duration_ms: Option<u64>) -> Transcript {
        let segment = Segment {
            language: self.language,
            emotion: self.emotion,
            ..segment_of_all(duration_ms, self.text.clone())
        };
        // Without speech there is no segment.
        let segments = if self.text.trim().is_empty() { Vec::new() } else { vec![segment] };
        Transcript { text: self.text, segments, truncated: self.truncated == Some(true), billed: self.billed }
    }
}

#[cfg(test)]
mod tests {
    use hark_sdk::event::Timing;

    use super::super::transcript::Incoming;
    use super::super::transcript::tests::{read, transcript};
    use super::*;
    use crate::job::Fate;
    use crate::recognize::error::Error;

    fn event(text: &str, reason: Value) -> Value {
        let content = if text.is_empty() { json!([]) } else { json!([{"text": text}]) };
        let choice = json!({"finish_reason": reason, "message": {"content": content}});
        json!({"output": {"choices": [choice]}, "usage": {"seconds": 3}})
    }

    fn text(events: &[&str]) -> String {
        let mut all: Vec<Value> = events.iter().map(|text| event(text, json!("null"))).collect();
        all.push(event("", json!("stop")));
        transcript::<FlashAnswer>(&all).unwrap().text
    }

    #[test]
    fn a_whole_answer_is_read_as_documented() {
        let answer = json!({"request_id": "r", "output": {"choices": [{"finish_reason": "stop", "message": {
            "role": "assistant",
            "annotations": [{"type": "audio_info", "language": "en", "emotion": "neutral"}],
            "content": [{"text": "the transcript"}],
        }}]}, "usage": {"seconds": 1, "input_tokens_details": {"text_tokens": 0}}});
        let heard = transcript::<FlashAnswer>(&[answer]).unwrap();
        assert_eq!((&*heard.text, heard.billed.seconds), ("the transcript", 1));
        let segment = &heard.segments[0];
        assert_eq!((segment.language.as_deref(), segment.emotion.as_deref()), (Some("en"), Some("neutral")));
        assert_eq!((segment.begin_ms, segment.end_ms, segment.timing), (Some(0), Some(2_000), Timing::Chunk));
    }

    #[test]
    fn a_text_of_another_shape_is_no_silence() {
        let of = |content: Value| {
            let answer =
                json!({"output": {"choices": [{"finish_reason": "stop", "message": {"content": content}}]}});
            Answer::<Flash>::deserialize(&answer).map(drop)
        };
        assert!(of(json!([])).is_ok());
        assert!(of(json!([{"words": "so"}])).is_err() && of(json!("so")).is_err());
    }

    #[test]
    fn every_event_adds_to_the_text() {
        assert_eq!(text(&["嗯", "嗯嗯", "嗯嗯嗯"]), "嗯嗯嗯嗯嗯嗯");
        assert_eq!(text(&["Guten", " Tag,", " ", "Welt"]), "Guten Tag, Welt");
        assert_eq!(text(&[]), "");
    }

    #[test]
    fn only_a_stop_or_a_cut_is_an_end() {
        let begun = event("so", Value::Null);
        assert_eq!(transcript::<FlashAnswer>(std::slice::from_ref(&begun)).unwrap_err(), "EndedWithoutStop");
        assert!(transcript::<FlashAnswer>(&[begun, event("", json!("length"))]).unwrap().truncated);
    }

    #[test]
    fn an_answer_that_had_begun_is_paid() {
        let broken = || Error::open("ConnectionLost", "");
        let error = read::<FlashAnswer>(&[event("so", Value::Null)]).failed(broken());
        assert_eq!((error.fate, error.billed.seconds), (Fate::Taken, 3));
        let error = Incoming::<FlashAnswer>::default().failed(broken());
        assert_eq!((error.fate, error.raw), (Fate::Open, None));
    }
}
