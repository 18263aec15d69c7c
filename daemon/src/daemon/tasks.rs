//! The daemon's tasks, and the order in which they stop: the sources first.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::DaemonError;
use crate::job::Duty;
use crate::job::ledger::Ledger;
use crate::job::ledger::due::{self, Lane};
use crate::work::lane::{self, LaneLimits, Task};

/// How long to wait for aborted tasks.
const ABORT: Duration = Duration::from_millis(500);

/// The stages that are stopped one after the other, in this order.
#[derive(Default)]
pub(super) struct Stages {
    pub sources: CancellationToken,
    pub requests: CancellationToken,
    pub pipe: CancellationToken,
    pub outbox: CancellationToken,
    pub settle: CancellationToken,
    pub publish: CancellationToken,
}

/// Named tasks. Each is essential: when one ends, by error or panic or otherwise, the daemon ends.
#[derive(Default)]
pub(super) struct EssentialTasks {
    tasks: JoinSet<Result<(), DaemonError>>,
    names: HashMap<tokio::task::Id, String>,
}

impl EssentialTasks {
    pub fn essential(
        &mut self,
        name: &str,
        task: impl Future<Output = Result<(), DaemonError>> + Send + 'static,
    ) {
        let handle = self.tasks.spawn(task);
        self.names.insert(handle.id(), name.to_owned());
    }

    /// A task that has no error, and ends only when its stage does.
    pub fn endless(&mut self, name: &str, task: impl Future<Output = ()> + Send + 'static) {
        self.essential(name, async {
            task.await;
            Ok(())
        });
    }

    pub fn lane<W, F>(
        &mut self,
        ledger: &Ledger,
        lane: Lane,
        terms: impl Fn() -> LaneLimits + Send + 'static,
        stop: &CancellationToken,
        work: W,
    ) where
        W: Fn(Task) -> F + Send + 'static,
        F: Future<Output = lane::Worked> + Send + 'static,
    {
        let name = match &lane.recognizer {
            Some(recognizer) => format!("{} {recognizer}", lane.duty.as_str()),
            None => lane.duty.as_str().to_owned(),
        };
        let run = lane::run(ledger.clone(), lane, terms, stop.clone(), work);
        self.essential(&name, async { Ok(run.await?) });
    }

    /// The next part that ends, by its name. `None`: all have ended.
    async fn ended(&mut self) -> Option<(String, Result<Result<(), DaemonError>, JoinError>)> {
        let ended = self.tasks.join_next_with_id().await?;
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        Some((self.names.remove(&id).unwrap_or_default(), ended.map(|(_, outcome)| outcome)))
    }

    /// Waits for the first part that fails. Parts that end without an error (`ready`, http switched off) are not counted.
    pub async fn first_failure(&mut self) -> DaemonError {
        while let Some((name, ended)) = self.ended().await {
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => {
                    error!(part = name, error = %failure, "an essential part has ended");
                    return failure;
                }
                Err(panic) => return DaemonError::Software(format!("{name} panicked: {panic}")),
            }
        }
        DaemonError::Software("nothing is left to do".into())
    }

    /// Waits until the named parts have ended.
    async fn wait_for(&mut self, names: &[&str]) {
        while self.names.values().any(|name| names.iter().any(|part| name.starts_with(part))) {
            match self.ended().await {
                None => return,
                Some((_, Ok(Ok(())))) => {}
                Some((part, Ok(Err(error)))) => warn!(part, %error, "a part ended with an error"),
                Some((part, Err(error))) => warn!(part, %error, "a part ended with an error"),
            }
        }
    }

    pub fn names(&self) -> Vec<&str> {
        self.names.values().map(String::as_str).collect()
    }

    /// Aborts the remaining tasks. A task that does not react to the abort is not waited for.
    pub async fn abort(&mut self) {
        let _ = tokio::time::timeout(ABORT, self.tasks.shutdown()).await;
    }
}

/// Lets every stage finish its work, one after the other. The caller bounds the time.
pub(super) async fn drain(stages: &Stages, tasks: &mut EssentialTasks, ledger: &Ledger) {
    stages.sources.cancel();
    tasks.wait_for(&["source "]).await;
    stages.requests.cancel();
    tasks
        .wait_for(&[
            Duty::Prepare.as_str(),
            Duty::Cut.as_str(),
            Duty::Send.as_str(),
            Duty::Resolve.as_str(),
            Duty::Await.as_str(),
        ])
        .await;
    until_nothing_is_due(ledger, Duty::Pipe).await;
    stages.pipe.cancel();
    tasks.wait_for(&[Duty::Pipe.as_str()]).await;
    stages.outbox.cancel();
    tasks.wait_for(&["outbox"]).await;
    until_nothing_is_due(ledger, Duty::Settle).await;
    stages.settle.cancel();
    tasks.wait_for(&[Duty::Settle.as_str()]).await;
    stages.publish.cancel();
    tasks.wait_for(&[""]).await;
}

/// Wakes the lane of this duty until no job is due for it, before the lane stops. A task that was aborted while the ledger wrote its result has
/// not woken the lane.
async fn until_nothing_is_due(ledger: &Ledger, duty: Duty) {
    loop {
        let due = ledger
            .read(move |connection| due::due(connection, &Lane::of_jobs(duty), jiff::Timestamp::now(), 1))
            .await;
        match due {
            Ok(due) if !due.by_source.is_empty() => {
                ledger.wake(duty);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use hark_sdk::event::Recording;
    use uuid::Uuid;

    use super::*;
    use crate::job::ledger::jobs;
    use crate::job::{Job, Origin, Stage};

    #[tokio::test]
    async fn a_lane_that_was_not_told_of_its_last_job_is_woken_for_it_before_the_end() {
        let state = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(state.path()).unwrap();
        let id = Uuid::now_v7();
        let job = Job::new(id, "calls", "default", Origin::Nothing, Recording::default(), Default::default());
        let heard = Job { stage: Stage::Heard, ..job };
        let mut woken = ledger.wakes(Duty::Pipe);
        // As if by a task that was stopped before it could wake the lane.
        ledger
            .write(move |connection| jobs::insert(connection, &mut heard.clone(), Vec::new()))
            .await
            .unwrap();
        let lane = async {
            woken.changed().await.unwrap();
            ledger.write(move |connection| jobs::forget(connection, id)).await.unwrap();
        };
        let end = futures::future::join(until_nothing_is_due(&ledger, Duty::Pipe), lane);
        tokio::time::timeout(Duration::from_secs(30), end).await.expect("the lane sleeps on");
    }
}
