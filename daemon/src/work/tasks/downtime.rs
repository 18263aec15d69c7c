//! What became of the tasks at the service while the daemon was down: logged once, when every such task has been answered for.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};
use tracing::{error, info};

use super::expiry::rough;
use super::poll::Asked;
use crate::job::PieceId;

/// The tasks that an earlier run of the daemon left at the service, and what became of them while it was down.
pub(super) struct Downtime {
    down: Option<SignedDuration>,
    tasks: usize,
    unheard: HashSet<PieceId>,
    ended: usize,
    lost: usize,
}

impl Downtime {
    pub(super) fn new(last_sign: Option<Timestamp>, unheard: HashSet<PieceId>) -> Self {
        let down = last_sign.map(|last| Timestamp::now().duration_since(last).max(SignedDuration::ZERO));
        Downtime { down, tasks: unheard.len(), unheard, ended: 0, lost: 0 }
    }

    /// Counts the answer about a task; after the answer about the last such task, logs the outcome of all.
    pub(super) fn heard(&mut self, id: PieceId, asked: &Asked) {
        let is_told = matches!(asked, Asked::Over { .. } | Asked::Open);
        if !is_told || !self.unheard.remove(&id) {
            return;
        }
        if let Asked::Over { lost } = asked {
            self.ended += 1;
            self.lost += usize::from(*lost);
        }
        if !self.unheard.is_empty() {
            return;
        }
        let Downtime { tasks, ended, lost, .. } = *self;
        let down = self.down.map_or_else(|| "an unknown time".to_owned(), rough);
        match lost {
            0 => info!(tasks, ended, "the daemon was down for {down}; no result of a task was lost"),
            _ => error!(
                tasks,
                ended,
                lost,
                "the daemon was down for {down}; results of {lost} tasks that ended meanwhile are gone"
            ),
        }
    }
}
