//! Limits how many tasks this daemon has at the service.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

use crate::job::PieceId;

/// The pieces with a task at the service, or on the way there, and how many there may be (`dashscope.filetrans_concurrency`). A task that
/// was found in the list, taken over, or left by an earlier run is counted even if there are too many.
#[derive(Debug)]
pub struct InFlight {
    most: AtomicUsize,
    pieces: watch::Sender<HashSet<PieceId>>,
}

/// The place of a piece whose task is not at the service yet. Dropping it gives the place back.
#[derive(Debug)]
pub struct TaskSlot<'a> {
    in_flight: &'a InFlight,
    piece: Option<PieceId>,
}

impl InFlight {
    /// Nothing is in flight.
    pub fn new(most: usize) -> InFlight {
        InFlight { most: AtomicUsize::new(most), pieces: watch::Sender::default() }
    }

    /// Sets how many there may be from now on.
    pub fn allow(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
        // Wakes the pieces that wait for a place: the limit may have risen.
        self.pieces.send_modify(|_| ());
    }

    fn is_free(&self, pieces: &HashSet<PieceId>) -> bool {
        pieces.len() < self.most.load(Ordering::Relaxed)
    }

    /// Waits for a place.
    pub async fn place(&self, piece: PieceId) -> TaskSlot<'_> {
        let mut pieces = self.pieces.subscribe();
        let enter = |pieces: &mut HashSet<PieceId>| {
            let is_free = self.is_free(pieces);
            if is_free {
                pieces.insert(piece);
            }
            is_free
        };
        while !self.pieces.send_if_modified(enter) {
            // The sender lives as long as this: waiting cannot fail.
            let _ = pieces.wait_for(|pieces| self.is_free(pieces)).await;
        }
        TaskSlot { in_flight: self, piece: Some(piece) }
    }

    /// A piece has a task at the service, even if it did not wait for a place.
    pub fn add(&self, piece: PieceId) {
        self.pieces.send_if_modified(|pieces| pieces.insert(piece));
    }

    /// A piece has no task at the service any more.
    pub fn ended(&self, piece: PieceId) {
        self.pieces.send_if_modified(|pieces| pieces.remove(&piece));
    }
}

impl TaskSlot<'_> {
    /// The task is at the service: the piece keeps its place until [`InFlight::ended`].
    pub fn keep(mut self) {
        self.piece = None;
    }
}

impl Drop for TaskSlot<'_> {
    fn drop(&mut self) {
        self.piece.into_iter().for_each(|piece| self.in_flight.ended(piece));
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
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
            assert_eq!(tasks.place(piece()).now_or_never().is_some(), ended > 3, "{ended}");
            tasks.ended(first);
        }
    }

    #[tokio::test]
    async fn a_job_that_goes_and_comes_back_with_its_task_has_one_place() {
        let tasks = InFlight::new(2);
        let (first, other) = (piece(), piece());
        let has_room = || tasks.place(piece()).now_or_never().is_some();
        tasks.place(first).await.keep();
        // Added when `await_tasks` finds it; lost to another daemon, and taken over again before its end there was noticed.
        for _ in 0..3 {
            tasks.add(first);
        }
        assert!(has_room(), "a place that is not kept is given back");
        // The piece is submitted anew.
        tasks.place(first).await.keep();
        tasks.place(other).await.keep();
        assert!(!has_room());
        for _ in 0..2 {
            tasks.ended(first);
        }
        tasks.place(first).await.keep();
        assert!(!has_room(), "the other piece keeps its place");
    }

    #[tokio::test]
    async fn another_limit_counts_for_those_that_wait() {
        let tasks = InFlight::new(0);
        let id = piece();
        let mut place = Box::pin(tasks.place(id));
        assert!(place.as_mut().now_or_never().is_none());
        tasks.allow(1);
        drop(place.await);
    }

    #[tokio::test]
    async fn every_place_that_becomes_free_is_taken() {
        let tasks = InFlight::new(1);
        let places = futures::future::join_all((0..9).map(async |_| drop(tasks.place(piece()).await)));
        places.await;
        assert!(tasks.pieces.borrow().is_empty());
    }
}
