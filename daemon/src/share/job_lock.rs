//! One lock per job: one task at a time.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use uuid::Uuid;

/// The locks of all jobs. Clones share them. A job whose lock no task holds or waits for takes no memory.
#[derive(Debug, Clone, Default)]
pub struct Turns(Arc<Mutex<Jobs>>);

type Jobs = HashMap<Uuid, Arc<AsyncMutex<()>>>;

/// The lock of one job, held until this is dropped.
#[derive(Debug)]
pub struct Turn {
    job: Uuid,
    turns: Turns,
    held: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits for the job's lock, behind the tasks that wait already.
    pub async fn wait_for(&self, job: Uuid) -> Turn {
        let lock = self.lock_of(job);
        // Made before the wait, so that a cancelled waiter removes the lock's entry as well.
        let mut turn = Turn { job, turns: self.clone(), held: None };
        turn.held = Some(lock.lock_owned().await);
        turn
    }

    /// The job's lock, unless another task holds it.
    pub fn take(&self, job: Uuid) -> Option<Turn> {
        let held = self.lock_of(job).try_lock_owned().ok()?;
        Some(Turn { job, turns: self.clone(), held: Some(held) })
    }

    fn lock_of(&self, job: Uuid) -> Arc<AsyncMutex<()>> {
        Arc::clone(self.jobs().entry(job).or_default())
    }

    fn jobs(&self) -> parking_lot::MutexGuard<'_, Jobs> {
        self.0.lock()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut jobs = self.turns.jobs();
        self.held = None;
        // A count of 1 is the map's own: no task holds the lock or waits for it, and none can begin to while the map is locked.
        if jobs.get(&self.job).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            jobs.remove(&self.job);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn one_task_holds_a_jobs_lock_and_a_released_lock_takes_no_memory() {
        let (turns, job, other) = (Turns::default(), Uuid::now_v7(), Uuid::now_v7());
        let first = turns.take(job).unwrap();
        assert!(turns.take(job).is_none());
        assert!(turns.take(other).is_some(), "each job has a lock of its own");
        let waiter = tokio::spawn({
            let turns = turns.clone();
            async move { turns.wait_for(job).await }
        });
        let impatient = tokio::time::timeout(Duration::ZERO, turns.wait_for(job)).await;
        assert!(impatient.is_err());
        drop(first);
        let second = waiter.await.unwrap();
        assert!(turns.take(job).is_none());
        drop(second);
        assert!(turns.jobs().is_empty());
    }
}
