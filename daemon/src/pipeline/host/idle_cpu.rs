//! Finds a process that takes a core although it has no event: threads that a plugin left behind.

use std::time::Duration;

use tokio::time::Instant;

use super::Supervisor;
use crate::os;
use crate::pipeline::process::Process;

/// The shortest time that counts: a plugin with a short `timeout` may tidy up after an event.
const SHORTEST: Duration = Duration::from_secs(1);

/// The CPU time that a process took without an event.
#[derive(Debug, Default)]
pub(super) struct IdleCpu {
    last: Option<(u32, Instant, Duration)>,
    taken: Duration,
}

impl IdleCpu {
    /// Counts what a process took since the last call; returns how much it has taken without a pause. `is_busy`: it has, or had, an event.
    fn count(&mut self, process: u32, cpu: Duration, now: Instant, is_busy: bool) -> Duration {
        let before = self.last.replace((process, now, cpu));
        let Some((_, then, cpu_then)) = before.filter(|(of, ..)| *of == process && !is_busy) else {
            self.taken = Duration::ZERO;
            return self.taken;
        };
        let took = cpu.saturating_sub(cpu_then);
        // An eighth of a core is more than a timer or a log takes; on a busy machine a thread that never rests may get no more.
        match took > (now - then) / 8 {
            true => self.taken += took,
            false => self.taken = Duration::ZERO,
        }
        self.taken
    }
}

impl Supervisor {
    /// Replaces a process that has taken a core for longer than the plugin's `timeout` without an event.
    pub(super) async fn look_at_idle_cpu(&mut self) {
        let is_busy = std::mem::take(&mut self.had_an_event) || !self.pending.is_empty();
        let Some(process) = self.process.as_ref().and_then(Process::id) else { return };
        let Some(cpu) = os::cpu_time(process) else { return };
        if self.idle_cpu.count(process, cpu, Instant::now(), is_busy) > self.timeout.max(SHORTEST) {
            self.strike(
                "cpu",
                "it took a core without an event for longer than its `timeout`".to_owned(),
                None,
            )
            .await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_without_an_event_and_without_a_pause_is_added_up() {
        let start = Instant::now();
        let mut idle = IdleCpu::default();
        let mut cpu = Duration::ZERO;
        let mut taken = |half_seconds: u32, process, took_ms, is_busy| {
            cpu += Duration::from_millis(took_ms);
            idle.count(process, cpu, start + half_seconds * Duration::from_millis(500), is_busy).as_millis()
        };
        assert_eq!(taken(0, 1, 9_000, false), 0, "what it took before the first look is not counted");
        assert_eq!(taken(1, 1, 450, false), 450);
        assert_eq!(taken(2, 1, 900, false), 1_350, "two threads");
        assert_eq!(taken(3, 1, 50, false), 0, "it rested");
        assert_eq!(taken(4, 1, 450, false), 450);
        assert_eq!(taken(5, 1, 450, true), 0, "it had an event");
        assert_eq!(taken(6, 2, 450, false), 0, "another process");
    }
}
