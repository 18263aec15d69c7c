//! Log lines of plugins in the daemon's log, bounded in rate and length.

use std::time::{Duration, Instant};

use hark_sdk::Level;

use super::wire::clean;

/// Lines accepted at once.
const BURST: u32 = 50;
/// Lines per second accepted after that.
const RATE: f64 = 20.0;

/// The rate limiter of one plugin's log lines (a token bucket).
#[derive(Debug, Clone)]
pub struct PluginLog {
    plugin: String,
    tokens: f64,
    filled: Instant,
    dropped: u64,
}

impl PluginLog {
    pub fn new(plugin: &str) -> Self {
        PluginLog { plugin: plugin.to_owned(), tokens: f64::from(BURST), filled: Instant::now(), dropped: 0 }
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

    /// Time until the next line would be accepted.
    pub fn pause(&self) -> Duration {
        let missing = (1.0 - self.tokens).max(0.0);
        Duration::from_secs_f64(missing / RATE).saturating_sub(self.filled.elapsed())
    }

    fn admit(&mut self, now: Instant) -> bool {
        let gained = now.saturating_duration_since(self.filled).max(Duration::ZERO).as_secs_f64() * RATE;
        self.tokens = (self.tokens + gained).min(f64::from(BURST));
        self.filled = now;
        if self.tokens < 1.0 {
            self.dropped += 1;
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_to_a_burst_and_a_trickle() {
        let mut log = PluginLog::new("noisy");
        let start = Instant::now();
        let admitted = (0..10_000).filter(|_| log.admit(start)).count();
        assert_eq!((admitted, log.dropped), (50, 9_950));
        assert!(log.pause() <= Duration::from_millis(50));
        let later = start + Duration::from_secs(1);
        assert_eq!((0..100).filter(|_| log.admit(later)).count(), 20);
    }
}
