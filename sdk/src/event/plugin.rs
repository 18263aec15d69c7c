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

/// What a plugin was called with when it emitted an event. Both are absent where that was the final. The daemon fills them in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct About {
    /// The piece whose segment or partial it was, where the recording is sent in several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub piece: Option<u32>,
    /// The partial's revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
}

/// How sure an alert is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// From a partial: the piece's segment or the final decides.
    Tentative,
    /// From a segment or the final.
    #[default]
    Confirmed,
}

/// `alert.raised` and `alert.retracted`. Of each alert of a plugin the daemon stores each state once: what was raised as tentative is
/// confirmed or retracted, and what is retracted stays so.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// The words that matched, as they stand in the text; empty where the alert is that nothing was said.
    pub quote: String,
    /// Why it was retracted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the plugin was called with.
    #[serde(flatten)]
    pub about: About,
}

/// `plugin.<name>`: any other event of a plugin, and what the daemon has to say of the plugin itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PluginEvent {
    /// The plugin's configured name.
    pub plugin: String,
    /// The plugin's own JSON; of the daemon's words about a plugin: `{"error": …, "quarantined": bool}`.
    pub data: Value,
    /// What the plugin was called with.
    #[serde(flatten)]
    pub about: About,
}
