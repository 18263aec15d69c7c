//! What is heard of an answer of `flash`, streamed or whole, until the service says that it is done.

use std::time::{Duration, Instant};

use bytes::Bytes;
use hark_sdk::event::{Segment, Timing};
use reqwest::Response;
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;

use super::answer::{missing, refusal_in, seconds};
use super::client::{Client, EVENT_STREAM, JSON};
use super::error::Error;
use super::flash::Listener;
use super::json;
use super::sse::{Event, Parser};
use super::text::{Piece, Text};
use super::verdict::Refusal;
use crate::job::Transcript;

/// Bytes of a text; every partial repeats it. The quickest speakers come to some twenty thousand in five minutes.
const LONGEST_TEXT: usize = 256 << 10;

/// Bytes of a whole stream. The text of five minutes has some kilobytes; a cumulative stream repeats it a thousand times.
const LONGEST_STREAM: usize = 32 << 20;

/// Blank bytes before a body, after which its label tells what it is.
const LONGEST_BLANK: usize = 64;

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
        let labelled = says_stream(&response, streamed);
        let begun = beginning(client, &mut response).await?;
        if is_stream(first(&begun), labelled) {
            self.read_stream(client, response, begun, listener).await
        } else {
            self.read_whole(client, response, begun, listener).await
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
            return Err(client.masked(error));
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
                None => client.chunk(&mut response).await,
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
            let silence = client.timeouts().silence;
            if heard.elapsed() > silence {
                let seconds = silence.as_secs();
                return Err(Error::unknown(
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
                return Err(client.masked(error));
            }
        }
        if event.name == "error" {
            return Err(client.masked(error_event(event, answer.ok())));
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
        let choice = &answer["output"]["choices"][0];
        // Streams of the compatible mode call it so.
        let message = if choice["message"].is_object() { &choice["message"] } else { &choice["delta"] };
        for annotation in message["annotations"].as_array().into_iter().flatten() {
            let heard =
                |name: &str| annotation[name].as_str().filter(|value| !value.is_empty()).map(str::to_owned);
            self.language = heard("language").or(self.language.take());
            self.emotion = heard("emotion").or(self.emotion.take());
        }
        // Some have the text itself where the content would be.
        let places = [&message["content"], &message["text"], &choice["text"]];
        let text = said(places.into_iter().find(|place| !place.is_null()).unwrap_or(&Value::Null));
        self.strange |= text.is_none();
        let text = text.unwrap_or_default();
        // While it runs the reason is null, or the word "null". In any case: an end that was missed would be paid for twice.
        let reason = choice["finish_reason"].as_str().unwrap_or_default().to_ascii_lowercase();
        let piece = match reason.as_str() {
            "stop" | "length" => Piece::Last,
            _ => Piece::More,
        };
        if piece == Piece::Last {
            // What was cut is not made whole by a `stop` that comes after it.
            self.truncated = Some(self.truncated == Some(true) || reason == "length");
        }
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
            None => Err(Error::unknown(
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

/// The text of a message's content: a list of parts, or what would be one of them. `None`: there is something, and no text in it.
fn said(content: &Value) -> Option<String> {
    let part = |part: &Value| match part {
        Value::String(text) => Some(text.clone()),
        part => match &part["text"] {
            Value::Null if is_empty(part) || part.get("text").is_some() => Some(String::new()),
            text => text.as_str().map(str::to_owned),
        },
    };
    let parts = match content {
        Value::Array(parts) => parts.as_slice(),
        part => std::slice::from_ref(part),
    };
    // A part of another kind beside a text takes nothing away from it.
    let texts: Vec<String> = parts.iter().filter_map(part).collect();
    (parts.is_empty() || !texts.is_empty()).then(|| texts.concat())
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty)
}

/// As much of a body as tells its form, and no more: a stream is heard while it comes.
async fn beginning(client: &Client, response: &mut Response) -> Result<Vec<u8>, Error> {
    let mut begun = Vec::new();
    while begun.len() < LONGEST_BLANK && first(&begun).is_none() {
        match client.chunk(response).await? {
            Some(bytes) => begun.extend_from_slice(&bytes),
            None => break,
        }
    }
    Ok(begun)
}

/// The first byte that is neither white space nor of a byte order mark.
fn first(body: &[u8]) -> Option<u8> {
    body.iter().copied().find(|byte| !byte.is_ascii_whitespace() && !b"\xef\xbb\xbf".contains(byte))
}

/// Gateways label streams as JSON and the other way round. An object begins with a brace; a stream with a comment or one of its
/// fields (`data`, `event`, `id`, `retry`), as no JSON does. Anything else is what its label says.
fn is_stream(first: Option<u8>, labelled: bool) -> bool {
    match first {
        Some(b'{') => false,
        Some(b':' | b'd' | b'e' | b'i' | b'r') => true,
        _ => labelled,
    }
}

/// What was asked for as a stream and does not say that it is JSON says that it is one.
fn says_stream(response: &Response, streamed: bool) -> bool {
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default().trim_start().to_ascii_lowercase();
    content_type.starts_with(EVENT_STREAM) || streamed && !content_type.starts_with(JSON)
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
    Error::refused(&Refusal { status: Some(status), message, ..Refusal::default() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::recognize::Verdict;

    /// What is made of the choices of one stream.
    fn told(choices: &[Value]) -> Result<String, Error> {
        let mut answer = Heard::default();
        for choice in choices {
            answer.take(&json!({"output": {"choices": [choice]}}));
        }
        answer.complete().map(|()| answer.into_transcript(None).text)
    }

    #[test]
    fn a_text_is_read_whatever_it_is_wrapped_in() {
        for content in [
            json!("so"),
            json!(["so"]),
            json!(["s", "o"]),
            json!({"text": "so"}),
            json!({"type": "text", "text": "so"}),
            json!([{"text": "s"}, {"text": null}, {"text": "o"}]),
            json!([{"audio": "x"}, {"text": "so"}]),
        ] {
            for name in ["message", "delta"] {
                let whole = json!({"finish_reason": "stop", name: {"content": content}});
                assert_eq!(told(&[whole]).unwrap(), "so", "{content}");
                let piece = json!({"finish_reason": "null", "message": null, name: {"content": content}});
                let stop = json!({"finish_reason": "stop", name: {"content": []}});
                assert_eq!(told(&[piece, stop]).unwrap(), "so", "{content}");
            }
        }
    }

    #[test]
    fn a_text_is_read_where_a_content_would_be() {
        for choice in [
            json!({"message": {"text": "so"}}),
            json!({"text": "so"}),
            json!({"message": {"content": null}, "text": "so"}),
        ] {
            let mut last = choice.clone();
            last["finish_reason"] = "stop".into();
            assert_eq!(told(&[last]).unwrap(), "so", "{choice}");
        }
        let both = json!({"finish_reason": "stop", "message": {"content": [{"text": "so"}], "text": "else"}});
        assert_eq!(told(&[both]).unwrap(), "so");
    }

    #[test]
    fn what_is_not_understood_is_no_silence() {
        let stop = |content: Value| json!({"finish_reason": "stop", "message": {"content": content}});
        for nothing in [
            json!([]),
            json!(""),
            json!(null),
            json!({}),
            json!([null]),
            json!([""]),
            json!([{"text": null}]),
        ] {
            assert_eq!(told(&[stop(nothing.clone())]).unwrap(), "", "{nothing}");
        }
        assert_eq!(told(&[json!({"finish_reason": "stop"})]).unwrap(), "");
        for strange in [
            json!(7),
            json!([7]),
            json!([["so"]]),
            json!({"parts": ["so"]}),
            json!([{"words": "so"}]),
            json!([{"text": {"value": "so"}}]),
        ] {
            for choices in
                [vec![stop(strange.clone())], vec![json!({"message": {"content": strange}}), stop(json!([]))]]
            {
                let error = told(&choices).unwrap_err();
                assert!(error.is_unreadable() && error.verdict == Verdict::Unknown, "{strange}: {error}");
                assert!(!error.fault.message.contains("so"));
            }
            // What was understood beside it stands.
            assert_eq!(told(&[json!({"message": {"content": strange}}), stop(json!("yes"))]).unwrap(), "yes");
        }
    }

    #[test]
    fn a_body_is_what_it_begins_like_and_else_what_its_label_says() {
        for (body, stream) in [
            ("{\"output\":{}}", Some(false)),
            ("\u{feff} \r\n{", Some(false)),
            ("data:{}", Some(true)),
            ("\u{feff}id:1", Some(true)),
            ("\n\n: working", Some(true)),
            ("event:result", Some(true)),
            ("retry:5", Some(true)),
            ("<html>", None),
            ("[]", None),
            ("\u{feff}\n", None),
            ("", None),
        ] {
            for labelled in [true, false] {
                let is = is_stream(first(body.as_bytes()), labelled);
                assert_eq!(is, stream.unwrap_or(labelled), "{body}");
            }
        }
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
        assert!(!heard(&[json!("NULL"), json!("STOP")]).truncated && heard(&[json!("Length")]).truncated);
        assert!(heard(&[Value::Null, json!("length")]).truncated);
        assert!(heard(&[json!("length"), json!("stop")]).truncated, "both in one read");
    }
}
