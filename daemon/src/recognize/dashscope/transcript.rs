//! The transcript of flash as its answer arrives, whole or as a stream, until the service reports the end.

use std::time::Instant;

use hark_sdk::event::{Segment, Timing, Usage};
use reqwest::Response;

use super::answers::{Answer, Flash};
use super::client::Client;
use super::family::StreamMode;
use crate::job::{Fate, Transcript};
use crate::recognize::Listener;
use crate::recognize::error::{Error, LONGEST_RAW};
use crate::recognize::http::is_event_stream;
use crate::recognize::sse::Parser;

/// The most bytes of a whole stream. Five minutes of speech are some thousand events of half a kilobyte.
const LONGEST_STREAM: usize = 16 << 20;

/// What has been received so far.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    text: String,
    language: Option<String>,
    emotion: Option<String>,
    billed: Usage,
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
        stream: Option<StreamMode>,
        listener: &mut dyn Listener,
    ) -> Result<(), Error> {
        if let Some(mode) = stream.filter(|_| is_event_stream(&response)) {
            self.read_stream(client, response, mode, listener).await?;
        } else {
            let answer = client.answer(response).await?;
            listener.on_taken();
            self.add(answer, StreamMode::Snapshots);
        }
        self.end()
    }

    /// Reads a stream until the service reports its end, or the body ends.
    async fn read_stream(
        &mut self,
        client: &Client,
        mut response: Response,
        mode: StreamMode,
        listener: &mut dyn Listener,
    ) -> Result<(), Error> {
        let silence = client.http.timeouts.silence;
        let mut parser = Parser::default();
        let (mut received, mut last_text) = (0, Instant::now());
        let mut is_taken = false;
        while let Some(bytes) = client.http.chunk(&mut response).await? {
            self.raw.extend_from_slice(&bytes[..bytes.len().min(LONGEST_RAW - self.raw.len())]);
            received += bytes.len();
            if received > LONGEST_STREAM {
                return Err(Error::unreadable("the stream is longer than any recording's text"));
            }
            for event in parser.push(&bytes)? {
                // Only the comment beside the event contains the status.
                let status =
                    event.comment.strip_prefix("HTTP_STATUS/").and_then(|status| status.parse().ok());
                let answer = client.parse(event.data.as_bytes(), status)?;
                if !std::mem::replace(&mut is_taken, true) {
                    listener.on_taken();
                }
                if self.add(answer, mode) {
                    last_text = Instant::now();
                    listener.on_text(&self.text);
                }
                if self.truncated.is_some() {
                    return Ok(());
                }
            }
            if last_text.elapsed() > silence {
                let seconds = silence.as_secs();
                let message = format!("no text came for {seconds} s, only keep-alive messages");
                return Err(Error::open("TimeOut", &message));
            }
        }
        Ok(())
    }

    /// Adds an answer or an event; true if there is more text than before.
    fn add(&mut self, answer: Answer<Flash>, mode: StreamMode) -> bool {
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
        if mode == StreamMode::Snapshots {
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
        let has_begun = !self.billed.is_nothing() || !self.text.is_empty();
        let error = if has_begun { error.after_work(self.billed) } else { error };
        match error.fate {
            Fate::Open | Fate::Taken => error.with_raw(self.raw),
            _ => error,
        }
    }

    pub(super) fn into_transcript(self, duration_ms: Option<u64>) -> Transcript {
        let segment = Segment {
            begin_ms: duration_ms.map(|_| 0),
            end_ms: duration_ms,
            timing: if duration_ms.is_some() { Timing::Chunk } else { Timing::None },
            text: self.text.clone(),
            language: self.language,
            emotion: self.emotion,
            ..Segment::default()
        };
        // Without speech there is no segment.
        let segments = if self.text.trim().is_empty() { Vec::new() } else { vec![segment] };
        Transcript { text: self.text, segments, truncated: self.truncated == Some(true), billed: self.billed }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn event(text: &str, reason: Value) -> Answer<Flash> {
        let content = if text.is_empty() { json!([]) } else { json!([{"text": text}]) };
        let choice = json!({"finish_reason": reason, "message": {"content": content}});
        serde_json::from_value(json!({"output": {"choices": [choice]}, "usage": {"seconds": 3}})).unwrap()
    }

    fn text(mode: StreamMode, events: &[&str], last: &str) -> String {
        let mut incoming = Incoming::default();
        for text in events {
            incoming.add(event(text, json!("null")), mode);
        }
        incoming.add(event(last, json!("stop")), mode);
        incoming.end().unwrap();
        incoming.into_transcript(None).text
    }

    #[test]
    fn the_mode_of_a_stream_is_declared_and_not_guessed() {
        assert_eq!(text(StreamMode::Increments, &["嗯", "嗯嗯", "嗯嗯嗯"], ""), "嗯嗯嗯嗯嗯嗯");
        assert_eq!(text(StreamMode::Snapshots, &["嗯", "嗯嗯", "嗯嗯嗯"], "嗯嗯嗯"), "嗯嗯嗯");
        assert_eq!(text(StreamMode::Increments, &["Guten", " Tag,", " ", "Welt"], ""), "Guten Tag, Welt");
        assert_eq!(text(StreamMode::Snapshots, &["Gute Nacht", "Guten Tag"], "Guten Tag"), "Guten Tag");
        assert_eq!(text(StreamMode::Increments, &[], ""), "");
    }

    #[test]
    fn only_a_stop_or_a_cut_is_an_end() {
        let mut incoming = Incoming::default();
        incoming.add(event("so", Value::Null), StreamMode::Increments);
        assert_eq!(incoming.end().unwrap_err().fault.code, "EndedWithoutStop");
        incoming.add(event("", json!("length")), StreamMode::Increments);
        incoming.end().unwrap();
        assert!(incoming.into_transcript(None).truncated);
    }

    #[test]
    fn an_answer_that_had_begun_is_paid_and_what_came_of_it_is_kept() {
        let broken = || Error::open("ConnectionLost", "");
        let mut incoming = Incoming { raw: b"data:".to_vec(), ..Incoming::default() };
        incoming.add(event("so", Value::Null), StreamMode::Increments);
        let error = incoming.failed(broken());
        assert_eq!((error.fate, error.billed.seconds, &*error.raw.unwrap()), (Fate::Taken, 3, &b"data:"[..]));
        let error = Incoming::default().failed(broken());
        assert_eq!((error.fate, error.raw), (Fate::Open, None));
    }
}
