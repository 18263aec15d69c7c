//! A lane carries out one duty: it takes jobs from the ledger as they fall due and works on a bounded number of them at a time.
//!
//! The sources share the free slots (`slots.rs`): a folder that receives 100,000 files leaves slots for a message that comes after them.
//!
//! The ledger is the queue. A lane holds in memory only the jobs that it works on, so 100,000 open jobs cost no memory; the next look into
//! the ledger finds every other job that is due.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::time::Duration;

use futures::future::OptionFuture;
use jiff::Timestamp;
use rusqlite::Connection;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error, info_span, warn};

use super::slots::{Priorities, Slots};
use crate::job::Duty;
use crate::job::ledger::cancel::Dropped;
use crate::job::ledger::due::{self, Lane, Owed};
use crate::job::ledger::{Ledger, LedgerError, jobs, pieces};
use crate::job::{Job, Piece};

/// The outcome of a worker.
pub type Worked = Result<(), LedgerError>;

/// The input of a worker: a job as the ledger has it, and the piece if the duty is owed to a piece.
#[derive(Debug, Clone)]
pub struct Task {
    pub job: Job,
    pub piece: Option<Piece>,
}

/// How many tasks of a lane may run, and whose go first. Read at every look into the ledger: a reload may change both, and then wakes the lane.
#[derive(Debug, Clone)]
pub struct LaneLimits {
    pub width: usize,
    pub priorities: Priorities,
}

/// Works on what `lane` owes, on `terms`, until `stop`; then finishes the tasks that are running and returns.
///
/// `work` must advance the job or the piece, or set a later due time; else the lane starts the same task again at once. Dropping the
/// returned future cancels the running tasks.
///
/// # Errors
/// When the ledger is closed or damaged: then the daemon cannot rely on what it writes being remembered.
pub async fn run<W, F>(
    ledger: Ledger,
    lane: Lane,
    terms: impl Fn() -> LaneLimits,
    stop: CancellationToken,
    work: W,
) -> Result<(), LedgerError>
where
    W: Fn(Task) -> F,
    F: Future<Output = Worked> + Send + 'static,
{
    let mut woken = ledger.wakes(lane.duty);
    // The settle lane drops no task: a canceled job has to be settled like any other.
    let mut dropped = (lane.duty != Duty::Settle).then(|| ledger.dropped());
    let LaneLimits { width, priorities } = terms();
    let slots = Slots::new(priorities, width);
    let mut running = RunningTasks { ledger, lane, slots, tasks: HashMap::new(), skipped: HashSet::new() };
    let mut tasks: JoinSet<Worked> = JoinSet::new();
    let mut look = true;
    let mut next_due: Option<Timestamp> = None;
    loop {
        let LaneLimits { width, priorities } = terms();
        running.slots.reconfigure(priorities, width);
        while look && !stop.is_cancelled() && tasks.len() < width {
            let found = running.look(width - tasks.len()).await?;
            (look, next_due) = (found.more, found.next);
            for (owed, task) in found.tasks {
                let source = task.job.source.clone();
                let duty = running.lane.duty.as_str();
                let span = match owed.piece {
                    0 | 1 => info_span!("job", job = %owed.job, source, lane = duty),
                    piece => info_span!("job", job = %owed.job, source, lane = duty, piece),
                };
                let handle = tasks.spawn(work(task).instrument(span));
                running.tasks.insert(handle.id(), RunningTask { owed, source, handle });
            }
        }
        if stop.is_cancelled() && tasks.is_empty() {
            return Ok(());
        }
        tokio::select! {
            Some(done) = tasks.join_next_with_id(), if !tasks.is_empty() => {
                running.finished(done)?;
                // One look into the ledger serves all tasks that have finished.
                while let Some(done) = tasks.try_join_next_with_id() {
                    running.finished(done)?;
                }
                // The piece may owe the same duty again (a retry that is due already).
                look = true;
            }
            Ok(()) = woken.changed(), if !stop.is_cancelled() => look = true,
            work = next_dropped(&mut dropped) => running.drop_work(&work),
            Some(()) = OptionFuture::from(next_due.map(sleep_until)), if !stop.is_cancelled() => {
                look = true;
                next_due = None;
            }
            () = stop.cancelled(), if !stop.is_cancelled() => {}
        }
    }
}

/// The running tasks of a lane.
struct RunningTasks {
    ledger: Ledger,
    lane: Lane,
    slots: Slots,
    /// The running tasks.
    tasks: HashMap<Id, RunningTask>,
    /// Jobs and pieces whose work panicked, or that a newer harkd wrote; the lane leaves them alone until the next start.
    skipped: HashSet<Owed>,
}

/// A running task.
struct RunningTask {
    /// What it works on.
    owed: Owed,
    source: String,
    handle: AbortHandle,
}

/// What a look into the ledger found.
struct DueTasks {
    /// The lane's slots, after these tasks have theirs.
    slots: Slots,
    /// Due tasks, as many as the lane had free slots.
    tasks: Vec<(Owed, Task)>,
    /// Rows that a newer harkd wrote.
    newer: Vec<(Owed, LedgerError)>,
    /// There may be more tasks that are due.
    more: bool,
    /// When the next task that is not due yet falls due.
    next: Option<Timestamp>,
}

impl RunningTasks {
    /// Reads from the ledger what is due and not running yet, at most `room` tasks. One read does all of it, because each recording passes
    /// through here four times.
    async fn look(&mut self, room: usize) -> Result<DueTasks, LedgerError> {
        let tasks = self.tasks.values().map(|task| &task.owed);
        let busy: HashSet<Owed> = tasks.chain(&self.skipped).copied().collect();
        let mut taken: HashMap<String, usize> = HashMap::new();
        for task in self.tasks.values() {
            *taken.entry(task.source.clone()).or_default() += 1;
        }
        let (lane, slots) = (self.lane.clone(), self.slots.clone());
        let look = move |connection: &Connection| {
            let due = due::due(connection, &lane, Timestamp::now(), busy.len() + room)?;
            let next = due.next.and_then(|millis| Timestamp::from_millisecond(millis).ok());
            let mut slots = slots.clone();
            let free = slots.give(due.by_source, &busy, &taken);
            let mut found = DueTasks {
                slots,
                tasks: Vec::with_capacity(free.len()),
                newer: Vec::new(),
                more: free.len() == room,
                next,
            };
            for owed in free {
                match task(connection, &lane, owed) {
                    Ok(task) => found.tasks.extend(task.map(|task| (owed, task))),
                    Err(newer @ LedgerError::Newer { .. }) => found.newer.push((owed, newer)),
                    Err(error) => return Err(error),
                }
            }
            Ok(found)
        };
        let found = self.ledger.read(look).await?;
        self.slots = found.slots.clone();
        for (owed, error) in &found.newer {
            warn!(job = %owed.job, lane = self.lane.duty.as_str(), %error, "a job of a newer harkd is skipped");
            self.skipped.insert(*owed);
        }
        Ok(found)
    }

    /// Ends the tasks that work on a canceled job: a request under way is dropped with its connection, and whatever it waits for.
    fn drop_work(&self, dropped: &Dropped) {
        for RunningTask { owed, handle, .. } in self.tasks.values() {
            if owed.job == dropped.job && !dropped.except.contains(&owed.piece) {
                handle.abort();
            }
        }
    }

    fn finished(&mut self, done: Result<(Id, Worked), tokio::task::JoinError>) -> Result<(), LedgerError> {
        match done {
            Ok((task, worked)) => {
                self.tasks.remove(&task);
                worked
            }
            Err(error) => {
                let (owed, source) =
                    self.tasks.remove(&error.id()).map(|task| (task.owed, task.source)).unzip();
                if error.is_panic() {
                    error!(job = ?owed.map(|owed| owed.job), source, lane = self.lane.duty.as_str(), %error, "a task of a lane panicked, which is a bug of Hark; the lane leaves the job alone until the next start");
                    self.skipped.extend(owed);
                }
                Ok(())
            }
        }
    }
}

/// The job and the piece, if they still owe the lane's duty: another task may have advanced them after their ids were read.
fn task(connection: &Connection, lane: &Lane, owed: Owed) -> Result<Option<Task>, LedgerError> {
    let Some(job) = jobs::find(connection, owed.job)? else { return Ok(None) };
    if lane.recognizer.is_none() {
        return Ok((job.stage.duty() == Some(lane.duty)).then_some(Task { job, piece: None }));
    }
    let piece = pieces::find(connection, owed.piece_id())?;
    let piece = piece.filter(|piece| piece.state.duty() == Some(lane.duty));
    Ok(piece.map(|piece| Task { job, piece: Some(piece) }))
}

/// The next work that is to be dropped.
async fn next_dropped(dropped: &mut Option<tokio::sync::broadcast::Receiver<Dropped>>) -> Dropped {
    loop {
        let Some(receiver) = dropped else { return std::future::pending().await };
        match receiver.recv().await {
            Ok(work) => return work,
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => *dropped = None,
        }
    }
}

async fn sleep_until(due: Timestamp) {
    let wait = Timestamp::now().duration_until(due);
    tokio::time::sleep(Duration::try_from(wait).unwrap_or_default()).await;
}
