//! The texts of a stream, joined and folded, with the way back to the texts.

use std::ops::Range;

/// Stands between two texts of a stream.
pub(crate) const BORDER: char = '\n';

/// Texts in one string: lower case, full-width characters and digits of other scripts as their ASCII ones, the texts separated by [`BORDER`].
pub(crate) struct Joined {
    /// One character for each character of the texts.
    pub(crate) folded: String,
    /// The texts without folding, separated in the same way.
    pub(crate) plain: String,
    /// For each byte of `folded` where a character begins: the byte of `plain`.
    to_plain: Vec<u32>,
    /// Where each text begins in `plain`.
    begins: Vec<usize>,
}

impl Joined {
    pub(crate) fn new<'a>(texts: impl Iterator<Item = &'a str>) -> Joined {
        let mut joined =
            Joined { folded: String::new(), plain: String::new(), to_plain: Vec::new(), begins: Vec::new() };
        for (index, text) in texts.enumerate() {
            if index > 0 {
                joined.push(BORDER, BORDER);
            }
            joined.begins.push(joined.plain.len());
            for character in text.chars() {
                // A line break inside of a text is no border of it.
                let character_folded = if character == BORDER { ' ' } else { fold(character) };
                joined.push(character, character_folded);
            }
        }
        joined.to_plain.push(joined.plain.len() as u32);
        joined
    }

    fn push(&mut self, plain: char, folded: char) {
        let at = self.plain.len() as u32;
        self.to_plain.extend(std::iter::repeat_n(at, folded.len_utf8()));
        self.plain.push(plain);
        self.folded.push(folded);
    }

    /// A range of `folded` as a range of `plain`.
    pub(crate) fn plain(&self, folded: &Range<usize>) -> Range<usize> {
        self.to_plain[folded.start] as usize..self.to_plain[folded.end] as usize
    }

    /// The parts of a range of `plain` by text: its place in the stream, and the range in it.
    pub(crate) fn parts(&self, range: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
        let first = self.begins.partition_point(|begin| *begin <= range.start).saturating_sub(1);
        let texts = self.begins[first..].iter().enumerate().take_while(move |(_, begin)| **begin < range.end);
        texts.map(move |(index, &begin)| {
            let next = self.begins.get(first + index + 1);
            let end = next.map_or(self.plain.len(), |next| next - BORDER.len_utf8());
            (first + index, range.start.max(begin) - begin..range.end.min(end).max(begin) - begin)
        })
    }
}

/// The zeros of the digits of other scripts that living languages write: Arabic, Persian and Urdu, N'Ko, Devanagari, Bengali, Gurmukhi, Gujarati,
/// Odia, Tamil, Telugu, Kannada, Malayalam, Sinhala, Thai, Lao, Tibetan, Burmese, Shan, Khmer, Mongolian, Balinese, Javanese. In Unicode the
/// other nine follow each of them.
const ZEROS: [u32; 22] = [
    0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6, 0x0C66, 0x0CE6, 0x0D66, 0x0DE6,
    0x0E50, 0x0ED0, 0x0F20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1B50, 0xA9D0,
];

/// The ASCII digit of a digit of another script.
fn ascii_digit(character: char) -> Option<char> {
    let values = ZEROS.iter().map(|zero| (character as u32).wrapping_sub(*zero));
    values.into_iter().find(|value| *value < 10).and_then(|value| char::from_digit(value, 10))
}

/// Lower case, ASCII width and ASCII digits; always one character.
pub(crate) fn fold(character: char) -> char {
    if character.is_ascii() {
        return character.to_ascii_lowercase();
    }
    let narrow = match character {
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(character as u32 - 0xFEE0).unwrap_or(character),
        '\u{3000}' | '\u{00A0}' | '\u{202F}' => ' ',
        '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
        other => ascii_digit(other).unwrap_or(other),
    };
    narrow.to_lowercase().next().unwrap_or(narrow)
}
