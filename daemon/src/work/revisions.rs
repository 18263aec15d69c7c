//! The revisions of partials: one sequence per job, shared by all of its pieces.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use uuid::Uuid;

/// The sequences of all jobs whose pieces stream now. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Revisions(Arc<Mutex<HashMap<Uuid, Weak<AtomicU64>>>>);

/// The sequence of one job, for as long as a piece of it streams.
#[derive(Debug, Clone)]
pub(super) struct Revision(Arc<AtomicU64>);

impl Revisions {
    /// The sequence of a job; `last`: the highest revision that the ledger knows.
    pub(super) fn of(&self, job: Uuid, last: u64) -> Revision {
        let mut jobs = self.0.lock();
        if let Some(running) = jobs.get(&job).and_then(Weak::upgrade) {
            return Revision(running);
        }
        jobs.retain(|_, sequence| sequence.strong_count() > 0);
        let sequence = Arc::new(AtomicU64::new(last));
        jobs.insert(job, Arc::downgrade(&sequence));
        Revision(sequence)
    }
}

impl Revision {
    /// Takes the next revision.
    pub(super) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The revision that was taken last.
    pub(super) fn last(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_pieces_of_a_job_share_one_sequence_and_the_next_stream_goes_on_from_the_ledger() {
        let (revisions, job) = (Revisions::default(), Uuid::now_v7());
        let (first, second) = (revisions.of(job, 7), revisions.of(job, 7));
        assert_eq!((first.next(), second.next(), first.next()), (8, 9, 10));
        drop((first, second));
        assert_eq!(revisions.of(job, 10).next(), 11);
    }
}
