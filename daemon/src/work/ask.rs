//! One question about a task, or one download of its result, and what is made of the answer.
//!
//! Asking costs nothing and another result does: so it is asked for until the service deletes it, unless the service says that it is
//! gone.

use std::sync::Arc;
use std::time::Duration;

use hark_sdk::event::{Blame, Engine, Fault};
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use tracing::{error, info, warn};
use uuid::Uuid;

use super::failure::failure;
use super::{Surroundings, expiry};
use crate::job::ledger::LedgerError;
use crate::job::machine::Fact;
use crate::job::{Consequence, Failure, Fate, Job, State, Transcript};
use crate::recognize::{Error, Next, Polled, Ready, Recognizer, Tasks, Tries};

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
        match question.recognizer.poll(&task_id).await {
            Ok(polled) => question.told(polled).await,
            Err(error) => question.unanswered(error).await,
        }
    };
    (id, asked.await)
}

/// Fetches a result, and tells the job.
pub(super) async fn fetch(
    around: Surroundings,
    id: Uuid,
    result: Ready,
    so_far: SoFar,
) -> (Uuid, Result<Asked, LedgerError>) {
    let (task_id, seconds) = (result.handle.clone(), result.billed_seconds);
    let fetched = async {
        let Some(question) = Question::of(&around, id, &task_id, so_far).await? else {
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
    around: &'a Surroundings,
    job: Job,
    engine: Engine,
    recognizer: Arc<dyn Recognizer>,
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
        let Some(job) = waiting_for(task_id, around.ledger.find(id).await?) else { return Ok(None) };
        let Some(plan) = job.state.plan().cloned() else { return Ok(None) };
        let recognizer = around.recognizer(&job, &plan).await?;
        let engine = plan.engine;
        Ok(recognizer.map(|recognizer| Question { around, job, engine, recognizer, task_id, so_far }))
    }

    /// The service says how the task stands.
    async fn told(self, polled: Polled) -> Result<Asked, LedgerError> {
        match polled {
            Polled::Open => Ok(Asked::Open),
            Polled::Ready(ready) => Ok(Asked::Done(ready)),
            Polled::Heard(transcript) => {
                self.around.billed(&self.engine, transcript.billed_seconds);
                self.over(Fact::Heard { transcript, revision: 0 }).await
            }
            Polled::Failed(error) if error.fate == Fate::Unknown => {
                if let Some(asked) = Patience::after(self.so_far).judge(&error, GONE_AFTER) {
                    warn!(job = %self.job.id, task = self.task_id, %error, "the task is not found; asking again");
                    return Ok(asked);
                }
                // One that is forgotten does not say any more what it cost.
                let seconds = error.billed_seconds.max(self.so_far.seconds);
                let failure = failure(error.clone(), &self.job);
                self.lost(&error, failure, seconds).await
            }
            Polled::Failed(error) => {
                warn!(job = %self.job.id, task = self.task_id, %error, "the task failed");
                let billed_seconds = error.billed_seconds;
                self.around.billed(&self.engine, billed_seconds);
                let fact = failed(failure(error, &self.job), billed_seconds);
                self.over(fact).await
            }
        }
    }

    /// No answer about the task.
    async fn unanswered(self, error: Error) -> Result<Asked, LedgerError> {
        if let Next::Held { wait, announce: true } = error.next(Tries::default()) {
            // Nothing else may be sent that would say it: tasks are followed while nothing is sent.
            let fact = Fact::Hindered { fault: error.fault.clone(), retry_in: wait };
            self.around.advance(&self.job, fact).await?;
        }
        if let Some(asked) = Patience::after(self.so_far).judge(&error, UNREADABLE_AFTER) {
            warn!(job = %self.job.id, task = self.task_id, %error, "the task's state is not told; asking again");
            return Ok(asked);
        }
        let message = format!("the service does not tell of the task: {}", error.told());
        let seconds = self.so_far.seconds.max(error.billed_seconds);
        self.lost(&error, lost("TaskUnknown", message), seconds).await
    }

    /// The result is here.
    async fn recognized(self, transcript: Transcript, seconds: u64) -> Result<Asked, LedgerError> {
        info!(job = %self.job.id, task = self.task_id, billed_seconds = seconds, "recognized");
        self.around.billed(&self.engine, seconds);
        let transcript = Transcript { billed_seconds: seconds, ..transcript };
        self.over(Fact::Heard { transcript, revision: 0 }).await
    }

    /// The result is not, though the task has one.
    async fn unread(self, error: Error, seconds: u64) -> Result<Asked, LedgerError> {
        // The next query tells a fresh address.
        if let Some(asked) = Patience::after(self.so_far).judge_result(&error) {
            warn!(job = %self.job.id, task = self.task_id, %error, "the result could not be read; asking again");
            return Ok(asked);
        }
        let message = format!("the task succeeded, but its result could not be read: {}", error.told());
        self.lost(&error, lost("ResultLost", message), seconds).await
    }

    /// The task is one that nothing more will be heard of. Whether another try is worth its price is the operator's `ambiguous_retries`.
    async fn lost(self, error: &Error, failure: Failure, seconds: u64) -> Result<Asked, LedgerError> {
        self.around.billed(&self.engine, seconds);
        self.say_lost((seconds > 0).then_some(seconds), error);
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
        self.around.metrics.recognize_results_lost.inc();
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

fn failed(failure: Failure, billed_seconds: u64) -> Fact {
    Fact::Failed { failure, billed_seconds, revision: 0 }
}

fn lost(code: &str, message: String) -> Failure {
    Failure {
        fault: Fault { code: code.into(), blame: Blame::Service, message, attempts: None },
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
        let plan = Plan { engine: Engine::FILETRANS, model, delivery: Delivery::Upload, reason };
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
