mod changes;
mod embedded;
mod files;
mod later;
mod layers;
mod listing;
mod models;
mod prices;
mod recognizers;
mod rules;
mod schema;
mod secrets;
mod storage;
mod units;
mod webhooks;

use std::collections::BTreeMap;

use super::{Config, Inspection, inspect_text};

/// No environment.
fn inspect(text: &str) -> Inspection {
    inspect_text("harkd.toml", text, &BTreeMap::new())
}

fn valid(text: &str) -> Config {
    inspect(text).into_result().unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// The lines that `check` prints.
fn mistakes(text: &str) -> Vec<String> {
    inspect(text).mistakes.lines().map(|(place, text)| format!("{place}: {text}")).collect()
}

/// The one line that it prints.
fn mistake(text: &str) -> String {
    let mut lines = mistakes(text);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    lines.remove(0)
}
