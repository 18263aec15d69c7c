//! A segment's text as parts that must not be cut, and what it costs to cut between them.

use std::ops::Range;

use icu_segmenter::options::{LineBreakOptions, WordBreakInvariantOptions};
use icu_segmenter::{GraphemeClusterSegmenter, LineSegmenter, WordSegmenter};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// A text of one line, and its parts.
#[derive(Debug)]
pub(crate) struct Text {
    /// One space for each run of white space, none at the ends, no control characters.
    pub(crate) line: String,
    /// The parts, in order; joined, with a space behind those that have one, they are `line`.
    pub(crate) parts: Vec<Part>,
    /// For each byte of `line`, and its end, the columns before it.
    columns: Vec<u32>,
}

/// A part of a text that is not cut.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// Its bytes in the line, without the space behind it.
    pub(crate) bytes: Range<usize>,
    /// Columns that it takes.
    pub(crate) width: u32,
    /// Whether a space follows, which is dropped where the text is cut.
    pub(crate) is_spaced: bool,
    /// What stands at its end.
    pub(crate) cut: Cut,
}

/// A place between two parts, the better to cut at the earlier it stands here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cut {
    /// Behind `.`, `?`, 。, …
    Sentence,
    /// Behind a comma, a colon, 、, …
    Clause,
    /// Between two words.
    Word,
    /// Before hiragana: an ending or a particle mostly, which belongs to the word before it.
    Ending,
    /// Inside a word.
    Inside,
}

/// Finds places to cut in all scripts: by Unicode's rules, and by dictionaries where words have no spaces between them.
pub(crate) struct Cutter {
    lines: icu_segmenter::LineSegmenterBorrowed<'static>,
    words: icu_segmenter::WordSegmenterBorrowed<'static>,
    characters: icu_segmenter::GraphemeClusterSegmenterBorrowed<'static>,
}

impl Cutter {
    pub(crate) fn new() -> Cutter {
        Cutter {
            lines: LineSegmenter::new_auto(LineBreakOptions::default()),
            words: WordSegmenter::new_auto(WordBreakInvariantOptions::default()),
            characters: GraphemeClusterSegmenter::new(),
        }
    }

    /// A text in parts of at most `widest` columns; only a single character may be wider.
    pub(crate) fn text(&self, text: &str, widest: u32) -> Text {
        let spaced = text.split(char::is_whitespace).map(|word| word.replace(char::is_control, ""));
        let line = spaced.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        let mut columns = vec![0; line.len() + 1];
        let mut column = 0;
        for (at, character) in line.char_indices() {
            columns[at..at + character.len_utf8()].fill(column);
            column += character.width().unwrap_or(0) as u32;
        }
        columns[line.len()] = column;

        let mut parts = Vec::new();
        let mut words = self.words.segment_str(&line).peekable();
        let mut begin = 0;
        for end in self.lines.segment_str(&line).filter(|&end| end > 0) {
            while words.next_if(|&at| at < end).is_some() {}
            let is_word = words.peek() == Some(&end);
            let part = line[begin..end].trim_end_matches(' ');
            let is_spaced = part.len() < end - begin;
            let cut = cut(part, is_spaced || is_word, line[end..].chars().next());
            self.add(&mut parts, &line, begin..begin + part.len(), widest);
            if let Some(last) = parts.last_mut() {
                (last.is_spaced, last.cut) = (is_spaced, cut);
            }
            begin = end;
        }
        Text { line, parts, columns }
    }

    /// Adds a part of the line; in several pieces if it is too wide.
    fn add(&self, parts: &mut Vec<Part>, line: &str, bytes: Range<usize>, widest: u32) {
        let mut push = |bytes: Range<usize>| {
            let width = line[bytes.clone()].width() as u32;
            parts.push(Part { bytes, width, is_spaced: false, cut: Cut::Inside });
        };
        let part = &line[bytes.clone()];
        if part.width() as u32 <= widest {
            return push(bytes);
        }
        let mut begin = 0;
        let mut last = 0;
        for end in self.characters.segment_str(part).filter(|&end| end > 0) {
            if last > begin && part[begin..end].width() as u32 > widest {
                push(bytes.start + begin..bytes.start + last);
                begin = last;
            }
            last = end;
        }
        push(bytes.start + begin..bytes.end);
    }
}

impl Text {
    /// Columns from the begin of a part to the end of the one before `end`.
    pub(crate) fn width(&self, begin: usize, end: usize) -> u32 {
        self.column(self.parts[end - 1].bytes.end) - self.column(self.parts[begin].bytes.start)
    }

    /// The columns before a byte of the line.
    pub(crate) fn column(&self, byte: usize) -> u32 {
        self.columns[byte]
    }
}

fn cut(part: &str, is_word: bool, next: Option<char>) -> Cut {
    const CLOSING: &[char] =
        &['"', '\'', ')', ']', '}', '”', '’', '»', '」', '』', '）', '】', '》', '〉', '］', '｣'];
    let bare = part.trim_end_matches(CLOSING);
    // "z. B.", "J. Smith": a letter with a full stop is an abbreviation.
    let is_initial = bare.chars().rev().nth(1).is_some_and(char::is_alphabetic)
        && bare.chars().rev().nth(2).is_none_or(|before| !before.is_alphanumeric());
    match bare.chars().next_back() {
        Some('.') if is_initial => Cut::Ending,
        Some('.' | '!' | '?' | '…' | '。' | '！' | '？' | '｡' | '．' | '؟' | '।' | '۔') => {
            Cut::Sentence
        }
        Some(',' | ';' | ':' | '—' | '–' | '、' | '，' | '；' | '：' | '､' | '،' | '؛') => {
            Cut::Clause
        }
        _ if is_word && matches!(next, Some('\u{3041}'..='\u{309F}')) => Cut::Ending,
        _ if is_word => Cut::Word,
        _ => Cut::Inside,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str, widest: u32) -> Vec<(String, Cut)> {
        let text = Cutter::new().text(text, widest);
        text.parts.iter().map(|part| (text.line[part.bytes.clone()].to_owned(), part.cut)).collect()
    }

    fn shown(text: &str, widest: u32) -> String {
        let sign = |cut| match cut {
            Cut::Sentence => "‖",
            Cut::Clause => "|",
            Cut::Word => "·",
            Cut::Ending => "~",
            Cut::Inside => "-",
        };
        parts(text, widest).into_iter().map(|(part, cut)| part + sign(cut)).collect()
    }

    #[test]
    fn text_is_cut_where_its_script_allows_it() {
        for (text, expected) in [
            ("Well, I'd say: no.", "Well,|I'd·say:|no.‖"),
            (" two \n\n lines\u{0} ", "two·lines·"),
            ("Das ist z. B. gut.", "Das·ist·z.~B.~gut.‖"),
            ("She said \"no.\" Twice!", "She·said·\"no.\"‖Twice!‖"),
            ("我要退款，谢谢。", "我要·退款，|谢谢。‖"),
            ("注文をキャンセルしたいです。", "注文~を·キャンセル~した~い~です。‖"),
            ("", ""),
        ] {
            assert_eq!(shown(text, 42).replace('-', ""), expected, "{text}");
        }
    }

    #[test]
    fn thai_is_cut_between_its_words() {
        let cuts = parts("ขอยกเลิกครับ", 42);
        assert!(cuts.len() > 1, "{cuts:?}");
        assert_eq!(cuts.into_iter().map(|(part, _)| part).collect::<String>(), "ขอยกเลิกครับ");
    }

    #[test]
    fn what_is_wider_than_a_line_is_cut_between_characters() {
        assert_eq!(shown("abcdefgh ij", 3), "abc-def-gh·ij·");
        assert_eq!(shown("e\u{301}e\u{301}e\u{301}", 2), "e\u{301}e\u{301}-e\u{301}·");
    }
}
