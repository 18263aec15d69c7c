//! What is ready, as each part last said.

use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;

use serde::Serialize;

/// What must work before work can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The folders are watched, the subjects are consumed.
    Sources,
    /// The broker is connected and its streams are there.
    Nats,
    /// The ledger takes writes.
    Ledger,
}

impl Part {
    pub const ALL: [Part; 3] = [Part::Sources, Part::Nats, Part::Ledger];

    /// The word in metrics, as in `/readyz`.
    pub fn as_str(self) -> &'static str {
        match self {
            Part::Sources => "sources",
            Part::Nats => "nats",
            Part::Ledger => "ledger",
        }
    }
}

/// One part that is not ready, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    pub part: Part,
    pub reason: String,
}

/// A handle; clones share the same state. Until a part has said otherwise it is not ready.
#[derive(Debug, Clone)]
pub struct Health {
    missing: Arc<Mutex<Vec<Missing>>>,
}

impl Health {
    /// Nothing is ready.
    pub fn new() -> Self {
        let missing = Part::ALL.map(|part| Missing { part, reason: "not started yet".into() });
        Health { missing: Arc::new(Mutex::new(missing.into())) }
    }

    /// A part says that it is ready, or why not. Never blocks for long; call it as often as the state is looked at.
    pub fn set(&self, part: Part, state: Result<(), String>) {
        let mut missing = self.lock();
        missing.retain(|other| other.part != part);
        if let Err(reason) = state {
            missing.push(Missing { part, reason });
            missing.sort_by_key(|missing| missing.part);
        }
    }

    /// What is not ready; empty when all is.
    pub fn missing(&self) -> Vec<Missing> {
        self.lock().clone()
    }

    /// True if nothing is missing.
    pub fn is_ready(&self) -> bool {
        self.lock().is_empty()
    }

    /// A list is whole after every statement above, so a panic elsewhere under the lock spoils nothing.
    fn lock(&self) -> MutexGuard<'_, Vec<Missing>> {
        self.missing.lock()
    }
}

impl Default for Health {
    fn default() -> Self {
        Health::new()
    }
}
