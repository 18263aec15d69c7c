//! An attempt: one request for a piece that may cost something.

use hark_sdk::event::{Blame, Fault, Usage};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use uuid::Uuid;

use super::Fate;

/// One request that may cost. The daemon writes it before the request leaves.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// 1, 2, … within its piece.
    pub number: u32,
    /// The daemon that sends it, by the id in its ledger.
    pub daemon: Uuid,
    /// When the intent was written: the request left after that.
    pub began: Timestamp,
    /// Unique name of the uploaded object; it identifies the attempt's task among all tasks of the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marker: Option<String>,
    /// The recognizer's id for the work, if it works asynchronously: the task id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handle: Option<String>,
    /// What became of it.
    pub fate: Fate,
    /// What the recognizer billed.
    #[serde(flatten)]
    pub billed: Usage,
    /// Its price in millionths of a dollar.
    pub cost_micro: u64,
    /// What was reserved for it in the day's budget, in millionths of a dollar: it counts as spent until the bill is known.
    #[serde(skip)]
    pub reserved_micro: u64,
    /// A paid answer that could not be parsed, unchanged; erased once the job's last event is acknowledged.
    #[serde(skip)]
    pub raw: Option<Vec<u8>>,
}

impl Attempt {
    /// An attempt that another daemon may have made, about which nothing else is known.
    pub fn of_unknown_fate(daemon: Uuid, began: Timestamp) -> Attempt {
        Attempt { fate: Fate::Unknown, ..Attempt::open(1, daemon, began, None) }
    }

    /// What it counts as spent, in millionths of a dollar: the bill, or the reservation while the attempt may cost something.
    pub fn spent_micro(&self) -> u64 {
        match self.fate.may_have_cost() {
            _ if !self.billed.is_nothing() => self.cost_micro,
            true => self.reserved_micro,
            false => 0,
        }
    }

    /// An attempt that is about to leave.
    pub fn open(number: u32, daemon: Uuid, began: Timestamp, marker: Option<String>) -> Attempt {
        Attempt { number, daemon, began, marker, ..Attempt::default() }
    }
}

/// A try that failed. `recognize::Error` decides what it means; the piece machine carries that out.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The fault that the event reports.
    pub fault: Fault,
    /// What became of the attempt. [`Fate::Open`]: not known yet; the list of tasks may tell.
    pub fate: Fate,
    /// When another attempt may follow one that cost nothing.
    pub next: Next,
    /// What the service billed although the attempt failed.
    pub billed: Usage,
    /// The answer, if it was paid for and could not be parsed.
    pub raw: Option<Vec<u8>>,
}

/// When another attempt may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another attempt would fail alike.
    Never,
    /// After this pause. `counts`: against the budget of refusals (a recognizer that keeps refusing this piece).
    After { wait: Duration, counts: bool },
    /// The account is at fault: the recognizer's whole queue waits, and the piece with it. `announce`: an event is to report this.
    Held { wait: Duration, announce: bool },
}

const INTERRUPTED: &str = "the daemon ended between sending a request and hearing its answer; whether the service took it is unknown";

/// A fault as the events report it. `message`: for a person.
pub fn fault(code: &str, blame: Blame, message: String) -> Fault {
    Fault { code: code.into(), blame, message, attempts: None }
}

impl Failure {
    /// A failure before any request: nothing was sent.
    pub fn before_sending(fault: Fault, next: Next) -> Failure {
        Failure { fault, fate: Fate::NotSent, next, billed: Usage::default(), raw: None }
    }

    /// A piece that cannot be recognized, for a reason that the daemon found before any request.
    pub fn for_good(fault: Fault) -> Failure {
        Failure::before_sending(fault, Next::Never)
    }

    /// The failure of an attempt whose daemon ended between intent and answer, as the next start finds it.
    pub fn interrupted() -> Failure {
        Failure {
            fate: Fate::Open,
            // The piece machine uses `next` only where recognition is free; otherwise `ambiguous_retries` decides.
            next: Next::After { wait: Duration::ZERO, counts: false },
            ..Failure::for_good(fault("Interrupted", Blame::Service, INTERRUPTED.into()))
        }
    }
}
