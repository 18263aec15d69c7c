//! An attempt: one request for a piece that may cost something.

use hark_sdk::event::{Blame, Fault};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use uuid::Uuid;

use super::Fate;

/// One request that may cost. The daemon writes it before the request leaves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// 1, 2, … within its piece.
    pub number: u32,
    /// The daemon that sends it, by the id in its ledger.
    pub daemon: Uuid,
    /// When the intent was written: the request left after that.
    pub began: Timestamp,
    /// Unique name of the object that it was made for: its task can be told from all others by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marker: Option<String>,
    /// The recognizer's own name for the work, where it works behind our back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handle: Option<String>,
    /// What became of it.
    pub fate: Fate,
    /// Seconds that the recognizer billed.
    #[serde(default)]
    pub seconds: u64,
    /// Their price in millionths of a dollar.
    #[serde(default)]
    pub cost_micro: u64,
    /// A paid answer that could not be read, as it came; gone once the job's last event is acknowledged.
    #[serde(skip)]
    pub raw: Option<Vec<u8>>,
}

impl Attempt {
    /// An attempt that another daemon may have made, and of which nothing else is known.
    pub fn of_unknown_fate(daemon: Uuid, began: Timestamp) -> Attempt {
        Attempt { fate: Fate::Unknown, ..Attempt::open(1, daemon, began, None) }
    }

    /// An attempt that is about to leave.
    pub fn open(number: u32, daemon: Uuid, began: Timestamp, marker: Option<String>) -> Attempt {
        Attempt {
            number,
            daemon,
            began,
            marker,
            handle: None,
            fate: Fate::Open,
            seconds: 0,
            cost_micro: 0,
            raw: None,
        }
    }
}

/// A try that failed. Decided where the knowledge is (`recognize::Error`), carried out by the piece machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// For the event.
    pub fault: Fault,
    /// What became of the attempt. [`Fate::Open`]: not known, and perhaps to be found out.
    pub fate: Fate,
    /// When another attempt may follow one that cost nothing.
    pub next: Next,
    /// Seconds that were billed all the same.
    pub seconds: u64,
    /// The answer, where it was paid for and could not be read.
    pub raw: Option<Vec<u8>>,
}

/// When another attempt may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another attempt would fail alike.
    Never,
    /// After this pause. `counts`: against the budget of refusals (a recognizer that keeps refusing this piece).
    After { wait: Duration, counts: bool },
    /// The account's fault: the piece waits with its recognizer's whole queue. `announce`: the events do not say so yet.
    Held { wait: Duration, announce: bool },
}

impl Failure {
    /// A failure before any request: nothing was sent.
    pub fn before_sending(fault: Fault, next: Next) -> Failure {
        Failure { fault, fate: Fate::NotSent, next, seconds: 0, raw: None }
    }

    /// A piece that cannot be recognized, for a reason that was found before any request.
    pub fn for_good(fault: Fault) -> Failure {
        Failure::before_sending(fault, Next::Never)
    }

    /// What a crash between intent and answer looks like from the next start.
    pub fn interrupted() -> Failure {
        Failure {
            fault: Fault {
                code: "Interrupted".into(),
                blame: Blame::Service,
                message: "the daemon ended between sending a request and hearing its answer; whether the service took it is unknown"
                    .into(),
                attempts: None,
            },
            fate: Fate::Open,
            next: Next::Never,
            seconds: 0,
            raw: None,
        }
    }
}
