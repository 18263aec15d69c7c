//! The change feed: every change of a job, sent to all listeners after its commit. Listeners keep nothing that the ledger does not have: a
//! listener that lags behind reads the ledger again.

use tokio::sync::broadcast;
use uuid::Uuid;

use crate::job::Duty;

/// Changes that a listener may be behind by. A change takes 40 bytes; a listener that is further behind is told that it lags.
const BACKLOG: usize = 4_096;

/// A job has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Which job.
    pub job: Uuid,
    /// Where it stands.
    pub now: Now,
}

/// The state of a job after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Now {
    /// This is owed to it, or to the piece that changed.
    Owes(Duty),
    /// Nothing is owed to what changed.
    Waits,
    /// The ledger has deleted the job: another daemon owns it.
    Forgotten,
}

/// Sends changes; clones share the listeners.
#[derive(Debug, Clone)]
pub(super) struct Feed(broadcast::Sender<Change>);

impl Feed {
    pub(super) fn new() -> Self {
        Feed(broadcast::Sender::new(BACKLOG))
    }

    /// Tells every listener. Never blocks.
    pub(super) fn tell(&self, change: Change) {
        // An error means that there is no listener now.
        let _ = self.0.send(change);
    }

    pub(super) fn listen(&self) -> broadcast::Receiver<Change> {
        self.0.subscribe()
    }
}
