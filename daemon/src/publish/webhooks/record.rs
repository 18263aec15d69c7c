//! What all daemons know of a webhook: the value of its key in the bucket `HARK_WEBHOOKS`. It has no text, no names and no metadata.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::schedule::Tries;

/// Which daemon delivers a webhook, and what is not delivered as it comes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// The daemon that delivers, by the id in its ledger. Each of its writes renews its lease.
    pub owner: Option<Uuid>,
    pub paused: Option<Paused>,
    /// The jobs of which an event waits or is set aside.
    pub backlogs: Vec<Backlog>,
    /// Every event up to this stream sequence was handed over, or its loss reported.
    pub handed: u64,
}

impl Record {
    /// Makes every event that waits or is set aside due; returns how many were set aside.
    pub fn retry(&mut self, now: Timestamp) -> u64 {
        let aside =
            self.backlogs.iter().filter(|backlog| backlog.due.is_none()).map(|backlog| backlog.events).sum();
        self.backlogs.iter_mut().for_each(|backlog| backlog.begin_anew(now));
        aside
    }

    /// Drops what waits or is set aside of a job; returns how many events.
    pub fn forget(&mut self, job: Uuid) -> u64 {
        self.backlogs.extract_if(.., |backlog| backlog.job == job).map(|backlog| backlog.events).sum()
    }

    /// Ends the pause, and makes every event that waits due.
    pub fn resume(&mut self, now: Timestamp) {
        self.paused = None;
        self.backlogs
            .iter_mut()
            .filter(|backlog| backlog.due.is_some())
            .for_each(|backlog| backlog.begin_anew(now));
    }
}

/// Why nothing is sent until an operator resumes the webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Paused {
    pub at: Timestamp,
    pub why: String,
}

/// A job whose first event was not taken yet, and the events behind it. They are read from the stream when they are due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backlog {
    pub job: Uuid,
    pub source: String,
    /// Stream sequence from which on the next event is looked for.
    pub first: u64,
    /// Stream sequence of the last event.
    pub last: u64,
    /// How many there are.
    pub events: u64,
    #[serde(flatten)]
    pub tries: Tries,
    /// When the first one is tried again; `None`: it is set aside.
    pub due: Option<Timestamp>,
    /// The last answer.
    pub why: String,
}

impl Backlog {
    /// Makes its first event due, as if it had not been tried.
    pub fn begin_anew(&mut self, now: Timestamp) {
        self.tries = Tries::default();
        self.due = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::persisted;

    #[test]
    fn the_form_in_the_bucket_is_this_one() {
        let at = Timestamp::from_second(1_790_000_000).unwrap();
        let job = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);
        let record = Record {
            owner: Some(job),
            paused: Some(Paused { at, why: "410".into() }),
            backlogs: vec![Backlog {
                job,
                source: "calls".into(),
                first: 7,
                last: 9,
                events: 2,
                tries: Tries { count: 3, refusals: 1, since: Some(at) },
                due: Some(at),
                why: "503".into(),
            }],
            handed: 6,
        };
        let golden = r#"{"v":1,"owner":"01900000-0000-7000-8000-000000000001","paused":{"at":"2026-09-21T14:13:20Z","why":"410"},"backlogs":[{"job":"01900000-0000-7000-8000-000000000001","source":"calls","first":7,"last":9,"events":2,"tries":3,"refusals":1,"since":"2026-09-21T14:13:20Z","due":"2026-09-21T14:13:20Z","why":"503"}],"handed":6}"#;
        assert_eq!(persisted::to_json(&record).unwrap(), golden);
        assert_eq!(persisted::from_json::<Record>(golden.as_bytes()).unwrap(), record);
        assert_eq!(persisted::from_json::<Record>(br#"{"v":1}"#).unwrap(), Record::default());
    }
}
