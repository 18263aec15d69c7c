//! Splits a text into words that can be compared, and remembers where each stood.
//!
//! A word is a run of letters, marks and digits; in scripts without spaces each character is a word of its own, and so is a symbol (`+`,
//! `€`). Punctuation, hyphens, apostrophes and white space only separate. The words are written into one string with a space around each,
//! so that a phrase, written in the same way, is found with a plain search and only at whole words.

use std::ops::Range;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};

/// How words are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Folding {
    /// Case, width, diacritics, hiragana and katakana make no difference.
    Folded,
    /// Only what Unicode itself holds for the same (composed and decomposed letters) is the same.
    Written,
}

/// A text as words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words {
    /// The words with a space before, between and behind them; empty where there is no word.
    text: String,
    words: Vec<Word>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Word {
    /// Where the space before it stands in `text`.
    at: usize,
    /// What it was made from: bytes of the original.
    origin: Range<usize>,
}

impl Words {
    /// The words of a text.
    pub fn new(text: &str, form: Folding) -> Words {
        let mut writer = Writer {
            words: Words { text: String::with_capacity(text.len() + 16), words: Vec::new() },
            joins: false,
        };
        let mut chars = text.char_indices().peekable();
        while let Some((begin, first)) = chars.next() {
            let mut end = begin + first.len_utf8();
            while let Some(&(at, next)) = chars.peek()
                && goes_on(next)
            {
                end = at + next.len_utf8();
                chars.next();
            }
            writer.cluster(first, &text[begin..end], begin, form);
        }
        if !writer.words.words.is_empty() {
            writer.words.text.push(' ');
        }
        writer.words
    }

    /// The words as one string, ` close my account `.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// How many words there are.
    pub(crate) fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether there is no word.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The words that a part of [`Words::as_str`], from one space to another, holds.
    pub fn at(&self, part: Range<usize>) -> Range<usize> {
        let index = |at| self.words.partition_point(|word| word.at < at);
        index(part.start)..index(part.end - 1)
    }

    /// The bytes of the original that some words, at least one, were made from.
    pub fn origin(&self, words: Range<usize>) -> Range<usize> {
        self.words[words.start].origin.start..self.words[words.end - 1].origin.end
    }

    /// The first words, at most this many.
    pub(crate) fn head(&self, most: usize) -> Words {
        self.part(0..most.min(self.len()))
    }

    /// The last words, at most this many.
    pub(crate) fn tail(&self, most: usize) -> Words {
        self.part(self.len() - most.min(self.len())..self.len())
    }

    fn part(&self, range: Range<usize>) -> Words {
        let Some(first) = self.words.get(range.start).filter(|_| !range.is_empty()) else {
            return Words::default();
        };
        let end = self.words.get(range.end).map_or(self.text.len() - 1, |word| word.at);
        let words = self.words[range].iter();
        let words = words.map(|word| Word { at: word.at - first.at, origin: word.origin.clone() }).collect();
        Words { text: self.text[first.at..=end].to_owned(), words }
    }

    /// Bytes of memory, about.
    pub(crate) fn size(&self) -> usize {
        self.text.len() + self.words.len() * size_of::<Word>()
    }
}

struct Writer {
    words: Words,
    /// Whether a letter that follows goes on with the last word.
    joins: bool,
}

impl Writer {
    /// A character with the marks behind it.
    fn cluster(&mut self, first: char, text: &str, begin: usize, form: Folding) {
        let origin = begin..begin + text.len();
        let is_single = text.len() == first.len_utf8();
        match (form, first) {
            (Folding::Folded, _) if is_single && first.is_ascii() => {
                self.put(first.to_ascii_lowercase(), &origin)
            }
            (_, '\u{3041}'..='\u{3096}' | '\u{4E00}'..='\u{9FFF}') if is_single => self.put(first, &origin),
            (Folding::Folded, _) => {
                let first = narrow(first);
                // What a symbol stands for (™) is not said.
                let kept = if is_symbol(first) {
                    std::iter::once(first).collect()
                } else {
                    text.nfkd().collect::<Decomposed>()
                };
                let lowered = kept.into_iter().filter(|&c| !is_diacritic(c)).flat_map(caseless).map(hiragana);
                // Hangul and voiced kana are one character again.
                lowered.nfc().for_each(|c| self.put(c, &origin));
            }
            (Folding::Written, _) => text.nfc().for_each(|c| self.put(c, &origin)),
        }
    }

    fn put(&mut self, character: char, origin: &Range<usize>) {
        match role(character) {
            Role::Letter if self.joins => self.append(character, origin),
            Role::Mark if !self.words.is_empty() => self.append(character, origin),
            Role::Letter => self.begin(character, origin, true),
            Role::Word | Role::Mark => self.begin(character, origin, false),
            Role::Gap => self.joins = false,
            Role::Nothing => {}
        }
    }

    fn begin(&mut self, character: char, origin: &Range<usize>, joins: bool) {
        let Words { text, words } = &mut self.words;
        words.push(Word { at: text.len(), origin: origin.clone() });
        text.push(' ');
        text.push(character);
        self.joins = joins;
    }

    fn append(&mut self, character: char, origin: &Range<usize>) {
        self.words.text.push(character);
        if let Some(word) = self.words.words.last_mut() {
            word.origin.end = origin.end;
        }
    }
}

type Decomposed = Vec<char>;

/// What a character is to the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Part of a word.
    Letter,
    /// A word of its own.
    Word,
    /// Part of the word before it, in scripts where each letter is a word.
    Mark,
    /// Between words.
    Gap,
    /// As if it were not there: soft hyphens, joiners, marks of direction.
    Nothing,
}

fn role(character: char) -> Role {
    if character.is_ascii() {
        return match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => Role::Letter,
            '$' | '+' | '<' | '=' | '>' | '|' | '~' => Role::Word,
            _ => Role::Gap,
        };
    }
    if has_no_spaces(character) {
        return match character {
            '\u{4E00}'..='\u{9FFF}' | '\u{3041}'..='\u{3096}' | '\u{AC00}'..='\u{D7A3}' => Role::Word,
            _ if is_combining_mark(character) => Role::Mark,
            _ if regex_syntax::is_word_character(character) => Role::Word,
            _ => Role::Gap,
        };
    }
    match character.general_category() {
        GeneralCategory::Format => Role::Nothing,
        GeneralCategory::ModifierSymbol => Role::Gap,
        _ if regex_syntax::is_word_character(character) || character.is_numeric() => Role::Letter,
        _ if is_symbol(character) => Role::Word,
        _ => Role::Gap,
    }
}

/// Scripts that are written without spaces between words: Han, kana, Thai, Lao, Khmer, Burmese, Tibetan. Korean has spaces, but appends
/// particles to words (환불 -> 환불을), so a word boundary would hide matches.
pub(crate) fn has_no_spaces(character: char) -> bool {
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

fn is_symbol(character: char) -> bool {
    !character.is_ascii() && character.general_category_group() == GeneralCategoryGroup::Symbol
}

/// Whether a character belongs to the one before it: a mark, a vowel or final consonant of decomposed Hangul, a half-width voiced mark.
fn goes_on(character: char) -> bool {
    match u32::from(character) {
        0..0x300 | 0x3041..0x3099 | 0x309D..0xA000 | 0xAC00..0xD7A4 => false,
        0x1160..=0x11FF | 0xFF9E | 0xFF9F => true,
        _ => is_combining_mark(character),
    }
}

/// A full-width sign as ASCII has it; letters and kana are left to the normal form.
fn narrow(character: char) -> char {
    match u32::from(character) {
        code @ 0xFF01..=0xFF5E => char::from_u32(code - 0xFEE0).unwrap_or(character),
        _ => character,
    }
}

/// Marks of Latin, Greek, Cyrillic, Hebrew and Arabic, and those for symbols. Vowel signs and viramas of other scripts, and the voiced
/// marks of kana, are letters.
fn is_diacritic(character: char) -> bool {
    matches!(
        u32::from(character),
        0x0300..=0x036F
        | 0x0591..=0x05BD | 0x05BF | 0x05C1..=0x05C2 | 0x05C4..=0x05C5 | 0x05C7
        | 0x0610..=0x061A | 0x064B..=0x065F | 0x0670
        | 0x1AB0..=0x1AFF | 0x1DC0..=0x1DFF | 0x20D0..=0x20FF | 0xFE20..=0xFE2F
    )
}

/// The character without its case. Lower, upper and lower again brings together what either direction alone keeps apart: ẞ, ß and ss, both
/// small sigmas, i with and without its dot.
pub(crate) fn caseless(character: char) -> impl Iterator<Item = char> {
    let upper = character.to_lowercase().flat_map(char::to_uppercase);
    upper.flat_map(char::to_lowercase).filter(|&c| !is_diacritic(c))
}

fn hiragana(character: char) -> char {
    match u32::from(character) {
        code @ (0x30A1..=0x30F6 | 0x30FD..=0x30FE) => char::from_u32(code - 0x60).unwrap_or(character),
        _ => character,
    }
}

#[cfg(test)]
mod tests;
