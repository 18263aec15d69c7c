//! A job whose pieces do what pieces do, in any order.

use std::time::Duration;

use hark_sdk::event::{AnnotationSpeech, Blame, Body, Engine, Kind, Recording};
use jiff::{Timestamp, ToSpan};
use serde_json::Map;
use uuid::Uuid;

use super::dice::Dice;
use super::{fault, transcript_final};
use crate::job::job_machine::{self, CutEnd, Fact, Pieces, Recognized, Totals};
use crate::job::piece_machine::Report;
use crate::job::{
    Cut, Delivery, Duty, Fate, Job, Origin, Paid, PieceFormat, PieceState, Plan, Saved, Span, Split, Stage,
    Transcript,
};

/// A piece, as the job hears of it.
#[derive(Clone, Copy, PartialEq)]
enum Life {
    Open,
    Heard,
    Failed,
}

pub(super) struct World {
    dice: Dice,
    job: Job,
    pieces: Vec<Life>,
    totals: Totals,
    events: Vec<Body>,
    now: Timestamp,
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        let mut dice = Dice(seed);
        let mut job =
            Job::new(Uuid::nil(), "calls", "default", Origin::Nothing, Recording::default(), Map::new());
        job.owes_source = dice.one_in(2);
        job.maybe_paid = dice.one_in(8);
        if dice.one_in(8) {
            // Another daemon had the job.
            job.paid = vec![Paid { first: 2, last: 3, fates: vec![Fate::Unknown, Fate::Taken] }];
        }
        let (events, now) = (vec![job_machine::accepted(&job, Vec::new())], job.accepted_at);
        World { dice, job, pieces: Vec::new(), totals: Totals::default(), events, now }
    }

    pub(super) fn run(mut self) {
        for _ in 0..2_000 {
            self.stray();
            if self.dice.one_in(40) {
                self.cancel();
            }
            match self.job.stage.duty() {
                Some(Duty::Prepare) => self.prepare(),
                Some(Duty::Cut) if self.dice.one_in(2) && self.pieces.contains(&Life::Open) => self.piece(),
                Some(Duty::Cut) => self.cut(),
                Some(Duty::Pipe) => self.pipe(),
                Some(Duty::Publish) => self.commit(Fact::Stored),
                Some(Duty::Settle) => self.commit(Fact::Settled { missed: false }),
                Some(duty) => panic!("{duty:?} is not owed to a job"),
                None if self.job.stage == Stage::Recognizing => self.piece(),
                None => return self.check(),
            }
        }
        panic!("the job does not end: {:?}", self.job.stage);
    }

    /// One transaction: the stage and its events, or neither. A kill before it leaves all as it was.
    fn commit(&mut self, fact: Fact) {
        if self.dice.one_in(9) {
            return;
        }
        self.now += 1.second();
        let step = job_machine::advance(&self.job, fact, self.totals, self.now);
        assert!(step.due >= self.now, "a duty in the past");
        match step.pieces {
            Pieces::Stay => {}
            Pieces::Gone => self.pieces.clear(),
            Pieces::Made(made) => {
                for piece in made {
                    let paid = if matches!(piece.number, 2 | 3) && !self.job.paid.is_empty() { 2 } else { 0 };
                    let maybe_paid = usize::from(self.job.maybe_paid && piece.number == 1);
                    assert_eq!(piece.attempts.len(), paid + maybe_paid, "what may be paid is an attempt");
                    assert!(piece.attempts.iter().all(|attempt| attempt.fate.may_have_cost()));
                    assert_eq!(
                        piece.state == PieceState::Sending,
                        paid > 0,
                        "`Restarted` decides what follows"
                    );
                    assert_eq!(
                        piece.number as usize,
                        self.pieces.len() + 1,
                        "a number is missing or used twice"
                    );
                    self.pieces.push(Life::Open);
                }
            }
        }
        self.job = step.job;
        self.job.sequence += step.events.len() as u64;
        self.events.extend(step.events);
    }

    /// A fact that comes too late, or twice, changes nothing.
    fn stray(&mut self) {
        let late = match (&self.job.stage, self.dice.roll(3)) {
            (Stage::Accepted | Stage::Recognizing | Stage::Heard, 0) => Fact::Stored,
            (Stage::Ended { .. } | Stage::Settled { .. }, 1) => Fact::Missing { fault: fault(Blame::Audio) },
            (Stage::Heard | Stage::Ended { .. }, 2) => Fact::Replanned,
            _ => return,
        };
        let step = job_machine::advance(&self.job, late, self.totals, self.now);
        assert_eq!((&step.job, step.events.len()), (&self.job, 0), "a stray fact changed the job");
    }

    fn prepare(&mut self) {
        if self.dice.one_in(12) {
            return self.commit(Fact::Missing { fault: fault(Blame::Audio) });
        }
        let recording = Box::new(Recording { duration_ms: Some(7_400), ..Recording::default() });
        if self.dice.one_in(12) {
            return self.commit(Fact::Unusable { recording, fault: fault(Blame::Audio) });
        }
        let (model, reason) = ("model".to_owned(), "dice".to_owned());
        let cut = Cut {
            longest_ms: 1_000,
            format: PieceFormat::Flac,
            skip_silence: false,
            misleading_header: self.dice.one_in(2),
        };
        let cut = self.dice.one_in(2).then_some(cut);
        let split = self.dice.one_in(3).then(Split::default);
        let plan = Plan { engine: Engine::FLASH, model, delivery: Delivery::Inline, cut, split, reason };
        let spans = (0..1 + self.dice.roll(4)).map(|_| Span::whole(None)).collect();
        self.commit(Fact::Prepared { recording, plan, spans });
    }

    /// An operator cancels the job: its pieces end with it. One that has ended stays as it is.
    fn cancel(&mut self) {
        let (before, events) = (self.job.clone(), self.events.len());
        self.commit(Fact::Canceled { fault: fault(Blame::Operator) });
        if before.stage.has_ended() {
            assert_eq!((&self.job, self.events.len()), (&before, events), "an ended job was canceled");
        }
        if self.job.canceled {
            self.pieces.retain(|life| *life != Life::Open);
        }
    }

    /// The recording is cut further, or to its end. A cutter that a kill interrupted begins at the last piece that was stored.
    fn cut(&mut self) {
        let Stage::Cutting { to_ms, pieces } = self.job.stage else { panic!("{:?}", self.job.stage) };
        assert_eq!(pieces as usize, self.pieces.len());
        if self.dice.one_in(9) {
            return self.commit(Fact::Missing { fault: fault(Blame::Audio) });
        }
        if pieces == 0 && self.dice.one_in(12) {
            let recording = Box::default();
            return self.commit(Fact::Unusable { recording, fault: fault(Blame::Audio) });
        }
        let recording = Recording { duration_ms: Some(to_ms), ..Recording::default() };
        let end = CutEnd {
            recording,
            speech_ms: Some(1),
            speech: Some(AnnotationSpeech::default()),
            saved: Some(Saved { ms: 1, cost_micro: 1 }),
        };
        let end = self.dice.one_in(4).then(|| Box::new(end));
        let count = 2 + self.dice.roll(3);
        // The first of these was found before, as after a restart.
        let early = (to_ms > 0).then(|| Span::part(to_ms.saturating_sub(1), to_ms));
        let spans =
            early.into_iter().chain((to_ms..to_ms + count).map(|at| Span::part(at, at + 1))).collect();
        let left = self.left();
        self.commit(Fact::Cut { spans, end, left });
    }

    fn left(&self) -> Recognized {
        let count = |wanted: Life| self.pieces.iter().filter(|life| **life == wanted).count() as u32;
        Recognized {
            open: count(Life::Open),
            heard: count(Life::Heard),
            pieces: self.pieces.len() as u32,
            fault: (count(Life::Failed) > 0).then(|| fault(Blame::Service)),
        }
    }

    /// Any of the pieces goes on.
    fn piece(&mut self) {
        if self.dice.one_in(30) && self.pieces.iter().all(|life| *life == Life::Open) && !self.job.submitted {
            return self.commit(Fact::Replanned);
        }
        let open: Vec<usize> = (0..self.pieces.len()).filter(|at| self.pieces[*at] == Life::Open).collect();
        let at = open[self.dice.roll(open.len() as u64) as usize];
        let mut reports = Vec::new();
        let (pieces, totals) = (self.pieces.clone(), self.totals);
        match self.dice.roll(6) {
            0 => {
                self.totals.failures += 1;
                let (fault, retry_in) = (fault(Blame::Service), Duration::from_secs(1));
                reports.push(Report::Retrying { attempt: 1, fault, retry_in });
            }
            1 => reports.push(Report::Submitted { handle: None }),
            2 => self.pieces[at] = Life::Failed,
            3 => self.totals.possible_duplicate_charge = true,
            _ => {
                self.totals.billed.seconds += 7;
                self.totals.cost_micro += 245;
                self.pieces[at] = Life::Heard;
                reports.push(Report::Heard {
                    span: Span::part(at as u64, at as u64 + 1),
                    transcript: Transcript::default(),
                });
            }
        }
        let left = self.left();
        let sequence = self.now;
        let fact = Fact::Piece { number: at as u32 + 1, found: true, reports, revision: 3, left };
        self.commit(fact);
        if self.now == sequence {
            // Killed before the transaction: the piece is as it was, too.
            (self.pieces, self.totals) = (pieces, totals);
        }
    }

    fn pipe(&mut self) {
        if self.dice.one_in(6) {
            let (level, fault) = (1 + self.dice.roll(2) as u32, fault(Blame::Plugin));
            return self.commit(Fact::Held { level, fault, retry_in: Duration::ZERO });
        }
        self.commit(Fact::Piped { event: Box::new(transcript_final(Vec::new())), emitted: Vec::new() });
    }

    fn check(&self) {
        let kinds: Vec<Kind> = self.events.iter().map(Body::kind).collect();
        assert_eq!(kinds.first(), Some(&Kind::JobAccepted));
        assert_eq!(kinds.iter().filter(|kind| kind.is_last()).count(), 1, "one last event: {kinds:?}");
        assert!(kinds.last().is_some_and(Kind::is_last), "nothing after the last event: {kinds:?}");
        assert_eq!(self.job.sequence + 1, self.events.len() as u64, "sequences without a gap");
        let finals = kinds.iter().filter(|kind| **kind == Kind::TranscriptFinal).count();
        let submitted = kinds.iter().filter(|kind| **kind == Kind::JobSubmitted).count();
        assert!(self.pieces.len() < 2 || submitted < 2, "several pieces are submitted once: {kinds:?}");
        let bill = match self.events.last() {
            Some(Body::JobCompleted(event)) => {
                assert!(self.pieces.contains(&Life::Heard) || !self.pieces.contains(&Life::Failed));
                &event.bill
            }
            Some(Body::JobFailed(event)) => {
                let is_heard = self.pieces.contains(&Life::Heard);
                assert!(self.job.canceled || !is_heard, "a piece that fails costs only itself");
                assert_eq!(self.job.canceled, event.error.blame == Blame::Operator);
                assert!(event.error.attempts.is_some_and(|attempts| attempts > 0));
                &event.bill
            }
            other => panic!("{other:?} is no last event"),
        };
        assert_eq!(finals, usize::from(kinds.last() == Some(&Kind::JobCompleted)));
        assert_eq!(bill.billed_seconds, self.totals.billed.seconds);
        assert_eq!(bill.cost_usd, self.totals.cost_micro as f64 / 1e6);
        assert_eq!(bill.possible_duplicate_charge, self.totals.possible_duplicate_charge);
    }
}

#[test]
fn a_job_that_was_taken_over_ends_although_its_pieces_were_heard_before_they_are_cut() {
    let mut job =
        Job::new(Uuid::nil(), "inbox", "default", Origin::Nothing, Recording::default(), Map::new());
    let (model, reason) = ("model".to_owned(), "test".to_owned());
    let (skip_silence, misleading_header) = (false, false);
    let cut = Some(Cut { longest_ms: 1_000, format: PieceFormat::Flac, skip_silence, misleading_header });
    job.plan =
        Some(Plan { engine: Engine::FLASH, model, delivery: Delivery::Inline, cut, split: None, reason });
    for (heard, expected) in [(3, Stage::Heard), (2, Stage::Recognizing)] {
        job.stage = Stage::Cutting { to_ms: 0, pieces: 0 };
        let first = Fact::Cut {
            spans: vec![Span::part(0, 1), Span::part(1, 2)],
            end: None,
            left: Recognized { heard, pieces: heard, ..Recognized::default() },
        };
        let begun = job_machine::advance(&job, first, Totals::default(), job.accepted_at).job;
        let end = CutEnd { recording: Recording::default(), speech_ms: None, speech: None, saved: None };
        let end = Some(Box::new(end));
        let left = Recognized { heard, pieces: heard, ..Recognized::default() };
        let last = Fact::Cut { spans: vec![Span::part(2, 3)], end, left };
        let ended = job_machine::advance(&begun, last, Totals::default(), job.accepted_at).job;
        assert_eq!(ended.stage, expected);
    }
}
