//! `[[recognizer]]`: names that routes may use, addresses, keys, limits.

use std::time::Duration;

use super::services::no_address;
use crate::config::report::Report;
use crate::config::{Config, DEAREST, ENGINES};

/// Shorter pieces would cut speech into syllables.
pub(super) const SHORTEST_PIECE: Duration = Duration::from_secs(1);

/// Engines that later versions have of their own.
const RESERVED: [&str; 1] = ["realtime"];

pub(super) fn recognizers(config: &Config, report: &mut Report<'_>) {
    for (index, recognizer) in config.recognizer.iter().enumerate() {
        let name = &recognizer.name;
        let mut refuse = |key: &str, text: String| report.mistake(&format!("recognizer.{index}.{key}"), text);
        if ENGINES.into_iter().chain(RESERVED).any(|engine| engine == name) {
            refuse(
                "name",
                format!(
                    "{name:?} is the name of an engine that Hark has itself; give the [[recognizer]] another"
                ),
            );
        }
        if let Some(reason) = no_address(&recognizer.base_url, "http://127.0.0.1:8000/v1") {
            refuse("base_url", format!("base_url of recognizer {name:?} {reason}"));
        }
        if recognizer.model.trim().is_empty() {
            refuse(
                "model",
                format!("model of recognizer {name:?} is empty; name the model that the server serves"),
            );
        }
        if let Err(text) = recognizer.api_key() {
            refuse("api_key_file", text);
        }
        if recognizer.piece < SHORTEST_PIECE {
            refuse(
                "piece",
                format!("piece of recognizer {name:?} is shorter than a second; set it to \"1s\" or more"),
            );
        }
        if recognizer.concurrency == 0 {
            refuse("concurrency", "concurrency = 0 would stop every job; set it to 1 or more".into());
        }
        if recognizer.timeout == Duration::ZERO {
            refuse("timeout", format!("timeout of recognizer {name:?} must be longer than 0"));
        }
        if !(0.0..=DEAREST).contains(&recognizer.usd_per_second) {
            refuse(
                "usd_per_second",
                format!(
                    "usd_per_second = {} of recognizer {name:?} is no price; 0 is for a server that costs nothing by the second",
                    recognizer.usd_per_second
                ),
            );
        }
    }
}
