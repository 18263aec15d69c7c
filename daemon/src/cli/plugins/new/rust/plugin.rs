//! Tells when a word is said, while it is heard, and counts it at the end: a plugin to begin with.

use hark_sdk::event::{Alert, AlertState, Event, Severity, TranscriptPartial, TranscriptSegment};
use hark_sdk::schemars::{self, JsonSchema, Schema};
use hark_sdk::{Error, Host, Plugin, Transcript, Wants, schema};
use serde::Deserialize;

/// `[plugin.config]`. A key that is not known is refused: `harkd check` finds typing errors.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// The word; upper and lower case are the same.
    word: String,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            word: "hello".to_owned(),
        }
    }
}

struct Counter {
    word: String,
}

impl Counter {
    fn count(&self, text: &str) -> usize {
        let text = text.to_lowercase();
        let words = text.split(|letter: char| !letter.is_alphanumeric());
        words.filter(|word| *word == self.word).count()
    }

    /// The same alert from the first to the last word about it: the daemon publishes each state once.
    fn alert(&self, state: AlertState) -> Alert {
        Alert {
            alert: "{plugin}:word".to_owned(),
            rule: "word".to_owned(),
            severity: Severity::Info,
            state,
            quote: self.word.clone(),
            ..Alert::default()
        }
    }
}

impl Plugin for Counter {
    const WANTS: Wants = Wants::FINALS.and(Wants::SEGMENTS).and(Wants::PARTIALS);

    fn schema() -> Schema {
        schema::of_config::<Config>()
    }

    fn create(config: &str) -> Result<Self, Error> {
        let config: Config = serde_json::from_str(config)?;
        if config.word.is_empty() {
            // A message that begins with the key gets the key's line in `harkd check`.
            return Err(Error::new("word: is empty; name the one to look for"));
        }
        Ok(Counter {
            word: config.word.to_lowercase(),
        })
    }

    /// A partial is what is heard so far: it may change.
    fn on_partial(
        &mut self,
        _event: &Event,
        partial: &TranscriptPartial,
        host: &Host,
    ) -> Result<(), Error> {
        match self.count(&partial.text) {
            0 => Ok(()),
            _ => host.alert(&self.alert(AlertState::Tentative)),
        }
    }

    /// A piece of a long recording is heard: its text stays.
    fn on_segment(
        &mut self,
        _event: &Event,
        piece: &TranscriptSegment,
        host: &Host,
    ) -> Result<(), Error> {
        let said = |segment: &hark_sdk::event::Segment| self.count(&segment.text) > 0;
        match piece.segments.iter().any(said) {
            false => Ok(()),
            true => host.alert(&self.alert(AlertState::Confirmed)),
        }
    }

    /// What the plugin emits here counts once this has returned `Ok`; the count becomes the event `plugin.<name>`.
    fn on_final(&mut self, transcript: &Transcript, host: &Host) -> Result<(), Error> {
        let count = self.count(&transcript.text);
        if count > 0 {
            host.alert(&self.alert(AlertState::Confirmed))?;
        }
        host.annotate("count", count)
    }
}

hark_sdk::export!(Counter);

#[cfg(test)]
mod tests {
    use hark_sdk::event::{AlertState, Body};
    use hark_sdk::testing::{Bench, partial, transcript};

    use super::Counter;

    #[test]
    fn the_word_is_counted_in_any_case() {
        let mut bench = Bench::<Counter>::create(r#"{"word": "refund"}"#).unwrap();
        let heard = bench.hand(&transcript(&["A refund, please.", "Refund? Refunded!"]));
        let emitted = heard.unwrap().emitted;
        let [Body::AlertRaised(alert), Body::Plugin(said)] = emitted.as_slice() else {
            panic!("{emitted:?}");
        };
        assert_eq!(alert.state, AlertState::Confirmed);
        assert_eq!(said.data["count"], 2);
    }

    #[test]
    fn an_alert_comes_while_the_word_is_heard() {
        let mut bench = Bench::<Counter>::create(r#"{"word": "refund"}"#).unwrap();
        assert!(bench.hand(&partial(1, "A ref")).unwrap().emitted.is_empty());
        let emitted = bench.hand(&partial(2, "A refund")).unwrap().emitted;
        let [Body::AlertRaised(alert)] = emitted.as_slice() else {
            panic!("{emitted:?}");
        };
        assert_eq!(alert.state, AlertState::Tentative);
    }

    #[test]
    fn a_slip_of_the_pen_is_found() {
        assert!(Bench::<Counter>::create(r#"{"wrod": "refund"}"#).is_err());
    }
}
