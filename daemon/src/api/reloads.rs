//! The last reload of the config: what it changed, or why it changed nothing.

use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::RwLock;
use schemars::JsonSchema;
use serde::Serialize;

/// A reload of the config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Reload {
    /// When it ended.
    pub at: Timestamp,
    /// Whether the config is in force now.
    pub applied: bool,
    /// The keys and tables that differ from the earlier config, such as `budget.daily_usd` or `source calls (added)`.
    pub changed: Vec<String>,
    /// The keys that differ, and that only a restart changes.
    pub needs_restart: Vec<String>,
    /// Why nothing was changed: every mistake, with its place.
    pub mistakes: Vec<String>,
}

/// The last reload. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Reloads(Arc<RwLock<Option<Reload>>>);

impl Reloads {
    /// The last one; `None`: there was none since the start.
    pub fn last(&self) -> Option<Reload> {
        self.0.read().clone()
    }

    /// Replaces the reload that is remembered.
    pub fn put(&self, reload: Reload) {
        *self.0.write() = Some(reload);
    }
}
