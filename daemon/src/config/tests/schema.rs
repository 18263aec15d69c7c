//! The schema by which an editor checks `harkd.toml`.

use serde_json::Value;

use crate::config::{EMBEDDED, manual, schema};

/// The schema's mistakes in a text.
fn mistakes(text: &str) -> Vec<String> {
    let value: toml::Table = toml::from_str(text).unwrap();
    let validator = jsonschema::options().offline().build(&schema()).unwrap();
    let value = serde_json::to_value(value).unwrap();
    validator.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn the_manual_fits_with_its_samples_and_without() {
    assert_eq!(mistakes(EMBEDDED), [""; 0]);
    assert_eq!(mistakes(&manual::uncommented()), [""; 0]);
    assert_eq!(mistakes(include_str!("../../../../config/demo.toml")), [""; 0]);
    assert_eq!(mistakes(""), [""; 0]);
}

#[test]
fn what_check_refuses_by_its_form_does_not_fit() {
    for text in [
        "[dashscope]\nregoin = \"us\"\n",
        "[dashscope]\nregion = \"mars\"\n",
        "[dashscope]\nconcurrency = -1\n",
        "[dashscope]\npoll_interval = \"2 seconds\"\n",
        "[dashscope]\npoll_interval = 2\n",
        "[state]\nmax_size = \"20GB\"\n",
        "[dashcope]\n",
        "region = \"us\"\n",
        "[[source]]\nname = \"calls\"\nkind = \"directory\"\n",
        "[[source]]\nname = \"calls\"\npath = \"/srv\"\n",
        "[[source]]\nname = \"calls\"\nkind = \"directory\"\npath = \"/srv\"\nsubject = \"a\"\n",
        "[[source]]\nname = \"my calls\"\nkind = \"directory\"\npath = \"/srv\"\n",
        "[[source]]\nname = \"calls\"\nkind = \"directory\"\npath = \"/srv\"\nrescan = \"often\"\n",
        "[[route]]\nname = \"a\"\nchannels = \"both\"\n",
        "[[route]]\nname = \"a\"\nhotwords = [{ word = \"a\", wieght = 5 }]\n",
        "[[price]]\nmodel = \"qwen3-*\"\nregion = \"moon\"\n",
        "[[plugin]]\nname = \"a\"\n",
    ] {
        assert_ne!(mistakes(text), [""; 0], "{text}");
        let checked = super::inspect(text).mistakes;
        assert!(!checked.is_empty(), "check takes what the schema refuses: {text}");
    }
}

#[test]
fn every_key_is_described_and_has_a_default_or_is_required() {
    let schema = schema();
    let mut seen = 0;
    let mut look = |name: &str, table: &Value| {
        let required = table["required"].as_array().cloned().unwrap_or_default();
        for (key, of_key) in table["properties"].as_object().unwrap() {
            let words = of_key["description"].as_str().unwrap_or_default();
            assert!(!words.is_empty(), "{name}.{key} lacks a description: {of_key}");
            let has_default = of_key.get("default").is_some_and(|default| !default.is_null());
            let is_required = required.contains(&key.as_str().into());
            assert_ne!(has_default, is_required, "{name}.{key}: {of_key}");
            seen += 1;
        }
        assert_eq!(table["additionalProperties"], false, "{name} takes unknown keys");
    };
    for (name, table) in schema["properties"].as_object().unwrap() {
        match table.get("items") {
            None => look(name, table),
            Some(element) => match element["oneOf"].as_array() {
                Some(kinds) => kinds.iter().for_each(|kind| look(name, kind)),
                None => look(name, element),
            },
        }
    }
    assert!(seen > 100, "{seen}");
}
