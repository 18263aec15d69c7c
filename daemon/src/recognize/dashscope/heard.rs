//! What is heard of an answer of `flash`, streamed or whole, until the service says that it is done.

use std::time::{Duration, Instant};

use bytes::Bytes;
use hark_sdk::event::{Segment, Timing};
use reqwest::Response;
use serde_json::Value;

use super::choice::Choice;
use super::client::{Client, missing, refusal_in, seconds};
use super::codes::Refusal;
use super::form::{self, Begun};
use super::json;
use super::text::{Piece, Text};
use crate::job::Transcript;
use crate::recognize::Listener;
use crate::recognize::error::Error;
use crate::recognize::sse::{Event, Parser};

/// Bytes of a text; every partial repeats it. The quickest speakers come to some twenty thousand in five minutes.
const LONGEST_TEXT: usize = 256 << 10;

/// Bytes of a whole stream. The text of five minutes has some kilobytes; a cumulative stream repeats it a thousand times.
const LONGEST_STREAM: usize = 32 << 20;

/// After the last event the end of the body follows at once; a service that is cut off before it might take the answer for unheard.
const LINGER: Duration = Duration::from_millis(50);

/// Where no price was told with the text, it may follow; a transcript waits no longer for it.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was heard so far.
#[derive(Debug, Default)]
pub(super) struct Heard {
    text: Text,
    /// Of a character that was cut between two events.
    half: String,
    language: Option<String>,
    emotion: Option<String>,
    /// `usage.seconds` as it was told last, and what was made of it.
    usage: Value,
    pub(super) billed_seconds: u64,
    /// `Some` once the service said that it is done; whether it cut the text.
    truncated: Option<bool>,
    /// Something was said that is not understood.
    strange: bool,
}

impl Heard {
    /// Hears an answer to its end; `streamed`: it was asked for as a stream.
    pub(super) async fn hear_all(
        &mut self,
        client: &Client,
        mut response: Response,
        streamed: bool,
        listener: &mut dyn Listener,
    ) -> Result<(), Error> {
        let Begun { is_stream, bytes } = form::begin(client, &mut response, streamed).await?;
        if is_stream {
            self.read_stream(client, response, bytes, listener).await
        } else {
            self.read_whole(client, response, bytes, listener).await
        }
    }

    /// The service was at work: it told a part of what it heard, or its price.
    pub(super) fn has_begun(&self) -> bool {
        self.billed_seconds > 0 || !self.text.so_far().is_empty()
    }

    async fn read_whole(
        &mut self,
        client: &Client,
        response: Response,
        begun: Vec<u8>,
        listener: &mut dyn Listener,
    ) -> Result<(), Error> {
        let (answer, headers) = client.whole(response, begun).await?;
        self.bill(&answer);
        if let Some(error) = refusal_in(&answer, Some(&headers), None) {
            return Err(client.key.masked(error));
        }
        listener.on_taken();
        self.take(&answer);
        self.complete()
    }

    async fn read_stream(
        &mut self,
        client: &Client,
        mut response: Response,
        begun: Vec<u8>,
        listener: &mut dyn Listener,
    ) -> Result<(), Error> {
        let mut begun = Some(Bytes::from(begun));
        let mut parser = Parser::new();
        let mut taken = false;
        let mut left = LONGEST_STREAM;
        let mut heard = Instant::now();
        let broken = loop {
            let next = match begun.take() {
                Some(begun) => Ok(Some(begun)),
                None => client.http.chunk(&mut response).await,
            };
            let bytes = match next {
                Ok(Some(bytes)) => bytes,
                Ok(None) => break None,
                Err(error) => break Some(error),
            };
            left = left
                .checked_sub(bytes.len())
                .ok_or_else(|| Error::unreadable("the stream is longer than any recording's text"))?;
            let events = parser.push(&bytes).map_err(|error| Error::unreadable(&error.to_string()))?;
            for event in events {
                if self.hear(client, &event, &mut taken, listener)? {
                    heard = Instant::now();
                }
            }
            if self.truncated.is_some() {
                let patience = if self.billed_seconds > 0 { LINGER } else { PATIENCE };
                // Nothing that comes now matters but the bill; not even that nothing does.
                let _ = tokio::time::timeout(patience, self.hear_the_rest(&mut response, parser)).await;
                return self.complete();
            }
            let silence = client.http.timeouts.silence;
            if heard.elapsed() > silence {
                let seconds = silence.as_secs();
                return Err(Error::open(
                    "TimeOut",
                    &format!("no text came for {seconds} s, only signs of life"),
                ));
            }
        };
        let last = match parser.finish() {
            Some(event) => self.hear(client, &event, &mut taken, listener),
            None => Ok(false),
        };
        match broken {
            None => last.and_then(|_| self.complete()),
            // The stop may have come whole, and only the empty line after it not.
            Some(error) => self.complete().map_err(|_| error),
        }
    }

    /// The text is whole; some services tell the price after it.
    async fn hear_the_rest(&mut self, response: &mut Response, mut parser: Parser) {
        while let Ok(Some(bytes)) = response.chunk().await {
            let Ok(events) = parser.push(&bytes) else { return };
            events.iter().for_each(|event| self.bill_of(event));
        }
        parser.finish().iter().for_each(|event| self.bill_of(event));
    }

    /// An event after the stop: its price, if it tells one. The text is whole, and nothing takes it away.
    fn bill_of(&mut self, event: &Event) {
        if let Ok(answer) = json::value(event.data.as_bytes()) {
            self.bill(&answer);
        }
    }

    /// Takes an event in; true if it has news.
    fn hear(
        &mut self,
        client: &Client,
        event: &Event,
        taken: &mut bool,
        listener: &mut dyn Listener,
    ) -> Result<bool, Error> {
        if self.truncated.is_some() {
            self.bill_of(event);
            return Ok(false);
        }
        // `done` and `[DONE]` are tolerated by the service's own SDKs; they say nothing.
        if event.name == "done"
            || event.data.trim() == "[DONE]"
            || event.data.is_empty() && event.name != "error"
        {
            return Ok(false);
        }
        let answer = json::read_piece(event.data.as_bytes(), &mut self.half);
        if let Ok(answer) = &answer {
            self.bill(answer);
            if let Some(error) = refusal_in(answer, None, event.status) {
                return Err(client.key.masked(error));
            }
        }
        if event.name == "error" {
            return Err(client.key.masked(error_event(event, answer.ok())));
        }
        // The parser's own words could quote the transcript.
        let answer = answer.map_err(|_| Error::unreadable("an event of the stream is not JSON"))?;
        if !std::mem::replace(taken, true) {
            listener.on_taken();
        }
        let grows = self.take(&answer);
        if grows {
            let text = self.text.so_far();
            if text.len() > LONGEST_TEXT {
                let message = "the text is longer than anybody says in five minutes";
                return Err(Error::unreadable(message));
            }
            listener.on_text(text);
        }
        Ok(grows)
    }

    /// Takes an answer or an event in; true if there is more text than before.
    fn take(&mut self, answer: &Value) -> bool {
        self.bill(answer);
        let choice = Choice::of(answer);
        self.language = choice.annotation("language").or(self.language.take());
        self.emotion = choice.annotation("emotion").or(self.emotion.take());
        let text = choice.text();
        self.strange |= text.is_none();
        let text = text.unwrap_or_default();
        let piece = match choice.end() {
            Some(end) => {
                // What was cut is not made whole by a `stop` that comes after it.
                self.truncated = Some(self.truncated == Some(true) || end.truncated);
                Piece::Last
            }
            None => Piece::More,
        };
        self.text.take(&text, piece) && piece == Piece::More
    }

    fn bill(&mut self, answer: &Value) {
        let usage = &answer["usage"]["seconds"];
        // Every event repeats it; one that cannot be is warned of once.
        if *usage != self.usage {
            self.usage = usage.clone();
            self.billed_seconds = seconds(usage).unwrap_or(self.billed_seconds);
        }
    }

    fn complete(&self) -> Result<(), Error> {
        match self.truncated {
            // Not a silence: something was said, and is paid for.
            Some(_) if self.strange && self.text.so_far().is_empty() => {
                Err(missing("text in its content, which is of an unknown shape"))
            }
            Some(_) => Ok(()),
            None => Err(Error::open(
                "EndedWithoutStop",
                "the answer ended before the service said that it was done",
            )),
        }
    }

    pub(super) fn into_transcript(self, duration_ms: Option<u64>) -> Transcript {
        let text = self.text.into_whole();
        if self.strange {
            tracing::warn!("a part of an answer was of an unknown shape; its transcript is without it");
        }
        let segment = Segment {
            channel: 0,
            role: None,
            begin_ms: duration_ms.map(|_| 0),
            end_ms: duration_ms,
            timing: if duration_ms.is_some() { Timing::Chunk } else { Timing::None },
            text: text.clone(),
            language: self.language,
            emotion: self.emotion,
        };
        // Nothing said is not a piece of speech.
        let segments = if text.trim().is_empty() { Vec::new() } else { vec![segment] };
        Transcript {
            text,
            segments,
            truncated: self.truncated == Some(true),
            billed_seconds: self.billed_seconds,
        }
    }
}

/// An error event that names no code: its status decides, as where a whole answer has none.
fn error_event(event: &Event, answer: Option<Value>) -> Error {
    let Some(status) = event.status.filter(|status| *status >= 400) else {
        let message = "the stream ended in an error event without a code";
        return Error::unreadable(message);
    };
    let answer = answer.unwrap_or_default();
    let message = [&answer["message"], &answer["error"]["message"]].into_iter().find_map(Value::as_str);
    let message = message.unwrap_or_default();
    Refusal { status: Some(status), message, ..Refusal::default() }.into_error()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::job::Fate;

    /// What is made of the choices of one stream.
    fn told(choices: &[Value]) -> Result<String, Error> {
        let mut answer = Heard::default();
        for choice in choices {
            answer.take(&json!({"output": {"choices": [choice]}}));
        }
        answer.complete().map(|()| answer.into_transcript(None).text)
    }

    #[test]
    fn what_is_not_understood_is_no_silence_and_takes_nothing_from_what_is() {
        let strange = json!({"message": {"content": [{"words": "so"}]}});
        let stop = |content: Value| json!({"finish_reason": "stop", "message": {"content": content}});
        for choices in
            [vec![stop(strange["message"]["content"].clone())], vec![strange.clone(), stop(json!([]))]]
        {
            let error = told(&choices).unwrap_err();
            assert_eq!((&*error.fault.code, error.fate), ("UnreadableAnswer", Fate::Open), "{error}");
            assert!(!error.fault.message.contains("so"));
        }
        assert_eq!(told(&[strange, stop(json!("yes"))]).unwrap(), "yes");
        assert_eq!(told(&[stop(json!([]))]).unwrap(), "");
    }

    fn heard(reasons: &[Value]) -> Transcript {
        let mut answer = Heard::default();
        for reason in reasons {
            answer.take(
                &json!({"output": {"choices": [{"finish_reason": reason, "message": {"content": []}}]}}),
            );
        }
        answer.complete().unwrap();
        answer.into_transcript(None)
    }

    #[test]
    fn a_text_that_the_service_cut_says_so_whatever_follows() {
        assert!(!heard(&[Value::Null, json!("null"), json!("stop")]).truncated);
        assert!(heard(&[Value::Null, json!("length")]).truncated);
        assert!(heard(&[json!("length"), json!("stop")]).truncated, "both in one read");
    }
}
