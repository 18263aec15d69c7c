//! Early retries: when a receiver that was unreachable takes an event again, the webhook retries waiting events before their scheduled time.

use jiff::Timestamp;

use super::Deliveries;
use crate::publish::webhooks::record::Line;
use crate::publish::webhooks::schedule::{Next, RequestResult};

/// So many jobs are tried before their time at once: as many as have a request under way. Each one that is taken makes room for the next.
const AT_ONCE: usize = 16;

/// The state of a line's early retry. There is at most one between two scheduled retries, because the receiver may fail on this event alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EarlyRetry {
    /// The early retry is due now; the time is that of the scheduled retry.
    Due(Timestamp),
    Failed,
}

impl<M> Deliveries<M> {
    /// The receiver has taken an event: makes lines due that wait because it was away.
    pub(super) fn retry_early(&mut self, now: Timestamp) {
        let due = self.lines.values().filter(|line| line.due.is_some_and(|due| due <= now)).count();
        let waiting = self.lines.values_mut().filter(|line| line.course.is_away());
        let mut waiting: Vec<(Timestamp, &mut Line)> = waiting
            .filter(|line| !self.early_retries.contains_key(&line.job))
            .filter_map(|line| line.due.filter(|due| *due > now).map(|due| (due, line)))
            .collect();
        waiting.sort_by_key(|(due, _)| *due);
        for (due, line) in waiting.into_iter().take(AT_ONCE.saturating_sub(due)) {
            line.due = Some(now);
            self.early_retries.insert(line.job, EarlyRetry::Due(due));
            self.changed = true;
        }
    }

    /// What follows a try of a line: an early one that fails does not count, and the next one comes in its own time.
    pub(super) fn after_early(&mut self, line: &mut Line, next: Next, answer: &RequestResult) -> Next {
        match (self.early_retries.remove(&line.job), next) {
            (Some(EarlyRetry::Due(own)), Next::Again(due)) => {
                self.early_retries.insert(line.job, EarlyRetry::Failed);
                if !matches!(answer, RequestResult::Later(_)) {
                    return Next::Again(due);
                }
                line.course.tries -= 1;
                Next::Again(own)
            }
            (_, next) => next,
        }
    }
}
