//! Counts how often a word comes in a transcript: a plugin to begin with.

use hark_sdk::{Error, Host, Plugin, Transcript};
use serde::Deserialize;

/// `[plugin.config]`. A key that is not known is refused: a typing error is found at the start.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// Upper and lower case are the same.
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

impl Plugin for Counter {
    fn create(config: &str) -> Result<Self, Error> {
        let config: Config = serde_json::from_str(config)?;
        if config.word.is_empty() {
            return Err(Error::new("word is empty; name the one to count"));
        }
        Ok(Counter {
            word: config.word.to_lowercase(),
        })
    }

    /// What the plugin emits here counts once this has returned `Ok`; it becomes the event `plugin.<name>`.
    fn on_final(&mut self, transcript: &Transcript, host: &Host) -> Result<(), Error> {
        let text = transcript.text.to_lowercase();
        let words = text.split(|letter: char| !letter.is_alphanumeric());
        host.annotate("count", words.filter(|word| *word == self.word).count())
    }
}

hark_sdk::export!(Counter);

#[cfg(test)]
mod tests {
    use hark_sdk::event::Body;
    use hark_sdk::testing::{Bench, transcript};

    use super::Counter;

    #[test]
    fn the_word_is_counted_in_any_case() {
        let mut bench = Bench::<Counter>::create(r#"{"word": "refund"}"#).unwrap();
        let heard = bench.hand(&transcript(&["A refund, please.", "Refund? Refunded!"]));
        let emitted = heard.unwrap().emitted;
        let [Body::Plugin(said)] = emitted.as_slice() else {
            panic!("{emitted:?}");
        };
        assert_eq!(said.data["count"], 2);
    }

    #[test]
    fn a_slip_of_the_pen_is_found() {
        assert!(Bench::<Counter>::create(r#"{"wrod": "refund"}"#).is_err());
    }
}
