//! Finds international bank account numbers.

use std::ops::Range;

use crate::lex::{Atom, What};

/// Countries whose accounts have an IBAN, and its length there (registry of ISO 13616).
const COUNTRIES: &str = "ad24 ae23 al28 at20 az28 ba20 be16 bg22 bh22 bi27 br29 by28 ch21 cr22 cy28 cz24 de22 dj27 dk18 do28 ee20 eg29 es24 fi18 \
     fk18 fo18 fr27 gb22 ge22 gi23 gl18 gr27 gt28 hn28 hr21 hu28 ie22 il23 iq23 is26 it27 jo30 kw30 kz20 lb28 lc32 li21 lt20 \
     lu20 lv21 ly25 mc27 md24 me22 mk19 mn20 mr27 mt31 mu30 ni28 nl18 no15 om23 pk24 pl28 ps29 pt25 qa29 ro24 rs22 ru33 sa24 \
     sc31 sd18 se24 si19 sk24 sm27 so23 st25 sv28 tl23 tn24 tr26 ua29 va22 vg24 xk20 ye30";
/// Characters of an IBAN: Norway has 15, the standard allows 34.
const LENGTH: std::ops::RangeInclusive<usize> = 14..=34;
/// The fewest digits: Malta's 31 characters may have 18 letters.
const DIGITS: usize = 10;

/// The parts of an IBAN: ranges in the folded text, and its characters.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Iban {
    pub(crate) range: Range<usize>,
    pub(crate) value: String,
}

/// The IBANs of a text. A check digit that is wrong does not let one through: it may be misheard.
pub(crate) fn find(text: &str, plain: impl Fn(&Range<usize>) -> bool, atoms: &[Atom]) -> Vec<Iban> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < atoms.len() {
        match begin(text, atoms, at)
            .and_then(|(country, next)| follow(text, &plain, atoms, at, country, next))
        {
            Some((iban, next)) => {
                found.push(iban);
                at = next;
            }
            None => at += 1,
        }
    }
    found
}

/// A country's two letters in one word, or in two, and the number after them.
fn begin(text: &str, atoms: &[Atom], at: usize) -> Option<(String, usize)> {
    let word = |index: usize| {
        let atom = atoms.get(index).filter(|atom| is_letters(text, atom))?;
        Some(&text[atom.range.clone()])
    };
    let first = word(at)?;
    let (country, next) = match first.len() {
        2 => (first.to_owned(), at + 1),
        1 => {
            let next = passed(atoms, at + 1);
            (format!("{first}{}", word(next).filter(|it| it.len() == 1)?), next + 1)
        }
        _ => return None,
    };
    let is_known = length(&country).is_some();
    let number = passed(atoms, next);
    let is_number = matches!(atoms.get(number).map(|atom| &atom.what), Some(What::Number(_)));
    (is_known && is_number).then_some((country, number))
}

/// The characters of a country's IBAN.
fn length(country: &str) -> Option<usize> {
    COUNTRIES.split_whitespace().find_map(|known| known.strip_prefix(country)?.parse().ok())
}

/// Goes on over numbers, and letters in capitals or one by one; over other letters if the check digits and the length are right in the end.
fn follow(
    text: &str,
    is_capital: impl Fn(&Range<usize>) -> bool,
    atoms: &[Atom],
    begin: usize,
    country: String,
    number: usize,
) -> Option<(Iban, usize)> {
    let wanted = length(&country)?;
    let (mut value, mut end, mut at) = (country, begin, number);
    // What is an IBAN by its form, until letters end it that are not capitals.
    let mut formed = None;
    while let Some(atom) = atoms.get(at) {
        match &atom.what {
            What::Number(number) => value.push_str(&number.digits),
            _ if is_letters(text, atom) && atom.range.len() <= 4 => {
                if formed.is_none() && !is_capital(&atom.range) {
                    formed = Some((value.clone(), end));
                }
                value.push_str(&text[atom.range.clone()]);
            }
            _ => break,
        }
        if value.len() > *LENGTH.end() {
            break;
        }
        end = at;
        at = passed(atoms, at + 1);
        if value.len() == wanted && is_valid(&value) && (formed.is_some() || !is_capital(&atoms[begin].range))
        {
            return Some((Iban { range: atoms[begin].range.start..atoms[end].range.end, value }, end + 1));
        }
    }
    let (value, end) = formed.unwrap_or((value, end));
    let count = value.bytes().filter(u8::is_ascii_digit).count();
    // "is 4242 …" begins like an account in Iceland.
    let is_one = value.len() >= *LENGTH.start() && count >= DIGITS && is_capital(&atoms[begin].range);
    is_one.then(|| (Iban { range: atoms[begin].range.start..atoms[end].range.end, value }, end + 1))
}

/// The check of ISO 7064 (mod 97, 10): the first four characters come last, letters count from 10 on.
fn is_valid(iban: &str) -> bool {
    let turned = iban[4..].chars().chain(iban[..4].chars());
    let rest = turned.filter_map(|it| it.to_digit(36)).fold(0, |rest, digit| {
        let tens = if digit < 10 { 10 } else { 100 };
        (rest * tens + digit) % 97
    });
    rest == 1
}

fn is_letters(text: &str, atom: &Atom) -> bool {
    let is_word = matches!(atom.what, What::Word | What::Between)
        || matches!(&atom.what, What::Number(it) if it.is_weak);
    is_word && text[atom.range.clone()].bytes().all(|it| it.is_ascii_lowercase())
}

/// The next atom that is not spaces, punctuation or a border.
fn passed(atoms: &[Atom], from: usize) -> usize {
    let is_passed = |atom: &Atom| matches!(atom.what, What::Between | What::Border);
    from + atoms[from.min(atoms.len())..].iter().take_while(|atom| is_passed(atom)).count()
}
