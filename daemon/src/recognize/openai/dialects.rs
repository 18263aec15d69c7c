//! What servers answer, one type for each dialect. Unknown fields are ignored; an answer without a required field is unreadable.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::refusal::Refusal;
use crate::recognize::error::Error;

/// An answer, or one event of a stream.
#[derive(Debug)]
pub(super) enum Message {
    /// Text that is added to the text so far: `chat.completion.chunk`, `transcription.chunk`, `transcript.text.delta`; or a whole answer of
    /// `/chat/completions`, which has a `finish`.
    More { text: String, finish: Option<Finish> },
    /// The whole text: `transcript.text.done`, or a whole answer of `/audio/transcriptions`. It wins over what came before.
    Whole(Transcription),
    /// An error, whatever the HTTP status.
    Refused(Refusal),
}

/// The end of a text, or of a part of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Finish {
    /// The server cut the text at its limit of tokens.
    pub(super) truncated: bool,
    /// The server cuts long audio itself and ends each of its own parts like this.
    pub(super) may_go_on: bool,
}

/// `json` and `verbose_json`, and the last event of a stream.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Transcription {
    pub(super) text: String,
    pub(super) language: Option<String>,
    /// whisper.cpp: what it heard, where `language` is what was asked for.
    pub(super) detected_language: Option<String>,
    pub(super) segments: Option<Vec<Timed>>,
    /// Of the whole text; some servers tell them in the segments, some in both.
    pub(super) words: Option<Vec<TimedWord>>,
}

/// A segment of a verbose answer.
#[derive(Debug, Deserialize)]
pub(super) struct Timed {
    pub(super) start: Option<f64>,
    pub(super) end: Option<f64>,
    pub(super) text: String,
    pub(super) words: Option<Vec<TimedWord>>,
}

/// A word of a verbose answer, or a part of one.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct TimedWord {
    pub(super) start: Option<f64>,
    pub(super) end: Option<f64>,
    pub(super) word: String,
}

/// What tells the dialects apart.
#[derive(Debug, Deserialize)]
struct Shape {
    error: Option<IgnoredAny>,
    object: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    choices: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct Chunk {
    choices: Vec<ChunkChoice>,
}

#[derive(Debug, Deserialize)]
struct ChunkChoice {
    delta: MessageContent,
    finish_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Completion {
    choices: [Choice; 1],
}

#[derive(Debug, Deserialize)]
struct Choice {
    message: MessageContent,
    finish_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct MessageContent {
    content: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Delta {
    delta: String,
}

/// Reads an answer, or the data of an event, in whichever dialect it is.
///
/// # Errors
/// It is in none.
pub(super) fn read(json: &[u8]) -> Result<Message, Error> {
    let shape: Shape = parse(json)?;
    let object = shape.object.as_deref().unwrap_or_default();
    let kind = shape.kind.as_deref().unwrap_or_default();
    if shape.error.is_some() || object == "error" {
        return Ok(Message::Refused(Refusal::of_body(json)));
    }
    match (object, kind) {
        ("chat.completion.chunk" | "transcription.chunk", _) => {
            // A chunk that tells the usage has no choice.
            let choice = parse::<Chunk>(json)?.choices.into_iter().next();
            let (text, reason) =
                choice.map_or((None, None), |choice| (choice.delta.content, choice.finish_reason));
            let may_go_on = object == "transcription.chunk";
            let finish = reason.map(|reason| finish(&reason, may_go_on)).transpose()?;
            Ok(Message::More { text: text.unwrap_or_default(), finish })
        }
        (_, "transcript.text.delta") => Ok(Message::More { text: parse::<Delta>(json)?.delta, finish: None }),
        (_, "transcript.text.done") => parse(json).map(Message::Whole),
        // Another event of that stream has no text of its own.
        (_, kind) if kind.starts_with("transcript.text.") => {
            Ok(Message::More { text: String::new(), finish: None })
        }
        _ if shape.choices.is_some() => {
            let Completion { choices: [choice] } = parse(json)?;
            let finish = choice.finish_reason.map(|reason| finish(&reason, false)).transpose()?;
            let text = choice.message.content.unwrap_or_default();
            Ok(Message::More { text, finish: Some(finish.unwrap_or_default()) })
        }
        _ => parse(json).map(Message::Whole),
    }
}

/// # Errors
/// vLLM gives up what it has begun when it is stopped, under status 200: what it has said so far is not the text.
fn finish(reason: &str, may_go_on: bool) -> Result<Finish, Error> {
    match reason {
        "abort" | "error" => {
            Err(Error::open("EndedWithoutStop", "the server gave the request up before it was done"))
        }
        reason => Ok(Finish { truncated: reason == "length", may_go_on }),
    }
}

fn parse<'j, T: Deserialize<'j>>(json: &'j [u8]) -> Result<T, Error> {
    serde_json::from_slice(json)
        .map_err(|error| Error::not_parsed("the server's answer is in no dialect that Hark knows", &error))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(answer: serde_json::Value) -> Message {
        read(answer.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn an_increment_is_read_in_three_dialects() {
        for object in ["chat.completion.chunk", "transcription.chunk"] {
            let chunk = |choices| json!({"id": "t", "object": object, "created": 1, "model": "m", "choices": choices});
            let more = said(chunk(
                json!([{"index": 0, "delta": {"role": "assistant", "content": "so"}, "finish_reason": null}]),
            ));
            assert!(matches!(more, Message::More { text, finish: None } if text == "so"));
            let last = said(chunk(
                json!([{"delta": {"content": ""}, "finish_reason": "length", "stop_reason": null}]),
            ));
            let Message::More { finish: Some(finish), .. } = last else { panic!("{last:?}") };
            assert_eq!((finish.truncated, finish.may_go_on), (true, object == "transcription.chunk"));
            let usage = said(chunk(json!([])));
            assert!(matches!(usage, Message::More { text, finish: None } if text.is_empty()));
        }
        let delta = said(json!({"type": "transcript.text.delta", "delta": "so", "logprobs": null}));
        assert!(matches!(delta, Message::More { text, .. } if text == "so"));
        let done =
            said(json!({"type": "transcript.text.done", "text": "so it is", "usage": {"type": "tokens"}}));
        assert!(matches!(done, Message::Whole(Transcription { text, .. }) if text == "so it is"));
    }

    #[test]
    fn a_whole_answer_is_read_from_either_door() {
        let usage = json!({"type": "duration", "seconds": 3});
        let plain = said(json!({"text": "so", "usage": usage}));
        assert!(matches!(plain, Message::Whole(Transcription { segments: None, .. })));
        let verbose = json!({"task": "transcribe", "language": "english", "duration": 2.5, "text": " so", "segments": [
            {"id": 0, "seek": 0, "start": 0.0, "end": 2.48, "text": " so", "tokens": [1], "temperature": 0.0}
        ], "words": null, "detected_language": "german", "detected_language_probability": 0.9});
        let Message::Whole(verbose) = said(verbose) else { panic!("another dialect") };
        assert_eq!(
            (verbose.language.as_deref(), verbose.detected_language.as_deref()),
            (Some("english"), Some("german"))
        );
        assert_eq!(verbose.segments.unwrap()[0].end, Some(2.48));
        let chat = said(json!({"object": "chat.completion", "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "language None<asr_text>"}, "finish_reason": "stop"}
        ], "usage": {"prompt_tokens": 9}}));
        assert!(matches!(chat, Message::More { finish: Some(Finish { truncated: false, .. }), .. }));
    }

    #[test]
    fn an_error_is_an_error_under_any_status() {
        for body in [
            json!({"error": {"message": "no such thing", "type": "BadRequestError", "param": null, "code": 400}}),
            json!({"object": "error", "message": "no such thing", "type": "BadRequestError", "param": null, "code": 400}),
            json!({"error": "no such thing"}),
        ] {
            let Message::Refused(refusal) = said(body.clone()) else { panic!("{body}") };
            assert_eq!(refusal.message, "no such thing");
        }
        let vllm = said(json!({"text": "so", "error": null}));
        assert!(matches!(vllm, Message::Whole(_)));
    }

    #[test]
    fn what_lacks_its_text_is_unreadable_and_quotes_nothing() {
        for body in
            ["{\"words\": \"secret words\"}", "secret", "[]", "", "{\"object\": \"transcription.chunk\"}"]
        {
            let error = read(body.as_bytes()).unwrap_err();
            assert!(error.is_unreadable() && !error.for_event().contains("secret"), "{error:?}");
        }
    }
}
