//! Limits what the scans log: each trouble once, and not at every scan.

use std::collections::HashSet;

use parking_lot::Mutex;

/// The troubles that were logged, by a key of each.
#[derive(Debug)]
pub(super) struct LogOnce {
    most: usize,
    logged: Mutex<HashSet<String>>,
}

impl LogOnce {
    /// After `most` troubles no new one is logged.
    pub fn at_most(most: usize) -> LogOnce {
        LogOnce { most, logged: Mutex::default() }
    }

    /// Whether this trouble has not been logged yet.
    pub fn is_first(&self, key: impl Into<String>) -> bool {
        let mut logged = self.logged.lock();
        logged.len() < self.most && logged.insert(key.into())
    }
}
