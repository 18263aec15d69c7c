//! Digits in kana: よん に よん に. Their readings are parts of many other words, so a chain of them counts only where it is long or clear.

use crate::lex::{Atom, Number, What};
use crate::spoken;

/// A reading of a digit.
pub(crate) struct Reading {
    /// In bytes.
    pub(crate) length: usize,
    pub(crate) digit: char,
    /// It is rarely anything but a digit.
    pub(crate) is_strong: bool,
}

/// In hiragana; longer ones first.
const READINGS: [(&str, char, bool); 25] = [
    ("きゅう", '9', true),
    ("きゅー", '9', true),
    ("ぜろ", '0', true),
    ("れい", '0', false),
    ("まる", '0', false),
    ("いち", '1', false),
    ("さん", '3', false),
    ("よん", '4', true),
    ("ろく", '6', true),
    ("なな", '7', true),
    ("しち", '7', true),
    ("はち", '8', true),
    ("にい", '2', false),
    ("にー", '2', false),
    ("にぃ", '2', false),
    ("ごお", '5', false),
    ("ごー", '5', false),
    ("ごう", '5', false),
    ("しー", '4', false),
    ("しい", '4', false),
    ("くー", '9', false),
    ("に", '2', false),
    ("ご", '5', false),
    ("し", '4', false),
    ("く", '9', false),
];

/// So many readings in a row are a number to the last one before です: よんにです, not よん and a particle.
const LONG: usize = 7;

/// Whether a character is hiragana or katakana.
pub(crate) fn is_kana(character: char) -> bool {
    matches!(character, '\u{3041}'..='\u{3096}' | '\u{30A1}'..='\u{30FA}' | '\u{30FC}')
}

fn hiragana(character: char) -> char {
    match character {
        '\u{30A1}'..='\u{30F6}' => char::from_u32(character as u32 - 0x60).unwrap_or(character),
        other => other,
    }
}

/// The reading at the beginning of a text.
pub(crate) fn reading(text: &str) -> Option<Reading> {
    let is_katakana = text.starts_with(|it: char| it >= '\u{30A1}');
    let found = READINGS.iter().find_map(|(reading, digit, is_strong)| {
        let mut rest = text.chars();
        let mut length = 0;
        for expected in reading.chars() {
            let character = rest.next().filter(|it| hiragana(*it) == expected)?;
            length += character.len_utf8();
        }
        let next = rest.next().map(hiragana);
        // にいち is に and いち.
        if matches!(*reading, "にい" | "しい") && next == Some('ち') {
            return None;
        }
        // A small kana goes on with the syllable: しょ is no し.
        if next.is_some_and(|it| "ゃゅょぁぃぅぇぉっー".contains(it)) {
            return None;
        }
        Some((length, *digit, *is_strong, *reading, next))
    });
    let (length, digit, is_strong, reading, next) = found?;
    // 読んで, 読んだ in kana.
    let is_verb = reading == "よん" && next.is_some_and(|it| it == 'で' || it == 'だ');
    Some(Reading { length, digit, is_strong: (is_strong || is_katakana && length > 3) && !is_verb })
}

/// Whether more kana could make a reading of these.
pub(crate) fn begins_reading(text: &str) -> bool {
    let begun: String = text.chars().map(hiragana).collect();
    READINGS.iter().any(|(reading, ..)| reading.len() > begun.len() && reading.starts_with(&begun))
}

/// Decides for each chain of readings whether it is digits or words.
pub(crate) fn resolve(text: &str, atoms: &mut [Atom]) {
    zeros_beside_numbers(text, atoms);
    let is_kana = |atom: &Atom| matches!(atom.what, What::Kana { .. });
    let is_passed = |atom: &Atom| matches!(atom.what, What::Between | What::Border);
    let mut at = 0;
    while at < atoms.len() {
        if !is_kana(&atoms[at]) {
            at += 1;
            continue;
        }
        // The chain goes to its last reading; what may stand between groups may stand between readings.
        let (begin, mut end) = (at, at + 1);
        for (next, atom) in atoms.iter().enumerate().skip(at + 1) {
            if is_kana(atom) {
                end = next + 1;
            } else if !is_passed(atom) {
                break;
            }
        }
        // さん になります: where readings stand apart, a syllable that is attached to two others is a particle; いちから has none.
        let is_syllable = |atom: &Atom| text[atom.range.clone()].chars().count() == 1;
        let stands_apart = atoms[begin..end].iter().any(|atom| atom.what == What::Between);
        let is_attached = atoms.get(end).is_some_and(|atom| atom.what == What::Word);
        let is_long = atoms[begin..end].iter().filter(|atom| is_kana(atom)).count() >= LONG
            && ["で", "だ", "から"].iter().any(|word| text[atoms[end - 1].range.end..].starts_with(word));
        if stands_apart && is_attached && !is_long && is_syllable(&atoms[end - 1]) && is_kana(&atoms[end - 2])
        {
            end -= 1;
            atoms[end].what = What::Word;
        }
        let counts = Chain::of(text, atoms, begin, end).counts();
        for atom in &mut atoms[begin..end] {
            if let What::Kana { digit, .. } = atom.what {
                atom.what = match counts {
                    true => What::Number(Number { digits: digit.to_string(), ..Number::default() }),
                    false => What::Word,
                };
            }
        }
        at = end;
    }
}

/// まる九まる, 八五二のまる: beside a number まる is a digit, by itself also after a pause: 八五二、えっと、まる. In まる一日 (a whole day) it
/// is none.
fn zeros_beside_numbers(text: &str, atoms: &mut [Atom]) {
    let is_zero = |atom: &Atom| matches!(atom.what, What::Kana { digit: '0', is_strong: false });
    let is_number = |atom: &Atom| matches!(atom.what, What::Number(_));
    let is_passed = |atom: &&Atom| atom.what == What::Border || &text[atom.range.clone()] == "の";
    let mut at = 0;
    while at < atoms.len() {
        let end = at + atoms[at..].iter().take_while(|atom| is_zero(atom)).count();
        if end == at {
            at += 1;
            continue;
        }
        let is_apart = atoms.get(end).is_none_or(|next| matches!(next.what, What::Border | What::Between));
        let is_pause = |atom: &Atom| is_apart && atom.what == What::Between;
        let mut before = atoms[..at].iter().rev();
        let is_behind = before.find(|atom| !is_passed(atom) && !is_pause(atom)).is_some_and(is_number);
        let is_before = atoms[end..].iter().find(|atom| !is_passed(atom)).is_some_and(|atom| {
            let next = text[atom.range.end..].chars().next();
            is_number(atom) && !spoken::is_word(None, next)
        });
        if is_behind || is_before {
            for atom in &mut atoms[at..end] {
                atom.what = What::Number(Number { digits: "0".to_owned(), ..Number::default() });
            }
        }
        at = end;
    }
}

/// What a chain of readings is judged by.
struct Chain {
    readings: usize,
    strong: usize,
    /// Spaces or punctuation stand on both sides of each reading.
    is_spaced: bool,
    /// A number or the border of a text is beside it.
    has_neighbour: bool,
}

impl Chain {
    fn of(text: &str, atoms: &[Atom], begin: usize, end: usize) -> Chain {
        let is_pause = |index: Option<usize>| match index.and_then(|index| atoms.get(index)) {
            None => true,
            Some(Atom { what: What::Border, .. }) => true,
            Some(Atom { what: What::Between, range }) => {
                !text[range.clone()].chars().any(char::is_alphanumeric)
            }
            Some(_) => false,
        };
        let mut chain = Chain { readings: 0, strong: 0, is_spaced: true, has_neighbour: false };
        for (index, atom) in atoms.iter().enumerate().take(end).skip(begin) {
            if let What::Kana { is_strong, .. } = atom.what {
                chain.readings += 1;
                chain.strong += usize::from(is_strong);
                chain.is_spaced &= is_pause(index.checked_sub(1)) && is_pause(Some(index + 1));
            }
        }
        let is_near = |mut beside: &mut dyn Iterator<Item = &Atom>| {
            let next = (&mut beside).find(|atom| atom.what != What::Between);
            next.is_none_or(|atom| matches!(atom.what, What::Number(_) | What::Border | What::Token { .. }))
        };
        chain.has_neighbour = is_near(&mut atoms[..begin].iter().rev()) || is_near(&mut atoms[end..].iter());
        chain
    }

    fn counts(&self) -> bool {
        let is_long = self.readings >= 4 || (self.readings >= 3 && self.strong >= 2);
        let is_clear = self.is_spaced && (self.readings >= 2 || self.has_neighbour);
        is_long || is_clear || (self.has_neighbour && self.strong >= 1)
    }
}
