//! Follows tasks at the service until they end, within the account's queries a second.
//!
//! The task ids are in the ledger; how soon each is asked again is in memory only, so a restart asks all of them at once, spread by
//! the pacer.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use hark_sdk::event::{Blame, Fault};
use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{info, warn};
use uuid::Uuid;

use super::Surroundings;
use crate::job::ledger::{LedgerError, jobs};
use crate::job::machine::Fact;
use crate::job::{Consequence, Duty, Failure, Job, State, Transcript};
use crate::recognize::{Error, Task};

/// Longest wait between two queries of a task: a goal is to notice an end within a minute (RELIABILITY 7, row 10), and with a
/// thousand tasks the account's 20 queries a second take fifty seconds for a round.
const LONGEST_INTERVAL: Duration = Duration::from_secs(30);

/// Queries under way at a time; each takes a round trip, and the pacer bounds their rate.
const WIDTH: usize = 16;

/// Downloads of a result that may fail for a reason that another query would not mend, before the result counts as lost.
const LOST_AFTER: u32 = 8;

struct Followed {
    interval: Duration,
    failures: u32,
}

/// Carries out `Duty::Follow` for all tasks until `around.stop`.
///
/// # Errors
/// When the ledger is closed or damaged.
pub async fn follow(around: Surroundings, first_interval: Duration) -> Result<(), LedgerError> {
    let mut followed: HashMap<Uuid, Followed> = HashMap::new();
    let mut agenda: BTreeSet<(Instant, Uuid)> = BTreeSet::new();
    let mut asking = FuturesUnordered::new();
    let mut look = true;
    // Tasks of an earlier life hold permits too.
    let mut earlier_life = true;
    loop {
        if look {
            look = false;
            let due = around
                .ledger
                .read(|connection| jobs::due(connection, Duty::Follow, Timestamp::MAX, usize::MAX))
                .await?;
            if std::mem::take(&mut earlier_life) {
                around.tasks.forget_permits(due.ids.len());
            }
            for id in due.ids {
                followed.entry(id).or_insert_with(|| {
                    agenda.insert((Instant::now() + first_interval, id));
                    Followed { interval: first_interval, failures: 0 }
                });
            }
        }
        while asking.len() < WIDTH {
            let Some(&(at, id)) = agenda.first().filter(|(at, _)| *at <= Instant::now()) else { break };
            agenda.remove(&(at, id));
            asking.push(ask(around.clone(), id, followed.get(&id).map_or(0, |task| task.failures)));
        }
        let next = agenda.first().map(|(at, _)| *at);
        tokio::select! {
            Some((id, asked)) = asking.next(), if !asking.is_empty() => match asked? {
                Asked::Over => {
                    followed.remove(&id);
                    around.tasks.add_permits(1);
                }
                Asked::Again { failed } => if let Some(task) = followed.get_mut(&id) {
                    task.failures += u32::from(failed);
                    task.interval = (task.interval * 3 / 2).min(LONGEST_INTERVAL.max(first_interval));
                    agenda.insert((Instant::now() + task.interval, id));
                },
            },
            () = sleep_until(next), if asking.len() < WIDTH => {}
            () = around.ledger.woken(Duty::Follow) => look = true,
            () = around.stop.cancelled() => return Ok(()),
        }
    }
}

enum Asked {
    Over,
    Again { failed: bool },
}

async fn ask(around: Surroundings, id: Uuid, failures: u32) -> (Uuid, Result<Asked, LedgerError>) {
    let asked = async {
        let Some(job) = around.ledger.find(id).await? else { return Ok(Asked::Over) };
        let State::Submitted { task_id, .. } = &job.state else { return Ok(Asked::Over) };
        match around.recognizer.query(task_id).await {
            Ok(task) => ended(&around, &job, task_id, task, failures).await,
            Err(error) => {
                warn!(job = %id, task = task_id, %error, "the task's state is not told; asking again");
                Ok(Asked::Again { failed: false })
            }
        }
    };
    (id, asked.await)
}

async fn ended(
    around: &Surroundings,
    job: &Job,
    task_id: &str,
    task: Task,
    failures: u32,
) -> Result<Asked, LedgerError> {
    let fact = match task {
        Task::Pending | Task::Running => return Ok(Asked::Again { failed: false }),
        Task::Succeeded { transcription_url, seconds } => {
            match around.recognizer.result(&transcription_url, seconds).await {
                Ok(heard) => {
                    info!(job = %job.id, task = task_id, billed_seconds = seconds, "recognized");
                    let transcript = Transcript { billed_seconds: seconds, ..heard };
                    Fact::Heard { transcript, revision: 0 }
                }
                // The next query tells a fresh address.
                Err(error) if failures < LOST_AFTER => {
                    warn!(job = %job.id, task = task_id, %error, "the result could not be read; asking again");
                    return Ok(Asked::Again { failed: true });
                }
                Err(error) => failed(lost(&error), seconds),
            }
        }
        Task::NothingSaid { seconds } => Fact::Heard {
            transcript: Transcript { billed_seconds: seconds, ..Transcript::default() },
            revision: 0,
        },
        Task::Failed(error) => {
            warn!(job = %job.id, task = task_id, %error, "the task failed");
            let billed_seconds = error.billed_seconds;
            failed(error.into_failure(job.attempts), billed_seconds)
        }
    };
    around.advance(job, fact).await?;
    Ok(Asked::Over)
}

fn failed(failure: Failure, billed_seconds: u64) -> Fact {
    Fact::Failed { failure, billed_seconds, revision: 0 }
}

/// The task was paid and its result cannot be had: whether another try is worth its price is the operator's `ambiguous_retries`.
fn lost(error: &Error) -> Failure {
    let message = format!("the task succeeded, but its result could not be read: {error}");
    Failure {
        fault: Fault { code: "ResultLost".into(), blame: Blame::Service, message, attempts: None },
        consequence: Consequence::Unknown,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
