//! The faults that the emulator injects. Switched on by `--fault` and, while it runs, by `PUT /emulator/faults`.

mod parse;
pub mod wire;

use std::sync::Mutex;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::journal::Kind;

pub use parse::parse_fault;

/// One fault: what happens, to which requests, how often.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    pub kind: FaultKind,
    /// The kinds of request that it may hit; empty: all kinds that it applies to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<Kind>,
    /// The number of matching requests that are skipped before the first hit.
    #[serde(default)]
    pub skip: u64,
    /// The highest number of requests that it hits; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
    /// Hits each request with this probability, decided by `seed` and the number of the request alone.
    #[serde(default = "always")]
    pub probability: f64,
    #[serde(default)]
    pub seed: u64,
    /// HTTP status of the answer (`status`, `throttle`, `stream_error`, `result_expired`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Code of the refusal or of the failed task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// `status`: an HTML page, as a gateway sends it, in place of JSON.
    #[serde(default)]
    pub html: bool,
    /// `throttle`, `status`: seconds for a `Retry-After` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<f64>,
    /// `stall`, `slow_tokens`: how long, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ms: Option<u64>,
    /// `cut_answer`: bytes of the body that are still sent.
    #[serde(default)]
    pub after_bytes: u64,
    /// `stall`, `stream_error`, `no_stop`: events that are still sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_events: Option<usize>,
    /// `task_stuck`: the status in which the task stays.
    #[serde(default)]
    pub running: bool,
}

/// The kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// 429 `Throttling.RateQuota`, or `code`; with `retry_after`.
    Throttle,
    /// A `status` (500) with `code`, or an `html` page. The work is not done.
    Status,
    /// 400 `Arrearage`.
    Arrearage,
    /// 401 `InvalidApiKey`.
    BadKey,
    /// The connection is reset before the work is done: nothing is charged.
    Reset,
    /// The work is done and charged, then the connection is reset before the first byte of the answer.
    DropAnswer,
    /// The work is done; the connection is reset after `after_bytes` of the body.
    CutAnswer,
    /// The work is done; nothing is sent for `ms`, before the answer or, in a stream, after `after_events`.
    Stall,
    /// `ms` between the events of a stream.
    SlowTokens,
    /// The body comes one byte at a time, also inside a UTF-8 sequence.
    SplitBytes,
    /// 200 with a body that is not JSON.
    Garbage,
    /// A stream that ends without `stop`, after `after_events` or where `stop` would be.
    NoStop,
    /// `event:error` in the stream after `after_events` (1), with `status` (500) and `code`.
    StreamError,
    /// `finish_reason` is `length`, and half of the text is missing.
    Length,
    /// `content` is an empty array; `usage` is as usual.
    EmptyText,
    /// The text is the context of the request, as recognizers answer over silence.
    Echo,
    /// The task ends as FAILED with `code`.
    TaskFailed,
    /// The task stays PENDING, or RUNNING, for ever.
    TaskStuck,
    /// The task is accepted and afterwards always UNKNOWN (on `submit`), or for this query only (on `query`).
    TaskUnknown,
    /// The task is CANCELED, as if by another user of the account.
    TaskCanceled,
    /// The result file is gone: `status` 403 (default) or 404.
    ResultExpired,
    /// Audio URLs whose server sends no Content-Length are refused.
    RequireContentLength,
}

/// The faults in force, with their counters.
#[derive(Default)]
pub struct Faults {
    active: Mutex<Vec<Active>>,
}

/// A fault with its counters.
#[derive(Debug, Clone, Serialize)]
pub struct Active {
    #[serde(flatten)]
    pub fault: Fault,
    /// Requests that it could have hit.
    pub seen: u64,
    /// Requests that it hit.
    pub hits: u64,
}

/// The faults that hit one request.
#[derive(Debug, Clone, Default)]
pub struct Fired(Vec<Fault>);

impl Faults {
    pub fn new(faults: Vec<Fault>) -> Faults {
        let of_none = Faults::default();
        of_none.replace(faults);
        of_none
    }

    /// Replaces all faults by these; counters begin at 0.
    pub fn replace(&self, faults: Vec<Fault>) {
        let fresh = faults.into_iter().map(|fault| Active { fault, seen: 0, hits: 0 }).collect();
        *self.active.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = fresh;
    }

    pub fn list(&self) -> Vec<Active> {
        self.active.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Decides which faults hit one request.
    pub fn draw(&self, kind: Kind, event_stream: bool) -> Fired {
        let mut active = self.active.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let hit = active.iter_mut().filter_map(|active| active.hits_next(kind, event_stream));
        Fired(hit.collect())
    }
}

impl Active {
    fn hits_next(&mut self, kind: Kind, event_stream: bool) -> Option<Fault> {
        let fault = &self.fault;
        let named =
            if fault.on.is_empty() { fault.kind.means_something_on(kind) } else { fault.on.contains(&kind) };
        if !named || (fault.kind.needs_event_stream() && !event_stream) {
            return None;
        }
        let number = self.seen;
        self.seen += 1;
        let spent = fault.next.is_some_and(|next| self.hits >= next);
        if number < fault.skip || spent || chance(fault.seed, number) >= fault.probability {
            return None;
        }
        self.hits += 1;
        Some(fault.clone())
    }
}

impl FaultKind {
    fn means_something_on(self, kind: Kind) -> bool {
        match self {
            FaultKind::Throttle
            | FaultKind::Status
            | FaultKind::Reset
            | FaultKind::DropAnswer
            | FaultKind::CutAnswer
            | FaultKind::Stall
            | FaultKind::SplitBytes
            | FaultKind::Garbage => true,
            FaultKind::Echo => matches!(kind, Kind::Flash | Kind::Submit),
            FaultKind::BadKey => !matches!(kind, Kind::Upload | Kind::Result),
            FaultKind::Arrearage | FaultKind::RequireContentLength => {
                matches!(kind, Kind::Flash | Kind::Submit)
            }
            FaultKind::SlowTokens
            | FaultKind::NoStop
            | FaultKind::StreamError
            | FaultKind::Length
            | FaultKind::EmptyText => kind == Kind::Flash,
            FaultKind::TaskFailed | FaultKind::TaskStuck | FaultKind::TaskCanceled => kind == Kind::Submit,
            FaultKind::TaskUnknown => kind == Kind::Query,
            FaultKind::ResultExpired => kind == Kind::Result,
        }
    }

    fn needs_event_stream(self) -> bool {
        matches!(self, FaultKind::SlowTokens | FaultKind::NoStop | FaultKind::StreamError)
    }

    fn name(self) -> String {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::String(name)) => name,
            _ => format!("{self:?}"),
        }
    }
}

impl Fired {
    pub fn get(&self, kind: FaultKind) -> Option<&Fault> {
        self.0.iter().find(|fault| fault.kind == kind)
    }

    pub fn has(&self, kind: FaultKind) -> bool {
        self.get(kind).is_some()
    }

    /// The names of the faults for the journal.
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(|fault| fault.kind.name()).collect()
    }
}

impl Fault {
    /// A fault of this kind that hits every request to which it applies.
    pub fn of_kind(kind: FaultKind) -> Fault {
        Fault {
            kind,
            on: Vec::new(),
            skip: 0,
            next: None,
            probability: always(),
            seed: 0,
            status: None,
            code: None,
            html: false,
            retry_after: None,
            ms: None,
            after_bytes: 0,
            after_events: None,
            running: false,
        }
    }

    /// `ms`, or a minute, which is longer than any test waits.
    pub fn time(&self) -> Duration {
        Duration::from_millis(self.ms.unwrap_or(60_000))
    }
}

fn always() -> f64 {
    1.0
}

/// A number in [0, 1) for the n-th request, by one round of splitmix64: no state, the same on every run.
fn chance(seed: u64, number: u64) -> f64 {
    let mut mixed = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_skips_hits_and_is_spent() {
        let faults =
            Faults::new(vec![Fault { skip: 1, next: Some(2), ..Fault::of_kind(FaultKind::Throttle) }]);
        let hits: Vec<bool> =
            (0..5).map(|_| faults.draw(Kind::Flash, false).has(FaultKind::Throttle)).collect();
        assert_eq!(hits, [false, true, true, false, false]);
        assert_eq!((faults.list()[0].seen, faults.list()[0].hits), (5, 2));
    }

    #[test]
    fn a_probability_is_kept_and_repeats_with_its_seed() {
        let run = |seed| {
            let fault = Fault { probability: 0.25, seed, ..Fault::of_kind(FaultKind::Reset) };
            let faults = Faults::new(vec![fault]);
            (0..4_000).map(|_| faults.draw(Kind::Query, false).has(FaultKind::Reset)).collect::<Vec<bool>>()
        };
        let hits = run(7).iter().filter(|hit| **hit).count();
        assert!((900..1_100).contains(&hits), "{hits}");
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }

    #[test]
    fn a_fault_of_streams_is_not_spent_on_plain_answers() {
        let faults = Faults::new(vec![Fault { next: Some(1), ..Fault::of_kind(FaultKind::NoStop) }]);
        assert!(!faults.draw(Kind::Flash, false).has(FaultKind::NoStop));
        assert!(!faults.draw(Kind::Submit, true).has(FaultKind::NoStop));
        assert!(faults.draw(Kind::Flash, true).has(FaultKind::NoStop));
    }
}
