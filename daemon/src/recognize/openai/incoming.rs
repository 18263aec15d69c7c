//! An answer as it arrives, whole or as a stream, in any dialect, until the server has told the end.

#[cfg(test)]
mod tests;

use bytes::Bytes;
use hark_sdk::event::{Segment, Timing, Usage};
use reqwest::Response;

use super::dialects::{self, Finish, Message, Transcription};
use super::prefix::{Parsed, Prefix};
use super::segments::{TimedText, believable, believable_words};
use super::{Failed, language};
use crate::job::Transcript;
use crate::recognize::error::{Error, LONGEST_RAW};
use crate::recognize::http::{Http, is_event_stream};
use crate::recognize::sse::{Event, Parser};
use crate::recognize::{Listener, segment_of_all};

/// The most bytes of an answer, whole or streamed.
const LONGEST_ANSWER: usize = 16 << 20;

/// The most bytes of a text that streams back; every partial repeats the text. The quickest speakers come to some thousand a minute.
const LONGEST_TEXT: usize = 256 << 10;

/// Whether a body is a stream of events, by its first bytes: proxies and small servers send either kind under any media type. `None`: they do
/// not tell.
fn is_stream(first: &[u8]) -> Option<bool> {
    const FIELDS: [&[u8]; 4] = [b"data:", b"event:", b"id:", b":"];
    match first.trim_ascii_start() {
        [b'{', ..] => Some(false),
        body if FIELDS.iter().any(|field| body.starts_with(field)) => Some(true),
        _ => None,
    }
}

/// What has been received so far.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    text: String,
    prefix: Prefix,
    /// As the server told it.
    language: Option<String>,
    segments: Vec<dialects::Timed>,
    words: Option<Vec<dialects::TimedWord>>,
    truncated: bool,
    end: AnswerEnd,
    /// The answer as received, kept for an attempt that fails.
    raw: Vec<u8>,
}

/// How far an answer is.
#[derive(Debug, Default, PartialEq, Eq)]
enum AnswerEnd {
    #[default]
    NotYet,
    /// The text may be complete: the body may end here, or go on.
    Perhaps,
    Certain,
}

impl Incoming {
    /// Reads an answer with status 2xx to its end.
    pub(super) async fn read(
        &mut self,
        http: &Http,
        response: &mut Response,
        listener: &mut dyn Listener,
    ) -> Result<(), Failed> {
        let told = is_event_stream(response);
        let first = http.chunk(response).await?.unwrap_or_default();
        if is_stream(&first).unwrap_or(told) {
            return self.read_stream(http, response, first, listener).await;
        }
        // Servers that do not stream ignore the wish.
        self.raw.extend_from_slice(&first);
        http.body(response, &mut self.raw, LONGEST_ANSWER).await?;
        self.take(dialects::read(&self.raw)?)?;
        self.finish()?;
        listener.on_taken();
        Ok(())
    }

    async fn read_stream(
        &mut self,
        http: &Http,
        response: &mut Response,
        first: Bytes,
        listener: &mut dyn Listener,
    ) -> Result<(), Failed> {
        let mut parser = Parser::default();
        let mut left = LONGEST_ANSWER;
        let mut is_taken = false;
        let mut next = Some(first);
        while let Some(bytes) = next {
            left = left.checked_sub(bytes.len()).ok_or_else(|| {
                Error::unreadable(&format!("the server's answer is longer than {LONGEST_ANSWER} bytes"))
            })?;
            self.raw.extend_from_slice(&bytes[..bytes.len().min(LONGEST_RAW - self.raw.len())]);
            for event in parser.push(&bytes)? {
                let grown = self.take_event(&event)?;
                if !std::mem::replace(&mut is_taken, true) {
                    listener.on_taken();
                }
                if grown {
                    listener.on_text(self.text.trim());
                }
                if self.text.len() > LONGEST_TEXT {
                    return Err(Error::unreadable("the text is longer than anybody says in a piece").into());
                }
                if self.end == AnswerEnd::Certain {
                    return self.finish();
                }
            }
            next = http.chunk(response).await?;
        }
        self.finish()
    }

    /// Takes an event; true if there is more text than before.
    pub(super) fn take_event(&mut self, event: &Event) -> Result<bool, Failed> {
        let before = self.text.len();
        match event.data.trim() {
            "[DONE]" => self.end = AnswerEnd::Certain,
            "" => {}
            data => self.take(dialects::read(data.as_bytes())?)?,
        }
        Ok(self.text.len() > before)
    }

    pub(super) fn take(&mut self, said: Message) -> Result<(), Failed> {
        match said {
            Message::More { text, finish } => {
                self.add(&text);
                if let Some(finish) = finish {
                    self.finished(finish);
                }
            }
            Message::Whole(transcription) => self.replace(transcription),
            Message::Refused(refusal) => return Err(Failed::Refused(refusal)),
        }
        Ok(())
    }

    fn add(&mut self, part: &str) {
        let told = self.prefix.push(part);
        self.told(told);
    }

    fn told(&mut self, Parsed { text, language }: Parsed) {
        self.text.push_str(&text);
        self.language = self.language.take().or(language);
    }

    fn finished(&mut self, Finish { truncated, may_go_on }: Finish) {
        let held = self.prefix.end();
        self.told(held);
        self.truncated |= truncated;
        self.end = if may_go_on { AnswerEnd::Perhaps } else { AnswerEnd::Certain };
        self.prefix.next_part();
    }

    fn replace(&mut self, transcription: Transcription) {
        let Transcription { text, language, detected_language, segments, words } = transcription;
        (self.text, self.prefix) = (String::new(), Prefix::default());
        self.add(&text);
        self.language = self.language.take().or(detected_language).or(language);
        (self.segments, self.words) = (segments.unwrap_or_default(), words);
        self.end = AnswerEnd::Certain;
    }

    /// The body has ended, or the server has told the end.
    pub(super) fn finish(&mut self) -> Result<(), Failed> {
        let held = self.prefix.end();
        self.told(held);
        let message = "the answer ended before the server said that it was done";
        match self.end {
            AnswerEnd::NotYet => Err(Error::open("EndedWithoutStop", message).into()),
            AnswerEnd::Perhaps | AnswerEnd::Certain => Ok(()),
        }
    }

    pub(super) fn into_raw(self) -> Vec<u8> {
        self.raw
    }

    pub(super) fn has_text(&self) -> bool {
        !self.text.is_empty()
    }

    /// `duration_ms`: of the audio that was sent; `asked`: the language that the request named.
    pub(super) fn into_transcript(self, duration_ms: Option<u64>, asked: Option<&str>) -> Transcript {
        let language = self.language.as_deref().and_then(language::code).or(asked.map(str::to_owned));
        let text = self.text.trim().to_owned();
        let words = self.words.as_deref();
        let segments = match believable(self.segments, words, duration_ms) {
            // Without speech there is no segment.
            _ if text.is_empty() => Vec::new(),
            Some(parts) => {
                let segment = |TimedText { begin_ms, end_ms, text, words }| Segment {
                    begin_ms: Some(begin_ms),
                    end_ms: Some(end_ms),
                    timing: Timing::Service,
                    text,
                    words,
                    language: language.clone(),
                    ..Segment::default()
                };
                parts.into_iter().map(segment).collect()
            }
            None => {
                let words = words.map(|words| believable_words(words, duration_ms));
                vec![Segment { words, language, ..segment_of_all(duration_ms, text.clone()) }]
            }
        };
        Transcript { text, segments, truncated: self.truncated, billed: Usage::default() }
    }
}
