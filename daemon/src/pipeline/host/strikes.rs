//! What follows when a plugin's process dies: the next process, or quarantine if the plugin has died too often.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::{Failure, Supervisor};
use crate::pipeline::process::{EXIT_LIMIT, Gone};
use crate::pipeline::status::PluginState;

/// Shortest wait for the exit status of a dying process, so that its end can be reported: the process may have died at its deadline.
const SHORTEST_EXIT: Duration = Duration::from_millis(25);
/// Deaths within [`WINDOW`] after which a plugin is quarantined.
const MOST: usize = 3;
/// Long enough to catch a plugin that dies at every tenth call, short enough to tolerate one death a day over a bad recording.
const WINDOW: Duration = Duration::from_secs(600);

/// Times of the recent deaths of one plugin.
#[derive(Debug, Default)]
pub(super) struct Strikes(VecDeque<Instant>);

impl Strikes {
    /// Records a death; true if it is the third in ten minutes.
    fn strike(&mut self, now: Instant) -> bool {
        self.0.push_back(now);
        while self.0.front().is_some_and(|&first| now.duration_since(first) > WINDOW) {
            self.0.pop_front();
        }
        self.0.len() >= MOST
    }

    /// Clears the recorded deaths: for a new library, or when the operator enables the plugin.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

impl Supervisor {
    pub(super) async fn process_gone(&mut self, gone: Gone) {
        // A process that has closed its socket but does not exit gets no more time than a process that does not answer.
        let left = self.deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let limit = left.unwrap_or(EXIT_LIMIT).clamp(SHORTEST_EXIT, EXIT_LIMIT);
        match (gone, &mut self.process) {
            (Gone::BrokeProtocol(words), _) => {
                self.strike("rubbish", "it broke the protocol".to_owned(), Some(words)).await;
            }
            (Gone::Ended, Some(process)) => {
                let words = format!("its process {}", process.exit(limit).await);
                self.strike("crash", words, None).await;
            }
            (Gone::Ended, None) => {}
        }
    }

    /// Kills the process and counts a strike; the first event counts as the cause. After a crash the daemon sends that event once more, within
    /// its own deadline, since another event may be the cause. `words` are the daemon's own: they go into the log and into events of any job.
    /// `quoted` is text of the plugin and may quote the transcript: it goes only into the plugin's event about the job of the first event.
    pub(super) async fn strike(&mut self, reason: &'static str, words: String, quoted: Option<String>) {
        self.count(reason);
        let cause = self.pending.front().filter(|first| first.began.is_some());
        let repeated = cause.is_some_and(|cause| cause.survived_a_crash);
        let has_time = self.deadline().is_some_and(|deadline| deadline > Instant::now());
        let (job, source) = cause.map(|_| self.job()).unzip();
        let is_busy = job.is_some();
        if let Some(mut process) = self.process.take() {
            process.kill().await;
        }
        tracing::error!(plugin = %self.name, job, source, reason, error = words, "plugin process replaced");
        // One strike for each event: the second crash at the same event says nothing new about the plugin.
        let quarantined = !repeated && self.strikes.strike(Instant::now());
        // The status changes before the event is answered: a caller that learns of the quarantine must find it in the status.
        match (quarantined, self.successor.take()) {
            (true, _) => {
                self.quarantine(format!("three failures within ten minutes, the last one: {words}"));
            }
            (false, Some(successor)) => self.install(successor),
            (false, None) => self.begin_loading(),
        }
        match self.pending.front_mut() {
            Some(first) if is_busy && has_time && !repeated && !quarantined => first.survived_a_crash = true,
            Some(_) if is_busy => {
                let message = quoted.map_or(words.clone(), |quoted| format!("{words}: {quoted}"));
                self.answer_first(Err(Failure { message, quarantined }));
            }
            _ => {}
        }
    }

    pub(super) fn quarantine(&mut self, reason: String) {
        tracing::error!(
            plugin = %self.name, library = %self.launch.load.library.display(), error = reason,
            "plugin quarantined until its library is replaced, `harkd plugins enable` or a restart; `on_failure` says what happens to transcripts until then"
        );
        (self.loading, self.successor, self.retry) = (None, None, None);
        self.enter(PluginState::Quarantined, Some(reason));
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
