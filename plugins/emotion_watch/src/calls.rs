//! The calls that are being heard, within bounds.

use std::collections::{BTreeMap, HashMap};

use hark_sdk::event::{Segment, TranscriptSegment};
use uuid::Uuid;

use crate::config::Config;
use crate::finding::Finding;
use crate::streak::Streaks;

/// Most calls that are followed: more than a daemon hears at once (`dashscope.concurrency` 32).
const MOST: usize = 256;
/// Most pieces of a call that wait for an earlier one: more than are sent at once.
const MOST_WAITING: usize = 64;

/// A call as far as it was heard.
///
/// Pieces arrive in the order of recognition, but a streak is counted in the order of time. So a piece waits until all pieces before it have
/// arrived, and a finding stays true no matter what arrives later.
#[derive(Debug, Default)]
pub(crate) struct Call {
    streaks: Streaks,
    /// Pieces that are counted already, without a gap from the first.
    counted: u32,
    waiting: BTreeMap<u32, Vec<Segment>>,
    /// What was told, by channel and number.
    pub(crate) told: BTreeMap<(u32, u32), Finding>,
    used: u64,
}

impl Call {
    /// Hears a piece; the findings that are new.
    pub(crate) fn hear(&mut self, config: &Config, piece: &TranscriptSegment) -> Vec<Finding> {
        // Pieces behind one that fails for good stay in `waiting`; the final reports their findings.
        if piece.piece > self.counted && self.waiting.len() < MOST_WAITING {
            self.waiting.insert(piece.piece, piece.segments.clone());
        }
        let mut findings = Vec::new();
        while let Some(segments) = self.waiting.remove(&(self.counted + 1)) {
            self.counted += 1;
            findings.extend(segments.iter().filter_map(|segment| self.streaks.hear(config, segment)));
        }
        self.told.extend(findings.iter().map(|finding| (finding.key(), finding.clone())));
        findings
    }
}

/// The calls under way, by job. At the bound, the call without a new piece for the longest time is forgotten. Calls whose job fails end the same
/// way, because the plugin does not get the end of a failed job. For a forgotten call the final reports all findings.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    calls: HashMap<Uuid, Call>,
    clock: u64,
}

impl Calls {
    /// The call of a job; a new one if there was none.
    pub(crate) fn of(&mut self, job: Uuid) -> &mut Call {
        if self.calls.len() >= MOST
            && !self.calls.contains_key(&job)
            && let Some((&oldest, _)) = self.calls.iter().min_by_key(|(_, call)| call.used)
        {
            self.calls.remove(&oldest);
        }
        self.clock += 1;
        let call = self.calls.entry(job).or_default();
        call.used = self.clock;
        call
    }

    /// The call of a job, which is over.
    pub(crate) fn take(&mut self, job: Uuid) -> Call {
        self.calls.remove(&job).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_never_end_are_forgotten_at_the_bound() {
        let mut calls = Calls::default();
        let job = |number: usize| Uuid::from_u128(number as u128);
        for number in 0..MOST {
            calls.of(job(number)).counted = 1;
        }
        calls.of(job(0));
        calls.of(job(MOST));
        assert_eq!(calls.calls.len(), MOST);
        assert_eq!(
            (calls.take(job(0)).counted, calls.take(job(1)).counted, calls.take(job(2)).counted),
            (1, 0, 1)
        );
    }
}
