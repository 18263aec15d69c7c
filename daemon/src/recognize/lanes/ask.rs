//! One question about a task, or one download of its result, and what is made of the answer.
//!
//! Asking costs nothing and another result does: so it is asked for until the service deletes it, unless the service says that it is
//! gone.

use hark_sdk::event::{Blame, Engine, Fault};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use tracing::{Instrument, Span, error, info, info_span, warn};
use uuid::Uuid;

use super::Surroundings;
use crate::job::ledger::LedgerError;
use crate::job::machine::Fact;
use crate::job::{Consequence, Failure, Job, State, Transcript};
use crate::recognize::{Error, RESULT_GONE, TASK_UNKNOWN, Task, Tries, Verdict, expiry};

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
}

/// What came of a question.
pub(super) enum Asked {
    /// There is nothing more to ask of this task.
    Over { lost: bool },
    /// It has not ended.
    Open,
    /// Its result is to be fetched ([`fetch`]).
    Done(ToFetch),
    /// It, or its result, is not there; that has to be confirmed.
    Missed(String),
    /// Nobody could tell, or give the result.
    Troubled(String),
}

/// Where a result is, and what it cost.
pub(super) struct ToFetch {
    task_id: String,
    transcription_url: String,
    pub(super) seconds: u64,
}

/// Asks how a task stands, and tells the job.
pub(super) async fn ask(
    around: Surroundings,
    id: Uuid,
    task_id: String,
    so_far: SoFar,
) -> (Uuid, Result<Asked, LedgerError>) {
    let asked = async {
        let Some(question) = Question::of(&around, id, &task_id, so_far).await? else {
            return Ok(Asked::Over { lost: false });
        };
        let span = question.span();
        let answered = async {
            match around.recognizer.query(&task_id).await {
                Ok(task) => question.told(task).await,
                Err(error) => question.unanswered(error).await,
            }
        };
        answered.instrument(span).await
    };
    (id, asked.await)
}

/// Fetches a result, and tells the job.
pub(super) async fn fetch(
    around: Surroundings,
    id: Uuid,
    result: ToFetch,
    so_far: SoFar,
) -> (Uuid, Result<Asked, LedgerError>) {
    let ToFetch { task_id, transcription_url, seconds } = result;
    let fetched = async {
        let Some(question) = Question::of(&around, id, &task_id, so_far).await? else {
            return Ok(Asked::Over { lost: false });
        };
        let span = question.span();
        let fetched = async {
            match around.recognizer.result(&task_id, &transcription_url, seconds).await {
                Ok(transcript) => question.recognized(transcript, seconds).await,
                Err(error) => question.unread(error, seconds).await,
            }
        };
        fetched.instrument(span).await
    };
    (id, fetched.await)
}

/// A job that waits for a task, and how that was followed so far.
struct Question<'a> {
    around: &'a Surroundings,
    job: Job,
    task_id: &'a str,
    so_far: SoFar,
}

impl<'a> Question<'a> {
    /// `None`: nobody waits for the task any more.
    async fn of(
        around: &'a Surroundings,
        id: Uuid,
        task_id: &'a str,
        so_far: SoFar,
    ) -> Result<Option<Question<'a>>, LedgerError> {
        let job = waiting_for(task_id, around.ledger.find(id).await?);
        Ok(job.map(|job| Question { around, job, task_id, so_far }))
    }

    /// For the log, as a lane has it.
    fn span(&self) -> Span {
        info_span!("job", job = %self.job.id, source = self.job.source, lane = "follow")
    }

    /// The service says how the task stands.
    async fn told(self, task: Task) -> Result<Asked, LedgerError> {
        match task {
            Task::Pending | Task::Running => Ok(Asked::Open),
            Task::Succeeded { transcription_url, seconds } => {
                Ok(Asked::Done(ToFetch { task_id: self.task_id.to_owned(), transcription_url, seconds }))
            }
            Task::NothingSaid { seconds } => {
                let transcript = Transcript { billed_seconds: seconds, ..Transcript::default() };
                self.over(Fact::Heard { transcript, revision: 0 }).await
            }
            Task::Failed(error) if error.verdict == Verdict::Unknown => {
                if let Some(asked) = Patience::after(self.so_far).judge(&error) {
                    warn!(job = %self.job.id, task = self.task_id, %error, "the task is not found; asking again");
                    return Ok(asked);
                }
                // One that is forgotten does not say any more what it cost.
                let seconds = error.billed_seconds.max(self.so_far.seconds);
                self.lost(error.billed(seconds)).await
            }
            Task::Failed(error) => {
                warn!(job = %self.job.id, task = self.task_id, %error, "the task failed");
                let billed_seconds = error.billed_seconds;
                let failure = error.into_failure(Tries::of(&self.job));
                self.over(failed(failure, billed_seconds)).await
            }
        }
    }

    /// No answer about the task.
    async fn unanswered(self, error: Error) -> Result<Asked, LedgerError> {
        if let Verdict::Account { after, announce: true } = error.verdict {
            // Nobody else may be there to say it: tasks are followed while nothing is sent.
            let fact = Fact::Hindered { fault: error.fault.clone(), retry_in: after };
            self.around.advance(&self.job, fact).await?;
        }
        if let Some(asked) = Patience::after(self.so_far).judge(&error) {
            warn!(job = %self.job.id, task = self.task_id, %error, "the task's state is not told; asking again");
            return Ok(asked);
        }
        let message = format!("the service does not tell of the task: {}", error.told());
        // The service's words are no more for a log than before.
        let unknown = Error { answered: error.answered, ..Error::unknown(TASK_UNKNOWN, &message) };
        let seconds = self.so_far.seconds;
        self.lost(unknown.billed(seconds)).await
    }

    /// The result is here.
    async fn recognized(self, transcript: Transcript, seconds: u64) -> Result<Asked, LedgerError> {
        info!(job = %self.job.id, task = self.task_id, billed_seconds = seconds, "recognized");
        let transcript = Transcript { billed_seconds: seconds, ..transcript };
        self.over(Fact::Heard { transcript, revision: 0 }).await
    }

    /// The result is not, though the task has one.
    async fn unread(self, error: Error, seconds: u64) -> Result<Asked, LedgerError> {
        // The next query tells a fresh address.
        if let Some(asked) = Patience::after(self.so_far).judge(&error) {
            warn!(job = %self.job.id, task = self.task_id, %error, "the result could not be read; asking again");
            return Ok(asked);
        }
        self.around.recognizer.billed(Engine::Filetrans, seconds);
        self.say_lost(Some(seconds), &error);
        self.around.advance(&self.job, failed(result_lost(&error), seconds)).await?;
        Ok(Asked::Over { lost: true })
    }

    /// The task is one that nobody will hear of any more.
    async fn lost(self, error: Error) -> Result<Asked, LedgerError> {
        let seconds = error.billed_seconds;
        self.around.recognizer.billed(Engine::Filetrans, seconds);
        self.say_lost((seconds > 0).then_some(seconds), &error);
        let failure = error.into_failure(Tries::of(&self.job));
        self.around.advance(&self.job, failed(failure, seconds)).await?;
        Ok(Asked::Over { lost: true })
    }

    /// The task has come to this.
    async fn over(self, fact: Fact) -> Result<Asked, LedgerError> {
        self.around.advance(&self.job, fact).await?;
        Ok(Asked::Over { lost: false })
    }

    /// What was paid for and never came, for the person who has to answer for it.
    fn say_lost(&self, billed_seconds: Option<u64>, error: &Error) {
        self.around.recognizer.inner.metrics.recognize_results_lost.inc();
        error!(
            job = %self.job.id,
            recording = self.job.recording.uri,
            task = self.task_id,
            billed_seconds,
            %error,
            "the result of a task is lost; dashscope.ambiguous_retries says whether it is paid for again"
        );
    }
}

/// The job, if it still waits for this task. It may be another daemon's by now, or have come back from one with another task, of which the
/// answers about this one say nothing.
fn waiting_for(task_id: &str, job: Option<Job>) -> Option<Job> {
    job.filter(|job| matches!(&job.state, State::Submitted { task_id: current, .. } if current == task_id))
}

/// How long it is worth to ask for a task's result: it costs nothing, and another result does.
#[derive(Clone, Copy)]
struct Patience {
    misses: u32,
    /// They have lasted long enough to be believed of a result.
    is_over: bool,
    age: SignedDuration,
}

impl Patience {
    fn after(so_far: SoFar) -> Patience {
        let SoFar { misses, open_at, first_interval, .. } = so_far;
        Patience {
            misses: misses.count,
            is_over: misses.since.is_some_and(|since| since.elapsed() >= first_interval * UNREADABLE_FOR),
            age: Timestamp::now().duration_since(open_at),
        }
    }

    /// What is to be made of an answer that brings no result; `None`: it is lost.
    fn judge(self, error: &Error) -> Option<Asked> {
        let is_gone = matches!(error.fault.code.as_str(), RESULT_GONE | TASK_UNKNOWN);
        let enough = match error.verdict {
            // Tasks of another workspace than the key's, say: there is nothing left to be told of.
            Verdict::Unknown | Verdict::GiveUp | Verdict::Account { .. } if expiry::is_over(self.age) => {
                return None;
            }
            Verdict::Unknown if is_gone && expiry::may_be_over(self.age) => 1,
            Verdict::Unknown if error.fault.code == TASK_UNKNOWN => GONE_AFTER,
            // A service that refuses to speak of a task may mean that there is none.
            Verdict::Unknown | Verdict::GiveUp if self.is_over => UNREADABLE_AFTER,
            Verdict::Unknown | Verdict::GiveUp => u32::MAX,
            // However old it is: a clock may be wrong, and asking again costs nothing.
            _ => return Some(Asked::Troubled(error.told())),
        };
        (self.misses + 1 < enough).then(|| Asked::Missed(error.told()))
    }
}

fn failed(failure: Failure, billed_seconds: u64) -> Fact {
    Fact::Failed { failure, billed_seconds, revision: 0 }
}

/// The task was paid and its result cannot be had: whether another try is worth its price is the operator's `ambiguous_retries`.
fn result_lost(error: &Error) -> Failure {
    let message = format!("the task succeeded, but its result could not be read: {}", error.told());
    Failure {
        fault: Fault { code: "ResultLost".into(), blame: Blame::Service, message, attempts: None },
        consequence: Consequence::Unknown,
        unsure: false,
    }
}

#[cfg(test)]
mod tests {
    use hark_sdk::event::Recording;
    use serde_json::Map;

    use super::*;
    use crate::job::{Delivery, Origin, Plan};

    #[test]
    fn a_job_that_came_back_with_another_task_does_not_wait_for_the_first() {
        let (model, reason) = ("model".to_owned(), "dice".to_owned());
        let plan = Plan { engine: Engine::Filetrans, model, delivery: Delivery::Upload, reason };
        let with_task = |task_id: &str| {
            let (plan, task_id) = (plan.clone(), task_id.to_owned());
            let state = State::Submitted { plan, task_id, submitted_at: Timestamp::now(), warned: 0 };
            let job = Job::new(
                Uuid::now_v7(),
                "inbox",
                "default",
                Origin::Nothing,
                Recording::default(),
                Map::new(),
            );
            Some(Job { state, ..job })
        };
        assert!(waiting_for("first", with_task("first")).is_some());
        assert!(waiting_for("first", with_task("second")).is_none());
        assert!(waiting_for("first", None).is_none());
    }
}
