//! Takes a folded text apart: numbers, written or spoken, what may stand between the groups of a number, and everything else.

use std::ops::Range;

use crate::kana;
use crate::spoken::{self, Word};
use crate::text::BORDER;
use crate::token;

/// A part of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Atom {
    /// In the folded text.
    pub(crate) range: Range<usize>,
    pub(crate) what: What,
}

/// What a part is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    Number(Number),
    /// Spaces, punctuation and words that may stand between two groups of digits.
    Between,
    /// The border of two texts of the stream.
    Border,
    /// What the plugin put in before. `digits`: it stands for a number.
    Token {
        digits: bool,
    },
    /// "double", "triple": the next digit counts so often.
    Times(usize),
    /// A reading of a digit in kana that may as well be another word.
    Kana {
        digit: char,
        is_strong: bool,
    },
    /// Everything else.
    Word,
}

/// A group of digits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Number {
    pub(crate) digits: String,
    pub(crate) is_written: bool,
    /// It is said as a quantity: hundred, thousand, 百.
    pub(crate) is_quantity: bool,
    /// "oh", 两: digits only beside other digits.
    pub(crate) is_weak: bool,
    /// "forty": a unit may follow.
    pub(crate) is_open: bool,
    /// In Chinese characters.
    pub(crate) is_han: bool,
}

/// Takes a text apart. `is_cut`: the last word may go on.
pub(crate) fn lex(text: &str, is_cut: bool) -> Vec<Atom> {
    let mut lexer = Lexer { text, at: 0, atoms: Vec::new() };
    while let Some(character) = text[lexer.at..].chars().next() {
        lexer.step(character);
    }
    if is_cut {
        lexer.close_cut_word();
    }
    lexer.drop_counts();
    kana::resolve(text, &mut lexer.atoms);
    for atom in &mut lexer.atoms {
        // "double" at the border of a text, its digit behind it.
        if let What::Times(_) = atom.what {
            atom.what = What::Number(Number { is_weak: true, ..Number::default() });
        }
    }
    lexer.atoms
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    atoms: Vec<Atom>,
}

impl Lexer<'_> {
    fn step(&mut self, character: char) {
        let rest = &self.text[self.at..];
        if character == BORDER {
            return self.push(1, What::Border);
        }
        if let Some((length, digits)) = token::at(rest) {
            return self.push(length, What::Token { digits });
        }
        if character.is_ascii_digit() {
            return self.written(rest);
        }
        if is_latin(character) {
            return self.word(rest);
        }
        if let Some(digit) = spoken::han_digit(character) {
            return self.han(digit, character);
        }
        if let Some(length) = spoken::between_without_spaces(rest) {
            return self.push(length, What::Between);
        }
        match character {
            '十' | '拾' | '百' | '佰' | '千' | '仟' | '万' | '萬' | '亿' | '億' => {
                self.han_multiplier(character)
            }
            '个' | '個' if self.repeats(rest) => {}
            // 090ー1234: recognizers write the long sign of kana for a dash.
            'ー' | 'ｰ' if self.is_amid_digits(&rest[character.len_utf8()..]) => {
                self.push(character.len_utf8(), What::Between)
            }
            _ if kana::is_kana(character) => match kana::reading(rest) {
                Some(reading) => {
                    let (digit, is_strong) = (reading.digit, reading.is_strong);
                    self.push(reading.length, What::Kana { digit, is_strong });
                }
                None => self.push(character.len_utf8(), What::Word),
            },
            '$' | '€' | '£' | '¥' | '%' | '@' | '#' | '&' | '=' | '*' | '[' | ']' => {
                self.push(character.len_utf8(), What::Word)
            }
            _ if character.is_alphanumeric() => self.push(character.len_utf8(), What::Word),
            _ => self.push(character.len_utf8(), What::Between),
        }
    }

    fn push(&mut self, length: usize, what: What) {
        let range = self.at..self.at + length;
        self.at += length;
        // Neighbours of one kind are one atom, so that atoms are few.
        if let (What::Word | What::Between, Some(last)) = (&what, self.atoms.last_mut())
            && last.what == what
            && !(is_latin_at(self.text, last.range.start) || is_latin_at(self.text, range.start))
        {
            last.range.end = range.end;
            return;
        }
        self.atoms.push(Atom { range, what });
    }

    fn written(&mut self, rest: &str) {
        let length = rest.bytes().take_while(u8::is_ascii_digit).count();
        let digits = &rest[..length];
        if length == 1
            && let Some((times, 2)) = self.times()
        {
            return self.repeat(digits, times, 1);
        }
        let number = Number { digits: digits.to_owned(), is_written: true, ..Number::default() };
        self.push(length, What::Number(number));
    }

    fn word(&mut self, rest: &str) {
        let is_of_word = |character: &char| is_latin(*character) || *character == '\'' || *character == '’';
        let length = rest.chars().take_while(is_of_word).map(char::len_utf8).sum();
        let digit_is_glued = |at: Option<char>| at.is_some_and(|it| it.is_ascii_digit());
        let behind = self.at + length;
        let is_glued = digit_is_glued(self.text[..self.at].chars().next_back())
            || digit_is_glued(rest[length..].chars().next());
        match spoken::word(&rest[..length]) {
            _ if is_glued => self.push(length, What::Word),
            None => self.push(length, What::Word),
            Some(Word::Between) => self.push(length, What::Between),
            Some(Word::Times(times)) => self.push(length, What::Times(times)),
            Some(Word::Digit(digit)) => self.digit_word(digit, length, false),
            Some(Word::WeakDigit(digit)) => self.digit_word(digit, length, true),
            Some(Word::Teen(digits)) => {
                self.push(length, What::Number(Number { digits: digits.to_owned(), ..Number::default() }));
            }
            Some(Word::Tens(digits)) => {
                let number = Number { digits: digits.to_owned(), is_open: true, ..Number::default() };
                self.push(length, What::Number(number));
            }
            Some(Word::Multiplier(zeros)) => match self.last_number() {
                Some((number, end)) if !number.is_written => {
                    number.digits.push_str(zeros);
                    (number.is_quantity, number.is_open) = (true, false);
                    *end = behind;
                    self.drop_between();
                    self.at += length;
                }
                _ => self.push(length, What::Word),
            },
        }
    }

    fn digit_word(&mut self, digit: &'static str, length: usize, is_weak: bool) {
        if let Some((times, 2)) = self.times() {
            return self.repeat(digit, times, length);
        }
        let end = self.at + length;
        if digit != "0"
            && let Some((number, last)) = self.last_number()
            && number.is_open
        {
            number.digits.pop();
            number.digits.push_str(digit);
            number.is_open = false;
            *last = end;
            self.drop_between();
            self.at = end;
            return;
        }
        self.push(length, What::Number(Number { digits: digit.to_owned(), is_weak, ..Number::default() }));
    }

    /// The number before a single space or hyphen, and the end of its range.
    fn last_number(&mut self) -> Option<(&mut Number, &mut usize)> {
        let text = self.text;
        let [.., before, between] = &mut self.atoms[..] else { return None };
        let is_close = between.what == What::Between && matches!(&text[between.range.clone()], " " | "-");
        match &mut before.what {
            What::Number(number) if is_close => Some((number, &mut before.range.end)),
            _ => None,
        }
    }

    /// Drops the last atom, which has become a part of the number before it.
    fn drop_between(&mut self) {
        self.atoms.pop();
    }

    /// "double" and a space before this place, and how many atoms they are.
    fn times(&self) -> Option<(usize, usize)> {
        match &self.atoms[..] {
            [.., Atom { what: What::Times(times), .. }, Atom { what: What::Between, range }]
                if &self.text[range.clone()] == " " =>
            {
                Some((*times, 2))
            }
            _ => None,
        }
    }

    fn repeat(&mut self, digit: &str, times: usize, length: usize) {
        self.atoms.pop();
        let Some(begin) = self.atoms.pop().map(|it| it.range.start) else { return };
        self.at += length;
        let number = Number { digits: digit.repeat(times), ..Number::default() };
        self.atoms.push(Atom { range: begin..self.at, what: What::Number(number) });
    }

    /// The number in Chinese characters that ends here.
    fn last_han(&mut self) -> Option<(&mut Number, &mut usize)> {
        match self.atoms.last_mut() {
            Some(Atom { what: What::Number(number), range }) if number.is_han && range.end == self.at => {
                Some((number, &mut range.end))
            }
            _ => None,
        }
    }

    fn han(&mut self, digit: char, character: char) {
        let end = self.at + character.len_utf8();
        let is_weak = character == '两' || character == '兩';
        if let Some((number, last)) = self.last_han() {
            number.digits.push(digit);
            number.is_weak = false;
            *last = end;
            self.at = end;
            return;
        }
        let number = Number { digits: digit.to_string(), is_weak, is_han: true, ..Number::default() };
        self.push(character.len_utf8(), What::Number(number));
    }

    /// 十 has the place of a digit where none stands beside it; larger ones only make a quantity.
    fn han_multiplier(&mut self, character: char) {
        let length = character.len_utf8();
        let (end, is_ten) = (self.at + length, matches!(character, '十' | '拾'));
        let next = self.text[end..].chars().next().and_then(spoken::han_digit);
        let zero = if is_ten && next.is_none() { "0" } else { "" };
        if let Some((number, last)) = self.last_han() {
            number.digits.push_str(zero);
            number.is_quantity |= !is_ten;
            *last = end;
            self.at = end;
        } else if is_ten {
            let number = Number { digits: format!("1{zero}"), is_han: true, ..Number::default() };
            self.push(length, What::Number(number));
        } else {
            self.push(length, What::Word);
        }
    }

    /// 三个8: 888.
    fn repeats(&mut self, rest: &str) -> bool {
        let mut characters = rest.chars();
        let counter = characters.next().map_or(0, char::len_utf8);
        let Some(next) = characters.next() else { return false };
        let digit = if next.is_ascii_digit() { Some(next) } else { spoken::han_digit(next) };
        let Some(digit) = digit else { return false };
        let end = self.at + counter + next.len_utf8();
        let Some((number, last)) = self.last_han() else { return false };
        // 我要四个: the count is the last character, a digit may stand before it.
        let Some(times @ 2..=4) = number.digits.chars().next_back().and_then(|it| it.to_digit(10)) else {
            return false;
        };
        number.digits.pop();
        number.digits.extend(std::iter::repeat_n(digit, times as usize));
        number.is_weak = false;
        *last = end;
        self.at = end;
        true
    }

    /// Whether the place is between two digits, of which a border may hide one; `rest` follows the sign there.
    fn is_amid_digits(&self, rest: &str) -> bool {
        let is_digit = |it: char| it.is_ascii_digit() || spoken::han_digit(it).is_some();
        let before = self.text[..self.at].trim_end_matches(BORDER);
        let after = rest.trim_start_matches(BORDER);
        let sides = [before.chars().next_back(), after.chars().next()];
        sides.iter().all(|side| side.is_none_or(is_digit)) && sides.iter().any(Option::is_some)
    }

    /// "the last four digits", 后四位, 下四桁: a count of digits is none of them.
    fn drop_counts(&mut self) {
        for index in 0..self.atoms.len() {
            let Atom { what: What::Number(number), range } = &self.atoms[index] else { continue };
            if number.digits.len() == 1 && self.is_count(index, range) {
                self.atoms[index].what = What::Word;
            }
        }
    }

    fn is_count(&self, index: usize, range: &Range<usize>) -> bool {
        if self.text[range.end..].starts_with(['位', '桁']) {
            return true;
        }
        let is_one = |atom: &Atom, words: &[&str]| words.contains(&&self.text[atom.range.clone()]);
        let mut before = self.atoms[..index].iter().rev().take(2);
        let mut after = self.atoms[index + 1..].iter().take(2);
        before.any(|atom| is_one(atom, &["last", "first", "final", "next"]))
            && after.any(|atom| {
                is_one(atom, &["digits", "digit", "numbers", "number", "are", "is", "of", "ones"])
            })
    }

    /// A last word that the rest of a number word may follow belongs to the number before it.
    fn close_cut_word(&mut self) {
        let end = self.text.len();
        let is_behind_number =
            matches!(&self.atoms[..], [.., Atom { what: What::Number(number), .. }, _] if number.is_han);
        let Some(Atom { range, what }) = self.atoms.last_mut() else { return };
        let word = &self.text[range.clone()];
        if *what != What::Word || range.end != end {
            return;
        }
        // 四三个: of 四三个8.
        if spoken::begins_between(word) || is_behind_number && matches!(word, "个" | "個") {
            *what = What::Between;
        } else if spoken::begins_number_word(word) || kana::begins_reading(word) {
            *what = What::Number(Number::default());
        }
    }
}

/// Whether a character belongs to a word that is written with letters of a script with spaces.
pub(crate) fn is_latin(character: char) -> bool {
    character.is_alphabetic() && (character as u32) < 0x0E00
}

fn is_latin_at(text: &str, at: usize) -> bool {
    text[at..].chars().next().is_some_and(is_latin)
}
