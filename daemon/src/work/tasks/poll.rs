//! One poll of a task, or one download of its result, and what follows from the answer.
//!
//! A poll costs nothing and another result does: so the daemon asks for a result until the service has deleted it, unless the service
//! answers that it is gone.

use std::sync::Arc;
use std::time::Duration;

use hark_sdk::event::{Blame, Fault};
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::expiry;
use crate::job::ledger::LedgerError;
use crate::job::piece_machine::PieceFact;
use crate::job::{Failure, Fate, Next, Piece, PieceId, PieceState, Transcript};
use crate::recognize::{Error, Polled, Ready, Recognizer, Tasks, Tries};
use crate::work::{PieceTask, Tools, failure};

/// How many answers in a row that the task is gone are needed to believe it: one may come from a server of the service that lags behind.
const GONE_AFTER: u32 = 3;

/// How many failed downloads in a row (the result is missing or not as documented, though the task has succeeded) are needed to give the
/// result up; [`UNREADABLE_FOR`] must have passed as well.
const UNREADABLE_AFTER: u32 = 8;
/// The time that these failures must last, in first intervals (five minutes at the default of 2 s): a storage that lags behind, or a
/// gateway that answers with a page of its own, may last some minutes.
const UNREADABLE_FOR: u32 = 150;

/// Counts answers in a row that a task, or its result, is not there.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Misses {
    pub(super) count: u32,
    pub(super) since: Option<Instant>,
}

impl Misses {
    /// Counts one more.
    pub(super) fn add(&mut self) {
        self.count += 1;
        self.since.get_or_insert_with(Instant::now);
    }
}

/// What earlier answers told of a task.
#[derive(Debug, Clone, Copy)]
pub(super) struct SoFar {
    pub(super) misses: Misses,
    /// The last time at which the task is known not to have ended.
    pub(super) open_at: Timestamp,
    /// `dashscope.poll_interval`.
    pub(super) first_interval: Duration,
    /// `usage.seconds`, from an earlier answer; 0 if none told it.
    pub(super) seconds: u64,
    /// How long the service keeps the task's result.
    pub(super) life: Tasks,
}

/// The outcome of a poll or a download.
pub(super) enum Asked {
    /// The task need not be followed any more. `lost`: its result was paid for and cannot be fetched.
    Over { lost: bool },
    /// The task has not ended.
    Open,
    /// The task's result is ready to be fetched ([`fetch`]).
    Done(Ready),
    /// The service answered that the task, or its result, is not there, for this reason; more such answers have to confirm that.
    Missed(String),
    /// The service could not tell the task's state or give the result, for this reason.
    Troubled(String),
}

/// Polls a task, and reports the answer to its piece.
pub(super) async fn poll(
    tools: Tools,
    id: PieceId,
    task_id: String,
    so_far: SoFar,
) -> (PieceId, Result<Asked, LedgerError>) {
    let asked = async {
        let Some(question) = Question::of(&tools, id, &task_id, so_far).await? else {
            return Ok(Asked::Over { lost: false });
        };
        match question.recognizer.poll(&task_id).await {
            Ok(polled) => question.told(polled).await,
            Err(error) => question.unanswered(error).await,
        }
    };
    (id, asked.await)
}

/// Fetches a result, and reports it to its piece.
pub(super) async fn fetch(
    tools: Tools,
    id: PieceId,
    result: Ready,
    so_far: SoFar,
) -> (PieceId, Result<Asked, LedgerError>) {
    let (task_id, seconds) = (result.handle.clone(), result.billed_seconds);
    let fetched = async {
        let Some(question) = Question::of(&tools, id, &task_id, so_far).await? else {
            return Ok(Asked::Over { lost: false });
        };
        match question.recognizer.fetch(result).await {
            Ok(transcript) => question.recognized(transcript, seconds).await,
            Err(error) => question.unread(error, seconds).await,
        }
    };
    (id, fetched.await)
}

/// A piece that waits for a task, and what earlier answers told of the task.
struct Question<'a> {
    tools: &'a Tools,
    task: PieceTask,
    recognizer: Arc<dyn Recognizer>,
    task_id: &'a str,
    so_far: SoFar,
}

impl<'a> Question<'a> {
    /// `None`: the piece does not wait for this task any more, or its recognizer is no longer configured.
    async fn of(
        tools: &'a Tools,
        id: PieceId,
        task_id: &'a str,
        so_far: SoFar,
    ) -> Result<Option<Question<'a>>, LedgerError> {
        let found = tools.ledger.find_piece(id).await?.filter(|(_, piece)| waits_for(piece, task_id));
        let Some((job, piece)) = found else { return Ok(None) };
        let task = PieceTask { job, piece };
        let recognizer = tools.recognizer(&task).await?;
        Ok(recognizer.map(|recognizer| Question { tools, task, recognizer, task_id, so_far }))
    }

    /// The service told the task's state.
    async fn told(self, polled: Polled) -> Result<Asked, LedgerError> {
        match polled {
            Polled::Open => Ok(Asked::Open),
            Polled::Ready(ready) => Ok(Asked::Done(ready)),
            Polled::Heard(transcript) => {
                self.tools.billed(&self.task.piece.recognizer, transcript.billed_seconds);
                self.heard(transcript).await
            }
            Polled::Failed(error) if error.fate == Fate::Unknown => {
                if let Some(asked) = Patience::after(self.so_far).judge(&error, GONE_AFTER) {
                    warn!(job = %self.task.job.id, source = self.task.job.source, task = self.task_id, %error, "the task is not found; asking again");
                    return Ok(asked);
                }
                // The answer about a deleted task does not tell what the task cost; an earlier answer may have.
                let seconds = error.billed_seconds.max(self.so_far.seconds);
                let failure = failure(error.clone(), &self.task.piece);
                self.lost(&error, failure, seconds).await
            }
            Polled::Failed(error) => {
                warn!(job = %self.task.job.id, source = self.task.job.source, task = self.task_id, %error, "the task failed");
                let billed_seconds = error.billed_seconds;
                self.tools.billed(&self.task.piece.recognizer, billed_seconds);
                let failed = PieceFact::Failed(failure(error, &self.task.piece));
                self.tools.advance_piece(&self.task, failed, 0).await?;
                Ok(Asked::Over { lost: false })
            }
        }
    }

    /// The poll failed: the task's state is not known.
    async fn unanswered(self, error: Error) -> Result<Asked, LedgerError> {
        if let Next::Held { wait, announce: true } = error.next(Tries::default()) {
            // The event is published here, because tasks are followed even while no request is sent that would report it.
            let fact = PieceFact::Hindered { fault: error.fault.clone(), retry_in: wait };
            self.tools.advance_piece(&self.task, fact, 0).await?;
        }
        if let Some(asked) = Patience::after(self.so_far).judge(&error, UNREADABLE_AFTER) {
            warn!(job = %self.task.job.id, source = self.task.job.source, task = self.task_id, %error, "the service does not tell the task's state; asking again");
            return Ok(asked);
        }
        let message = format!("the service does not tell of the task: {}", error.told());
        let seconds = self.so_far.seconds.max(error.billed_seconds);
        self.lost(&error, lost("TaskUnknown", message), seconds).await
    }

    /// The result was fetched.
    async fn recognized(self, transcript: Transcript, seconds: u64) -> Result<Asked, LedgerError> {
        info!(job = %self.task.job.id, source = self.task.job.source, task = self.task_id, billed_seconds = seconds, "recognized");
        self.tools.billed(&self.task.piece.recognizer, seconds);
        let transcript = Transcript { billed_seconds: seconds, ..transcript };
        self.heard(transcript).await
    }

    /// The result could not be fetched or read, though the task has one.
    async fn unread(self, error: Error, seconds: u64) -> Result<Asked, LedgerError> {
        // The next poll of the task gives a fresh URL.
        if let Some(asked) = Patience::after(self.so_far).judge_result(&error) {
            warn!(job = %self.task.job.id, source = self.task.job.source, task = self.task_id, %error, "the result could not be read; asking again");
            return Ok(asked);
        }
        let message = format!("the task succeeded, but its result could not be read: {}", error.told());
        let raw = error.raw.clone().map(Vec::from);
        self.lost(&error, Failure { raw, ..lost("ResultLost", message) }, seconds).await
    }

    /// Gives the task up. Whether the piece is sent, and paid, once more is decided by the operator's `ambiguous_retries`.
    async fn lost(self, error: &Error, failure: Failure, seconds: u64) -> Result<Asked, LedgerError> {
        self.tools.billed(&self.task.piece.recognizer, seconds);
        self.say_lost((seconds > 0).then_some(seconds), error);
        let failed = PieceFact::Failed(Failure { seconds, ..failure });
        self.tools.advance_piece(&self.task, failed, 0).await?;
        Ok(Asked::Over { lost: true })
    }

    async fn heard(self, transcript: Transcript) -> Result<Asked, LedgerError> {
        self.tools.heard(&self.task, transcript, 0).await?;
        Ok(Asked::Over { lost: false })
    }

    /// Logs a result that was paid for and is lost, for the operator.
    fn say_lost(&self, billed_seconds: Option<u64>, error: &Error) {
        self.tools.metrics.recognize_results_lost.inc();
        error!(
            job = %self.task.job.id,
            source = self.task.job.source,
            recording = self.task.job.recording.uri,
            task = self.task_id,
            billed_seconds,
            %error,
            "the result of a task is lost; dashscope.ambiguous_retries says whether it is paid for again"
        );
    }
}

/// Whether the piece still waits for this task. Another daemon may own its job by now, or this daemon may have taken the job back with
/// another task; then answers about this task do not concern the piece.
fn waits_for(piece: &Piece, handle: &str) -> bool {
    let current = piece.last_attempt().and_then(|attempt| attempt.handle.as_deref());
    matches!(piece.state, PieceState::Awaiting { .. }) && current == Some(handle)
}

/// Decides how long the daemon keeps asking for a task's result: asking costs nothing, and another result does.
#[derive(Clone, Copy)]
struct Patience {
    misses: u32,
    /// The misses have lasted for [`UNREADABLE_FOR`].
    is_over: bool,
    age: SignedDuration,
    life: Tasks,
}

impl Patience {
    fn after(so_far: SoFar) -> Patience {
        let SoFar { misses, open_at, first_interval, life, .. } = so_far;
        Patience {
            misses: misses.count,
            is_over: misses.since.is_some_and(|since| since.elapsed() >= first_interval * UNREADABLE_FOR),
            age: Timestamp::now().duration_since(open_at),
            life,
        }
    }

    /// What follows from an answer without a result; `None`: the result is lost. `enough`: how many misses in a row are believed.
    fn judge(self, error: &Error, enough: u32) -> Option<Asked> {
        let next = error.next(Tries::default());
        let is_gone = error.fate == Fate::Unknown;
        let enough = match next {
            // For example, the task is in another workspace than the key's. The result is deleted by now, so an answer would not help.
            Next::Held { .. } if expiry::is_over(self.life, self.age) => return None,
            // Otherwise the daemon asks again. It does so without an answer as well, however old the task is: a clock may be wrong, and
            // asking again costs nothing.
            Next::Held { .. } => return Some(Asked::Troubled(error.told())),
            Next::After { .. } if error.raw.is_none() && !is_gone => {
                return Some(Asked::Troubled(error.told()));
            }
            _ if expiry::is_over(self.life, self.age) => return None,
            _ if is_gone && expiry::may_be_over(self.life, self.age) => 1,
            // A service that refuses to answer about a task may mean that the task does not exist.
            _ if is_gone || self.is_over => enough,
            _ => u32::MAX,
        };
        (self.misses + 1 < enough).then(|| Asked::Missed(error.told()))
    }

    /// As [`Patience::judge`], for a failed download of the result.
    fn judge_result(self, error: &Error) -> Option<Asked> {
        let is_gone = error.next(Tries::default()) == Next::Never;
        if is_gone && expiry::may_be_over(self.life, self.age) {
            return None;
        }
        self.judge(error, UNREADABLE_AFTER)
    }
}

/// The failure of a task that the service has carried out and whose result cannot be fetched.
fn lost(code: &str, message: String) -> Failure {
    Failure {
        fault: Fault { code: code.into(), blame: Blame::Service, message, attempts: None },
        fate: Fate::Taken,
        next: Next::After { wait: Duration::ZERO, counts: true },
        seconds: 0,
        raw: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Attempt, Span};

    #[test]
    fn a_piece_that_came_back_with_another_task_does_not_wait_for_the_first() {
        let mut piece = Piece::new(1, Span::whole(None), "filetrans", "model");
        assert!(!waits_for(&piece, "first"));
        let attempt = Attempt::open(1, uuid::Uuid::nil(), Timestamp::now(), None);
        piece.attempts.push(Attempt { fate: Fate::Taken, handle: Some("second".into()), ..attempt });
        piece.state = PieceState::Awaiting { warned: 0 };
        assert!(waits_for(&piece, "second"));
        assert!(!waits_for(&piece, "first"));
    }
}
