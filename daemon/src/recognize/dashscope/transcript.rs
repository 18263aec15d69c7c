//! The transcript of flash as its answer arrives, whole or as a stream, until the service reports the end or the body ends.

use std::time::Instant;

use hark_sdk::event::Usage;
use reqwest::Response;
use serde::de::DeserializeOwned;

use super::client::Client;
use crate::job::{Fate, Transcript};
use crate::recognize::Listener;
use crate::recognize::error::{Error, LONGEST_RAW};
use crate::recognize::http::is_event_stream;
use crate::recognize::sse::Parser;

/// The most bytes of a whole stream. Five minutes of speech are some thousand events; those of a family whose events repeat the text and
/// its words are the longest.
const LONGEST_STREAM: usize = 64 << 20;

/// What the answers of a family have told so far. Whether an event adds to the text or replaces it is the family's own.
pub(super) trait Reading: Default {
    /// A whole answer, or one event of a stream.
    type Answer: DeserializeOwned;

    /// Adds an answer or an event; true if the text is another than before.
    fn add(&mut self, answer: Self::Answer) -> bool;
    /// The text so far.
    fn text(&self) -> &str;
    /// What the service billed, as far as it told.
    fn billed(&self) -> Usage;
    /// Nothing follows in the stream: the service reported the end.
    fn is_over(&self) -> bool;
    /// The body ended, and what came is all of the answer. `is_whole`: it was one answer and no stream.
    fn is_complete(&self, is_whole: bool) -> bool;
    fn into_transcript(self, duration_ms: Option<u64>) -> Transcript;
}

/// What has been received so far.
#[derive(Debug, Default)]
pub(super) struct Incoming<R> {
    reading: R,
    /// The stream as received, kept for an attempt that fails.
    raw: Vec<u8>,
}

impl<R: Reading> Incoming<R> {
    /// Reads a 2xx answer to its end. `is_stream`: a stream was requested.
    pub(super) async fn read(
        &mut self,
        client: &Client,
        response: Response,
        is_stream: bool,
        listener: &mut dyn Listener,
    ) -> Result<(), Error> {
        let is_whole = !is_stream || !is_event_stream(&response);
        if is_whole {
            let answer = client.answer(response).await?;
            listener.on_taken();
            self.reading.add(answer);
        } else {
            self.read_stream(client, response, listener).await?;
        }
        self.end(is_whole)
    }

    /// Reads a stream until the service reports its end, or the body ends.
    async fn read_stream(
        &mut self,
        client: &Client,
        mut response: Response,
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
                if self.reading.add(answer) {
                    last_text = Instant::now();
                    listener.on_text(self.reading.text());
                }
                if self.reading.is_over() {
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

    /// The body has ended.
    fn end(&self, is_whole: bool) -> Result<(), Error> {
        let message = "the answer ended before the service said that it was done";
        match self.reading.is_complete(is_whole) {
            true => Ok(()),
            false => Err(Error::open("EndedWithoutStop", message)),
        }
    }

    /// Whether any text has come.
    pub(super) fn has_text(&self) -> bool {
        !self.reading.text().is_empty()
    }

    /// What the service billed, as far as it told.
    pub(super) fn billed(&self) -> Usage {
        self.reading.billed()
    }

    /// The error of a request after this much of the answer: if the service sent text, or a price, it has done work and charges for it.
    pub(super) fn failed(self, error: Error) -> Error {
        let billed = self.reading.billed();
        let has_begun = !billed.is_nothing() || self.has_text();
        let error = if has_begun { error.after_work(billed) } else { error };
        match error.fate {
            Fate::Open | Fate::Taken => error.with_raw(self.raw),
            _ => error,
        }
    }

    pub(super) fn into_transcript(self, duration_ms: Option<u64>) -> Transcript {
        self.reading.into_transcript(duration_ms)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The state of a reading after these events of a stream.
    pub(in crate::recognize::dashscope) fn read<R: Reading>(events: &[serde_json::Value]) -> Incoming<R> {
        let mut incoming = Incoming::<R>::default();
        for event in events {
            incoming.reading.add(serde_json::from_value(event.clone()).unwrap());
        }
        incoming
    }

    /// The transcript of a stream with these events, or the code of its error.
    pub(in crate::recognize::dashscope) fn transcript<R: Reading>(
        events: &[serde_json::Value],
    ) -> Result<Transcript, String> {
        let incoming = read::<R>(events);
        incoming.end(false).map_err(|error| error.fault.code)?;
        Ok(incoming.into_transcript(Some(2_000)))
    }
}
