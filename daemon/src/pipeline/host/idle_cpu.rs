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
    /// When the process got the event that it works on.
    began: Option<Instant>,
    /// How long it had events since the last look.
    busy: Duration,
}

impl IdleCpu {
    /// Records whether the process has an event now.
    pub(super) fn has_event(&mut self, has_event: bool) {
        match (has_event, self.began) {
            (true, None) => self.began = Some(Instant::now()),
            (false, Some(began)) => {
                self.busy += began.elapsed();
                self.began = None;
            }
            _ => {}
        }
    }

    /// How long the process had events since the last look.
    fn busy(&mut self, now: Instant) -> Duration {
        let going_on = self.began.as_mut().map(|began| now - std::mem::replace(began, now));
        std::mem::take(&mut self.busy) + going_on.unwrap_or_default()
    }

    /// Adds the CPU time that a process took since the last call while it had no event; returns the sum since its last rest. `busy` is the time
    /// in which the process had events.
    fn count(&mut self, process: u32, cpu: Duration, now: Instant, busy: Duration) -> Duration {
        let before = self.last.replace((process, now, cpu));
        let Some((_, then, cpu_then)) = before.filter(|(of, ..)| *of == process) else {
            self.taken = Duration::ZERO;
            return self.taken;
        };
        let idle = (now - then).saturating_sub(busy);
        // While it has an event a plugin may take as many cores as there are.
        let took = cpu.saturating_sub(cpu_then).saturating_sub(busy * cores());
        // An eighth of a core is more than a timer or a log takes; on a busy machine a thread that never rests may get no more. In an
        // interval with events the limit is a quarter, because a plugin may finish its work between them. An interval that was mostly busy
        // decides nothing.
        let is_taken = took > if busy.is_zero() { idle / 8 } else { idle / 4 };
        match is_taken {
            true => self.taken += took,
            false if busy > idle => {}
            false => self.taken = Duration::ZERO,
        }
        self.taken
    }
}

fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX))
}

impl Supervisor {
    /// Replaces a process that has taken a core for longer than the plugin's `timeout` without an event.
    pub(super) async fn look_at_idle_cpu(&mut self) {
        let now = Instant::now();
        let busy = self.idle_cpu.busy(now);
        let Some(process) = self.process.as_ref().and_then(Process::id) else { return };
        let Some(cpu) = os::cpu_time(process) else { return };
        if self.idle_cpu.count(process, cpu, now, busy) > self.timeout.max(SHORTEST) {
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
        let mut taken = |half_seconds: u32, process, took_ms, busy_ms| {
            cpu += Duration::from_millis(took_ms);
            let (now, busy) =
                (start + half_seconds * Duration::from_millis(500), Duration::from_millis(busy_ms));
            idle.count(process, cpu, now, busy).as_millis()
        };
        assert_eq!(taken(0, 1, 9_000, 0), 0, "what it took before the first look is not counted");
        assert_eq!(taken(1, 1, 450, 0), 450);
        assert_eq!(taken(2, 1, 900, 0), 1_350, "two threads");
        assert_eq!(taken(3, 1, 50, 0), 0, "it rested");
        assert_eq!(taken(4, 1, 450, 0), 450);
        assert_eq!(taken(5, 1, 450, 500), 450, "it had an event all the time");
        assert_eq!(taken(6, 1, 100, 1), 0, "it does the rest of an event's work");
        assert!(taken(7, 1, 490, 1) > 400, "an event that takes a moment is no rest");
        assert_eq!(taken(8, 2, 450, 0), 0, "another process");
    }
}
