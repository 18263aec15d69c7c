//! The embedded file is the manual: its keys and values are exactly those of the types.

use serde_json::{Map, Value};

use super::valid;
use crate::config::{Channels, Config, EMBEDDED};

fn object(value: impl serde::Serialize) -> Map<String, Value> {
    match serde_json::to_value(value).unwrap() {
        Value::Object(object) => object,
        other => panic!("{other}"),
    }
}

/// The embedded file, with a webhook's secret where there is one.
fn manual(folder: &tempfile::TempDir) -> String {
    let secret = folder.path().join("crm.secret");
    std::fs::write(&secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
    EMBEDDED.replace("/etc/hark/crm.secret", secret.to_str().unwrap())
}

#[test]
fn commented_samples_show_every_key_at_its_default() {
    let folder = tempfile::tempdir().unwrap();
    let samples: String = manual(&folder)
        .lines()
        .filter_map(|line| line.strip_prefix('#').filter(|rest| !rest.is_empty() && !rest.starts_with(' ')))
        .map(|line| format!("{line}\n"))
        .collect();
    let shown: toml::Table = samples.parse().unwrap();
    assert_eq!(
        shown.keys().collect::<Vec<_>>(),
        ["plugin", "price", "recognizer", "route", "source", "webhook"]
    );
    assert_eq!(shown["source"].as_array().unwrap().len(), 2, "one of each kind");

    let required = ["name", "kind", "path", "subject", "library", "base_url", "model", "url", "secret_file"];
    for (table, elements) in shown {
        for element in elements.as_array().unwrap() {
            let mut shown = object(element);
            let smallest: Map<String, Value> =
                shown.clone().into_iter().filter(|(key, _)| required.contains(&key.as_str())).collect();
            let text =
                toml::to_string(&Map::from_iter([(table.clone(), Value::from(vec![smallest]))])).unwrap();
            let parsed = object(valid(&text));
            let mut defaults = object(&parsed[&table][0]);
            // A plugin's own config has no default; the sample shows a rule.
            shown.remove("config");
            defaults.remove("config");
            assert_eq!(shown, defaults, "[[{table}]]");
        }
    }
}

#[test]
fn samples_are_valid_as_they_stand() {
    let folder = tempfile::tempdir().unwrap();
    let uncommented: String = manual(&folder)
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let config = valid(&uncommented);
    assert_eq!((config.source.len(), config.route.len(), config.plugin.len()), (2, 1, 1));
    assert_eq!(config.webhook.len(), 1);
}

#[test]
fn the_examples_are_valid_and_the_one_for_the_eu_keeps_no_emotion_of_employees() {
    let sample: String = EMBEDDED
        .lines()
        .filter_map(|line| line.strip_prefix("#     ").filter(|line| !line.starts_with(' ')))
        .map(|line| format!("{line}\n"))
        .collect();
    let config = valid(&sample);
    let route = config.route("eu").unwrap();
    assert_eq!(route.channels, Channels::Split);
    let kept: Vec<&String> = route.roles.iter().filter(|role| route.emotion.keeps(Some(role))).collect();
    assert_eq!(kept, ["customer"]);
    let plugins: Vec<&str> = config.plugin.iter().map(|plugin| plugin.name.as_str()).collect();
    assert_eq!(plugins, ["redact", "emotion_watch", "call_score", "subtitles"]);
}

#[test]
fn an_empty_file_means_all_defaults_and_a_default_route() {
    let config = valid("");
    assert_eq!(config.route("default").unwrap().name, "default");
    let mut expected = Config::default();
    expected.route.clone_from(&config.route);
    assert_eq!(object(config), object(expected));
}
