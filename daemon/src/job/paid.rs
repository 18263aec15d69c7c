//! Pieces that a recognizer may have charged to a daemon that had the job before, by their numbers. Pure.
//!
//! A recording is cut at the same places by every daemon, so a piece of it needs no more than its number; and most pieces of a long
//! recording have the same fates, so that a few runs of numbers describe all of them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Attempt, Fate, Piece};

/// A run of consecutive pieces whose attempts had the same fates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paid {
    /// Number of the first piece.
    pub first: u32,
    /// Number of the last piece.
    pub last: u32,
    /// The fates of the attempts of each piece that may have cost something, oldest first.
    pub fates: Vec<Fate>,
}

/// What may have been paid for a job's pieces. `before`: by former owners, of which pieces may not be cut yet.
pub fn paid(before: &[Paid], pieces: &[Piece]) -> Vec<Paid> {
    let not_cut =
        before.iter().flat_map(|run| (run.first..=run.last).map(|number| (number, run.fates.clone())));
    let mut all: BTreeMap<u32, Vec<Fate>> = not_cut.collect();
    for piece in pieces {
        let fates = piece.attempts.iter().map(|attempt| attempt.fate).filter(|fate| fate.may_have_cost());
        all.insert(piece.number, fates.collect());
    }
    let mut runs: Vec<Paid> = Vec::new();
    for (number, fates) in all.into_iter().filter(|(_, fates)| !fates.is_empty()) {
        match runs.last_mut() {
            Some(run) if run.last + 1 == number && run.fates == fates => run.last = number,
            _ => runs.push(Paid { first: number, last: number, fates }),
        }
    }
    runs
}

/// The attempts of former owners for a piece. It is not known which of them made each, and when.
pub fn attempts(paid: &[Paid], piece: u32, now: Timestamp) -> Vec<Attempt> {
    let run = paid.iter().find(|run| (run.first..=run.last).contains(&piece));
    let fates = (1..).zip(run.map_or(&[][..], |run| &run.fates));
    fates
        .map(|(number, fate)| Attempt { fate: *fate, ..Attempt::open(number, Uuid::nil(), now, None) })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::job::Span;

    fn piece(number: u32, fates: &[Fate]) -> Piece {
        let mut piece = Piece::new(number, Span::part(0, 1), "flash", "model");
        piece.attempts = attempts(
            &[Paid { first: number, last: number, fates: fates.to_vec() }],
            number,
            Timestamp::UNIX_EPOCH,
        );
        piece
    }

    proptest! {
        #[test]
        fn runs_tell_the_fates_of_every_piece(
            fates in prop::collection::vec(
                prop::collection::vec(prop::sample::select(vec![Fate::Open, Fate::Taken, Fate::Unknown]), 0..2), 0..40,
            ),
            cut in 0_usize..40,
        ) {
            let all: Vec<Piece> = (1..).zip(&fates).map(|(number, fates)| piece(number, fates)).collect();
            let before = paid(&[], &all);
            // Another daemon has cut some of the pieces, and sent each of these once more.
            let mut again = all[..cut.min(all.len())].to_vec();
            for piece in &mut again {
                piece.attempts.push(Attempt { fate: Fate::Taken, ..Attempt::default() });
            }
            let now = paid(&before, &again);
            for piece in &all {
                let mut expected: Vec<Fate> = piece.attempts.iter().map(|attempt| attempt.fate).collect();
                expected.extend((piece.number as usize <= cut).then_some(Fate::Taken));
                let found: Vec<Fate> =
                    attempts(&now, piece.number, Timestamp::UNIX_EPOCH).iter().map(|attempt| attempt.fate).collect();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
