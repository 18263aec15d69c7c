//! Early retries: when a receiver that was unreachable takes an event again, the webhook retries waiting events before their scheduled time.

use jiff::Timestamp;

use super::Deliveries;
use crate::publish::webhooks::record::Backlog;
use crate::publish::webhooks::schedule::{Next, RequestResult};

/// So many jobs are tried before their time at once: as many as have a request under way. Each one that is taken makes room for the next.
const AT_ONCE: usize = 16;

/// The state of a backlog's early retry. There is at most one between two scheduled retries, because the receiver may fail on this event alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EarlyRetry {
    /// The early retry is due now; the time is that of the scheduled retry.
    Due(Timestamp),
    Failed,
}

impl<M> Deliveries<M> {
    /// The receiver has taken an event: makes backlogs due that wait because it was away.
    pub(super) fn retry_early(&mut self, now: Timestamp) {
        let due = self.backlogs.values().filter(|backlog| backlog.due.is_some_and(|due| due <= now)).count();
        let waiting = self.backlogs.values_mut().filter(|backlog| backlog.tries.is_away());
        let mut waiting: Vec<(Timestamp, &mut Backlog)> = waiting
            .filter(|backlog| !self.early_retries.contains_key(&backlog.job))
            .filter_map(|backlog| backlog.due.filter(|due| *due > now).map(|due| (due, backlog)))
            .collect();
        waiting.sort_by_key(|(due, _)| *due);
        for (due, backlog) in waiting.into_iter().take(AT_ONCE.saturating_sub(due)) {
            backlog.due = Some(now);
            self.early_retries.insert(backlog.job, EarlyRetry::Due(due));
            self.changed = true;
        }
    }

    /// What follows a try of a backlog: an early one that fails does not count, and the next one comes in its own time.
    pub(super) fn after_early(&mut self, backlog: &mut Backlog, next: Next, answer: &RequestResult) -> Next {
        match (self.early_retries.remove(&backlog.job), next) {
            (Some(EarlyRetry::Due(own)), Next::Again(due)) => {
                self.early_retries.insert(backlog.job, EarlyRetry::Failed);
                if !matches!(answer, RequestResult::Later(_)) {
                    return Next::Again(due);
                }
                backlog.tries.count -= 1;
                Next::Again(own)
            }
            (_, next) => next,
        }
    }
}
