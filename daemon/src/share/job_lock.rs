//! One lock per job: one task at a time.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use uuid::Uuid;

/// The locks of all jobs. Clones share them. A job whose lock no task holds or waits for takes no memory.
#[derive(Debug, Clone, Default)]
pub struct JobLocks(Arc<Mutex<Jobs>>);

type Jobs = HashMap<Uuid, Arc<AsyncMutex<()>>>;

/// The lock of one job, held until this is dropped.
#[derive(Debug)]
pub struct JobLock {
    job: Uuid,
    locks: JobLocks,
    held: Option<OwnedMutexGuard<()>>,
}

impl JobLocks {
    /// Waits for the job's lock, behind the tasks that wait already.
    pub async fn wait_for(&self, job: Uuid) -> JobLock {
        let lock = self.lock_of(job);
        // Made before the wait, so that a cancelled waiter removes the lock's entry as well.
        let mut guard = JobLock { job, locks: self.clone(), held: None };
        guard.held = Some(lock.lock_owned().await);
        guard
    }

    /// The job's lock, unless another task holds it.
    pub fn take(&self, job: Uuid) -> Option<JobLock> {
        let held = self.lock_of(job).try_lock_owned().ok()?;
        Some(JobLock { job, locks: self.clone(), held: Some(held) })
    }

    fn lock_of(&self, job: Uuid) -> Arc<AsyncMutex<()>> {
        Arc::clone(self.jobs().entry(job).or_default())
    }

    fn jobs(&self) -> parking_lot::MutexGuard<'_, Jobs> {
        self.0.lock()
    }
}

impl Drop for JobLock {
    fn drop(&mut self) {
        let mut jobs = self.locks.jobs();
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
        let (locks, job, other) = (JobLocks::default(), Uuid::now_v7(), Uuid::now_v7());
        let first = locks.take(job).unwrap();
        assert!(locks.take(job).is_none());
        assert!(locks.take(other).is_some(), "each job has a lock of its own");
        let waiter = tokio::spawn({
            let locks = locks.clone();
            async move { locks.wait_for(job).await }
        });
        let impatient = tokio::time::timeout(Duration::ZERO, locks.wait_for(job)).await;
        assert!(impatient.is_err());
        drop(first);
        let second = waiter.await.unwrap();
        assert!(locks.take(job).is_none());
        drop(second);
        assert!(locks.jobs().is_empty());
    }
}
