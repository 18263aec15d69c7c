//! The operator's own words and patterns, and fillers.

use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};
use hark_rules::{Folding, Mistake, Words};
use regex::{Regex, RegexBuilder};

use crate::config::Config;

/// Words and patterns, ready to match.
pub(crate) struct Own {
    words: Option<AhoCorasick>,
    /// Those of several words, with a space before, between and behind the words.
    phrases: Vec<String>,
    patterns: Vec<Regex>,
}

/// Sounds of hesitation in English, Chinese and Japanese, with the comma after them.
static FILLER: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let spaced = r"\b(?:uh-huh|mm-hmm|um+|uh+|uhm+|erm+|hm+|mhm)\b[,.…]*[ ]*";
    let unspaced = r"(?:えーっと|えっと|えーと|ええと|あのー|うーん|えー|嗯+|呃+|唔)[、,。…]*";
    Regex::new(&format!("{spaced}|{unspaced}")).ok()
});

impl Own {
    /// # Errors
    /// Every word and pattern that cannot be used.
    pub(crate) fn new(config: &Config) -> Result<Own, Vec<Mistake>> {
        let mistake = |path: String, text: String| Mistake { path, text };
        let folded = |(index, word): (usize, &String)| match Words::new(word, Folding::Folded) {
            words if words.is_empty() => {
                let text = format!("{word:?} has no letter and no digit; give it a word or remove it");
                Err(mistake(format!("words.{index}"), text))
            }
            words => Ok(words),
        };
        let mut mistakes = Vec::new();
        let words = config.words.iter().enumerate();
        let words: Vec<Words> =
            words.filter_map(|word| folded(word).map_err(|error| mistakes.push(error)).ok()).collect();
        let is_phrase = |words: &&str| words.trim().contains(' ');
        let phrases = words.iter().map(Words::as_str).filter(is_phrase).map(str::to_owned).collect();
        let words = match words.is_empty() {
            true => None,
            false => {
                // Two neighbours share the space between them.
                let built = AhoCorasick::builder()
                    .match_kind(MatchKind::Standard)
                    .build(words.iter().map(|words| words.as_str()));
                built.map_err(|error| mistakes.push(mistake("words".to_owned(), error.to_string()))).ok()
            }
        };
        let pattern = |(index, pattern): (usize, &String)| {
            let bad = |text: &str| mistake(format!("patterns.{index}"), format!("{pattern:?}: {text}"));
            let built = RegexBuilder::new(pattern).case_insensitive(true).multi_line(true).build();
            // The regex crate's message has several lines; the last one names the error.
            let built =
                built.map_err(|error| bad(error.to_string().lines().last().unwrap_or_default().trim()))?;
            match built.is_match("") {
                true => Err(bad("it matches the empty text; use + in place of *")),
                false => Ok(built),
            }
        };
        let patterns = config.patterns.iter().enumerate();
        let patterns =
            patterns.filter_map(|one| pattern(one).map_err(|error| mistakes.push(error)).ok()).collect();
        if mistakes.is_empty() { Ok(Own { words, phrases, patterns }) } else { Err(mistakes) }
    }

    /// The words and phrases in a text as it was recognized, and the value of each.
    pub(crate) fn words(&self, text: &str) -> Vec<(Range<usize>, String)> {
        let Some(finder) = &self.words else { return Vec::new() };
        let words = Words::new(text, Folding::Folded);
        let found = finder.find_overlapping_iter(words.as_str()).map(|found| found.range());
        found
            .map(|range| {
                let value = words.as_str()[range.clone()].trim().to_owned();
                (words.origin(words.at(range)), value)
            })
            .collect()
    }

    /// The longest begin of a phrase that a text ends with, if the phrase may go on in the next piece.
    pub(crate) fn begun_phrase(&self, text: &str) -> Option<(Range<usize>, String)> {
        self.part(text, |phrase, at, words| {
            let begin = &phrase[..=at];
            words.ends_with(begin).then(|| words.len() - begin.len()..words.len())
        })
    }

    /// The longest end of a phrase that a text begins with, if the phrase may have begun in the piece before.
    pub(crate) fn ended_phrase(&self, text: &str) -> Option<(Range<usize>, String)> {
        self.part(text, |phrase, at, words| words.starts_with(&phrase[at..]).then(|| 0..phrase.len() - at))
    }

    /// `part`: the part of a text's words that is also the part of a phrase up to one of its inner spaces, or from there on.
    fn part(
        &self,
        text: &str,
        part: impl Fn(&str, usize, &str) -> Option<Range<usize>>,
    ) -> Option<(Range<usize>, String)> {
        if self.phrases.is_empty() {
            return None;
        }
        let words = Words::new(text, Folding::Folded);
        let (part, text) = (&part, words.as_str());
        let parts = self.phrases.iter().flat_map(|phrase| {
            let inner =
                phrase.match_indices(' ').map(|(at, _)| at).filter(|at| (1..phrase.len() - 1).contains(at));
            inner.filter_map(move |at| Some((part(phrase, at, text)?, phrase)))
        });
        let (range, phrase) = parts.max_by_key(|(range, _)| range.len())?;
        Some((words.origin(words.at(range)), phrase.trim().to_owned()))
    }

    /// The matches of the patterns in a text as it was recognized, and the value of each.
    pub(crate) fn patterns<'a>(&'a self, text: &'a str) -> impl Iterator<Item = (Range<usize>, String)> + 'a {
        let found = |pattern: &'a Regex| pattern.find_iter(text);
        let matches = self.patterns.iter().flat_map(found).filter(|found| !found.is_empty());
        matches.map(|found| (found.range(), found.as_str().to_lowercase()))
    }
}

/// The fillers in a folded text.
pub(crate) fn fillers(text: &str) -> Vec<Range<usize>> {
    FILLER
        .as_ref()
        .map_or_else(Vec::new, |filler| filler.find_iter(text).map(|found| found.range()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_and_pattern_that_cannot_be_used_is_a_mistake() {
        let config = Config {
            words: vec!["ok".to_owned(), " .".to_owned(), "…".to_owned()],
            patterns: vec!["(a".to_owned(), "b".to_owned(), "a*".to_owned()],
            ..Config::default()
        };
        let mistakes = Own::new(&config).err().unwrap();
        let paths: Vec<_> = mistakes.iter().map(|mistake| mistake.path.as_str()).collect();
        assert_eq!(paths, ["words.1", "words.2", "patterns.0", "patterns.2"]);
    }
}
