//! The queue of a pacer: who goes first.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::config::Priority;

/// While requests of archives wait, this many of other sources go before one of them.
const BEFORE_AN_ARCHIVE: u32 = 7;

/// The requests that wait: by the priority of their source, then in the order of arrival.
#[derive(Debug, Default)]
pub(super) struct Queue(Mutex<WaitingRequests>);

#[derive(Debug, Default)]
struct WaitingRequests {
    /// Each with the signal that it is first.
    requests: BTreeMap<Rank, Arc<Notify>>,
    arrivals: u64,
    /// How many went before the oldest archive since the last one.
    before_an_archive: u32,
}

type Rank = (Priority, u64);

impl WaitingRequests {
    fn first(&self) -> Option<Rank> {
        let archive = || self.requests.range((Priority::Archive, 0)..).next();
        let is_archives_turn = self.before_an_archive >= BEFORE_AN_ARCHIVE;
        let first = is_archives_turn.then(archive).flatten().or(self.requests.iter().next());
        first.map(|(rank, _)| *rank)
    }
}

/// A place in the queue, left when it is dropped.
#[derive(Debug)]
pub(super) struct QueuePlace<'a> {
    queue: &'a Queue,
    rank: Rank,
    signal: Arc<Notify>,
}

impl Queue {
    /// Takes the last place of a priority.
    pub(super) fn enter(&self, priority: Priority) -> QueuePlace<'_> {
        let signal = Arc::new(Notify::new());
        let mut waiting = self.0.lock();
        let rank = (priority, waiting.arrivals);
        waiting.arrivals += 1;
        waiting.requests.insert(rank, Arc::clone(&signal));
        QueuePlace { queue: self, rank, signal }
    }
}

impl QueuePlace<'_> {
    /// Whether it is this place's turn. A later arrival of a higher priority may come first again.
    pub(super) fn is_first(&self) -> bool {
        self.queue.0.lock().first() == Some(self.rank)
    }

    /// Waits until it is this place's turn.
    pub(super) async fn first(&self) {
        while !self.is_first() {
            self.signal.notified().await;
        }
    }

    /// Leaves the queue with what it waited for.
    pub(super) fn served(self) {
        let mut waiting = self.queue.0.lock();
        if self.rank.0 == Priority::Archive {
            waiting.before_an_archive = 0;
        } else if waiting.requests.range((Priority::Archive, 0)..).next().is_some() {
            waiting.before_an_archive += 1;
        }
    }
}

impl Drop for QueuePlace<'_> {
    fn drop(&mut self) {
        let mut waiting = self.queue.0.lock();
        waiting.requests.remove(&self.rank);
        if let Some(first) = waiting.first()
            && let Some(signal) = waiting.requests.get(&first)
        {
            signal.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The order in which places are served that all wait at the same time.
    fn order(priorities: &[Priority]) -> Vec<Priority> {
        let queue = Queue::default();
        let mut places: Vec<_> = priorities.iter().map(|priority| queue.enter(*priority)).collect();
        let mut served = Vec::new();
        while let Some(first) = places.iter().position(QueuePlace::is_first) {
            let place = places.remove(first);
            served.push(place.rank.0);
            place.served();
        }
        assert!(places.is_empty());
        served
    }

    #[test]
    fn a_live_call_goes_before_all_that_waits_already() {
        use Priority::{Archive, Live, Normal};
        assert_eq!(order(&[Archive, Archive, Normal, Live]), [Live, Normal, Archive, Archive]);
    }

    #[test]
    fn an_archive_gets_every_eighth_turn_while_others_wait() {
        let mut waiting = vec![Priority::Archive; 3];
        waiting.extend([Priority::Live; 10]);
        waiting.extend([Priority::Normal; 10]);
        let served = order(&waiting);
        let turns: Vec<_> = (0..served.len()).filter(|turn| served[*turn] == Priority::Archive).collect();
        assert_eq!(turns, [7, 15, 22]);
    }

    #[test]
    fn a_place_that_is_given_up_signals_the_next() {
        let queue = Queue::default();
        let (first, second) = (queue.enter(Priority::Normal), queue.enter(Priority::Normal));
        assert!(first.is_first() && !second.is_first());
        drop(first);
        assert!(second.is_first());
        assert!(futures::FutureExt::now_or_never(second.signal.notified()).is_some());
    }
}
