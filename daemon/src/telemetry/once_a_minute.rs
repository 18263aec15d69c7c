//! For what would be said at every try.

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Often enough that the newest lines of a log say why nothing moves.
const REMINDER: Duration = Duration::from_secs(60);

/// Says when to say something again: at first, and then once a minute. Clones share the minute.
#[derive(Debug, Clone, Default)]
pub struct OnceAMinute(Arc<Mutex<Option<Instant>>>);

impl OnceAMinute {
    /// Whether it is time.
    pub fn is_time(&self) -> bool {
        let mut last = self.0.lock();
        let is_time = last.is_none_or(|last| last.elapsed() >= REMINDER);
        if is_time {
            *last = Some(Instant::now());
        }
        is_time
    }
}
