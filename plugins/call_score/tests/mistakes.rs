//! Configs that are refused, and those that are warned of.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is the assertion")]

use call_score::CallScore;
use hark_sdk::Level;
use hark_sdk::testing::Bench;
use serde_json::{Value, json};

#[test]
fn mistakes_of_the_config_name_the_key() {
    let with =
        |check: Value| json!({ "checks": [{ "name": "a", "weight": 1, "longest_silence": "1s" }, check] });
    for (config, words) in [
        (json!({}), "checks: is missing or empty"),
        (json!({ "pass": 101, "checks": [] }), "pass: must be a score, 0 to 100"),
        (with(json!({ "name": "b" })), "checks.1.weight: check \"b\" is missing"),
        (
            with(json!({ "name": "b", "weight": -1, "longest_silence": "1s" })),
            "checks.1.weight: check \"b\" must count 0 or more",
        ),
        (with(json!({ "weight": 1, "longest_silence": "1s" })), "checks.1.name: "),
        (
            with(json!({ "name": "a", "weight": 1, "longest_silence": "1s" })),
            "checks.1.name: check \"a\" is there twice",
        ),
        (with(json!({ "name": "b", "weight": 1 })), "checks.1: check \"b\" needs one of rule"),
        (
            with(json!({ "name": "b", "weight": 1, "longest_silence": "1s", "rule": { "any": ["x"] } })),
            "checks.1: check \"b\" needs one of rule",
        ),
        (
            with(json!({ "name": "b", "weight": 1, "longest_silence": "long" })),
            "checks.1.longest_silence: \"long\" is no duration",
        ),
        (
            with(json!({ "name": "b", "weight": 1, "rule": { "an": ["x"] } })),
            "checks.1.rule.an: unknown field",
        ),
        (
            with(json!({ "name": "b", "weight": 1, "rule": { "name": "c", "any": ["x"] } })),
            "checks.1.rule.name: ",
        ),
        (
            with(json!({ "name": "b", "weight": 1, "rule": { "any": ["x"], "regex": ["y", "("] } })),
            "checks.1.rule.regex.1: rule \"b\": \"(\"",
        ),
        (
            with(json!({ "name": "b", "weight": 1, "talk_ratio": { "role": "agent", "at_most": 70 } })),
            "checks.1.talk_ratio.at_most: ",
        ),
        (
            with(json!({ "name": "b", "weight": 1, "talk_ratio": { "role": "agent" } })),
            "checks.1.talk_ratio: missing field `at_most`",
        ),
        (
            with(json!({ "name": "b", "weight": 1, "interruptions": { "role": "agent", "at_most": -1 } })),
            "checks.1.interruptions.at_most: ",
        ),
        (
            with(json!({ "name": "b", "weight": 1, "words_per_minute": { "role": "agent", "at_most": 0 } })),
            "checks.1.words_per_minute.at_most: ",
        ),
        (
            json!({ "checks": [{ "name": "a", "weight": 0, "fatal": true, "longest_silence": "1s" }] }),
            "checks: all have the weight 0",
        ),
    ] {
        let mistake = Bench::<CallScore>::create(&config.to_string()).err().unwrap();
        assert!(mistake.starts_with(words), "{config}: {mistake}");
    }
    let config =
        with(json!({ "name": "b", "weight": 0, "rule": { "roles": ["agent"], "missing": ["..."] } }));
    let bench = Bench::<CallScore>::create(&config.to_string()).unwrap();
    let warnings: Vec<&str> = bench
        .created()
        .iter()
        .map(|(level, line)| {
            assert_eq!(*level, Level::Warn);
            line.as_str()
        })
        .collect();
    let [weight, words] = warnings[..] else { panic!("{warnings:?}") };
    assert!(weight.starts_with("checks.1.weight: check \"b\" counts nothing"), "{weight}");
    assert!(words.starts_with("checks.1.rule.missing.0: rule \"b\""), "{words}");
}
