//! What differs between two configs, and what of it only a restart changes.

use serde_json::{Map, Value};

use super::Config;

/// What differs between two configs, in the order of the manual: keys of tables as `budget.daily_usd`, elements of arrays as
/// `source calls`, `route sales (added)`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// What a reload applies.
    pub applied: Vec<String>,
    /// What it leaves as it was: the keys that need a restart.
    pub needs_restart: Vec<String>,
}

impl Changes {
    /// Whether one of these tables has another value.
    pub fn are_of(&self, tables: &[&str]) -> bool {
        self.applied
            .iter()
            .any(|change| change.split(['.', ' ']).next().is_some_and(|table| tables.contains(&table)))
    }
}

impl Config {
    /// Prepares this config for a reload: sets the keys that need a restart back to the values of `before`. Returns the differences.
    pub fn prepare_reload(&mut self, before: &Config) -> Changes {
        let changes = differences(before, self);
        self.http.clone_from(&before.http);
        self.nats.clone_from(&before.nats);
        self.log.format = before.log.format;
        self.state.directory.clone_from(&before.state.directory);
        changes
    }
}

/// Whether a running daemon leaves a key as it is: such keys decide where its state lies, which broker it speaks to, and what it listens on.
/// A reload names them and applies every other key.
fn needs_restart(table: &str, key: &str) -> bool {
    matches!((table, key), ("http" | "nats", _) | ("log", "format") | ("state", "directory"))
}

fn differences(before: &Config, after: &Config) -> Changes {
    let (before, after) = (tables(before), tables(after));
    let mut changes = Changes::default();
    for (table, now) in &after {
        match (&before[table], now) {
            (Value::Object(was), Value::Object(now)) => {
                for key in now.keys().filter(|key| was.get(*key) != now.get(*key)) {
                    let list = match needs_restart(table, key) {
                        true => &mut changes.needs_restart,
                        false => &mut changes.applied,
                    };
                    list.push(format!("{table}.{key}"));
                }
            }
            (Value::Array(was), Value::Array(now)) => changes.applied.extend(elements(table, was, now)),
            _ => {}
        }
    }
    changes
}

fn tables(config: &Config) -> Map<String, Value> {
    match serde_json::to_value(config) {
        Ok(Value::Object(tables)) => tables,
        _ => Map::new(),
    }
}

/// The elements of an array of tables that differ, by their names. Prices have no names, and their order counts.
fn elements(table: &str, was: &[Value], now: &[Value]) -> Vec<String> {
    if was == now {
        return Vec::new();
    }
    let name = |element: &Value| element["name"].as_str().map(str::to_owned);
    let find = |all: &[Value], name: &str| all.iter().find(|one| one["name"] == name).cloned();
    let mut different = Vec::new();
    for name in now.iter().filter_map(name) {
        match find(was, &name) {
            None => different.push(format!("{table} {name} (added)")),
            Some(was) if Some(&was) != find(now, &name).as_ref() => different.push(format!("{table} {name}")),
            Some(_) => {}
        }
    }
    let removed = was.iter().filter_map(name).filter(|name| find(now, name).is_none());
    different.extend(removed.map(|name| format!("{table} {name} (removed)")));
    if different.is_empty() {
        different.push(format!("{table} (order)"));
    }
    different
}
