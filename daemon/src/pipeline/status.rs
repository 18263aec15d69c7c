//! State of a plugin, for logs, metrics and operators.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::wire::Description;

/// State of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PluginState {
    /// Its process is starting.
    Loading,
    /// It processes events.
    Running,
    /// Its library cannot be loaded; the daemon retries when the library changes, and with growing pauses.
    Failed,
    /// It died too often; the daemon starts it again when the library changes, or when the operator runs `harkd plugins enable`.
    Quarantined,
}

impl PluginState {
    /// All states.
    pub const ALL: [PluginState; 4] =
        [PluginState::Loading, PluginState::Running, PluginState::Failed, PluginState::Quarantined];

    /// The state's name in metrics and `harkd plugins list`.
    pub fn as_str(self) -> &'static str {
        match self {
            PluginState::Loading => "loading",
            PluginState::Running => "running",
            PluginState::Failed => "failed",
            PluginState::Quarantined => "quarantined",
        }
    }
}

/// Current status of one plugin.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PluginStatus {
    /// The configured name.
    pub name: String,
    pub library: PathBuf,
    pub state: PluginState,
    /// Why the plugin does not run, or why its new library was refused.
    pub reason: Option<String>,
    /// Process id, while the process runs.
    pub pid: Option<u32>,
    /// How many processes were installed. A new process knows nothing of the events that its predecessors received.
    #[serde(skip)]
    pub starts: u64,
    /// Description that the library gave when it was loaded last.
    #[serde(flatten)]
    pub description: Option<Description>,
}

/// Result of enabling a plugin.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Enabled {
    /// State before.
    pub was: PluginState,
    /// State now.
    pub state: PluginState,
    /// Why the plugin does not run, if it does not.
    pub reason: Option<String>,
}
