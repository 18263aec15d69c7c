//! Submits whose answers were lost, step by step.

use hark_sdk::event::Blame;
use jiff::Timestamp;
use uuid::Uuid;

use super::{DAEMON, again, fault};
use crate::job::piece_machine::{self, PieceFact, Policy, Resolution};
use crate::job::{Attempt, Budget, Failure, Fate, Piece, PieceState, Prices, Span};

#[test]
fn a_submit_that_never_arrives_is_tried_ever_more_seldom_and_then_given_up() {
    let policy =
        Policy { ambiguous_retries: 1, prices: Prices::default(), budget: Budget::default(), daemon: DAEMON };
    let mut piece = Piece::new(1, Span::whole(None), "filetrans", "model");
    let mut now = Timestamp::UNIX_EPOCH;
    let mut waits = Vec::new();
    while piece.state == PieceState::Queued {
        let lost =
            Failure { fate: Fate::Open, ..Failure::before_sending(fault(Blame::Service), again(true)) };
        for fact in [
            PieceFact::Sending { marker: Some("object".into()), reserved_micro: 245 },
            PieceFact::Failed(lost),
            PieceFact::Resolved(Resolution::Absent),
            PieceFact::Resolved(Resolution::Absent),
        ] {
            let step = piece_machine::advance(&piece, fact, &policy, now);
            (piece, now) = (step.piece, now.max(step.due));
            waits.push(step.due);
        }
    }
    assert!(matches!(piece.state, PieceState::Failed { .. }), "{:?}", piece.state);
    assert_eq!((piece.failures, piece.may_have_cost()), (18, false));
    let longest = waits.windows(2).map(|pair| pair[1].duration_since(pair[0])).max().unwrap();
    assert_eq!(longest.as_secs(), 300, "the last waits are long");
}

#[test]
fn another_daemons_open_attempt_is_never_proved_absent() {
    let policy =
        Policy { ambiguous_retries: 1, prices: Prices::default(), budget: Budget::default(), daemon: DAEMON };
    let mut piece = Piece::new(1, Span::whole(None), "filetrans", "model");
    let other = Uuid::from_u128(2);
    piece.attempts.push(Attempt::open(1, other, Timestamp::UNIX_EPOCH, Some("object".into())));
    piece.state = PieceState::Sending;
    for fact in [
        PieceFact::Restarted,
        PieceFact::Resolved(Resolution::Absent),
        PieceFact::Resolved(Resolution::Absent),
    ] {
        piece = piece_machine::advance(&piece, fact, &policy, Timestamp::UNIX_EPOCH).piece;
    }
    assert_eq!(piece.attempts[0].fate, Fate::Unknown, "its owner may wake up and send it");
    assert_eq!(piece.state, PieceState::Queued);
    let sending = PieceFact::Sending { marker: Some("another".into()), reserved_micro: 245 };
    let next = piece_machine::advance(&piece, sending, &policy, Timestamp::UNIX_EPOCH).piece;
    assert!(next.attempts.iter().all(|attempt| attempt.fate.may_have_cost()), "{:?}", next.attempts);
}
