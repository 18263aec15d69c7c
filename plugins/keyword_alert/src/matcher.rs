//! Finds the first match of a rule in a text.
//!
//! All words and phrases are searched at once with Aho-Corasick in a folded text: lower case, each run of white space one space. A table
//! maps the folded text back to the original, so that a quote is the original text.

use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};
use regex::{Regex, RegexBuilder};

use crate::config::{Mistake, Rule};

/// A rule, ready to match.
#[derive(Debug)]
pub struct Matcher {
    words: Option<AhoCorasick>,
    patterns: Vec<Regex>,
}

/// A match in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// Byte range in the text; never empty, always on character boundaries.
    pub range: Range<usize>,
}

impl Rule {
    /// Compiles the rule.
    ///
    /// # Errors
    /// When a regular expression is invalid, or compiles to more than 10 MiB.
    pub fn matcher(&self) -> Result<Matcher, Mistake> {
        let bad = |pattern: &str, error: &dyn std::fmt::Display| Mistake::Regex {
            rule: self.name.clone(),
            pattern: pattern.to_owned(),
            // The regex crate's message has several lines; the last one names the error.
            error: error.to_string().lines().last().unwrap_or_default().trim().to_owned(),
        };
        let words = match &self.any[..] {
            [] => None,
            any => {
                let folded: Vec<_> =
                    any.iter().map(|words| Folded::new(words).text.trim().to_owned()).collect();
                // Overlapping matches are needed too: a longer match may end inside a word where a shorter one does not.
                let built = AhoCorasick::builder().match_kind(MatchKind::Standard).build(folded);
                Some(built.map_err(|error| bad(&any.join(", "), &error))?)
            }
        };
        let pattern = |pattern: &String| {
            RegexBuilder::new(pattern).case_insensitive(true).build().map_err(|error| bad(pattern, &error))
        };
        Ok(Matcher { words, patterns: self.regex.iter().map(pattern).collect::<Result<_, _>>()? })
    }
}

impl Matcher {
    /// The first match; of several that begin at the same place the longest.
    pub fn find(&self, text: &str) -> Option<Match> {
        let words = self.words.as_ref().and_then(|words| first_words(words, text));
        // Empty matches (of `x*`) are ignored.
        let found = |pattern: &Regex| {
            pattern.find_iter(text).map(|found| found.range()).find(|range| !range.is_empty())
        };
        let patterns = self.patterns.iter().filter_map(found);
        let first =
            words.into_iter().chain(patterns).min_by_key(|range| (range.start, usize::MAX - range.end));
        first.map(|range| Match { range })
    }
}

fn first_words(words: &AhoCorasick, text: &str) -> Option<Range<usize>> {
    let folded = Folded::new(text);
    let whole = words.find_overlapping_iter(&folded.text).map(|found| found.range());
    let first = whole
        .filter(|range| is_whole(&folded.text, range))
        .min_by_key(|range| (range.start, usize::MAX - range.end))?;
    Some(folded.original(first))
}

/// Whether the match neither begins nor ends inside a word.
fn is_whole(text: &str, range: &Range<usize>) -> bool {
    let (before, inside, after) = (&text[..range.start], &text[range.clone()], &text[range.end..]);
    let joins = |left: Option<char>, right: Option<char>| match (left, right) {
        (Some(left), Some(right)) => is_of_a_word(left) && is_of_a_word(right),
        _ => false,
    };
    !joins(before.chars().next_back(), inside.chars().next())
        && !joins(inside.chars().next_back(), after.chars().next())
}

/// Whether a character is a letter, mark or digit (as in `\w`) of a script that puts spaces between words.
fn is_of_a_word(character: char) -> bool {
    regex_syntax::is_word_character(character) && !has_no_spaces(character)
}

/// Scripts that are written without spaces between words: Han, kana, Thai, Lao, Khmer, Burmese, Tibetan. Korean has spaces, but appends
/// particles to words (환불 -> 환불을), so a word boundary would hide matches.
fn has_no_spaces(character: char) -> bool {
    matches!(
        u32::from(character),
        0x0E00..=0x0EFF       // Thai, Lao
        | 0x0F00..=0x0FFF     // Tibetan
        | 0x1000..=0x109F     // Burmese
        | 0x1100..=0x11FF     // Hangul jamo
        | 0x1780..=0x17FF     // Khmer
        | 0x3005..=0x3007     // 々 〆 〇
        | 0x3040..=0x30FF     // kana
        | 0x3130..=0x318F     // Hangul jamo
        | 0x31F0..=0x31FF     // kana
        | 0x3400..=0x4DBF     // Han
        | 0x4E00..=0x9FFF     // Han
        | 0xAC00..=0xD7AF     // Hangul
        | 0xF900..=0xFAFF     // Han
        | 0xFF66..=0xFF9F     // kana, half width
        | 0x20000..=0x323AF   // Han
    )
}

/// A folded text, and the origin of each of its bytes.
struct Folded {
    text: String,
    /// For each byte of `text` the byte range of its character in the original.
    origin: Vec<Range<usize>>,
}

impl Folded {
    fn new(original: &str) -> Self {
        let mut folded = Folded { text: String::with_capacity(original.len()), origin: Vec::new() };
        for (begin, character) in original.char_indices() {
            let origin = begin..begin + character.len_utf8();
            if character.is_whitespace() {
                // A run of white space becomes one space.
                match folded.origin.last_mut() {
                    Some(last) if folded.text.ends_with(' ') => last.end = origin.end,
                    _ => folded.push(' ', origin),
                }
            } else {
                // Recognizers write either apostrophe.
                let character = if character == '’' { '\'' } else { character };
                for lower in character.to_lowercase() {
                    // Greek has two lower-case sigmas, depending on the position in the word.
                    folded.push(if lower == 'ς' { 'σ' } else { lower }, origin.clone());
                }
            }
        }
        folded
    }

    fn push(&mut self, character: char, origin: Range<usize>) {
        self.text.push(character);
        self.origin.resize(self.text.len(), origin);
    }

    /// The range of the original that a part of the folded text was made from.
    fn original(&self, part: Range<usize>) -> Range<usize> {
        match (self.origin.get(part.start), self.origin.get(part.end.wrapping_sub(1))) {
            (Some(first), Some(last)) => first.start..last.end,
            _ => 0..0,
        }
    }
}
