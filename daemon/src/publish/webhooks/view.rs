//! What a daemon shows of its webhooks: `harkd webhooks list`, the live page, the API.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::record::{Paused, Record};

/// One webhook, as this daemon sees it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Webhook")]
pub struct View {
    pub name: String,
    /// Scheme, host and port of its address.
    pub receiver: String,
    pub kinds: Vec<String>,
    pub sources: Vec<String>,
    /// Whether this daemon delivers it; else another one does, or none yet.
    pub delivering: bool,
    pub paused: Option<Paused>,
    /// Events that the receiver has not taken yet.
    pub backlog: u64,
    /// Of these, those of jobs of which an event is tried again.
    pub waiting: Vec<Waiting>,
    /// Of these, those of jobs of which an event was set aside.
    pub set_aside: Vec<Waiting>,
    pub last_taken: Option<Timestamp>,
    pub last_failure: Option<Failure>,
    /// Events that the stream's limits have removed before they were sent, since the daemon started: at most this many. Finals whose segments
    /// were removed count as well.
    pub removed: u64,
    /// Events that the consumer has not handed out.
    #[serde(skip)]
    pub pending: u64,
    /// Events in memory and in backlogs.
    #[serde(skip)]
    pub held: u64,
}

/// A job whose events wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Waiting {
    pub job: Uuid,
    pub source: String,
    pub events: u64,
    pub tries: u32,
    pub since: Option<Timestamp>,
    /// When the first one is tried again; null: by `harkd webhooks retry`.
    pub due: Option<Timestamp>,
    /// The receiver's last answer.
    pub answer: String,
}

/// A request that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    pub at: Timestamp,
    pub answer: String,
}

impl View {
    pub(super) fn backlog(&self) -> u64 {
        self.pending + self.held
    }

    pub(super) fn follow(&mut self, record: &Record) {
        self.paused.clone_from(&record.paused);
        let backlogs = record.backlogs.iter().map(|backlog| Waiting {
            job: backlog.job,
            source: backlog.source.clone(),
            events: backlog.events,
            tries: backlog.tries.count,
            since: backlog.tries.since,
            due: backlog.due,
            answer: backlog.why.clone(),
        });
        (self.waiting, self.set_aside) = backlogs.partition(|backlog| backlog.due.is_some());
        if !self.delivering || self.paused.is_some() {
            self.held = record.backlogs.iter().map(|backlog| backlog.events).sum();
        }
    }
}
