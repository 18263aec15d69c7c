//! The ledger check compares four independent records: the inputs of the test, the service's journal of requests and charges, the stream of
//! events, and the daemon's ledger.
//!
//! The rules are L1 to L9, one function each in `rules`. [`Records`] is plain data, so that each violation can be planted by hand;
//! `gather` fills it from a run.

mod gather;
mod pieces;
mod rules;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::{ReceivedEvent, sha256, wait_until};

/// The records that are compared.
#[derive(Debug, Clone, Default)]
pub struct Records {
    pub inputs: Vec<Input>,
    /// The service's journal, oldest first.
    pub journal: Vec<Value>,
    /// The stored events, in the order of their stream.
    pub events: Vec<ReceivedEvent>,
    pub ledger: LedgerRecord,
    /// Number of plugin events that a completed job must have, by kind, e.g. `alert.raised` once.
    pub outputs: BTreeMap<String, usize>,
    /// Kind of the last event of the input that was given after all faults had stopped.
    pub fresh: Option<String>,
    /// Time from the end of the faults to the end of the last job; `bound` is its limit.
    pub ended_after: Duration,
    pub bound: Duration,
    /// Footprints of each daemon at rest, before and after the run.
    pub footprints: Vec<(Footprint, Footprint)>,
    /// Number of messages that were not acknowledged.
    pub unacknowledged: u64,
    /// Several daemons: what one heard is known to another when the stream stores it.
    pub several_daemons: bool,
}

/// A file or message that the test gave to the daemon.
#[derive(Debug, Clone)]
pub struct Input {
    /// Name of the source.
    pub source: String,
    /// `recording.name`; unique in a run.
    pub name: String,
    /// SHA-256 of the bytes, in hex.
    pub sha256: String,
    pub ends: Ends,
    /// The text that its final must have; not read of a recording in pieces.
    pub text: String,
    /// It is decoded by the daemon and sent in pieces.
    pub in_pieces: bool,
}

/// How an input's job may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    Completed,
    Failed,
    /// Either is right, because faults may use up every retry.
    EitherWay,
}

/// The content of the state directory.
#[derive(Debug, Clone, Default)]
pub struct LedgerRecord {
    /// Result of `PRAGMA integrity_check`.
    pub integrity: String,
    pub outbox_rows: u64,
    pub jobs: Vec<LedgerJob>,
    /// Files in `spool/` and other files that should have been removed.
    pub leftovers: Vec<String>,
}

/// One job in the ledger.
#[derive(Debug, Clone)]
pub struct LedgerJob {
    pub job: String,
    pub source: String,
    pub duty: String,
    /// Sequence of its last stored event.
    pub sequence: u64,
}

/// The resources of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Footprint {
    pub descriptors: usize,
    pub threads: usize,
}

/// One violation of a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("L1: the input {name} has no job")]
    NoJob { name: String },
    #[error("L1: the input {name} has {count} jobs")]
    SeveralJobs { name: String, count: usize },
    #[error("L1: job {job} belongs to no input; its recording is called {name}")]
    NoInput { job: String, name: String },
    #[error("L1: job {job} has {count} last events")]
    LastEvents { job: String, count: usize },
    #[error("L1: the input {name} ended with {kind} ({code})")]
    WrongEnd { name: String, kind: String, code: String },
    #[error("L2: {name} was paid {paid} times, its marks allow {allowed}")]
    PaidTwice { name: String, paid: usize, allowed: usize },
    #[error("L2: piece {piece} of {name} was sent again after it was heard")]
    HeardAgain { name: String, piece: u64 },
    #[error("L3: job {job} has sequence {found} where {expected} belongs")]
    Gap { job: String, expected: u64, found: u64 },
    #[error("L3: the stream has two events with the id {id}")]
    RepeatedId { id: String },
    #[error("L3: the event {expected} has the id {found}")]
    WrongId { expected: String, found: String },
    #[error("L3: {kind} of job {job} comes after its last event")]
    AfterLast { job: String, kind: String },
    #[error("L3: the ledger has {ledger} events of job {job}, the stream {stream}")]
    LedgerDisagrees { job: String, ledger: u64, stream: u64 },
    #[error("L4: the final of {name} has another text than the service returned")]
    WrongText { name: String },
    #[error("L4: the pieces of {name} {what}")]
    WrongPieces { name: String, what: &'static str },
    #[error("L5: job {job} has {found} events {kind}, not {expected}")]
    Outputs { job: String, kind: String, expected: usize, found: usize },
    #[error("L6: the service received bytes that no input has: {sha256}")]
    UnknownBytes { sha256: String },
    #[error("L6: the events of {name} have another sha256 than the file")]
    WrongHash { name: String },
    #[error("L7: job {job} still has the duty {duty}")]
    StillOpen { job: String, duty: String },
    #[error("L7: {count} messages were not acknowledged")]
    Unacknowledged { count: u64 },
    #[error("L7: the last job ended {after:?} after the faults, the bound is {bound:?}")]
    TooLate { after: Duration, bound: Duration },
    #[error("L7: the fresh input ended with {kind}")]
    FreshInput { kind: String },
    #[error("L8: {name} was charged {charged} s and reported as {reported} s")]
    Bill { name: String, charged: u64, reported: u64 },
    #[error("L9: the integrity check of the database reports: {finding}")]
    Integrity { finding: String },
    #[error("L9: the outbox has {rows} rows")]
    Outbox { rows: u64 },
    #[error("L9: {file} was left behind")]
    Leftover { file: String },
    #[error("L9: {what} grew from {before} to {after}")]
    Grown { what: &'static str, before: usize, after: usize },
}

impl Input {
    /// Audio whose job must complete.
    pub fn recognized(source: &str, name: &str, bytes: &[u8]) -> Input {
        let sha256 = sha256(bytes);
        let text = dashscope_emulator::text_for(&sha256);
        Input {
            source: source.to_owned(),
            name: name.to_owned(),
            sha256,
            ends: Ends::Completed,
            text,
            in_pieces: false,
        }
    }

    /// Garbage, or audio that the service refuses: the job must fail.
    pub fn refused(source: &str, name: &str, bytes: &[u8]) -> Input {
        Input { ends: Ends::Failed, ..Input::recognized(source, name, bytes) }
    }

    /// A recording that the daemon cuts into pieces.
    pub fn in_pieces(self) -> Input {
        Input { in_pieces: true, ..self }
    }

    /// The same input where faults may use up every retry, so that the job may also fail.
    pub fn either_way(self) -> Input {
        Input { ends: Ends::EitherWay, ..self }
    }
}

impl Records {
    /// Every violation, in the order of the rules.
    pub fn violations(&self) -> Vec<Violation> {
        rules::all(self)
    }

    /// Panics with all violations, if there are any.
    pub fn assert_kept(&self) {
        let violations: Vec<String> = self.violations().iter().map(ToString::to_string).collect();
        assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
    }
}

impl Footprint {
    /// Descriptors and threads vary with connections and blocking work; a leak in a run with hundreds of inputs exceeds this.
    const SLACK: usize = 24;

    /// The growth since `before` that exceeds the slack.
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
    /// Reads a state directory, also while a daemon uses it; changes nothing.
    pub fn read(state: &Path) -> LedgerRecord {
        gather::ledger(state)
    }

    /// Waits until a state directory has `jobs` jobs and every one of them has ended. Each poll reads the whole ledger, so polls are 100 ms
    /// apart.
    pub async fn all_ended(state: &Path, jobs: usize, ceiling: Duration) {
        wait_until("every job to end", ceiling, async || {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let ledger = LedgerRecord::read(state);
            ledger.jobs.len() == jobs && ledger.open().next().is_none()
        })
        .await;
    }

    /// Adds the record of another daemon on the same stream.
    pub fn add(&mut self, other: LedgerRecord) {
        if self.integrity == "ok" {
            self.integrity = other.integrity;
        }
        self.outbox_rows += other.outbox_rows;
        self.jobs.extend(other.jobs);
        self.leftovers.extend(other.leftovers);
    }

    /// Jobs that still have a duty.
    pub fn open(&self) -> impl Iterator<Item = &LedgerJob> {
        self.jobs.iter().filter(|job| job.duty != "nothing")
    }
}
