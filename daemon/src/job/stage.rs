//! The stages of a job, and the duty that is owed at each.

use serde::{Deserialize, Serialize};

/// The stage of a job. Each stage names the next duty ([`Stage::duty`]).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Stage {
    /// The job is in the ledger; it is not probed and has no plan yet.
    #[default]
    Accepted,
    /// Pieces are cut from the recording and added to the job; those that exist are with the recognizer or wait for it.
    Cutting {
        /// Where the next piece begins, in milliseconds of the recording.
        to_ms: u64,
        /// How many pieces were cut so far.
        pieces: u32,
    },
    /// All pieces exist. The job's pieces are with the recognizer or wait for it: the duties are owed to the pieces.
    Recognizing,
    /// Every piece has ended, and at least one has a transcript; the plugins come next.
    Heard,
    /// The last event is in the outbox.
    Ended {
        failed: bool,
        /// The input itself was bad: a message is terminated, not acknowledged.
        bad_input: bool,
    },
    /// JetStream has the last event; the source has to be settled.
    Stored { failed: bool, bad_input: bool },
    /// Nothing is owed.
    Settled { failed: bool },
}

impl Stage {
    /// The duty owed to a job at this stage; `None`: none, or only duties to its pieces.
    pub fn duty(&self) -> Option<Duty> {
        match self {
            Stage::Accepted => Some(Duty::Prepare),
            Stage::Cutting { .. } => Some(Duty::Cut),
            Stage::Heard => Some(Duty::Pipe),
            Stage::Ended { .. } => Some(Duty::Publish),
            Stage::Stored { .. } => Some(Duty::Settle),
            Stage::Recognizing | Stage::Settled { .. } => None,
        }
    }

    /// Whether the last event is written; no event may follow it.
    pub fn has_ended(&self) -> bool {
        matches!(self, Stage::Ended { .. } | Stage::Stored { .. } | Stage::Settled { .. })
    }

    /// Whether nothing is left to do for the job.
    pub fn is_settled(&self) -> bool {
        matches!(self, Stage::Settled { .. })
    }
}

/// A duty: the work that is owed next to a job or a piece. Each duty has its lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Duty {
    /// Probe a job's recording and plan the job.
    Prepare,
    /// Cut further pieces from a job's recording.
    Cut,
    /// Send a piece to its recognizer.
    Send,
    /// Ask the recognizer what became of a piece's request whose answer was lost.
    Resolve,
    /// Poll a piece's task and fetch its result.
    Await,
    /// Give a piece's transcript to the plugins; or a job's, then write the job's last events.
    Pipe,
    /// Publish a job's last event from the outbox.
    Publish,
    /// Acknowledge a job's message, or move or delete its file.
    Settle,
}

impl Duty {
    /// Every duty, for gauges and wakers.
    pub const ALL: [Duty; 8] = [
        Duty::Prepare,
        Duty::Cut,
        Duty::Send,
        Duty::Resolve,
        Duty::Await,
        Duty::Pipe,
        Duty::Publish,
        Duty::Settle,
    ];

    /// The value in the ledger's `duty` columns and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Duty::Prepare => "prepare",
            Duty::Cut => "cut",
            Duty::Send => "send",
            Duty::Resolve => "resolve",
            Duty::Await => "await",
            Duty::Pipe => "pipe",
            Duty::Publish => "publish",
            Duty::Settle => "settle",
        }
    }
}
