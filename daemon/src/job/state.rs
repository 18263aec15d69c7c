//! Where a job stands, and what is owed to it there.

use hark_sdk::event::Fault;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Plan, Transcript, no_warning};

/// Where a job stands. Each state names what is owed next ([`State::duty`]).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum State {
    /// In the ledger; nobody has looked inside yet.
    Accepted,
    /// Waits for its turn at the service, or for the time of its next try.
    Queued { plan: Plan },
    /// Intent on disk: a request that costs may have left.
    Submitting {
        plan: Plan,
        /// Unique name of the uploaded object, by which its task can be told from all others.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        object: Option<String>,
        /// When the intent was written: the task, if there is one, was made after that.
        sent_at: Timestamp,
    },
    /// Nobody knows whether the service took it; the task list can tell.
    Reconciling {
        plan: Plan,
        object: String,
        /// How often the list did not have it.
        absences: u32,
        /// When the request may have left.
        sent_at: Timestamp,
        /// When it was given up: a task that was made later is another's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
        /// Why its fate is unknown.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fault: Option<Fault>,
    },
    /// The service has it under this id.
    Submitted {
        plan: Plan,
        task_id: String,
        submitted_at: Timestamp,
        /// Warnings that the events have of a result that does not come and will be deleted.
        #[serde(default, skip_serializing_if = "no_warning")]
        warned: u32,
    },
    /// Recognized and paid; the plugins come next.
    Heard { plan: Plan, transcript: Transcript },
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

impl State {
    /// What is owed to a job in this state.
    pub fn duty(&self) -> Duty {
        match self {
            State::Accepted => Duty::Prepare,
            // A request that was cut off by a crash is told so at start (`Fact::Restarted`); until then its sender owns it.
            State::Queued { plan } | State::Submitting { plan, .. } => match plan.engine.as_str() {
                "filetrans" => Duty::Submit,
                _ => Duty::Flash,
            },
            State::Reconciling { .. } => Duty::Reconcile,
            State::Submitted { .. } => Duty::Follow,
            State::Heard { .. } => Duty::Pipe,
            State::Ended { .. } => Duty::Publish,
            State::Stored { .. } => Duty::Settle,
            State::Settled { .. } => Duty::Nothing,
        }
    }

    /// The plan, while there is one.
    pub fn plan(&self) -> Option<&Plan> {
        match self {
            State::Queued { plan }
            | State::Submitting { plan, .. }
            | State::Reconciling { plan, .. }
            | State::Submitted { plan, .. }
            | State::Heard { plan, .. } => Some(plan),
            State::Accepted | State::Ended { .. } | State::Stored { .. } | State::Settled { .. } => None,
        }
    }
}

/// What is owed to a job, and by which lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Duty {
    /// Probe and plan it.
    Prepare,
    /// Send it to `flash`.
    Flash,
    /// Upload and submit it to `filetrans`.
    Submit,
    /// Ask the task list what became of the request.
    Reconcile,
    /// Query its task, fetch its result.
    Follow,
    /// Give it to the plugins, then write its last events.
    Pipe,
    /// The outbox has its last event.
    Publish,
    /// Acknowledge, move or delete its source.
    Settle,
    /// Nothing.
    Nothing,
}

impl Duty {
    /// Every duty, for gauges and wakers.
    pub const ALL: [Duty; 9] = [
        Duty::Prepare,
        Duty::Flash,
        Duty::Submit,
        Duty::Reconcile,
        Duty::Follow,
        Duty::Pipe,
        Duty::Publish,
        Duty::Settle,
        Duty::Nothing,
    ];

    /// The word in the ledger's `duty` column and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Duty::Prepare => "prepare",
            Duty::Flash => "flash",
            Duty::Submit => "submit",
            Duty::Reconcile => "reconcile",
            Duty::Follow => "follow",
            Duty::Pipe => "pipe",
            Duty::Publish => "publish",
            Duty::Settle => "settle",
            Duty::Nothing => "nothing",
        }
    }
}
