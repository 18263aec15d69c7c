//! The calls that are being heard, within bounds.

use std::collections::HashMap;

use hark_rules::{Call, Change};
use uuid::Uuid;

/// Most calls that are remembered: more than a daemon hears at once (`dashscope.concurrency` 32; tasks say nothing until they are done).
const MOST: usize = 1_024;
/// Most bytes of all of them: a quarter of the default `memory_limit`. An hour of speech takes about 1 MiB.
const MOST_BYTES: usize = 64 << 20;

/// The calls that are being heard, by job. At a bound the call is forgotten that was silent for longest; so are calls whose job fails, of
/// which the plugin does not hear. What it is handed of a forgotten call later is judged as if it were the call's first event.
#[derive(Debug)]
pub(crate) struct Calls {
    most: usize,
    most_bytes: usize,
    calls: HashMap<Uuid, Held>,
    bytes: usize,
    clock: u64,
}

impl Default for Calls {
    fn default() -> Self {
        Calls { most: MOST, most_bytes: MOST_BYTES, calls: HashMap::new(), bytes: 0, clock: 0 }
    }
}

#[derive(Debug)]
struct Held {
    call: Call,
    bytes: usize,
    used: u64,
}

impl Calls {
    /// Hands the call of a job to `hear`; a new one if there was none.
    pub(crate) fn of(&mut self, job: Uuid, hear: impl FnOnce(&mut Call) -> Vec<Change>) -> Vec<Change> {
        self.clock += 1;
        let used = self.clock;
        let held = self.calls.entry(job).or_insert_with(|| Held { call: Call::new(job), bytes: 0, used });
        let changes = hear(&mut held.call);
        self.bytes -= held.bytes;
        (held.bytes, held.used) = (held.call.size(), used);
        self.bytes += held.bytes;
        while self.calls.len() > self.most || self.bytes > self.most_bytes && self.calls.len() > 1 {
            let Some((&oldest, _)) = self.calls.iter().min_by_key(|(_, held)| held.used) else { break };
            self.take(oldest);
        }
        changes
    }

    /// The call of a job, which is over.
    pub(crate) fn take(&mut self, job: Uuid) -> Call {
        let Some(held) = self.calls.remove(&job) else { return Call::new(job) };
        self.bytes -= held.bytes;
        held.call
    }
}

#[cfg(test)]
mod tests {
    use hark_rules::{Config, Rules};
    use hark_sdk::event::TranscriptPartial;

    use super::*;

    #[test]
    fn calls_that_never_end_are_forgotten_at_the_bounds() {
        let rules =
            Rules::new(Config::parse(r#"{"rules":[{"name":"r","any":["cancel"]}]}"#).unwrap()).unwrap();
        let mut calls = Calls { most: 20, most_bytes: 64 << 10, ..Calls::default() };
        let jobs: Vec<Uuid> = (0..60).map(Uuid::from_u128).collect();
        for (index, job) in jobs.iter().enumerate() {
            let text = "cancel ".repeat(if index < 30 { 200 } else { 1 });
            let partial = TranscriptPartial {
                revision: 1,
                channel: 0,
                role: None,
                piece: None,
                begin_ms: 0,
                text,
                echo: false,
            };
            assert_eq!(calls.of(*job, |call| call.partial(&rules, &partial, None)).len(), 1);
            assert!(calls.bytes <= calls.most_bytes && calls.calls.len() <= calls.most, "{calls:?}");
            if index == 29 {
                let kept = calls.calls.len();
                assert!((2..20).contains(&kept), "{kept} large ones are kept");
            }
        }
        assert_eq!(calls.bytes, calls.calls.values().map(|held| held.call.size()).sum::<usize>());
        assert_eq!(calls.calls.len(), 20);
        assert!(!calls.calls.contains_key(&jobs[0]) && calls.calls.contains_key(&jobs[59]));
        for job in jobs {
            calls.take(job);
        }
        assert_eq!(calls.bytes, 0);
    }
}
