//! Limits how many tasks this daemon has at the service.

use parking_lot::{Mutex, MutexGuard};
use std::collections::HashSet;

use crate::job::PieceId;
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};

/// Places for tasks at the service (`dashscope.filetrans_concurrency`), one per piece, however often the piece is added. A task that was
/// found in the list, taken over, or left by an earlier run is counted even if no place is free; then as many ends give no place back.
#[derive(Debug)]
pub struct InFlight {
    places: Semaphore,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    pieces: HashSet<PieceId>,
    /// How many of them have no place.
    surplus: usize,
}

impl InFlight {
    /// Makes `places` places.
    pub fn new(places: usize) -> InFlight {
        InFlight { places: Semaphore::new(places), taken: Mutex::default() }
    }

    /// Waits for a place. Dropping the permit gives the place back, unless the task keeps it ([`InFlight::keep`]).
    ///
    /// # Errors
    /// Never: the semaphore is never closed.
    pub async fn place(&self) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.places.acquire().await
    }

    /// The task that the place was for is at the service. If the piece has a place already, this one is given back.
    pub fn keep(&self, piece: PieceId, place: SemaphorePermit<'_>) {
        if self.taken().pieces.insert(piece) {
            place.forget();
        }
    }

    /// A piece has a task at the service, even if it did not wait for a place.
    pub fn add(&self, piece: PieceId) {
        let mut taken = self.taken();
        if !taken.pieces.insert(piece) {
            return;
        }
        match self.places.try_acquire() {
            Ok(place) => place.forget(),
            Err(_) => taken.surplus += 1,
        }
    }

    /// A piece has no task at the service any more.
    pub fn ended(&self, piece: PieceId) {
        let mut taken = self.taken();
        if !taken.pieces.remove(&piece) {
            return;
        }
        match taken.surplus.checked_sub(1) {
            Some(less) => taken.surplus = less,
            None => self.places.add_permits(1),
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn piece() -> PieceId {
        PieceId { job: Uuid::now_v7(), number: 1 }
    }

    #[test]
    fn tasks_beyond_the_limit_give_no_place_back() {
        let tasks = InFlight::new(2);
        let pieces: [PieceId; 5] = std::array::from_fn(|_| piece());
        pieces.iter().for_each(|piece| tasks.add(*piece));
        for (ended, first) in pieces.into_iter().enumerate() {
            assert_eq!(tasks.places.available_permits(), ended.saturating_sub(3), "{ended}");
            tasks.ended(first);
        }
        assert_eq!(tasks.places.available_permits(), 2);
    }

    #[tokio::test]
    async fn a_job_that_goes_and_comes_back_with_its_task_has_one_place() {
        let tasks = InFlight::new(2);
        let (first, other) = (piece(), piece());
        tasks.keep(first, tasks.place().await.unwrap());
        // Added by the first look of `await_tasks`; lost to another daemon, and taken over again before its end there was noticed.
        for _ in 0..3 {
            tasks.add(first);
        }
        assert_eq!(tasks.places.available_permits(), 1);
        // The piece is submitted anew.
        tasks.keep(first, tasks.place().await.unwrap());
        tasks.keep(other, tasks.place().await.unwrap());
        assert_eq!(tasks.places.available_permits(), 0);
        for _ in 0..2 {
            tasks.ended(first);
        }
        assert_eq!(tasks.places.available_permits(), 1, "the other piece keeps its place");
        tasks.ended(other);
        assert_eq!(tasks.places.available_permits(), 2);
    }
}
