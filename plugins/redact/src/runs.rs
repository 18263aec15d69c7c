//! Runs of digits: groups of digits with nothing between them but what may stand inside of a number.

use std::ops::Range;

use crate::halves::join_cards;
use crate::lex::{Atom, Number, What};
use crate::spoken;

/// Most parts (spaces, punctuation, words like "yes") between two groups of one run.
const LONGEST_GAP: usize = 8;

/// Bytes of the words of an interjection: some eight words.
const LONGEST_INTERJECTION: usize = 40;

/// A group of digits of a run.
#[derive(Debug, Clone)]
pub(crate) struct Group<'a> {
    /// In the folded text.
    pub(crate) range: Range<usize>,
    pub(crate) number: &'a Number,
    /// The text of the stream that it is in.
    pub(crate) text: usize,
}

/// A run of digits.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub(crate) groups: Vec<Group<'a>>,
    pub(crate) before: Side,
    pub(crate) after: Side,
}

/// What is beside a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Side {
    /// The border of its text, with nothing between that could not stand inside of a number: the number of the text before the border.
    pub(crate) border: Option<usize>,
    /// The border of the whole stream.
    pub(crate) is_outer: bool,
    /// A token of digits behind the border.
    pub(crate) faces_token: bool,
}

impl Run<'_> {
    pub(crate) fn digits(&self) -> String {
        digits(&self.groups)
    }

    /// Whether a run is a single digit that is rather a word.
    pub(crate) fn is_word(&self, text: &str) -> bool {
        let [group] = &self.groups[..] else { return false };
        let is_han = text[group.range.clone()].starts_with(|it| spoken::han_digit(it).is_some());
        is_han
            && group.number.digits.len() == 1
            && spoken::is_word(
                text[..group.range.start].chars().next_back(),
                text[group.range.end..].chars().next(),
            )
    }
}

/// The digits of groups.
pub(crate) fn digits(groups: &[Group]) -> String {
    groups.iter().map(|group| group.number.digits.as_str()).collect()
}

/// A run, and its first and last atom.
pub(crate) type Placed<'a> = (Run<'a>, usize, usize);

/// The runs of a stream. `has_cards`: the halves of a card with words between them are one.
pub(crate) fn runs<'a>(folded: &str, atoms: &'a [Atom], has_cards: bool) -> Vec<Run<'a>> {
    let mut runs: Vec<Placed<'a>> = Vec::new();
    let quiet: Vec<Quiet> = atoms.split(|atom| atom.what == What::Border).map(Quiet::of).collect();
    let (mut text, mut gap) = (0, usize::MAX);
    for (index, atom) in atoms.iter().enumerate() {
        match &atom.what {
            What::Border => {
                text += 1;
                // One interjection does not end a run, two do; "okay" is none.
                gap = gap.saturating_add(if quiet[text] == Quiet::Words { LONGEST_GAP / 2 } else { 1 });
            }
            What::Between | What::Word if quiet[text] != Quiet::No => {}
            What::Between => gap = gap.saturating_add(1),
            What::Number(number) => {
                let group = Group { range: atom.range.clone(), number, text };
                match runs.last_mut() {
                    Some((run, _, last)) if gap <= LONGEST_GAP => {
                        run.groups.push(group);
                        *last = index;
                    }
                    _ => {
                        let (before, after) = (Side::default(), Side::default());
                        runs.push((Run { groups: vec![group], before, after }, index, index));
                    }
                }
                gap = 0;
            }
            _ => gap = usize::MAX,
        }
    }
    if has_cards {
        runs = join_cards(folded, atoms, runs);
    }
    let has_digits = |run: &Run| run.groups.iter().any(|group| !group.number.is_weak);
    let finished = runs.into_iter().filter(|(run, ..)| has_digits(run)).map(|(mut run, first, last)| {
        let text_of = |group: Option<&Group>| group.map_or(0, |group| group.text);
        run.before = side(atoms[..first].iter().rev());
        run.before.border = run.before.border.and_then(|_| text_of(run.groups.first()).checked_sub(1));
        run.after = side(atoms[last + 1..].iter());
        run.after.border = run.after.border.map(|_| text_of(run.groups.last()));
        run
    });
    finished.collect()
}

/// Whether a text is an interjection: "Could you repeat that, please?" between two halves of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quiet {
    No,
    /// Some words.
    Words,
    /// Nothing but what may stand between two groups: "Okay. Go ahead."
    Between,
}

impl Quiet {
    pub(crate) fn of(atoms: &[Atom]) -> Quiet {
        let is_word = |atom: &&Atom| atom.what == What::Word;
        let length = atoms.iter().filter(is_word).map(|atom| atom.range.len()).sum::<usize>();
        let is_quiet = atoms.iter().all(|atom| matches!(atom.what, What::Word | What::Between));
        match length {
            0 if is_quiet => Quiet::Between,
            1..=LONGEST_INTERJECTION if is_quiet => Quiet::Words,
            _ => Quiet::No,
        }
    }
}

/// What the atoms beside a run, from it on, tell.
fn side<'a>(atoms: impl Iterator<Item = &'a Atom>) -> Side {
    let mut side = Side::default();
    for atom in atoms {
        match atom.what {
            What::Border => side.border = Some(0),
            What::Between => {}
            What::Token { digits } => {
                side.faces_token = digits && side.border.is_some();
                return side;
            }
            _ => return side,
        }
    }
    side.is_outer = true;
    side
}
