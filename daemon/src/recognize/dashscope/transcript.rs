//! The transcript of flash as its answer arrives, whole or as a stream, until the service reports the end.

use std::time::Instant;

use hark_sdk::event::{Segment, Timing};
use reqwest::Response;
use reqwest::header::CONTENT_TYPE;

use super::answers::{FinishReason, FlashAnswer};
use super::client::Client;
use super::codes::Refusal;
use super::family::Tells;
use crate::job::{Fate, Transcript};
use crate::recognize::Listener;
use crate::recognize::error::{Error, LONGEST_RAW};
use crate::recognize::http::{JSON, RetryAfter};
use crate::recognize::sse::{Event, Parser};

/// The most bytes of a text; every partial repeats the text. The quickest speakers come to some twenty thousand in five minutes.
const LONGEST_TEXT: usize = 256 << 10;

/// The most bytes of a whole stream. Five minutes of speech are some thousand events of half a kilobyte.
const LONGEST_STREAM: usize = 32 << 20;

/// What has been received so far.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    text: String,
    language: Option<String>,
    emotion: Option<String>,
    billed_seconds: u64,
    /// Once the service reported the end: whether it cut the text.
    truncated: Option<bool>,
    /// The stream as received, kept for an attempt that fails.
    raw: Vec<u8>,
}

impl Incoming {
    /// Reads a 2xx answer to its end. `stream`: the meaning of the events' text, if a stream was requested.
    pub(super) async fn read(
        &mut self,
        client: &Client,
        response: Response,
        stream: Option<Tells>,
        listener: &mut dyn Listener,
    ) -> Result<(), Error> {
        // A request for a stream may be refused in plain JSON.
        match stream.filter(|_| !is_json(&response)) {
            Some(tells) => self.read_stream(client, response, tells, listener).await,
            None => {
                let answer: FlashAnswer = client.answer(response).await?;
                listener.on_taken();
                self.take(answer, Tells::Everything);
                self.end()
            }
        }
    }

    async fn read_stream(
        &mut self,
        client: &Client,
        mut response: Response,
        tells: Tells,
        listener: &mut dyn Listener,
    ) -> Result<(), Error> {
        let silence = client.http.timeouts.silence;
        let mut parser = Parser::new();
        let (mut left, mut news) = (LONGEST_STREAM, Instant::now());
        let mut is_taken = false;
        while let Some(bytes) = client.http.chunk(&mut response).await? {
            self.raw.extend_from_slice(&bytes[..bytes.len().min(LONGEST_RAW - self.raw.len())]);
            left = left
                .checked_sub(bytes.len())
                .ok_or_else(|| Error::unreadable("the stream is longer than any recording's text"))?;
            for event in parser.push(&bytes).map_err(|error| Error::unreadable(&error.to_string()))? {
                let Some(answer) = read_event(client, &event)? else { continue };
                if !std::mem::replace(&mut is_taken, true) {
                    listener.on_taken();
                }
                if self.take(answer, tells) {
                    news = Instant::now();
                    listener.on_text(&self.text);
                }
                if self.text.len() > LONGEST_TEXT {
                    return Err(Error::unreadable("the text is longer than what is said in five minutes"));
                }
                if self.truncated.is_some() {
                    return Ok(());
                }
            }
            if news.elapsed() > silence {
                let seconds = silence.as_secs();
                let message = format!("no text came for {seconds} s, only keep-alive messages");
                return Err(Error::open("TimeOut", &message));
            }
        }
        self.end()
    }

    /// Adds an answer or an event; true if there is more text than before.
    fn take(&mut self, answer: FlashAnswer, tells: Tells) -> bool {
        let [choice] = answer.output.choices;
        self.billed_seconds = self.billed_seconds.max(answer.usage.seconds);
        for annotation in choice.message.annotations {
            self.language = annotation.language.or(self.language.take());
            self.emotion = annotation.emotion.or(self.emotion.take());
        }
        self.truncated = match choice.finish_reason {
            Some(FinishReason::Stop) => Some(false),
            Some(FinishReason::Length) => Some(true),
            Some(FinishReason::Null) | None => None,
        };
        let before = self.text.len();
        if tells == Tells::Everything {
            self.text.clear();
        }
        self.text.extend(choice.message.content.into_iter().map(|part| part.text));
        self.text.len() > before
    }

    /// The body has ended.
    fn end(&self) -> Result<(), Error> {
        let message = "the answer ended before the service said that it was done";
        self.truncated.map(drop).ok_or_else(|| Error::open("EndedWithoutStop", message))
    }

    /// The error of a request after this much of the answer: if the service sent text, or a price, it has done work and charges for it.
    pub(super) fn failed(self, error: Error) -> Error {
        let has_begun = self.billed_seconds > 0 || !self.text.is_empty();
        let error = if has_begun { error.after_work(self.billed_seconds) } else { error };
        match error.fate {
            Fate::Open | Fate::Taken => error.with_raw(self.raw),
            _ => error,
        }
    }

    pub(super) fn into_transcript(self, duration_ms: Option<u64>) -> Transcript {
        let segment = Segment {
            channel: 0,
            role: None,
            begin_ms: duration_ms.map(|_| 0),
            end_ms: duration_ms,
            timing: if duration_ms.is_some() { Timing::Chunk } else { Timing::None },
            text: self.text.clone(),
            language: self.language,
            emotion: self.emotion,
        };
        // Without speech there is no segment.
        let segments = if self.text.trim().is_empty() { Vec::new() } else { vec![segment] };
        Transcript {
            text: self.text,
            segments,
            truncated: self.truncated == Some(true),
            billed_seconds: self.billed_seconds,
        }
    }
}

/// Reads an event; `None`: it has no content (`done` and `[DONE]`, which the service's own SDKs tolerate).
fn read_event(client: &Client, event: &Event) -> Result<Option<FlashAnswer>, Error> {
    if event.name == "done" || event.data == "[DONE]" {
        return Ok(None);
    }
    // Only the comment beside the event contains the status.
    let status = event.comment.strip_prefix("HTTP_STATUS/").and_then(|status| status.parse().ok());
    match client.read(event.data.as_bytes(), status, RetryAfter::default()) {
        Err(error) if event.name == "error" && error.is_unreadable() => match status {
            Some(400..) => Err(Refusal { status, ..Refusal::default() }.into_error()),
            _ => Err(error),
        },
        answer => answer.map(Some),
    }
}

fn is_json(response: &Response) -> bool {
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|content_type| content_type.starts_with(JSON))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn event(text: &str, reason: Value) -> FlashAnswer {
        let content = if text.is_empty() { json!([]) } else { json!([{"text": text}]) };
        let choice = json!({"finish_reason": reason, "message": {"content": content}});
        serde_json::from_value(json!({"output": {"choices": [choice]}, "usage": {"seconds": 3}})).unwrap()
    }

    fn text(tells: Tells, events: &[&str], last: &str) -> String {
        let mut incoming = Incoming::default();
        for text in events {
            incoming.take(event(text, json!("null")), tells);
        }
        incoming.take(event(last, json!("stop")), tells);
        incoming.end().unwrap();
        incoming.into_transcript(None).text
    }

    #[test]
    fn what_a_stream_tells_is_declared_and_not_guessed() {
        assert_eq!(text(Tells::News, &["嗯", "嗯嗯", "嗯嗯嗯"], ""), "嗯嗯嗯嗯嗯嗯");
        assert_eq!(text(Tells::Everything, &["嗯", "嗯嗯", "嗯嗯嗯"], "嗯嗯嗯"), "嗯嗯嗯");
        assert_eq!(text(Tells::News, &["Guten", " Tag,", " ", "Welt"], ""), "Guten Tag, Welt");
        assert_eq!(text(Tells::Everything, &["Gute Nacht", "Guten Tag"], "Guten Tag"), "Guten Tag");
        assert_eq!(text(Tells::News, &[], ""), "");
    }

    #[test]
    fn only_a_stop_or_a_cut_is_an_end() {
        let mut incoming = Incoming::default();
        incoming.take(event("so", Value::Null), Tells::News);
        assert_eq!(incoming.end().unwrap_err().fault.code, "EndedWithoutStop");
        incoming.take(event("", json!("length")), Tells::News);
        incoming.end().unwrap();
        assert!(incoming.into_transcript(None).truncated);
    }

    #[test]
    fn an_answer_that_had_begun_is_paid_and_what_came_of_it_is_kept() {
        let broken = || Error::open("ConnectionLost", "");
        let mut incoming = Incoming { raw: b"data:".to_vec(), ..Incoming::default() };
        incoming.take(event("so", Value::Null), Tells::News);
        let error = incoming.failed(broken());
        assert_eq!((error.fate, error.billed_seconds, &*error.raw.unwrap()), (Fate::Taken, 3, &b"data:"[..]));
        let error = Incoming::default().failed(broken());
        assert_eq!((error.fate, error.raw), (Fate::Open, None));
    }
}
