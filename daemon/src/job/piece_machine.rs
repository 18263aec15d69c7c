//! The piece machine: a pure function from (piece, fact) to (piece, what the events say). No clock, no socket, no disk.
//!
//! The ledger passes facts to it and stores the results, in one transaction. A fact that does not fit the state (a late answer, a second
//! acknowledgement) changes nothing: the same fact may be reported twice.

mod answer;
mod facts;

use std::time::Duration;

use hark_sdk::event::{Blame, Fault, Usage};
use jiff::Timestamp;
use uuid::Uuid;

pub use self::facts::{PieceFact, Release, Report, Resolution};
use super::{Attempt, Budget, Failure, Fate, Halves, Next, Piece, PieceState, Prices};

/// The settings that the machines need.
#[derive(Debug, Clone)]
pub struct Policy {
    /// `dashscope.ambiguous_retries`.
    pub ambiguous_retries: u32,
    /// What each model costs.
    pub prices: Prices,
    /// What may be spent in a day.
    pub budget: Budget,
    /// This daemon, by the id in its ledger.
    pub daemon: Uuid,
}

/// What follows from a fact.
#[derive(Debug, Clone, PartialEq)]
pub struct PieceStep {
    /// The piece as it is now.
    pub piece: Piece,
    /// What the job's events are to report, in this order.
    pub reports: Vec<Report>,
    /// When the next duty may start.
    pub due: Timestamp,
}

/// How many refusals for the service's own reasons (5xx) one piece survives before it fails: with the backoff of `recognize::error`
/// (doubling to five minutes) these cover an outage of about an hour.
pub const REFUSAL_BUDGET: u32 = 18;

/// How soon a piece that waits for the budget looks at it again: the ledger lets no duty wait for longer (`ledger::due`).
const LONGEST_LOOK_AWAY: Duration = Duration::from_secs(14 * 60);

/// Pause between two looks into the list of tasks: the list may lag behind a submit that the service has accepted.
const LIST_LAG: Duration = Duration::from_secs(5);

/// What becomes of a piece when `fact` happens at `now`.
pub fn advance(piece: &Piece, fact: PieceFact, policy: &Policy, now: Timestamp) -> PieceStep {
    let mut step = PieceStep { piece: piece.clone(), reports: Vec::new(), due: now };
    match (piece.state.clone(), fact) {
        (PieceState::Queued, PieceFact::Sending { marker, reserved_micro }) => {
            step.begin_attempt(marker, policy, now);
            if let Some(attempt) = step.piece.attempts.last_mut() {
                attempt.reserved_micro = reserved_micro;
            }
        }
        (PieceState::Queued, PieceFact::OverBudget { fault, retry_in }) => {
            step.due = now + retry_in.min(LONGEST_LOOK_AWAY);
            step.reports.push(Report::OverBudget { attempt: piece.failures + 1, fault, retry_in });
        }
        (PieceState::Sending, PieceFact::Unsent) => {
            step.piece.attempts.pop();
            step.piece.state = PieceState::Queued;
        }
        (PieceState::Sending, PieceFact::Taken { handle }) => step.taken(handle),
        (PieceState::Sending | PieceState::Awaiting { .. }, PieceFact::Heard { transcript, release }) => {
            let billed = transcript.billed;
            step.taken(None);
            step.settle_attempt(Fate::Taken, billed, policy);
            if let Some(attempt) = step.piece.attempts.last_mut() {
                // The bill is known, also where it is nothing.
                attempt.reserved_micro = 0;
            }
            step.heard(transcript, release, policy);
        }
        (PieceState::Queued, PieceFact::Halved { halves }) => {
            if let Some(Halves { left: left @ None, .. }) = &mut step.piece.halves {
                *left = Some(halves);
            }
        }
        (PieceState::Queued, PieceFact::Kept { release }) => {
            if step.piece.halves.is_some()
                && let Some(first) = step.piece.heard.take()
            {
                step.end(first, release);
            }
        }
        (PieceState::Piping { .. }, PieceFact::Piped { transcript, leaves, emitted }) => {
            if leaves {
                step.report_heard(&transcript);
            }
            step.reports.push(Report::Emitted(emitted));
            step.piece.heard = Some(transcript);
            step.piece.state = PieceState::Heard;
        }
        (
            PieceState::Queued | PieceState::Sending | PieceState::Awaiting { .. },
            PieceFact::Failed(failure),
        ) => {
            step.failed(failure, policy, now);
        }
        (PieceState::Sending, PieceFact::Restarted) => step.failed(Failure::interrupted(), policy, now),
        (state, PieceFact::Canceled { fault, stopped }) if state.duty().is_some() => {
            step.cancel(fault, stopped, policy);
        }
        (PieceState::Awaiting { warned }, PieceFact::Expiring { warnings, fault, retry_in })
            if warnings > warned =>
        {
            // The task is unchanged: only a download failed, which costs nothing.
            step.report_retrying(fault, retry_in);
            step.piece.state = PieceState::Awaiting { warned: warnings };
        }
        (PieceState::Awaiting { .. }, PieceFact::Hindered { fault, retry_in }) => {
            step.report_retrying(fault, retry_in);
        }
        (PieceState::Resolving { .. }, PieceFact::Hindered { fault, retry_in }) => {
            step.report_retrying(fault, retry_in);
            step.due = now + LIST_LAG;
        }
        (PieceState::Resolving { absences, until, fault }, PieceFact::Resolved(resolution)) => {
            match resolution {
                Resolution::Found { handle } => step.taken(Some(handle)),
                Resolution::Undecided => step.due = now + LIST_LAG,
                Resolution::Unknown => step.lost(fault, Fate::Unknown, policy, now),
                Resolution::Absent if absences == 0 => {
                    step.piece.state = PieceState::Resolving { absences: 1, until, fault };
                    step.due = now + LIST_LAG;
                }
                Resolution::Absent => step.absent(fault, policy, now),
            }
        }
        _ => {}
    }
    step
}

impl PieceStep {
    fn begin_attempt(&mut self, marker: Option<String>, policy: &Policy, now: Timestamp) {
        let number = self.piece.attempts.last().map_or(1, |last| last.number + 1);
        if policy.prices.is_free(&self.piece.recognizer) {
            // A former owner's attempts did not cost anything either: recognition is free here.
            let former = self.piece.attempts.iter_mut().filter(|attempt| attempt.fate.may_have_cost());
            former.for_each(|attempt| attempt.fate = Fate::Refused);
        }
        let attempt = Attempt::open(number, policy.daemon, now, marker);
        self.piece.attempts.push(attempt);
        self.piece.state = PieceState::Sending;
    }

    /// The recognizer has accepted the attempt. Without a handle the request itself is still under way, and the task that sends it goes on.
    fn taken(&mut self, handle: Option<String>) {
        let Some(attempt) = self.piece.attempts.last_mut() else { return };
        if attempt.fate == Fate::Taken {
            return;
        }
        attempt.fate = Fate::Taken;
        attempt.handle.clone_from(&handle);
        if handle.is_some() {
            self.piece.state = PieceState::Awaiting { warned: 0 };
        }
        if self.piece.halves.is_none() {
            self.reports.push(Report::Submitted { handle });
        }
    }

    fn settle_attempt(&mut self, fate: Fate, billed: Usage, policy: &Policy) {
        let cost_micro = policy.prices.of(&self.piece.recognizer, &self.piece.model).cost_micro(billed);
        let Some(attempt) = self.piece.attempts.last_mut() else { return };
        attempt.fate = fate;
        attempt.billed = billed;
        attempt.cost_micro = cost_micro;
    }

    fn failed(&mut self, failure: Failure, policy: &Policy, now: Timestamp) {
        self.piece.failures += 1;
        let Failure { fault, mut fate, next, billed, raw } = failure;
        // Where seconds cost nothing, an attempt that is lost is one that was refused: it is simply made again, after a growing pause.
        if policy.prices.is_free(&self.piece.recognizer) && fate.may_have_cost() {
            fate = Fate::Refused;
        }
        let under_way = !matches!(self.piece.state, PieceState::Queued);
        if !under_way {
            if let Next::After { counts: true, .. } = next {
                self.piece.refused_before_sending += 1;
            }
            return self.decide_next(fault, next, now);
        }
        // If the answer had begun, the recognizer had accepted the request, whatever happened since.
        let was_taken = self.piece.last_attempt().is_some_and(|attempt| attempt.fate == Fate::Taken);
        let is_sending = matches!(self.piece.state, PieceState::Sending);
        let can_be_found = is_sending && self.piece.last_attempt().is_some_and(|last| last.marker.is_some());
        if fate == Fate::Taken {
            // The recognizer has worked on the request and billed it, so the events report that it was submitted.
            self.taken(None);
        }
        self.settle_attempt(fate, billed, policy);
        if let Some(attempt) = self.piece.attempts.last_mut() {
            attempt.raw = raw;
        }
        match fate {
            Fate::Open if can_be_found => self.resolve(fault, policy, now),
            // A gateway may have forwarded the request: the list of tasks can tell.
            Fate::MaybeForwarded if can_be_found && next != Next::Never => self.resolve(fault, policy, now),
            Fate::Open if was_taken => self.lost(fault, Fate::Taken, policy, now),
            Fate::Open | Fate::Unknown => self.lost(fault, Fate::Unknown, policy, now),
            Fate::Taken if next == Next::Never => self.give_up(fault),
            Fate::Taken => self.lost(fault, Fate::Taken, policy, now),
            Fate::NotSent | Fate::Refused | Fate::MaybeForwarded | Fate::Absent => {
                if fate != Fate::MaybeForwarded && billed.is_nothing() && !counts(next) {
                    // The attempt cost nothing and counts against no budget, so it is not kept.
                    self.piece.attempts.pop();
                }
                self.decide_next(fault, next, now);
            }
        }
    }

    /// Asks the list of tasks what became of the attempt.
    fn resolve(&mut self, fault: Fault, policy: &Policy, now: Timestamp) {
        let is_own = self.piece.last_attempt().is_some_and(|attempt| attempt.daemon == policy.daemon);
        // If another daemon wrote the attempt, it may still send it, so a task made after now may be the attempt's.
        let until = is_own.then_some(now);
        self.piece.state = PieceState::Resolving { absences: 0, until, fault };
        self.due = now + LIST_LAG;
    }

    /// The service never had the attempt, so the next attempt causes no second charge. The next attempt's upload takes time and bandwidth,
    /// so the pauses grow.
    fn absent(&mut self, fault: Fault, policy: &Policy, now: Timestamp) {
        let absent_before = self.piece.refusals();
        if let Some(attempt) = self.piece.attempts.last_mut() {
            // Another daemon that wrote the attempt may resume and still send it.
            let is_own = attempt.daemon == policy.daemon;
            attempt.fate = if is_own { Fate::Absent } else { Fate::Unknown };
        }
        let next = Next::After { wait: absent_again(absent_before), counts: true };
        self.decide_next(fault, next, now);
    }

    /// The piece ends. A request that is under way keeps its fate: it may be billed, and counts as spent until the bill is known.
    fn cancel(&mut self, fault: Fault, stopped: bool, policy: &Policy) {
        let costs_nothing = stopped || policy.prices.is_free(&self.piece.recognizer);
        let last = self.piece.attempts.last_mut().filter(|last| costs_nothing && last.billed.is_nothing());
        if let Some(last) = last.filter(|last| last.fate.may_have_cost()) {
            last.fate = Fate::Refused;
        }
        (self.piece.halves, self.piece.heard) = (None, None);
        self.piece.state = PieceState::Failed { fault };
    }

    /// Decides what follows an attempt that cost nothing.
    fn decide_next(&mut self, fault: Fault, next: Next, now: Timestamp) {
        match next {
            Next::Never => self.give_up(fault),
            Next::After { counts: true, .. } if self.piece.refusals() >= REFUSAL_BUDGET => {
                self.give_up(fault)
            }
            Next::After { wait, .. } => self.retry(fault, wait, now),
            Next::Held { wait, announce } => {
                if announce {
                    self.report_retrying(fault, wait);
                }
                self.piece.state = PieceState::Queued;
                // The queue itself is held; once the hold ends, the piece may be sent at once.
                self.due = now;
            }
        }
    }

    /// An attempt that may have been paid for brought no result: the piece is sent again, at most `ambiguous_retries` times.
    fn lost(&mut self, fault: Fault, fate: Fate, policy: &Policy, now: Timestamp) {
        if let Some(attempt) = self.piece.attempts.last_mut() {
            attempt.fate = fate;
        }
        let lost = self.piece.attempts.iter().filter(|attempt| attempt.fate.is_lost()).count();
        let lost = u32::try_from(lost).unwrap_or(u32::MAX);
        if lost > policy.ambiguous_retries {
            // Whatever caused the failure, the piece fails because the service does not tell what became of the attempt.
            self.give_up(Fault { blame: Blame::Service, ..fault });
        } else {
            self.retry(fault, Duration::from_secs(1 << lost.min(6)), now);
        }
    }

    fn retry(&mut self, fault: Fault, wait: Duration, now: Timestamp) {
        self.report_retrying(fault, wait);
        self.piece.state = PieceState::Queued;
        self.due = now + wait;
    }

    fn report_retrying(&mut self, fault: Fault, retry_in: Duration) {
        let under_way = matches!(self.piece.state, PieceState::Awaiting { .. });
        let attempt = self.piece.failures + u32::from(under_way);
        self.reports.push(Report::Retrying { attempt, fault, retry_in });
    }
}

fn counts(next: Next) -> bool {
    matches!(next, Next::After { counts: true, .. })
}

/// Backoff before the next attempt after an absent one, with `refusals` before it: none at first (a crash may have interrupted the submit,
/// for example), then as after a refusal.
fn absent_again(refusals: u32) -> Duration {
    const FIRST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(300);
    match refusals {
        0 => Duration::ZERO,
        more => (FIRST * (1 << (more - 1).min(10))).min(LONGEST),
    }
}
