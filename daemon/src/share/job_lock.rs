//! One at a time per job.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use uuid::Uuid;

/// Who has the turn of which job. Clones share it; a job that nobody is at takes no memory.
#[derive(Debug, Clone, Default)]
pub struct Turns(Arc<Mutex<Jobs>>);

type Jobs = HashMap<Uuid, Arc<AsyncMutex<()>>>;

/// The turn of one job, given back when it is dropped.
#[derive(Debug)]
pub struct Turn {
    job: Uuid,
    turns: Turns,
    held: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits for the turn, behind those that wait already.
    pub async fn wait_for(&self, job: Uuid) -> Turn {
        let lock = self.lock_of(job);
        // Before the wait: a waiter that is cancelled leaves nothing either.
        let mut turn = Turn { job, turns: self.clone(), held: None };
        turn.held = Some(lock.lock_owned().await);
        turn
    }

    /// The turn, unless somebody has it.
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
        // Nobody else has it or waits for it, and nobody can begin to while the map is locked.
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
    async fn one_has_the_turn_and_what_is_given_back_leaves_nothing() {
        let (turns, job, other) = (Turns::default(), Uuid::now_v7(), Uuid::now_v7());
        let first = turns.take(job).unwrap();
        assert!(turns.take(job).is_none());
        assert!(turns.take(other).is_some(), "each job has a turn of its own");
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
