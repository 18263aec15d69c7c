//! The ledger check: four records that were kept apart from each other, compared. What the test put in, what the service says it
//! was asked and charged, what the events' stream holds, and what the daemon's ledger says.
//!
//! The rules are L1 to L9, one function each in `rules`. [`Records`] is plain data, so that each violation can be planted by hand;
//! `gather` fills it from a run.

mod gather;
mod rules;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::Heard;

/// All that is compared.
#[derive(Debug, Clone, Default)]
pub struct Records {
    pub inputs: Vec<Input>,
    /// The service's journal, oldest first.
    pub journal: Vec<Value>,
    /// The stored events, in the order of their stream.
    pub events: Vec<Heard>,
    pub ledger: LedgerRecord,
    /// Events that a completed job has of its plugins, by kind, e.g. `alert.raised` once.
    pub outputs: BTreeMap<String, usize>,
    /// What became of the input that was given after all faults had stopped: the kind of its last event.
    pub fresh: Option<String>,
    /// From the end of the faults to the end of the last job, and the bound for it.
    pub ended_after: Duration,
    pub bound: Duration,
    /// Each daemon at rest, before and after.
    pub footprints: Vec<(Footprint, Footprint)>,
    /// Messages that were not acknowledged.
    pub unacknowledged: u64,
}

/// Something that the test gave to the daemon.
#[derive(Debug, Clone)]
pub struct Input {
    /// Name of the source.
    pub source: String,
    /// `recording.name`; unique in a run.
    pub name: String,
    /// Of its bytes, in hex.
    pub sha256: String,
    pub ends: Ends,
    /// The whole text of its final.
    pub text: String,
}

/// How an input's job may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    Completed,
    Failed,
    /// Under faults that may use up every try.
    EitherWay,
}

/// What the state directory holds.
#[derive(Debug, Clone, Default)]
pub struct LedgerRecord {
    /// Answer of `PRAGMA integrity_check`.
    pub integrity: String,
    pub outbox_rows: u64,
    pub jobs: Vec<LedgerJob>,
    /// Files in `spool/` and whatever else should be gone.
    pub leftovers: Vec<String>,
}

/// One row of the ledger.
#[derive(Debug, Clone)]
pub struct LedgerJob {
    pub job: String,
    pub source: String,
    pub duty: String,
    /// Sequence of its last stored event.
    pub sequence: u64,
}

/// What a process holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Footprint {
    pub descriptors: usize,
    pub threads: usize,
}

/// One broken promise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("L1: the input {name} has no job")]
    NoJob { name: String },
    #[error("L1: the input {name} has {count} jobs")]
    SeveralJobs { name: String, count: usize },
    #[error("L1: job {job} is of no input; its recording is called {name}")]
    NoInput { job: String, name: String },
    #[error("L1: job {job} has {count} last events")]
    LastEvents { job: String, count: usize },
    #[error("L1: the input {name} ended with {kind} ({code})")]
    WrongEnd { name: String, kind: String, code: String },
    #[error("L2: {name} was paid {paid} times, {allowed} would be marked or right")]
    PaidTwice { name: String, paid: usize, allowed: usize },
    #[error("L3: job {job} has sequence {found} where {expected} belongs")]
    Gap { job: String, expected: u64, found: u64 },
    #[error("L3: the id {id} stands twice in the stream")]
    RepeatedId { id: String },
    #[error("L3: the event {expected} calls itself {found}")]
    WrongId { expected: String, found: String },
    #[error("L3: {kind} of job {job} comes after its last event")]
    AfterLast { job: String, kind: String },
    #[error("L3: the ledger has {ledger} events of job {job}, the stream {stream}")]
    LedgerDisagrees { job: String, ledger: u64, stream: u64 },
    #[error("L4: the final of {name} does not say what the service heard")]
    WrongText { name: String },
    #[error("L5: job {job} has {found} events {kind}, not {expected}")]
    Outputs { job: String, kind: String, expected: usize, found: usize },
    #[error("L6: the service received bytes that no input has: {sha256}")]
    UnknownBytes { sha256: String },
    #[error("L6: the events of {name} tell another sha256 than the file has")]
    WrongHash { name: String },
    #[error("L7: job {job} still owes {duty}")]
    StillOpen { job: String, duty: String },
    #[error("L7: {count} messages were not acknowledged")]
    Unacknowledged { count: u64 },
    #[error("L7: the last job ended {after:?} after the faults, the bound is {bound:?}")]
    TooLate { after: Duration, bound: Duration },
    #[error("L7: the fresh input ended with {kind}")]
    FreshInput { kind: String },
    #[error("L8: {name} was charged {charged} s and reported as {reported} s")]
    Bill { name: String, charged: u64, reported: u64 },
    #[error("L9: the database says: {finding}")]
    Integrity { finding: String },
    #[error("L9: the outbox has {rows} rows")]
    Outbox { rows: u64 },
    #[error("L9: {file} was left behind")]
    Leftover { file: String },
    #[error("L9: {what} went from {before} to {after}")]
    Grown { what: &'static str, before: usize, after: usize },
}

impl Input {
    /// Audio that has to be recognized, whatever happens on the way.
    pub fn recognized(source: &str, name: &str, bytes: &[u8]) -> Input {
        let sha256 = gather::sha256(bytes);
        let text = dashscope_emulator::text_for(&sha256);
        Input { source: source.to_owned(), name: name.to_owned(), sha256, ends: Ends::Completed, text }
    }

    /// Garbage, or audio that the service refuses.
    pub fn refused(source: &str, name: &str, bytes: &[u8]) -> Input {
        Input { ends: Ends::Failed, ..Input::recognized(source, name, bytes) }
    }

    /// The same, where faults may use up every try.
    pub fn either_way(self) -> Input {
        Input { ends: Ends::EitherWay, ..self }
    }

    /// The same, with another text than the service makes of these bytes when nothing is wrong.
    pub fn says(self, text: &str) -> Input {
        Input { text: text.to_owned(), ..self }
    }
}

impl Records {
    /// Every broken promise, by rule.
    pub fn violations(&self) -> Vec<Violation> {
        rules::all(self)
    }

    /// Fails the test with the sentences of all violations.
    pub fn assert_kept(&self) {
        let violations: Vec<String> = self.violations().iter().map(ToString::to_string).collect();
        assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
    }
}

impl Footprint {
    /// Descriptors and threads come and go with connections and blocking work; a leak in a run with hundreds of inputs is more.
    const SLACK: usize = 24;

    /// What a process that was at rest with `before` has not given back.
    pub fn grown_from(&self, before: &Footprint) -> Vec<Violation> {
        let pairs = [
            ("the number of descriptors", before.descriptors, self.descriptors),
            ("the number of threads", before.threads, self.threads),
        ];
        let grown = pairs.into_iter().filter(|(_, before, after)| *after > before + Footprint::SLACK);
        grown.map(|(what, before, after)| Violation::Grown { what, before, after }).collect()
    }
}

impl LedgerRecord {
    /// Reads a state directory, also under a running daemon; changes nothing.
    pub fn read(state: &Path) -> LedgerRecord {
        gather::ledger(state)
    }

    /// The record of another daemon on the same stream beside this one.
    pub fn add(&mut self, other: LedgerRecord) {
        if self.integrity == "ok" {
            self.integrity = other.integrity;
        }
        self.outbox_rows += other.outbox_rows;
        self.jobs.extend(other.jobs);
        self.leftovers.extend(other.leftovers);
    }

    /// Jobs that owe something.
    pub fn open(&self) -> impl Iterator<Item = &LedgerJob> {
        self.jobs.iter().filter(|job| job.duty != "nothing")
    }
}
