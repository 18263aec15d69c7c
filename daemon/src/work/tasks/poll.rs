//! One poll of a task, or one download of its result, and what is made of the answer.
//!
//! Asking costs nothing and another result does: so it is asked for until the service deletes it, unless the service says that it is
//! gone.

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

/// Answers in a row that the task is gone, before that is believed: one may come from a server that lags behind.
const GONE_AFTER: u32 = 3;

/// Results in a row that are not there or not what is documented, though the task says that it has one, before that is believed …
const UNREADABLE_AFTER: u32 = 8;
/// … and the time that they have to fill, in first intervals (five minutes at the default of 2 s): a storage that lags behind, or a
/// gateway's page in its place, may last some minutes.
const UNREADABLE_FOR: u32 = 150;

/// Answers in a row that a task, or its result, is not there.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Misses {
    pub(super) count: u32,
    pub(super) since: Option<Instant>,
}

impl Misses {
    /// One more.
    pub(super) fn add(&mut self) {
        self.count += 1;
        self.since.get_or_insert_with(Instant::now);
    }
}

/// How a task was followed so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct SoFar {
    pub(super) misses: Misses,
    /// It had not ended then.
    pub(super) open_at: Timestamp,
    /// `dashscope.poll_interval`.
    pub(super) first_interval: Duration,
    /// `usage.seconds`, as an answer before told it.
    pub(super) seconds: u64,
    /// How long its result lives.
    pub(super) life: Tasks,
}

/// What came of a question.
pub(super) enum Asked {
    /// There is nothing more to ask of this task.
    Over { lost: bool },
    /// It has not ended.
    Open,
    /// Its result is to be fetched ([`fetch`]).
    Done(Ready),
    /// It, or its result, is not there; that has to be confirmed.
    Missed(String),
    /// Nobody could tell, or give the result.
    Troubled(String),
}

/// Asks how a task stands, and tells the job.
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

/// Fetches a result, and tells the job.
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

/// A job that waits for a task, and how that was followed so far.
struct Question<'a> {
    tools: &'a Tools,
    task: PieceTask,
    recognizer: Arc<dyn Recognizer>,
    task_id: &'a str,
    so_far: SoFar,
}

impl<'a> Question<'a> {
    /// `None`: nobody waits for the task any more.
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

    /// The service says how the task stands.
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
                    warn!(job = %self.task.job.id, task = self.task_id, %error, "the task is not found; asking again");
                    return Ok(asked);
                }
                // One that is forgotten does not say any more what it cost.
                let seconds = error.billed_seconds.max(self.so_far.seconds);
                let failure = failure(error.clone(), &self.task.piece);
                self.lost(&error, failure, seconds).await
            }
            Polled::Failed(error) => {
                warn!(job = %self.task.job.id, task = self.task_id, %error, "the task failed");
                let billed_seconds = error.billed_seconds;
                self.tools.billed(&self.task.piece.recognizer, billed_seconds);
                let failed = PieceFact::Failed(failure(error, &self.task.piece));
                self.tools.advance_piece(&self.task, failed, 0).await?;
                Ok(Asked::Over { lost: false })
            }
        }
    }

    /// No answer about the task.
    async fn unanswered(self, error: Error) -> Result<Asked, LedgerError> {
        if let Next::Held { wait, announce: true } = error.next(Tries::default()) {
            // Nothing else may be sent that would say it: tasks are followed while nothing is sent.
            let fact = PieceFact::Hindered { fault: error.fault.clone(), retry_in: wait };
            self.tools.advance_piece(&self.task, fact, 0).await?;
        }
        if let Some(asked) = Patience::after(self.so_far).judge(&error, UNREADABLE_AFTER) {
            warn!(job = %self.task.job.id, task = self.task_id, %error, "the task's state is not told; asking again");
            return Ok(asked);
        }
        let message = format!("the service does not tell of the task: {}", error.told());
        let seconds = self.so_far.seconds.max(error.billed_seconds);
        self.lost(&error, lost("TaskUnknown", message), seconds).await
    }

    /// The result is here.
    async fn recognized(self, transcript: Transcript, seconds: u64) -> Result<Asked, LedgerError> {
        info!(job = %self.task.job.id, task = self.task_id, billed_seconds = seconds, "recognized");
        self.tools.billed(&self.task.piece.recognizer, seconds);
        let transcript = Transcript { billed_seconds: seconds, ..transcript };
        self.heard(transcript).await
    }

    /// The result is not, though the task has one.
    async fn unread(self, error: Error, seconds: u64) -> Result<Asked, LedgerError> {
        // The next query tells a fresh address.
        if let Some(asked) = Patience::after(self.so_far).judge_result(&error) {
            warn!(job = %self.task.job.id, task = self.task_id, %error, "the result could not be read; asking again");
            return Ok(asked);
        }
        let message = format!("the task succeeded, but its result could not be read: {}", error.told());
        let raw = error.raw.clone().map(Vec::from);
        self.lost(&error, Failure { raw, ..lost("ResultLost", message) }, seconds).await
    }

    /// The task is one that nothing more will be heard of. Whether another try is worth its price is the operator's `ambiguous_retries`.
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

    /// What was paid for and never came, for the person who has to answer for it.
    fn say_lost(&self, billed_seconds: Option<u64>, error: &Error) {
        self.tools.metrics.recognize_results_lost.inc();
        error!(
            job = %self.task.job.id,
            recording = self.task.job.recording.uri,
            task = self.task_id,
            billed_seconds,
            %error,
            "the result of a task is lost; dashscope.ambiguous_retries says whether it is paid for again"
        );
    }
}

/// Whether the piece still waits for this task. It may be another daemon's by now, or have come back from one with another task, of which
/// the answers about this one say nothing.
fn waits_for(piece: &Piece, handle: &str) -> bool {
    let current = piece.last_attempt().and_then(|attempt| attempt.handle.as_deref());
    matches!(piece.state, PieceState::Awaiting { .. }) && current == Some(handle)
}

/// How long it is worth to ask for a task's result: it costs nothing, and another result does.
#[derive(Clone, Copy)]
struct Patience {
    misses: u32,
    /// They have lasted long enough to be believed of a result.
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

    /// What is to be made of an answer that brings no result; `None`: it is lost. `enough`: misses that are believed.
    fn judge(self, error: &Error, enough: u32) -> Option<Asked> {
        let next = error.next(Tries::default());
        let is_gone = error.fate == Fate::Unknown;
        let enough = match next {
            // Tasks of another workspace than the key's, say: there is nothing left to be told of.
            Next::Held { .. } if expiry::is_over(self.life, self.age) => return None,
            // However old it is: a clock may be wrong, and asking again costs nothing.
            Next::Held { .. } => return Some(Asked::Troubled(error.told())),
            Next::After { .. } if error.raw.is_none() && !is_gone => {
                return Some(Asked::Troubled(error.told()));
            }
            _ if expiry::is_over(self.life, self.age) => return None,
            _ if is_gone && expiry::may_be_over(self.life, self.age) => 1,
            // A service that refuses to speak of a task may mean that there is none.
            _ if is_gone || self.is_over => enough,
            _ => u32::MAX,
        };
        (self.misses + 1 < enough).then(|| Asked::Missed(error.told()))
    }

    /// The same of a result that was to be fetched.
    fn judge_result(self, error: &Error) -> Option<Asked> {
        let is_gone = error.next(Tries::default()) == Next::Never;
        if is_gone && expiry::may_be_over(self.life, self.age) {
            return None;
        }
        self.judge(error, UNREADABLE_AFTER)
    }
}

/// The service did the work, and its result cannot be had.
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
