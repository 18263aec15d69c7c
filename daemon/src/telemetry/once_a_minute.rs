//! Limits warnings that would otherwise be logged at every attempt.

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Short enough that the newest lines of a log still show why a recording waits.
const REMINDER: Duration = Duration::from_secs(60);

/// Decides when a message is logged: at first, and then once a minute. Clones share the minute.
#[derive(Debug, Clone, Default)]
pub struct OnceAMinute(Arc<Mutex<Logged>>);

#[derive(Debug, Default)]
struct Logged {
    last: Option<Instant>,
    /// Occurrences since then that were not logged.
    not_logged: u64,
}

impl OnceAMinute {
    /// Whether it is time to log.
    pub fn is_time(&self) -> bool {
        self.count().is_some()
    }

    /// The number of occurrences since the last log line, this one included; `None`: it is not time to log.
    pub fn count(&self) -> Option<u64> {
        self.count_at(Instant::now())
    }

    fn count_at(&self, now: Instant) -> Option<u64> {
        let mut said = self.0.lock();
        said.not_logged += 1;
        if said.last.is_some_and(|last| now.saturating_duration_since(last) < REMINDER) {
            return None;
        }
        said.last = Some(now);
        Some(std::mem::take(&mut said.not_logged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_a_minute_it_is_said_how_often() {
        let (seldom, start) = (OnceAMinute::default(), Instant::now());
        let counts: Vec<u64> =
            (0..1_250).filter_map(|tenth| seldom.count_at(start + tenth * REMINDER / 600)).collect();
        assert_eq!(counts, [1, 600, 600]);
    }
}
