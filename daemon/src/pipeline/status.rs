//! Where a plugin stands, for logs, metrics and people.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::wire::Description;

/// The life of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PluginState {
    /// Its process is starting.
    Loading,
    /// It looks at events.
    Running,
    /// Its library cannot be loaded; it is tried again when the library changes, and from time to time.
    Failed,
    /// It died too often; it is tried again when the library changes, or when a person says so (`harkd plugins enable`).
    Quarantined,
}

impl PluginState {
    /// In the order of a bad day.
    pub const ALL: [PluginState; 4] =
        [PluginState::Loading, PluginState::Running, PluginState::Failed, PluginState::Quarantined];

    /// The word in metrics and `harkd plugins list`.
    pub fn as_str(self) -> &'static str {
        match self {
            PluginState::Loading => "loading",
            PluginState::Running => "running",
            PluginState::Failed => "failed",
            PluginState::Quarantined => "quarantined",
        }
    }
}

/// One plugin, now.
#[derive(Debug, Clone, Serialize)]
pub struct PluginStatus {
    /// The configured name.
    pub name: String,
    pub library: PathBuf,
    pub state: PluginState,
    /// Why it is not running, or why a new library is not.
    pub reason: Option<String>,
    /// Its process.
    pub pid: Option<u32>,
    /// What the library said of itself when it was loaded last.
    #[serde(flatten)]
    pub description: Option<Description>,
}

/// What came of enabling a plugin.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Enabled {
    /// Where it stood before.
    pub was: PluginState,
    /// Where it stands now.
    pub state: PluginState,
    /// Why it does not run, if it does not.
    pub reason: Option<String>,
}
