//! Where a job stands, and what is owed to it there.

use serde::{Deserialize, Serialize};

/// Where a job stands. Each stage names what is owed next ([`Stage::duty`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Stage {
    /// In the ledger; it is not probed and has no plan yet.
    Accepted,
    /// Its pieces are with the recognizer, or wait for it: the duties are owed to them.
    Recognizing,
    /// Every piece has ended, and at least one is heard; the plugins come next.
    Heard,
    /// The last event is in the outbox.
    Ended {
        failed: bool,
        /// The input itself was bad: a message is terminated, not acknowledged.
        bad_input: bool,
    },
    /// JetStream has the last event; the source has to be told.
    Stored { failed: bool, bad_input: bool },
    /// Nothing is owed.
    Settled { failed: bool },
}

impl Stage {
    /// What is owed to a job at this stage; `None`: nothing, or only to its pieces.
    pub fn duty(&self) -> Option<Duty> {
        match self {
            Stage::Accepted => Some(Duty::Prepare),
            Stage::Heard => Some(Duty::Pipe),
            Stage::Ended { .. } => Some(Duty::Publish),
            Stage::Stored { .. } => Some(Duty::Settle),
            Stage::Recognizing | Stage::Settled { .. } => None,
        }
    }

    /// The word in the ledger's `stage` column.
    pub fn as_str(&self) -> &'static str {
        match self {
            Stage::Accepted => "accepted",
            Stage::Recognizing => "recognizing",
            Stage::Heard => "heard",
            Stage::Ended { .. } => "ended",
            Stage::Stored { .. } => "stored",
            Stage::Settled { .. } => SETTLED,
        }
    }

    /// Whether the last event is `job.failed`.
    pub fn has_failed(&self) -> bool {
        match self {
            Stage::Ended { failed, .. } | Stage::Stored { failed, .. } | Stage::Settled { failed } => *failed,
            Stage::Accepted | Stage::Recognizing | Stage::Heard => false,
        }
    }

    /// Whether the last event is written: nothing may follow it.
    pub fn has_ended(&self) -> bool {
        matches!(self, Stage::Ended { .. } | Stage::Stored { .. } | Stage::Settled { .. })
    }
}

/// The word of [`Stage::Settled`].
pub const SETTLED: &str = "settled";

/// What is owed, and by which lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Duty {
    /// To a job: probe and plan it.
    Prepare,
    /// To a piece: send it to its recognizer.
    Send,
    /// To a piece: ask what became of a request that was cut off.
    Resolve,
    /// To a piece: ask how its task stands, fetch its result.
    Await,
    /// To a job: give it to the plugins, then write its last events.
    Pipe,
    /// To a job: the outbox has its last event.
    Publish,
    /// To a job: acknowledge, move or delete its source.
    Settle,
}

impl Duty {
    /// Every duty, for gauges and wakers.
    pub const ALL: [Duty; 7] =
        [Duty::Prepare, Duty::Send, Duty::Resolve, Duty::Await, Duty::Pipe, Duty::Publish, Duty::Settle];

    /// The word in the ledger's `duty` columns and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Duty::Prepare => "prepare",
            Duty::Send => "send",
            Duty::Resolve => "resolve",
            Duty::Await => "await",
            Duty::Pipe => "pipe",
            Duty::Publish => "publish",
            Duty::Settle => "settle",
        }
    }
}
