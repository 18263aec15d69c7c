//! One task at the service, and what its answers have told so far.

use hark_sdk::event::Usage;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use jiff::{SignedDuration, Timestamp};
use prometheus::IntGauge;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::expiry;
use crate::job::ledger::LedgerError;
use crate::job::{Fate, Next, Piece, PieceId, PieceState};
use crate::recognize::{Error, Tasks, Tries};
use crate::work::Tools;

/// Longest pause between two polls of a task: the goal is to notice a task's end within a minute. At the account's 20 queries a second, polling
/// a thousand tasks once takes 53 seconds.
const LONGEST_INTERVAL: Duration = Duration::from_secs(30);

/// Queries under way at a time; each takes a round trip, and the pacer bounds their rate.
const QUERIES: usize = 16;

/// Downloads of results under way at a time, each with up to 64 MiB in memory. They are counted apart from queries, so that a storage host
/// that does not answer does not stop the polling of other tasks.
const DOWNLOADS: usize = 8;

/// How many answers in a row that the task is gone are needed to believe it: one may come from a server of the service that lags behind.
const GONE_AFTER: u32 = 3;

/// How many failed downloads in a row (the result is missing or not as documented, though the task has succeeded) are needed to give the
/// result up; [`UNREADABLE_FOR`] must have passed as well.
const UNREADABLE_AFTER: u32 = 8;
/// The time that these failures must last, in first intervals (five minutes at the default of 2 s): a storage that lags behind, or a
/// gateway that answers with a page of its own, may last some minutes.
const UNREADABLE_FOR: u32 = 150;

/// Follows tasks; what all of them share.
pub(super) struct Follower {
    tools: Tools,
    queries: Semaphore,
    pub(super) downloads: Semaphore,
}

/// Whether the piece still waits for its task after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// It does not: its state is in the ledger, or another daemon has the job.
    Done,
    /// It does: the task is polled again.
    Waiting,
}

impl Follower {
    pub(super) fn new(tools: Tools) -> Follower {
        let (queries, downloads) = (Semaphore::new(QUERIES), Semaphore::new(DOWNLOADS));
        Follower { tools, queries, downloads }
    }

    /// The tools of the next question.
    pub(super) fn tools(&self) -> Tools {
        self.tools.renewed()
    }

    /// `dashscope.poll_interval`.
    fn first_interval(&self) -> Duration {
        self.tools.in_force.borrow().poll_interval
    }

    /// Polls a task until its piece no longer waits for it; returns the piece.
    pub(super) async fn follow(self: Arc<Self>, mut task: RemoteTask) -> Result<PieceId, LedgerError> {
        task.interval = self.first_interval();
        // A task that an earlier run of the daemon left may have ended long ago: the oldest are polled first.
        let age = Duration::try_from(task.age()).unwrap_or_default();
        let mut pause = task.interval.saturating_sub(age);
        loop {
            tokio::time::sleep(pause).await;
            let query = self.queries.acquire().await;
            // In a box, so that the tasks that wait for their turn take little memory.
            if self.ask(&mut task, query.ok()).boxed().await? == Asked::Done {
                return Ok(task.id);
            }
            let first_interval = self.first_interval();
            task.interval = (task.interval * 3 / 2).min(LONGEST_INTERVAL.max(first_interval));
            if task.misses > 0 {
                // Polled again soon, so that a task that is gone is given up soon.
                let growths = (task.misses - 1).min(9);
                let soon = first_interval * 3u32.pow(growths) / 2u32.pow(growths);
                task.interval = task.interval.min(soon);
            }
            pause = task.interval;
        }
    }
}

/// A task at the service.
pub(super) struct RemoteTask {
    /// The piece that waits for it.
    pub(super) id: PieceId,
    pub(super) handle: String,
    /// How long the service keeps its result.
    pub(super) life: Tasks,
    /// Pause before its next poll.
    pub(super) interval: Duration,
    /// The last time at which the task is known not to have ended.
    running_at: Timestamp,
    /// How many answers in a row said that the task, or its result, does not exist; and when the first of them arrived.
    misses: u32,
    missing_since: Option<Instant>,
    /// The charge, from the latest answer that told it.
    pub(super) billed: Usage,
    /// How many warnings its job's events contain.
    pub(super) warned: u32,
    /// Its result may be lost soon.
    pub(super) expiring: Option<Expiring>,
}

impl RemoteTask {
    /// The task of a piece, as the ledger has it; `None` if the piece waits for none.
    pub(super) fn of(id: PieceId, piece: &Piece, life: Tasks) -> Option<RemoteTask> {
        let PieceState::Awaiting { warned } = piece.state else { return None };
        let attempt = piece.last_attempt()?;
        Some(RemoteTask {
            id,
            handle: attempt.handle.clone()?,
            life,
            interval: Duration::ZERO,
            running_at: attempt.began,
            misses: 0,
            missing_since: None,
            billed: Usage::default(),
            warned,
            expiring: None,
        })
    }

    /// Whether the piece still waits for this task. Another daemon may own its job by now, or this daemon may have taken the job back with
    /// another task; then answers about this task do not concern the piece.
    pub(super) fn is_of(&self, piece: &Piece) -> bool {
        let current = piece.last_attempt().and_then(|attempt| attempt.handle.as_ref());
        matches!(piece.state, PieceState::Awaiting { .. }) && current == Some(&self.handle)
    }

    /// Time since it was last known to be running.
    pub(super) fn age(&self) -> SignedDuration {
        Timestamp::now().duration_since(self.running_at)
    }

    /// The service answered that the task has not ended.
    pub(super) fn runs(&mut self) {
        self.running_at = Timestamp::now();
        (self.misses, self.missing_since, self.expiring) = (0, None, None);
    }

    /// Whether the result is lost after an answer without it. `is_result`: the answer is to the download of the result, where [`Next::Never`] means
    /// that the result is gone. `first_interval`: `dashscope.poll_interval`.
    pub(super) fn is_lost(&mut self, error: &Error, is_result: bool, first_interval: Duration) -> bool {
        let next = error.next(Tries::default());
        let is_unknown_task = error.fate == Fate::Unknown;
        let must_be_deleted = expiry::is_over(self.life, self.age());
        let tells_nothing = match next {
            // For example, the task is in another workspace than the key's. The result is deleted by now, so an answer would not help.
            Next::Held { .. } if must_be_deleted => return true,
            // Without an answer the daemon asks again, however old the task is: a clock may be wrong, and asking costs nothing.
            Next::Held { .. } => true,
            Next::After { .. } => error.raw.is_none() && !is_unknown_task,
            Next::Never => false,
        };
        if tells_nothing {
            (self.misses, self.missing_since) = (0, None);
            return false;
        }
        let is_gone = is_unknown_task || (is_result && next == Next::Never);
        self.misses += 1;
        let missing_for = self.missing_since.get_or_insert_with(Instant::now).elapsed();
        // More such answers have to confirm that the task, or its result, is not there.
        let is_confirmed = match is_unknown_task {
            true => self.misses >= GONE_AFTER,
            // A service that refuses to answer about a task may mean that the task does not exist.
            false => self.misses >= UNREADABLE_AFTER && missing_for >= first_interval * UNREADABLE_FOR,
        };
        let may_be_deleted = is_gone && expiry::may_be_over(self.life, self.age());
        is_confirmed || may_be_deleted || must_be_deleted
    }
}

/// Counts a task in `hark_recognize_results_expiring` for as long as this exists.
pub(super) struct Expiring(IntGauge);

impl Expiring {
    pub(super) fn in_gauge(gauge: &IntGauge) -> Expiring {
        gauge.inc();
        Expiring(gauge.clone())
    }
}

impl Drop for Expiring {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::job::{Attempt, Span};

    const LIFE: Tasks =
        Tasks { kept: Duration::from_secs(24 * 3600), longest: Duration::from_secs(3 * 3600) };

    fn waiting_for(handle: &str) -> Piece {
        let mut piece = Piece::new(1, Span::whole(None), "filetrans", "model");
        let attempt = Attempt::open(1, Uuid::nil(), Timestamp::now(), None);
        piece.attempts.push(Attempt { fate: Fate::Taken, handle: Some(handle.to_owned()), ..attempt });
        piece.state = PieceState::Awaiting { warned: 0 };
        piece
    }

    #[test]
    fn a_piece_that_came_back_with_another_task_does_not_wait_for_the_first() {
        let (id, first) = (PieceId { job: Uuid::nil(), number: 1 }, waiting_for("first"));
        assert!(RemoteTask::of(id, &Piece::new(1, Span::whole(None), "filetrans", "model"), LIFE).is_none());
        let task = RemoteTask::of(id, &first, LIFE).unwrap();
        assert!(task.is_of(&first));
        assert!(!task.is_of(&waiting_for("second")));
        assert!(!task.is_of(&Piece { state: PieceState::Queued, ..first }));
    }
}
