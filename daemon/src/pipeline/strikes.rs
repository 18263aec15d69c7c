//! Decides when a plugin has died too often.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Deaths within [`WINDOW`] after which a plugin is quarantined.
const MOST: usize = 3;
/// Long enough to catch a plugin that dies at every tenth call, short enough to tolerate one death a day over a bad recording.
const WINDOW: Duration = Duration::from_secs(600);

/// Times of the recent deaths of one plugin.
#[derive(Debug, Default)]
pub struct Strikes(VecDeque<Instant>);

impl Strikes {
    /// Records a death; true if it is the third in ten minutes.
    pub fn strike(&mut self, now: Instant) -> bool {
        self.0.push_back(now);
        while self.0.front().is_some_and(|&first| now.duration_since(first) > WINDOW) {
            self.0.pop_front();
        }
        self.0.len() >= MOST
    }

    /// Clears the recorded deaths: for a new library, or when the operator enables the plugin.
    pub fn forget(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_in_ten_minutes_is_one_too_many() {
        let start = Instant::now();
        let mut strikes = Strikes::default();
        let after = |minutes: u64| start + Duration::from_secs(60 * minutes);
        assert!(!strikes.strike(after(0)));
        assert!(!strikes.strike(after(8)));
        assert!(!strikes.strike(after(11)));
        assert!(strikes.strike(after(12)));
    }
}
