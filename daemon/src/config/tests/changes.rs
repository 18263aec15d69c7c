//! What a reload applies, and what it names because only a restart changes it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::valid;
use crate::config::{Changes, Config};

/// The keys that only a restart changes.
const NEEDS_RESTART: [&str; 27] = [
    "http.audio",
    "http.hosts",
    "http.listen",
    "http.read_token_file",
    "http.tls_cert",
    "http.tls_key",
    "http.token_file",
    "log.format",
    "nats.ack_wait",
    "nats.audio_stream",
    "nats.credentials_file",
    "nats.events_max_age",
    "nats.events_max_bytes",
    "nats.events_stream",
    "nats.jetstream_domain",
    "nats.nkey_file",
    "nats.password_file",
    "nats.replicas",
    "nats.servers",
    "nats.store_partials",
    "nats.subject_prefix",
    "nats.tls_ca",
    "nats.tls_cert",
    "nats.tls_key",
    "nats.token_file",
    "nats.user",
    "state.directory",
];

/// What a running daemon applies: keys of tables, and arrays of tables with all of their keys. A new key belongs here, once a part of the
/// daemon takes it over, or into `NEEDS_RESTART`.
const APPLIED: [&str; 32] = [
    "budget.daily_usd",
    "dashscope.allow_temporary_upload",
    "dashscope.ambiguous_retries",
    "dashscope.api_key_file",
    "dashscope.base_url",
    "dashscope.concurrency",
    "dashscope.filetrans_concurrency",
    "dashscope.filetrans_model",
    "dashscope.flash_model",
    "dashscope.poll_interval",
    "dashscope.region",
    "dashscope.requests_per_minute",
    "dashscope.task_queries_per_second",
    "dashscope.workspace",
    "log.level",
    "plugin",
    "plugins.directory",
    "price",
    "recognizer",
    "route",
    "security.allow_urls",
    "source",
    "state.keep",
    "state.keep_failed",
    "state.max_size",
    "storage.addressing",
    "storage.credentials_file",
    "storage.endpoint",
    "storage.presign",
    "storage.region",
    "storage.url",
    "webhook",
];

/// Keys whose values are not free texts, numbers, truth or lists.
fn another(key: &str, value: &Value) -> Value {
    match (key, value) {
        ("dashscope.region", _) => "beijing".into(),
        ("log.format", _) => "json".into(),
        ("storage.addressing", _) => "path".into(),
        (_, Value::Bool(yes)) => (!yes).into(),
        (_, Value::Number(number)) if number.is_f64() => 9.5.into(),
        (_, Value::Number(_)) => 9.into(),
        (_, Value::Array(_)) => json!(["another"]),
        (_, Value::String(text)) if text.ends_with("GiB") => "9GiB".into(),
        (_, Value::String(text))
            if text.ends_with(|unit| "sdh".contains(unit))
                && text.starts_with(|c: char| c.is_ascii_digit()) =>
        {
            "9s".into()
        }
        _ => "another".into(),
    }
}

#[test]
fn every_key_is_applied_or_named() {
    let before = valid("");
    let Value::Object(tables) = serde_json::to_value(&before).unwrap() else { panic!("no tables") };
    let mut found = BTreeSet::new();
    for (table, keys) in &tables {
        let Value::Object(keys) = keys else {
            found.insert(table.clone());
            continue;
        };
        for (name, value) in keys {
            let key = format!("{table}.{name}");
            let mut changed = serde_json::to_value(&before).unwrap();
            changed[table][name] = another(&key, value);
            let mut after: Config =
                serde_json::from_value(changed).unwrap_or_else(|error| panic!("{key}: {error}"));
            let changes = after.prepare_reload(&before);
            if NEEDS_RESTART.contains(&key.as_str()) {
                assert_eq!(changes, Changes { needs_restart: vec![key.clone()], ..Changes::default() });
                assert_eq!(
                    serde_json::to_value(&after).unwrap(),
                    serde_json::to_value(&before).unwrap(),
                    "{key} is set back"
                );
            } else {
                assert_eq!(changes, Changes { applied: vec![key.clone()], ..Changes::default() });
                assert_ne!(serde_json::to_value(&after).unwrap()[table][name], *value, "{key} is kept");
            }
            found.insert(key);
        }
    }
    let listed = NEEDS_RESTART.into_iter().chain(APPLIED);
    let listed: BTreeSet<String> = listed.map(str::to_owned).collect();
    assert_eq!(found, listed);
}

#[test]
fn the_manual_of_operation_names_what_needs_a_restart() {
    let manual = include_str!("../../../../docs/operating.md");
    let reload = manual.split("\n## ").find(|section| section.starts_with("Reload")).unwrap();
    for key in NEEDS_RESTART {
        let (table, name) = key.split_once('.').unwrap();
        let row = reload.lines().find(|line| line.starts_with(&format!("| `[{table}]`")));
        let row = row.unwrap_or_else(|| panic!("no row of [{table}]"));
        assert!(row.contains(&format!("`{name}`")), "{key} in {row}");
    }
}

#[test]
fn elements_are_named_by_what_became_of_them() {
    let routes = |routes: &[(&str, &str)]| -> Config {
        let text: String = routes
            .iter()
            .map(|(name, language)| format!("[[route]]\nname = \"{name}\"\nlanguage = \"{language}\"\n"))
            .collect();
        valid(&text)
    };
    let before = routes(&[("default", ""), ("sales", "en"), ("old", "")]);
    let changes = |mut after: Config| after.prepare_reload(&before).applied;
    assert_eq!(
        changes(routes(&[("default", ""), ("sales", "de"), ("new", "")])),
        ["route sales", "route new (added)", "route old (removed)"]
    );
    assert_eq!(changes(routes(&[("sales", "en"), ("default", ""), ("old", "")])), ["route (order)"]);
    assert!(changes(before.clone()).is_empty());
    let changes = routes(&[("default", "en")]).prepare_reload(&before);
    assert!(changes.are_of(&["route"]) && !changes.are_of(&["source", "budget"]));
}
