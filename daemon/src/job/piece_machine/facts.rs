//! What the piece machine is told, and what it reports to the job's.

use std::time::Duration;

use hark_sdk::event::{Body, Fault};

use crate::job::{Failure, Span, Transcript};

/// Something that happened to a piece.
#[derive(Debug, Clone, PartialEq)]
pub enum PieceFact {
    /// The daemon is about to send a request that may cost. `marker`: unique name of the upload, if there is one. `reserved_micro`: what is
    /// reserved for it in the budget, in millionths of a dollar.
    Sending { marker: Option<String>, reserved_micro: u64 },
    /// The day's budget does not allow the request; another day's will.
    OverBudget { fault: Fault, retry_in: Duration },
    /// The request was not sent after all.
    Unsent,
    /// The recognizer has accepted the request. `handle`: the task id, if the recognizer works with tasks.
    Taken { handle: Option<String> },
    /// The recognizer has returned the transcript.
    Heard { transcript: Transcript, release: Release },
    /// The piece is cut; these are the halves to send.
    Halved { halves: Vec<Span> },
    /// The halves failed, and the first answer stands.
    Kept { release: Release },
    /// The plugins have processed the transcript. `transcript`: as the transforms left it. `leaves`: it is published now. `emitted`: the
    /// plugins' events that are not stored yet.
    Piped { transcript: Transcript, leaves: bool, emitted: Vec<Body> },
    /// A try failed.
    Failed(Failure),
    /// The task's result could not be fetched yet, and the service will delete it. `warnings`: the number of warnings including this one.
    Expiring { warnings: u32, fault: Fault, retry_in: Duration },
    /// The recognizer does not answer about the work for now (a refused account, a list that does not answer); the work is unchanged.
    Hindered { fault: Fault, retry_in: Duration },
    /// What the recognizer's list of tasks shows about an attempt whose fate is not known.
    Resolved(Resolution),
    /// The operator has canceled the job. `stopped`: the recognizer has dropped the piece's task before its work began, and does not bill it.
    Canceled { fault: Fault, stopped: bool },
    /// The daemon started, or took the job over, and found the piece in its state: no task of this daemon is sending it.
    Restarted,
}

/// When a transcript of a part of the recording leaves the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// At once.
    AtOnce,
    /// When the plugins have processed it.
    AfterPlugins,
    /// With the final, which the transforms process; the part itself is not published.
    WithFinal,
}

/// The fate of a request whose answer was lost, by the recognizer's list of tasks. Of two tasks that may be the request's, the one with the
/// later variant decides.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resolution {
    /// The service provably does not have the request. Its list may lag behind a request that it took: a second look some seconds later
    /// confirms this.
    Absent,
    /// The fate can never be found out.
    Unknown,
    /// Not decided yet; ask again later.
    Undecided,
    /// The service took the request, and this is its task.
    Found { handle: String },
}

/// What the job's events are to report about a piece.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// The recognizer has accepted it.
    Submitted { handle: Option<String> },
    /// It is heard, and its text may leave the daemon.
    Heard { span: Span, transcript: Transcript },
    /// Events of plugins about it.
    Emitted(Vec<Body>),
    /// It waits for the budget of another day, which the events of a job report once.
    OverBudget { attempt: u32, fault: Fault, retry_in: Duration },
    /// A try failed and another follows, or a try is delayed.
    Retrying { attempt: u32, fault: Fault, retry_in: Duration },
}
