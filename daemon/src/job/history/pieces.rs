//! A piece between a service and a daemon that is killed at any moment.

use std::sync::LazyLock;
use std::time::Duration;

use hark_sdk::event::{Blame, Usage};
use jiff::{Timestamp, ToSpan};
use uuid::Uuid;

use super::dice::Dice;
use super::{DAEMON, again, fault};
use crate::job::piece_machine::{self, PieceFact, Policy, Release, Resolution};
use crate::job::{Attempt, Budget, Duty, Failure, Fate, Next, Piece, PieceState, Prices, Span, Transcript};

/// What is reserved for a request, in millionths of a dollar: what it costs.
const RESERVED: u64 = 245;

/// What every recognition is billed.
const SECONDS: u64 = 7;

/// What is true of an attempt, whatever the daemon knows.
#[derive(Debug, Clone, Copy, Default)]
struct Truth {
    /// The service charged it.
    charged: bool,
    /// The service told the daemon that it costs nothing.
    cleared: bool,
}

/// The daemon's disk, and what the service knows: the reference that the piece is held against.
pub(super) struct World {
    dice: Dice,
    piece: Piece,
    policy: Policy,
    now: Timestamp,
    /// What is true of each attempt that was made.
    truths: Vec<Truth>,
    /// Markers and handles of tasks that the service took.
    tasks: Vec<(Option<String>, String)>,
    /// Seconds that the service told.
    told_seconds: u64,
    list_tells: bool,
    is_canceled: bool,
    /// Attempts that were refused in public and handed on in secret.
    forwarded: usize,
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        let mut dice = Dice(seed);
        let recognizer = if dice.one_in(2) { "flash" } else { "filetrans" };
        let mut piece = Piece::new(1, Span::whole(None), recognizer, "model");
        let mut truths = Vec::new();
        if dice.one_in(8) {
            // A job that another daemon may have paid for.
            piece.attempts.push(Attempt::of_unknown_fate(Uuid::nil(), Timestamp::UNIX_EPOCH));
            truths.push(Truth { charged: dice.one_in(2), cleared: false });
        }
        static PRICES: LazyLock<Prices> = LazyLock::new(|| Prices::from_toml(""));
        let prices = PRICES.clone();
        let policy = Policy {
            ambiguous_retries: dice.roll(3) as u32,
            prices,
            budget: Budget::default(),
            daemon: DAEMON,
        };
        let list_tells = !dice.one_in(4);
        World {
            dice,
            piece,
            policy,
            now: Timestamp::UNIX_EPOCH,
            truths,
            tasks: Vec::new(),
            told_seconds: 0,
            list_tells,
            is_canceled: false,
            forwarded: 0,
        }
    }

    /// Runs to the end; a piece that never ends is the first thing that can be wrong.
    pub(super) fn run(mut self) {
        for _ in 0..2_000 {
            self.stray();
            if self.dice.one_in(9) {
                self.crash();
            }
            if self.dice.one_in(30) {
                self.cancel();
            }
            match self.piece.state.duty() {
                Some(Duty::Send) => self.send(),
                Some(Duty::Resolve) => self.resolve(),
                Some(Duty::Await) => self.wait(),
                Some(Duty::Pipe) => self.pipe(),
                Some(duty) => panic!("{duty:?} is not owed to a piece"),
                None => return self.check(),
            }
        }
        panic!("the piece does not end: {:?}", self.piece.state);
    }

    fn commit(&mut self, fact: PieceFact) {
        self.now += 1.second();
        let step = piece_machine::advance(&self.piece, fact, &self.policy, self.now);
        assert!(step.due >= self.now, "a duty in the past");
        self.piece = step.piece;
    }

    /// The daemon ends and starts: a request that was under way has no sender any more.
    fn crash(&mut self) -> bool {
        self.commit(PieceFact::Restarted);
        true
    }

    /// Whether the daemon is killed now, or an operator cancels the job: what is under way is heard by no task.
    fn crashed(&mut self) -> bool {
        (self.dice.one_in(9) && self.crash()) || (self.dice.one_in(30) && self.cancel())
    }

    /// The operator cancels the job. A task that the service drops is not billed.
    fn cancel(&mut self) -> bool {
        if self.piece.state.duty().is_none() {
            return false;
        }
        let stopped = matches!(self.piece.state, PieceState::Awaiting { .. }) && self.dice.one_in(2);
        if stopped {
            self.truth().charged = false;
            self.clear();
        }
        self.is_canceled = true;
        self.commit(PieceFact::Canceled { fault: fault(Blame::Operator), stopped });
        assert!(matches!(self.piece.state, PieceState::Failed { .. }));
        true
    }

    /// A fact that comes too late, or twice, changes nothing.
    fn stray(&mut self) {
        let before = self.piece.clone();
        let late = match (&self.piece.state, self.dice.roll(3)) {
            (PieceState::Queued | PieceState::Resolving { .. }, 0) => {
                PieceFact::Heard { transcript: Transcript::default(), release: Release::AtOnce }
            }
            (PieceState::Heard | PieceState::Failed { .. }, 1) => PieceFact::Restarted,
            (PieceState::Awaiting { .. } | PieceState::Queued, 2) => PieceFact::Resolved(Resolution::Absent),
            _ => return,
        };
        self.commit(late);
        assert_eq!(self.piece, before, "a stray fact changed the piece");
    }

    fn send(&mut self) {
        if self.dice.one_in(12) {
            // The upload is refused; nothing that costs has left.
            return self
                .commit(PieceFact::Failed(Failure::before_sending(fault(Blame::Service), again(true))));
        }
        let marker = (self.piece.recognizer == "filetrans" && !self.dice.one_in(3))
            .then(|| format!("object-{}", self.truths.len()));
        self.commit(PieceFact::Sending { marker: marker.clone(), reserved_micro: RESERVED });
        self.truths.push(Truth::default());
        if self.crashed() {
            return;
        }
        if self.dice.one_in(12) {
            self.clear();
            return self.commit(PieceFact::Unsent);
        }
        match self.dice.roll(10) {
            0 => return self.refuse(Fate::NotSent, again(false)),
            1 => return self.refuse(Fate::Refused, again(true)),
            2 => {
                let held = Next::Held { wait: Duration::from_secs(2), announce: true };
                return self.refuse(Fate::Refused, held);
            }
            3 if self.dice.one_in(3) => return self.refuse(Fate::Refused, Next::Never),
            // A gateway that did not hand it on, and does not say so.
            4 if self.dice.one_in(3) => return self.fail(Fate::MaybeForwarded, again(true), 0),
            _ => {}
        }
        // The service has taken it. From here on, forgetting costs.
        self.truth().charged = true;
        let handle = format!("task-{}", self.tasks.len());
        if self.piece.recognizer == "filetrans" {
            self.tasks.push((marker.clone(), handle.clone()));
        }
        if self.crashed() {
            return;
        }
        if self.dice.one_in(6) {
            return self.fail(Fate::Open, again(true), 0);
        }
        if self.dice.one_in(12) {
            self.forwarded += 1;
            return self.fail(Fate::MaybeForwarded, again(true), 0);
        }
        match self.piece.recognizer.as_str() {
            "flash" => self.stream(),
            _ => self.commit(PieceFact::Taken { handle: Some(handle) }),
        }
    }

    /// The answer has begun.
    fn stream(&mut self) {
        if !self.dice.one_in(3) {
            self.commit(PieceFact::Taken { handle: None });
        }
        if self.crashed() {
            return;
        }
        match self.dice.roll(12) {
            // An error in its middle, after it has told its bill.
            0 => self.fail(Fate::Taken, again(true), SECONDS),
            1 => self.fail(Fate::Taken, Next::Never, SECONDS),
            // The answer breaks off.
            2 => self.fail(Fate::Open, again(true), 0),
            _ => self.heard(),
        }
    }

    fn resolve(&mut self) {
        let marker = self.piece.last_attempt().and_then(|attempt| attempt.marker.clone());
        let found = self.tasks.iter().find(|(known, _)| known.is_some() && *known == marker);
        let resolution = match found {
            _ if !self.list_tells => Resolution::Unknown,
            _ if self.dice.one_in(4) => Resolution::Undecided,
            Some((_, handle)) => Resolution::Found { handle: handle.clone() },
            None => Resolution::Absent,
        };
        let is_absent = resolution == Resolution::Absent;
        self.commit(PieceFact::Resolved(resolution));
        if is_absent && !matches!(self.piece.state, PieceState::Resolving { .. }) {
            self.clear();
        }
    }

    fn wait(&mut self) {
        while self.dice.one_in(5) {
            self.warn();
        }
        match self.dice.roll(8) {
            // The task failed, and costs nothing.
            0 => {
                self.truth().charged = false;
                self.refuse(Fate::Refused, again(true));
            }
            // Its result is lost.
            1 => self.fail(Fate::Open, again(true), 0),
            2 if self.dice.one_in(3) => self.fail(Fate::Taken, again(true), SECONDS),
            _ => self.heard(),
        }
    }

    /// A warning stands in the events once, however often it is told, and changes nothing of what was paid.
    fn warn(&mut self) {
        let PieceState::Awaiting { warned } = self.piece.state else { panic!("warns of a result") };
        let warnings = self.dice.roll(5) as u32;
        let before = (self.piece.attempts.clone(), self.piece.failures);
        let (fault, retry_in) = (fault(Blame::Service), Duration::from_secs(30));
        let fact = PieceFact::Expiring { warnings, fault: fault.clone(), retry_in };
        let reports = piece_machine::advance(&self.piece, fact.clone(), &self.policy, self.now).reports.len();
        assert_eq!(reports, usize::from(warnings > warned));
        self.commit(fact);
        self.commit(PieceFact::Hindered { fault, retry_in });
        assert_eq!(self.piece.state.duty(), Some(Duty::Await));
        assert_eq!((self.piece.attempts.clone(), self.piece.failures), before);
    }

    fn heard(&mut self) {
        self.told_seconds += SECONDS;
        let transcript = Transcript { billed: Usage::seconds(SECONDS), ..Transcript::default() };
        let release =
            [Release::AtOnce, Release::AfterPlugins, Release::WithFinal][self.dice.roll(3) as usize];
        self.commit(PieceFact::Heard { transcript, release });
    }

    /// The plugins process it, after a crash once more.
    fn pipe(&mut self) {
        if self.crashed() {
            return;
        }
        let transcript = self.piece.heard.clone().expect("it was heard");
        self.commit(PieceFact::Piped { transcript, leaves: true, emitted: Vec::new() });
    }

    /// The service says that it did nothing, or the daemon knows that nothing left.
    fn refuse(&mut self, fate: Fate, next: Next) {
        self.clear();
        self.fail(fate, next, 0);
    }

    fn fail(&mut self, fate: Fate, next: Next, seconds: u64) {
        self.told_seconds += seconds;
        let failure =
            Failure { fault: fault(Blame::Service), fate, next, billed: Usage::seconds(seconds), raw: None };
        self.commit(PieceFact::Failed(failure));
    }

    fn truth(&mut self) -> &mut Truth {
        self.truths.last_mut().expect("an attempt was made")
    }

    fn clear(&mut self) {
        self.truth().cleared = true;
    }

    fn check(&self) {
        let charged = self.truths.iter().filter(|truth| truth.charged).count();
        let doubtful = self.truths.iter().filter(|truth| !truth.cleared).count();
        let may_have_cost = self.piece.attempts.iter().filter(|attempt| attempt.fate.may_have_cost()).count();
        assert_eq!(may_have_cost, doubtful, "what may have cost is known: {:?}", self.piece.attempts);
        assert!(charged <= doubtful, "an attempt that was charged is never cleared");
        let open = self.piece.attempts.iter().filter(|attempt| attempt.fate == Fate::Open).count();
        assert!(self.is_canceled || open == 0, "the fate of every attempt is decided at the end");
        let budget = 1 + self.policy.ambiguous_retries as usize;
        let inherited = self.piece.attempts.iter().filter(|attempt| attempt.daemon != DAEMON).count();
        let lost = self.piece.attempts.iter().filter(|attempt| attempt.fate.is_lost()).count();
        assert!(lost <= budget + inherited, "{lost} attempts may have been paid for in vain or heard");
        assert!(charged <= budget + self.forwarded + inherited, "{charged} charges");
        let seconds: u64 = self.piece.attempts.iter().map(|attempt| attempt.billed.seconds).sum();
        assert_eq!(seconds, self.told_seconds, "seconds told = seconds counted");
        let cost: u64 = self.piece.attempts.iter().map(|attempt| attempt.cost_micro).sum();
        assert_eq!(cost, seconds / SECONDS * RESERVED);
        let spent: u64 = self.piece.attempts.iter().map(Attempt::spent_micro).sum();
        assert!(
            spent >= (charged.saturating_sub(inherited)) as u64 * RESERVED,
            "{spent} for {charged} charges"
        );
        assert!(spent <= doubtful as u64 * RESERVED, "what cannot have cost is not spent: {spent}");
        assert_eq!(self.piece.state == PieceState::Heard, self.piece.heard.is_some());
    }
}
