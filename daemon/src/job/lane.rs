//! A lane carries out one duty: it takes jobs from the ledger as they fall due and works on a bounded number of them at a time.
//!
//! The ledger is the queue. A lane holds the ids of the jobs it works on and a short buffer of ids to come, so 100,000 open jobs
//! cost no memory; a job that no lane holds is found again by the next look.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error, info_span};
use uuid::Uuid;

use super::ledger::{Ledger, LedgerError, jobs};
use super::{Duty, Job};

/// What a worker says at its end.
pub type Worked = Result<(), LedgerError>;

/// Works on the jobs of `duty`, `width` at a time, until `stop`; then the jobs at hand are finished and it returns.
///
/// `work` is given the job as the ledger has it. It must advance the job (or set a later due time), else the job comes again at
/// once. Dropping the returned future drops the work at hand.
///
/// # Errors
/// When the ledger is closed or damaged: then nothing that the daemon does can be trusted to be remembered.
pub async fn run<W, F>(
    ledger: Ledger,
    duty: Duty,
    width: usize,
    stop: CancellationToken,
    work: W,
) -> Result<(), LedgerError>
where
    W: Fn(Job) -> F,
    F: Future<Output = Worked> + Send + 'static,
{
    let mut lane = Lane {
        ledger: ledger.clone(),
        duty,
        width,
        at_hand: HashMap::new(),
        resting: HashSet::new(),
        buffer: VecDeque::new(),
    };
    let mut tasks: JoinSet<Worked> = JoinSet::new();
    let mut look = true;
    let mut next_due: Option<Timestamp> = None;
    loop {
        while !stop.is_cancelled() && tasks.len() < width {
            if lane.buffer.is_empty() {
                if !look {
                    break;
                }
                next_due = lane.refill().await?;
                // A full buffer may have left some behind; an empty one has not.
                look = !lane.buffer.is_empty();
                if lane.buffer.is_empty() {
                    break;
                }
            }
            let Some(id) = lane.buffer.pop_front() else { break };
            // Since the look, somebody else may have advanced it.
            let Some(job) = ledger.find(id).await?.filter(|job| job.state.duty() == duty) else { continue };
            let span = info_span!("job", job = %job.id, source = job.source, lane = duty.as_str());
            let handle = tasks.spawn(work(job).instrument(span));
            lane.at_hand.insert(handle.id(), id);
        }
        if stop.is_cancelled() && tasks.is_empty() {
            return Ok(());
        }
        tokio::select! {
            Some(done) = tasks.join_next_with_id(), if !tasks.is_empty() => {
                lane.finished(done)?;
                // What it did may have left the job in this same lane (a retry that is due already).
                look = true;
            }
            () = ledger.woken(duty), if !stop.is_cancelled() => look = true,
            () = sleep_until(next_due), if !stop.is_cancelled() => {
                look = true;
                next_due = None;
            }
            () = stop.cancelled(), if !stop.is_cancelled() => {}
        }
    }
}

struct Lane {
    ledger: Ledger,
    duty: Duty,
    width: usize,
    at_hand: HashMap<Id, Uuid>,
    /// Jobs whose work panicked; nobody touches them until the next start.
    resting: HashSet<Uuid>,
    buffer: VecDeque<Uuid>,
}

impl Lane {
    async fn refill(&mut self) -> Result<Option<Timestamp>, LedgerError> {
        let busy: HashSet<Uuid> = self.at_hand.values().chain(&self.resting).copied().collect();
        let duty = self.duty;
        let limit = busy.len() + 2 * self.width;
        let due =
            self.ledger.read(move |connection| jobs::due(connection, duty, Timestamp::now(), limit)).await?;
        self.buffer.extend(due.ids.into_iter().filter(|id| !busy.contains(id)));
        Ok(due.next.and_then(|millis| Timestamp::from_millisecond(millis).ok()))
    }

    fn finished(&mut self, done: Result<(Id, Worked), tokio::task::JoinError>) -> Result<(), LedgerError> {
        match done {
            Ok((task, worked)) => {
                self.at_hand.remove(&task);
                worked
            }
            Err(error) => {
                let job = self.at_hand.remove(&error.id());
                if error.is_panic() {
                    error!(?job, lane = self.duty.as_str(), %error, "work on a job panicked: this is a bug of Hark's; the job rests until the next start");
                    self.resting.extend(job);
                }
                Ok(())
            }
        }
    }
}

async fn sleep_until(due: Option<Timestamp>) {
    match due {
        Some(due) => {
            let wait = Timestamp::now().duration_until(due);
            tokio::time::sleep(Duration::try_from(wait).unwrap_or_default()).await;
        }
        None => std::future::pending().await,
    }
}
