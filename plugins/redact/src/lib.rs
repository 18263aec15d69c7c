//! Takes out of transcripts what must not leave: numbers of cards, phones and accounts, e-mail addresses, own words and patterns.
//!
//! ```toml
//! [[plugin]]
//! name = "redact"
//! library = "redact"
//! on_failure = "hold"
//! [plugin.config]
//! find = ["card", "phone", "email", "iban"]   # also "digits": every run of four digits and more
//! words = []                      # forbidden words, phrases
//! patterns = []                   # regular expressions
//! fillers = false                 # true: "um", "uh", 嗯, えっと, … go
//! replace = "token"               # token: [CARD_1] | mask: ****
//! ```
//!
//! The way of a text: `text` joins and folds the texts of a channel, `lex` takes them apart, `runs`, `numbers` and `phone` find numbers, `iban`,
//! `email` and `own` the rest, `pieces` and `redact` decide about borders, `call` gives the numbers of tokens. docs/plugins/redact.md is the manual.

mod call;
mod config;
mod context;
mod email;
mod halves;
mod iban;
mod kana;
mod lex;
mod numbers;
mod own;
mod phone;
mod pieces;
mod redact;
mod runs;
mod spoken;
mod text;
mod token;

use hark_sdk::event::{Event, Segment, TranscriptPartial, TranscriptSegment};
use hark_sdk::schemars::Schema;
use hark_sdk::{Error, Host, Plugin, Transcript, Wants, joined, schema};
use uuid::Uuid;

use call::{Calls, Piece};
pub use config::{Config, Find, Replace};
use redact::{Edges, Finder, Said, Taken};

/// The plugin.
pub struct Redact {
    finder: Finder,
    replace: Replace,
    calls: Calls,
}

impl Plugin for Redact {
    const WANTS: Wants = Wants::FINALS.and(Wants::PARTIALS).and(Wants::SEGMENTS);
    const TRANSFORM: bool = true;

    fn schema() -> Schema {
        schema::of_config::<Config>()
    }

    fn create(config: &str) -> Result<Self, Error> {
        let config = Config::parse(config)?;
        let finder = Finder::new(&config).map_err(Error::mistakes)?;
        Ok(Redact { finder, replace: config.replace, calls: Calls::default() })
    }

    fn warnings(&self) -> Vec<String> {
        let text =
            "redact works on recognized text; names of files, addresses and metadata leave as they are";
        vec![text.to_owned()]
    }

    fn on_partial(&mut self, event: &Event, partial: &TranscriptPartial, host: &Host) -> Result<(), Error> {
        let text = self.finder.without_last_word(&partial.text);
        let said = Said { channel: partial.channel, speaker: None, begin_ms: None, language: None, text };
        let edges = Edges { begin: true, end: true, is_first: partial.begin_ms == 0, is_partial: true };
        let taken = self.finder.find(&[said], edges);
        let piece = (partial.channel, partial.piece);
        let text = self.replaced(event.job, text, &taken[0], Some(piece));
        host.replace(&text, &[])
    }

    fn on_segment(&mut self, event: &Event, segment: &TranscriptSegment, host: &Host) -> Result<(), Error> {
        let edges = Edges { begin: true, end: true, is_first: segment.begin_ms == 0, is_partial: false };
        let texts = self.segments(event.job, &segment.segments, edges);
        host.replace("", &texts)
    }

    fn on_final(&mut self, transcript: &Transcript, host: &Host) -> Result<(), Error> {
        let job = transcript.event.job;
        let segments = transcript.segments.as_deref().unwrap_or_default();
        let texts = self.segments(job, segments, Edges::default());
        let composed = joined::dialogue(
            segments.iter().zip(&texts).map(|(segment, text)| (segment.channel, text.as_str())),
        );
        let is_same = segments.iter().zip(&texts).all(|(segment, text)| segment.text == *text);
        let text = match is_same && transcript.text != composed {
            true => self.text(job, &transcript.text),
            false => composed,
        };
        self.calls.end(job);
        host.replace(&text, &texts)
    }
}

impl Redact {
    fn segments(&mut self, job: Uuid, segments: &[Segment], edges: Edges) -> Vec<String> {
        let said: Vec<Said> = segments
            .iter()
            .map(|Segment { channel, speaker, begin_ms, language, text, .. }| {
                let (speaker, language) = (speaker.as_deref(), language.as_deref());
                Said { channel: *channel, speaker, begin_ms: *begin_ms, language, text }
            })
            .collect();
        let taken = self.finder.find(&said, edges);
        said.iter().for_each(|said| self.calls.observe(job, said.text));
        said.iter().zip(&taken).map(|(said, taken)| self.replaced(job, said.text, taken, None)).collect()
    }

    /// The text of a final that has no segments, or another text than they.
    fn text(&mut self, job: Uuid, text: &str) -> String {
        let said = Said { channel: 0, speaker: None, begin_ms: None, language: None, text };
        let taken = self.finder.find(&[said], Edges::default());
        self.calls.observe(job, text);
        self.replaced(job, text, &taken[0], None)
    }

    fn replaced(&mut self, job: Uuid, text: &str, taken: &[Taken], piece: Option<Piece>) -> String {
        let mut replaced = String::with_capacity(text.len());
        let mut at = 0;
        for Taken { range, kind, value, is_tail, .. } in taken {
            replaced.push_str(&text[at..range.start]);
            at = range.end;
            let Some(kind) = *kind else { continue };
            match (self.replace, piece) {
                (Replace::Mask, _) => replaced.push_str(token::MASK),
                (Replace::Token, Some(piece)) if *is_tail => {
                    replaced
                        .push_str(&token::token(kind, self.calls.number_of_tail(job, piece, kind, value)));
                }
                (Replace::Token, _) => {
                    replaced.push_str(&token::token(kind, self.calls.number(job, kind, value)));
                }
            }
        }
        replaced.push_str(&text[at..]);
        replaced
    }
}

hark_sdk::export!(Redact);
