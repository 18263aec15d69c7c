//! Joins the parts of a card's number that have words between them: "4242 4242, let me see, 4242 4242".

use crate::lex::{Atom, What, is_latin};
use crate::numbers::{CARD, is_luhn};
use crate::phone::{is_innocent, is_strong, items};
use crate::runs::{Group, Placed, Quiet, digits};

/// Most parts.
const PARTS: usize = 4;
/// Most texts of other speakers, or of the same, between two parts.
const TEXTS: usize = 3;
/// How much may stand between two parts: a word counts two, a character of a script without spaces one.
const WORDS: usize = 8;
/// The fewest digits of a part.
const DIGITS: usize = 3;
/// The fewest digits in parts that are no date and no amount.
const PLAIN: usize = 8;

/// Joins neighbours that are a card's number by its check digit. One in ten numbers has the right one by chance, so little may stand between
/// them.
pub(crate) fn join_cards<'a>(text: &str, atoms: &[Atom], runs: Vec<Placed<'a>>) -> Vec<Placed<'a>> {
    let mut joined = Vec::with_capacity(runs.len());
    let mut rest = &runs[..];
    let mut counts = Vec::with_capacity(runs.len());
    while !rest.is_empty() {
        let count = parts(text, atoms, rest);
        counts.push(count);
        rest = &rest[count..];
    }
    let mut runs = runs.into_iter();
    for count in counts {
        let parts = runs.by_ref().take(count);
        let whole = parts.reduce(|(mut whole, first, _), (part, _, last)| {
            whole.groups.extend(part.groups);
            (whole, first, last)
        });
        joined.extend(whole);
    }
    joined
}

/// How many of the first runs are one card.
fn parts(text: &str, atoms: &[Atom], runs: &[Placed]) -> usize {
    let (mut whole, mut plain) = (String::new(), 0);
    for (index, (run, first, _)) in runs.iter().take(PARTS).enumerate() {
        let part = run.digits();
        let is_part = (DIGITS..CARD.start).contains(&part.len()) && !is_strong(text, &run.groups);
        if !is_part || index > 0 && !is_near(text, &atoms[runs[index - 1].2 + 1..*first]) {
            break;
        }
        let is_plain = |item: &[Group]| !is_innocent(text, item);
        let items = items(text, &run.groups).into_iter().map(|item| &run.groups[item]);
        plain += items.filter(|item| is_plain(item)).map(|item| digits(item).len()).sum::<usize>();
        whole.push_str(&part);
        if index > 0 && plain >= PLAIN && CARD.contains(&whole.len()) && is_luhn(&whole) {
            return index + 1;
        }
    }
    1
}

/// Whether the atoms between two runs are few words, and texts without much in them.
fn is_near(text: &str, between: &[Atom]) -> bool {
    let texts: Vec<&[Atom]> = between.split(|atom| atom.what == What::Border).collect();
    if texts.len() > TEXTS + 2 {
        return false;
    }
    // What stands in the texts of the two parts counts; texts between them are interjections.
    let (mine, others) = match &texts[..] {
        [first, others @ .., last] => (vec![*first, *last], others),
        _ => (texts.clone(), &[][..]),
    };
    let is_amount = |atom: &Atom| text[atom.range.clone()].starts_with(['$', '€', '£', '¥', '%']);
    let weight = |atom: &Atom| match atom.what {
        What::Between => 0,
        What::Word if is_amount(atom) => WORDS + 1,
        What::Word if text[atom.range.clone()].starts_with(is_latin) => 2,
        What::Word => text[atom.range.clone()].chars().count(),
        _ => WORDS + 1,
    };
    let words: usize = mine.into_iter().flatten().map(weight).sum();
    words <= WORDS && others.iter().all(|atoms| Quiet::of(atoms) != Quiet::No)
}
