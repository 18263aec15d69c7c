//! For what would be said at every try.

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Often enough that the newest lines of a log say why nothing moves.
const REMINDER: Duration = Duration::from_secs(60);

/// Says when to say something again: at first, and then once a minute. Clones share the minute.
#[derive(Debug, Clone, Default)]
pub struct OnceAMinute(Arc<Mutex<Said>>);

#[derive(Debug, Default)]
struct Said {
    last: Option<Instant>,
    /// Times that it was not said since.
    unsaid: u64,
}

impl OnceAMinute {
    /// Whether it is time.
    pub fn is_time(&self) -> bool {
        self.count().is_some()
    }

    /// How often it has happened since it was said last, this time included; `None`: it is not time to say it.
    pub fn count(&self) -> Option<u64> {
        self.count_at(Instant::now())
    }

    fn count_at(&self, now: Instant) -> Option<u64> {
        let mut said = self.0.lock();
        said.unsaid += 1;
        if said.last.is_some_and(|last| now.saturating_duration_since(last) < REMINDER) {
            return None;
        }
        said.last = Some(now);
        Some(std::mem::take(&mut said.unsaid))
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
