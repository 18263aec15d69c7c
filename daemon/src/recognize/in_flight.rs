//! How many tasks the service has of ours.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};

/// Places for tasks at the service (`dashscope.filetrans_concurrency`). A task that is found, inherited, or of an earlier life takes one
/// whether there is one or not; so many ends give none back.
#[derive(Debug)]
pub struct InFlight {
    places: Semaphore,
    /// Tasks that are too many.
    surplus: Mutex<usize>,
}

impl InFlight {
    /// With room for so many.
    pub fn new(places: usize) -> InFlight {
        InFlight { places: Semaphore::new(places), surplus: Mutex::new(0) }
    }

    /// Waits for a place; it goes back when the permit is dropped, unless the task keeps it ([`InFlight::keep`]).
    ///
    /// # Errors
    /// Never: nobody closes it.
    pub async fn place(&self) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.places.acquire().await
    }

    /// The task that the place was for is at the service.
    pub fn keep(&self, place: SemaphorePermit<'_>) {
        place.forget();
    }

    /// A task is at the service that no place was waited for.
    pub fn add(&self) {
        match self.places.try_acquire() {
            Ok(place) => place.forget(),
            Err(_) => *self.surplus() += 1,
        }
    }

    /// A task has ended.
    pub fn ended(&self) {
        let mut surplus = self.surplus();
        match surplus.checked_sub(1) {
            Some(less) => *surplus = less,
            None => self.places.add_permits(1),
        }
    }

    fn surplus(&self) -> std::sync::MutexGuard<'_, usize> {
        self.surplus.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_beyond_the_limit_give_no_place_back() {
        let tasks = InFlight::new(2);
        for _ in 0..5 {
            tasks.add();
        }
        for ended in 1..=5 {
            assert_eq!(tasks.places.available_permits(), (ended - 1_usize).saturating_sub(3), "{ended}");
            tasks.ended();
        }
        assert_eq!(tasks.places.available_permits(), 2);
    }
}
