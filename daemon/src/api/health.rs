//! Readiness: what each part of the daemon reported last.

use std::sync::Arc;

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Serialize;

/// The parts that must work before the daemon can process recordings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The daemon watches the folders and consumes the subjects.
    Sources,
    /// The broker is connected and its streams are there.
    Nats,
    /// The ledger takes writes.
    Ledger,
}

impl Part {
    pub const ALL: [Part; 3] = [Part::Sources, Part::Nats, Part::Ledger];

    /// The part's name in metrics and in `/readyz`.
    pub fn as_str(self) -> &'static str {
        match self {
            Part::Sources => "sources",
            Part::Nats => "nats",
            Part::Ledger => "ledger",
        }
    }
}

/// One part that is not ready, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Missing {
    pub part: Part,
    pub reason: String,
}

/// A handle; clones share the same state. A part counts as not ready until it reports that it is ready.
#[derive(Debug, Clone)]
pub struct Health {
    missing: Arc<Mutex<Vec<Missing>>>,
}

impl Health {
    /// A part reports that it is ready, or why not. Holds a lock for a moment only, so a part may call this at every check of its state.
    pub fn set(&self, part: Part, state: Result<(), String>) {
        let mut missing = self.missing.lock();
        missing.retain(|other| other.part != part);
        if let Err(reason) = state {
            missing.push(Missing { part, reason });
            missing.sort_by_key(|missing| missing.part);
        }
    }

    /// The parts that are not ready; empty when all are.
    pub fn missing(&self) -> Vec<Missing> {
        self.missing.lock().clone()
    }
}

impl Default for Health {
    /// No part is ready.
    fn default() -> Self {
        let missing = Part::ALL.map(|part| Missing { part, reason: "not started yet".into() });
        Health { missing: Arc::new(Mutex::new(missing.into())) }
    }
}
