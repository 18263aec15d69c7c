//! Finds answers that only repeat the context. Recognizers are known to write their context over silence, as if it had been said. Pure.

use std::collections::BTreeSet;

use hark_sdk::event::Segment;

use crate::config::is_han_or_kana;
use crate::job::Transcript;

/// A whole answer of fewer words that are a part of the context is taken to have been said: "yes" stands in many a context.
const LEAST_PART: usize = 2;

/// The words of a context.
#[derive(Debug, Clone, Default)]
pub struct Echo {
    words: Vec<String>,
}

impl Echo {
    /// Of a request with this context and these hot words.
    pub fn of(context: &str) -> Echo {
        Echo { words: words([context], usize::MAX) }
    }

    /// Marks the segments of every channel whose whole text is the context, or a part of it of two words or more.
    pub fn mark(&self, transcript: &mut Transcript) {
        let channels: BTreeSet<u32> = transcript.segments.iter().map(|segment| segment.channel).collect();
        for channel in channels {
            let segments = transcript.segments.iter_mut().filter(|segment| segment.channel == channel);
            let segments: Vec<&mut Segment> = segments.collect();
            let texts = segments.iter().map(|segment| segment.text.as_str());
            let said = words(texts, self.words.len());
            let is_part = said.len() >= LEAST_PART && self.has(&said, false);
            if !said.is_empty() && (said == self.words || is_part) {
                for segment in segments {
                    segment.echo = !segment.text.is_empty();
                }
            }
        }
    }

    /// Whether a text that still grows may become an echo; the last word may be cut.
    pub fn may_be(&self, text: &str) -> bool {
        let is_begun = |most: usize| {
            let said = words([text], most);
            !said.is_empty() && self.has(&said, true)
        };
        // This is asked for every partial, and most texts differ from the context within three words.
        is_begun(2) && is_begun(self.words.len())
    }

    /// Whether these words stand in the context in a row. `is_cut`: of the last one the beginning is enough.
    fn has(&self, said: &[String], is_cut: bool) -> bool {
        let Some((last, before)) = said.split_last() else { return false };
        self.words.windows(said.len()).any(|row| {
            let ends = &row[before.len()];
            row[..before.len()] == *before
                && if is_cut { ends.starts_with(last.as_str()) } else { ends == last }
        })
    }
}

/// The words of texts, in small letters, without punctuation; each character of Chinese and Japanese is a word. At most one more than
/// `most`: a text with more words than the context is no echo of it, and the text of a long recording has many.
fn words<'t>(texts: impl IntoIterator<Item = &'t str>, most: usize) -> Vec<String> {
    let mut words = Vec::new();
    let mut is_open = false;
    // The words of two texts stand apart.
    let characters = texts.into_iter().flat_map(|text| text.chars().chain(['\n']));
    for character in characters.flat_map(char::to_lowercase) {
        if words.len() > most {
            break;
        }
        let is_single = is_han_or_kana(character);
        match words.last_mut() {
            Some(word) if is_open && !is_single && character.is_alphanumeric() => {
                String::push(word, character)
            }
            _ if character.is_alphanumeric() => words.push(character.to_string()),
            _ => {}
        }
        is_open = character.is_alphanumeric() && !is_single;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT: &str = "Names: Ada Lovelace, Charles Babbage.\n产品：云听、灵犀";

    fn is_marked(context: &str, text: &str) -> bool {
        let segment = |text: &str| Segment { text: text.into(), ..Segment::default() };
        let segments = text.split_inclusive(". ").map(segment).collect();
        let mut transcript = Transcript { text: text.into(), segments, ..Transcript::default() };
        Echo::of(context).mark(&mut transcript);
        let marked = transcript.segments.iter().filter(|segment| segment.echo).count();
        assert!(marked == 0 || marked == transcript.segments.len(), "{text}");
        marked > 0
    }

    #[test]
    fn an_answer_that_is_the_context_or_a_part_of_it_is_an_echo() {
        for text in [
            CONTEXT,
            "names ada lovelace charles babbage",
            "Ada Lovelace, Charles Babbage.",
            "Ada. Lovelace.",
            "云听灵犀",
            "产品：云听、灵犀。",
        ] {
            assert!(is_marked(CONTEXT, text), "{text}");
        }
        assert!(is_marked("Hark", "Hark."), "the whole context");
    }

    #[test]
    fn an_echo_on_one_channel_is_marked_though_another_channel_speaks() {
        let on = |channel, text: &str| Segment { channel, text: text.into(), ..Segment::default() };
        let segments = vec![on(0, "Hello there."), on(1, "Ada"), on(0, "How are you?"), on(1, "Lovelace.")];
        let mut transcript = Transcript { segments, ..Transcript::default() };
        Echo::of(CONTEXT).mark(&mut transcript);
        let marked: Vec<bool> = transcript.segments.iter().map(|segment| segment.echo).collect();
        assert_eq!(marked, [false, true, false, true]);
    }

    #[test]
    fn what_has_other_words_or_is_one_word_was_said() {
        for text in ["", "Ada", "I am Ada Lovelace", "Babbage Charles", "Ada Lovelaces", "云听很好", "..."]
        {
            assert!(!is_marked(CONTEXT, text), "{text}");
        }
        assert!(!is_marked("", "Hello."));
    }

    #[test]
    fn a_text_that_grows_may_be_an_echo_until_a_word_says_otherwise() {
        let echo = Echo::of(CONTEXT);
        for (text, may_be) in [
            ("Ada", true),
            ("Ada Lov", true),
            ("Ada Lovelace was", false),
            ("", false),
            ("Hello", false),
            ("云", true),
        ] {
            assert_eq!(echo.may_be(text), may_be, "{text}");
        }
    }
}
