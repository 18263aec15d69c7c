//! A piece whose recognizer's seconds cost nothing.

use std::time::Duration;

use hark_sdk::event::Blame;
use jiff::Timestamp;
use uuid::Uuid;

use super::fault;
use crate::job::piece_machine::{self, PieceFact, Policy};
use crate::job::{Attempt, Budget, Failure, Fate, Next, Piece, PieceState, Prices, Span};

const DAEMON: Uuid = Uuid::from_u128(1);

#[test]
fn where_seconds_cost_nothing_a_lost_request_is_a_refused_one() {
    let prices = Prices::from_toml(
        "[[recognizer]]\nname = \"gpu\"\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:1/v1\"\nmodel = \"whisper\"",
    );
    let policy = Policy { ambiguous_retries: 0, prices, budget: Budget::default(), daemon: DAEMON };
    let mut piece = Piece::new(1, Span::whole(None), "gpu", "model");
    // Another daemon had the job.
    piece.attempts.push(Attempt::of_unknown_fate(Uuid::nil(), Timestamp::UNIX_EPOCH));
    let mut meet = |fact| {
        piece = piece_machine::advance(&piece, fact, &policy, Timestamp::UNIX_EPOCH).piece;
        piece.clone()
    };
    for _ in 0..50 {
        meet(PieceFact::Sending { marker: None, reserved_micro: 0 });
        meet(PieceFact::Taken { handle: None });
        let restarted = meet(PieceFact::Restarted);
        assert_eq!((&restarted.state, restarted.may_have_cost()), (&PieceState::Queued, false));
    }
    for _ in 1..piece_machine::REFUSAL_BUDGET {
        assert_eq!(meet(PieceFact::Sending { marker: None, reserved_micro: 0 }).state, PieceState::Sending);
        let lost = Failure {
            fate: Fate::Open,
            ..Failure::before_sending(
                fault(Blame::Service),
                Next::After { wait: Duration::from_secs(1), counts: true },
            )
        };
        assert!(!meet(PieceFact::Failed(lost)).may_have_cost());
    }
    assert!(matches!(
        meet(PieceFact::Sending { marker: None, reserved_micro: 0 }).state,
        PieceState::Failed { .. }
    ));
}
