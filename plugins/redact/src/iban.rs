//! Finds international bank account numbers.

use std::ops::Range;

use crate::lex::{Atom, What};

/// Countries whose accounts have an IBAN (registry of ISO 13616).
const COUNTRIES: &str = "ad ae al at az ba be bg bh bi br by ch cr cy cz de dj do dk ee eg es fi fk fo fr gb ge gi gl gr gt hn hr hu ie il iq \
     is it jo kw kz lb lc li lt lu lv ly mc md me mk mn mr mt mu ni nl no om pk pl ps pt qa ro rs ru sa sc sd se si sk sm so st sv tl tn \
     tr ua va vg xk ye";
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
    let is_known = COUNTRIES.split_whitespace().any(|known| known == country);
    let number = passed(atoms, next);
    let is_number = matches!(atoms.get(number).map(|atom| &atom.what), Some(What::Number(_)));
    (is_known && is_number).then_some((country, number))
}

/// Goes on over numbers, and letters in capitals or one by one.
fn follow(
    text: &str,
    is_capital: impl Fn(&Range<usize>) -> bool,
    atoms: &[Atom],
    begin: usize,
    country: String,
    number: usize,
) -> Option<(Iban, usize)> {
    let (mut value, mut end, mut at) = (country, begin, number);
    while let Some(atom) = atoms.get(at) {
        match &atom.what {
            What::Number(number) => value.push_str(&number.digits),
            _ if is_letters(text, atom) && atom.range.len() <= 4 && is_capital(&atom.range) => {
                value.push_str(&text[atom.range.clone()]);
            }
            _ => break,
        }
        if value.len() > *LENGTH.end() {
            break;
        }
        end = at;
        at = passed(atoms, at + 1);
    }
    let count = value.bytes().filter(u8::is_ascii_digit).count();
    let is_long = value.len() >= *LENGTH.start() && count >= DIGITS;
    // "is 4242 …" begins like an account in Iceland.
    let is_one = is_long && (is_capital(&atoms[begin].range) || is_valid(&value));
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
