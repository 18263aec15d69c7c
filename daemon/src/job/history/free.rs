//! A piece whose recognizer's seconds cost nothing, between a server that repeats itself and a daemon that is killed at any moment.

use std::sync::LazyLock;

use hark_sdk::event::{Blame, Segment, Usage};
use jiff::Timestamp;
use uuid::Uuid;

use super::dice::Dice;
use super::{DAEMON, again, fault};
use crate::job::halves::halves;
use crate::job::piece_machine::{self, PieceFact, Policy, Release, Report};
use crate::job::{
    Attempt, Budget, Duty, Failure, Fate, Next, Piece, PieceState, Prices, Span, Transcript, persisted,
};

const LENGTH: u64 = 30_000;

/// The daemon's disk, and what the server said.
pub(super) struct World {
    dice: Dice,
    piece: Piece,
    policy: Policy,
    reports: Vec<Report>,
    /// The first answer of the server to the whole piece that the daemon stored.
    first: Option<Transcript>,
    /// Each answer about a half that the daemon stored.
    of_halves: Vec<(Span, Transcript)>,
    /// The halves that were found.
    halves: Option<Vec<Span>>,
    /// A half was given up, or none was found.
    gave_up: bool,
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        let mut dice = Dice(seed);
        let length = if dice.one_in(4) { None } else { Some(LENGTH) };
        World {
            piece: Piece::new(1, Span::whole(length), "gpu", "model"),
            policy: Policy {
                ambiguous_retries: 0,
                prices: free(),
                budget: Budget::default(),
                daemon: DAEMON,
            },
            dice,
            reports: Vec::new(),
            first: None,
            of_halves: Vec::new(),
            halves: None,
            gave_up: false,
        }
    }

    pub(super) fn run(mut self) {
        for _ in 0..2_000 {
            self.restart();
            match self.piece.state.duty() {
                Some(Duty::Send) => self.send(),
                Some(duty) => panic!("{duty:?} is not owed to a piece of a server without tasks"),
                None => return self.check(),
            }
        }
        panic!("the piece does not end: {:?}", self.piece.state);
    }

    /// What the disk has is all that a daemon knows at its start.
    fn restart(&mut self) {
        if self.dice.one_in(6) {
            let stored = persisted::to_json(&self.piece).unwrap();
            let read: Piece = persisted::from_json(stored.as_bytes()).unwrap();
            let (attempts, heard) = (self.piece.attempts.clone(), self.piece.heard.clone());
            self.piece = Piece { attempts, heard, ..read };
            self.commit(PieceFact::Restarted);
        }
    }

    fn commit(&mut self, fact: PieceFact) {
        let step = piece_machine::advance(&self.piece, fact, &self.policy, Timestamp::UNIX_EPOCH);
        self.piece = step.piece;
        self.reports.extend(step.reports);
        assert!(self.piece.attempts.iter().filter(|attempt| attempt.fate.may_have_cost()).count() <= 1);
    }

    fn send(&mut self) {
        match &self.piece.halves {
            Some(halves) if halves.have_failed() => {
                return self.commit(PieceFact::Kept { release: Release::AtOnce });
            }
            Some(halves) if halves.left.is_none() => return self.cut(),
            _ => {}
        }
        let span = self.piece.asked_for().clone();
        self.commit(PieceFact::Sending { marker: None, reserved_micro: 0 });
        if !self.dice.one_in(3) {
            self.commit(PieceFact::Taken { handle: None });
        }
        match self.dice.roll(8) {
            // The daemon is killed.
            0 => self.commit(PieceFact::Restarted),
            1 => self.fail(Fate::Open, again(true)),
            2 if self.dice.one_in(3) => self.fail(Fate::Refused, Next::Never),
            _ => self.answer(span),
        }
    }

    fn cut(&mut self) {
        if self.dice.one_in(6) {
            self.gave_up = true;
            return self.commit(PieceFact::Failed(Failure::for_good(fault(Blame::Audio))));
        }
        let cut = 14_000 + self.dice.roll(2_000);
        let parts = [(0, cut), (cut, LENGTH)];
        let parts = match self.dice.roll(6) {
            0 => &parts[1..],
            1 => &parts[..1],
            2 => &[],
            _ => &parts,
        };
        let halves = halves(&self.piece.span, parts);
        self.gave_up |= halves.is_empty();
        self.halves = Some(halves.clone());
        self.commit(PieceFact::Halved { halves });
        self.commit(PieceFact::Halved { halves: vec![Span::part(7, 8)] });
    }

    fn answer(&mut self, span: Span) {
        let is_bad = self.dice.one_in(2);
        let text =
            format!("{}-{} ", span.begin_ms, self.dice.roll(1_000)).repeat(if is_bad { 30 } else { 1 });
        let segment = Segment { begin_ms: Some(span.begin_ms), text: text.clone(), ..Segment::default() };
        let truncated = self.dice.one_in(4);
        let transcript = Transcript { text, segments: vec![segment], truncated, ..Transcript::default() };
        match self.first {
            None => self.first = Some(transcript.clone()),
            Some(_) => self.of_halves.push((span, transcript.clone())),
        }
        self.commit(PieceFact::Heard { transcript, release: Release::AtOnce });
    }

    fn fail(&mut self, fate: Fate, next: Next) {
        let failure =
            Failure { fault: fault(Blame::Service), fate, next, billed: Usage::default(), raw: None };
        self.commit(PieceFact::Failed(failure));
        self.gave_up |= self.piece.halves.as_ref().is_some_and(crate::job::Halves::have_failed);
    }

    fn check(&self) {
        assert_eq!(self.piece.halves, None, "the texts of halves are removed");
        let Some(first) = &self.first else {
            assert!(matches!(self.piece.state, PieceState::Failed { .. }));
            return;
        };
        assert_eq!(self.piece.state, PieceState::Heard, "a piece that was answered has a text");
        let heard = self.piece.heard.as_ref().unwrap();
        let is_better =
            self.piece.span.end_ms.is_some() && (first.truncated || first.text.matches('-').count() > 20);
        let asked: Vec<&Span> = self.of_halves.iter().map(|(span, _)| span).collect();
        if !is_better {
            assert_eq!((heard, asked.len()), (first, 0));
        } else if self.gave_up {
            assert_eq!(heard, first, "a half that fails leaves the first answer");
        } else {
            assert_eq!(asked, self.halves.iter().flatten().collect::<Vec<_>>(), "each half once, in order");
            let segments = self.of_halves.iter().flat_map(|(_, half)| half.segments.clone());
            assert_eq!(heard.segments, segments.collect::<Vec<_>>());
            assert_eq!(heard.truncated, self.of_halves.iter().any(|(_, half)| half.truncated));
        }
        let reported = |wanted: fn(&&Report) -> bool| self.reports.iter().filter(wanted).count();
        assert_eq!(reported(|report| matches!(report, Report::Heard { .. })), 1);
    }
}

fn free() -> Prices {
    static FREE: LazyLock<Prices> = LazyLock::new(|| {
        Prices::from_toml(
            "[[recognizer]]\nname = \"gpu\"\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:1/v1\"\nmodel = \"whisper\"",
        )
    });
    FREE.clone()
}

#[test]
fn where_seconds_cost_nothing_a_lost_request_is_a_refused_one() {
    let policy = Policy { ambiguous_retries: 0, prices: free(), budget: Budget::default(), daemon: DAEMON };
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
        let lost =
            Failure { fate: Fate::Open, ..Failure::before_sending(fault(Blame::Service), again(true)) };
        assert!(!meet(PieceFact::Failed(lost)).may_have_cost());
    }
    assert!(matches!(
        meet(PieceFact::Sending { marker: None, reserved_micro: 0 }).state,
        PieceState::Failed { .. }
    ));
}

#[test]
fn where_seconds_cost_a_text_that_repeats_itself_is_left_as_it_is() {
    let policy =
        Policy { ambiguous_retries: 0, prices: Prices::default(), budget: Budget::default(), daemon: DAEMON };
    let mut piece = Piece::new(1, Span::part(0, LENGTH), "flash", "model");
    let text = "Thank you. ".repeat(30);
    let transcript = Transcript { text, truncated: true, ..Transcript::default() };
    for fact in [
        PieceFact::Sending { marker: None, reserved_micro: 0 },
        PieceFact::Heard { transcript, release: Release::AtOnce },
    ] {
        piece = piece_machine::advance(&piece, fact, &policy, Timestamp::UNIX_EPOCH).piece;
    }
    assert_eq!((&piece.state, piece.halves), (&PieceState::Heard, None));
}
