//! The families `alert` and `plugin`: events that plugins emit.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How much an alert matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// To know.
    Info,
    /// To look at.
    #[default]
    Warning,
    /// To act on.
    Critical,
}

/// How sure an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// From a partial; the final decides.
    Tentative,
    /// From the final.
    Confirmed,
}

/// `alert.raised` and `alert.retracted`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Alert {
    /// Identity of the alert within its job: a retraction or confirmation names the same.
    pub alert: String,
    /// The plugin's configured name.
    pub plugin: String,
    /// The rule that fired.
    pub rule: String,
    /// How much it matters.
    pub severity: Severity,
    /// How sure it is.
    pub state: AlertState,
    /// Channel, from 0, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<u32>,
    /// The channel's role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Begin of the segment it stands in, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begin_ms: Option<u64>,
    /// End of the segment it stands in, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_ms: Option<u64>,
    /// The words that matched, as they stand in the text.
    pub quote: String,
}

/// `plugin.<name>`: any other event of a plugin, and what the daemon has to say of the plugin itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PluginEvent {
    /// The plugin's configured name.
    pub plugin: String,
    /// The plugin's own JSON; of the daemon's words about a plugin: `{"error": …, "quarantined": bool}`.
    pub data: Value,
}
