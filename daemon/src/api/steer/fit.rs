//! Answers of the NATS service that fit into one message: what is long is left out of them, and they say so.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::Steer;
use super::jobs::Shown;
use crate::broker::large;
use crate::job::ledger::view::{LedgerEvent, Page};

/// The fields of a body that are left out first.
const LONG: [&str; 2] = ["segments", "words"];

/// An event of an answer.
#[derive(Debug, Serialize)]
pub struct ShownEvent {
    #[serde(flatten)]
    event: LedgerEvent,
    /// The fields of its body that are left out; `*`: all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<&'static str>,
}

impl ShownEvent {
    pub fn new(event: LedgerEvent) -> ShownEvent {
        ShownEvent { event, left_out: Vec::new() }
    }

    fn leave_out_long(&mut self) {
        let fields = serde_json::from_str::<BTreeMap<String, &RawValue>>(self.event.body.get());
        // Every body is an object; a body that cannot be parsed stays until `leave_out_all`.
        let Ok(mut fields) = fields else { return };
        let left_out = LONG.into_iter().filter(|name| fields.remove(*name).is_some()).collect();
        if let Ok(body) = to_raw_value(&fields) {
            (self.event.body, self.left_out) = (body, left_out);
        }
    }

    fn leave_out_all(&mut self) {
        if let Ok(body) = to_raw_value(&BTreeMap::<String, ()>::new()) {
            (self.event.body, self.left_out) = (body, vec!["*"]);
        }
    }
}

impl Steer {
    /// The bytes that an answer may have.
    pub(super) fn room(&self) -> usize {
        large::limit(self.jetstream.client().server_info().max_payload)
    }
}

impl Shown {
    /// Shortens an answer until it fits into `room` bytes: it drops segments and words, from the largest event on, then the last events. One
    /// event always stays, if necessary without its body, so that a client that asks page by page makes progress.
    pub(super) fn fit(mut self, room: usize) -> Shown {
        let mut size = length(&self);
        let mut largest: Vec<usize> = (0..self.events.len()).collect();
        largest.sort_by_key(|&at| Reverse(self.events[at].event.body.get().len()));
        for at in largest {
            if size <= room {
                return self;
            }
            let event = &mut self.events[at];
            let before = length(event);
            event.leave_out_long();
            size = size.saturating_sub(before) + length(event);
        }
        while size > room && self.events.len() > 1 {
            size = size.saturating_sub(self.events.pop().as_ref().map_or(0, length) + ",".len());
            self.events_left_out += 1;
        }
        if size > room {
            self.events.iter_mut().for_each(ShownEvent::leave_out_all);
        }
        self
    }
}

/// Cuts a page to the jobs that fit into `room` bytes; the next page continues after them. At least one job stays.
pub(super) fn page(mut page: Page, room: usize) -> Page {
    let mut size = length(&Page { jobs: Vec::new(), next: page.next });
    let fits = page.jobs.iter().take_while(|job| {
        size += length(job) + ",".len();
        size <= room
    });
    let fits = fits.count().max(1);
    if fits < page.jobs.len() {
        page.jobs.truncate(fits);
        page.next = page.jobs.last().map(|job| job.job);
    }
    page
}

fn length(answer: &impl Serialize) -> usize {
    // What cannot be written is refused when the answer is.
    serde_json::to_vec(answer).map_or(0, |text| text.len())
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};
    use uuid::Uuid;

    use super::*;
    use crate::job::ledger::view::{Listed, State};
    use crate::job::{Job, Origin};

    fn listed(number: u128) -> Listed {
        let (id, recording) = (Uuid::from_u128(number), hark_sdk::event::Recording::default());
        let mut job = Job::new(id, "calls", "default", Origin::Nothing, recording, Map::new());
        job.accepted_at = jiff::Timestamp::UNIX_EPOCH;
        Listed::new(&job, State::Completed, None)
    }

    fn shown() -> Shown {
        let event = |kind: &str, body: Value| {
            let (job, source) = (Uuid::nil(), "calls".to_owned());
            let body = to_raw_value(&body).unwrap();
            ShownEvent::new(LedgerEvent {
                kind: kind.into(),
                job,
                source,
                sequence: 1,
                stream_seq: Some(1),
                body,
            })
        };
        let heard = |words: usize| json!({"text": "hello", "segments": vec!["x".repeat(98); words]});
        let events = vec![
            event("job.accepted", json!({"name": "a.wav"})),
            event("transcript.segment", heard(10)),
            event("transcript.final", heard(100)),
        ];
        Shown { job: listed(1), events, events_left_out: 0 }
    }

    #[test]
    fn an_answer_leaves_out_what_is_long_until_it_fits() {
        let whole = length(&shown());
        let fitted = |room: usize| {
            let shown = shown().fit(room);
            assert!(length(&shown) <= room.max(length(&listed(1)) + 160), "{room}");
            serde_json::to_value(&shown).unwrap()
        };
        assert_eq!(fitted(whole), serde_json::to_value(shown()).unwrap());
        let without = fitted(whole - 1);
        assert_eq!(without["events"][2]["left_out"], json!(["segments"]), "{without}");
        assert_eq!(without["events"][2]["body"], json!({"text": "hello"}));
        assert_eq!(
            without["events"][1]["body"]["segments"].as_array().unwrap().len(),
            10,
            "the largest only"
        );
        let one = fitted(0);
        let emptied = json!([{"kind": "job.accepted", "stream_seq": 1, "body": {}, "left_out": ["*"]}]);
        assert_eq!((&one["events"], &one["events_left_out"]), (&emptied, &json!(2)));
    }

    #[test]
    fn a_page_has_the_jobs_that_fit_and_names_the_next() {
        let all = || Page { jobs: (1..=3).rev().map(listed).collect(), next: None };
        let whole = length(&all()) + 40;
        assert_eq!((page(all(), whole).jobs.len(), page(all(), whole).next), (3, None));
        for (room, left) in [(whole - length(&listed(1)), 2), (0, 1)] {
            let cut = page(all(), room);
            assert_eq!((cut.jobs.len(), cut.next), (left, Some(cut.jobs[left - 1].job)));
        }
    }
}
