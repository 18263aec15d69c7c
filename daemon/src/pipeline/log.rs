//! Log lines of plugins in the daemon's log, bounded in rate and length.

use std::time::{Duration, Instant};

use hark_sdk::Level;

use super::wire::clean;

/// Lines of one plugin that are logged in a second; further lines are counted.
const MOST: u32 = 50;
const SECOND: Duration = Duration::from_secs(1);

/// The log of one plugin's process.
#[derive(Debug)]
pub struct PluginLog {
    plugin: String,
    /// When the current second began, and the lines logged in it.
    began: Instant,
    lines: u32,
    dropped: u64,
}

impl PluginLog {
    pub fn new(plugin: &str) -> Self {
        PluginLog { plugin: plugin.to_owned(), began: Instant::now(), lines: 0, dropped: 0 }
    }

    /// Logs a line, or counts it as dropped when it is over the rate.
    pub fn line(&mut self, level: i32, line: &str) {
        if !self.admit(Instant::now()) {
            return;
        }
        let plugin = &self.plugin;
        if self.dropped > 0 {
            tracing::warn!(%plugin, dropped = self.dropped, "log lines of the plugin were dropped: over the rate limit");
            self.dropped = 0;
        }
        let line = clean(line);
        match Level::from_abi(level) {
            Level::Error => tracing::error!(%plugin, "{line}"),
            Level::Warn => tracing::warn!(%plugin, "{line}"),
            Level::Info => tracing::info!(%plugin, "{line}"),
            Level::Debug => tracing::debug!(%plugin, "{line}"),
            Level::Trace => tracing::trace!(%plugin, "{line}"),
        }
    }

    /// Time until the next line would be logged.
    pub fn pause(&self) -> Duration {
        if self.lines < MOST { Duration::ZERO } else { SECOND.saturating_sub(self.began.elapsed()) }
    }

    fn admit(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.began) >= SECOND {
            (self.began, self.lines) = (now, 0);
        }
        if self.lines == MOST {
            self.dropped += 1;
            return false;
        }
        self.lines += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_to_some_lines_in_a_second() {
        let mut log = PluginLog::new("noisy");
        let start = log.began;
        let admitted = (0..10_000).filter(|_| log.admit(start)).count();
        assert_eq!((admitted, log.dropped), (50, 9_950));
        assert!(log.pause() <= SECOND);
        assert_eq!((0..100).filter(|_| log.admit(start + SECOND)).count(), 50);
    }
}
