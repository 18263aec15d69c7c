//! A stream of times in place of a text: measures how long a word takes from the emulator to its reader.

use std::convert::Infallible;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::stream;

use super::Recognition;
use super::stream::{event_stream, frame, last_event};

/// The stream that `--clock-words` requests. Faults that change a text or cut a stream do not affect it.
pub(super) struct Clock {
    pub(super) recognition: Recognition,
    pub(super) incremental: bool,
    pub(super) words: usize,
    /// The time between two words.
    pub(super) delay: Duration,
    pub(super) told: Told,
}

/// What has been sent.
#[derive(Default)]
pub(super) struct Told {
    events: usize,
    text: String,
}

impl Clock {
    pub(super) fn respond(self) -> Response {
        event_stream(Body::from_stream(stream::unfold(self, Clock::tell)))
    }

    /// Makes each event when it is due, not before, because its word is the time at which it is sent.
    async fn tell(mut self) -> Option<(Result<Bytes, Infallible>, Clock)> {
        if self.told.events > self.words {
            return None;
        }
        if self.told.events > 0 {
            tokio::time::sleep(self.delay).await;
        }
        let event = if self.told.events < self.words {
            self.word()
        } else {
            last_event(&self.recognition, &self.told.text, self.words, self.incremental)
        };
        self.told.events += 1;
        Some((Ok(event), self))
    }

    fn word(&mut self) -> Bytes {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let word = if self.told.events == 0 { now.to_string() } else { format!(" {now}") };
        self.told.text.push_str(&word);
        let text = if self.incremental { &word } else { &self.told.text };
        let number = self.told.events + 1;
        frame(number, "result", 200, &self.recognition.event(text, "null", number))
    }
}
