//! Matches rules against transcripts, through the plugin's exported functions.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is the assertion")]

use hark_sdk::event::{Alert, AlertState, Body, Event, Severity};
use hark_sdk::testing::{Bench, NAME, transcript};
use keyword_alert::KeywordAlert;
use serde_json::{Value, json};

fn churn() -> Value {
    json!({ "rules": [{
        "name": "churn", "any": ["cancel", "close my account"], "regex": ["refund(s|ed)?"],
        "severity": "warning", "roles": [],
    }]})
}

fn alerts(config: &Value, event: &Event) -> Vec<Alert> {
    let heard = Bench::<KeywordAlert>::create(&config.to_string()).unwrap().hand(event).unwrap();
    assert!(heard.refused.is_empty(), "{:?}", heard.refused);
    let alert = |body| match body {
        Body::AlertRaised(alert) => alert,
        other => panic!("{other:?}"),
    };
    heard.emitted.into_iter().map(alert).collect()
}

/// The quote that a rule with these words takes from a text.
fn quoted(any: &str, text: &str) -> Option<String> {
    let config = json!({ "rules": [{ "name": "r", "any": [any] }] });
    alerts(&config, &transcript(&[text])).into_iter().next().map(|alert| alert.quote)
}

/// Channel and number of an alert.
fn number(alert: &str) -> &str {
    alert.splitn(4, ':').last().unwrap()
}

fn mistake(config: Value) -> String {
    Bench::<KeywordAlert>::create(&config.to_string()).err().unwrap()
}

#[test]
fn a_word_raises_a_confirmed_alert_where_it_was_said() {
    let event = transcript(&["How may I help?", "I want to Cancel my contract.", "I see."]);
    assert_eq!(
        alerts(&churn(), &event),
        [Alert {
            alert: format!("{}:{NAME}:churn:1:1.1", event.job),
            plugin: NAME.into(),
            rule: "churn".into(),
            severity: Severity::Warning,
            state: AlertState::Confirmed,
            channel: Some(1),
            role: Some("customer".into()),
            begin_ms: Some(10_000),
            end_ms: Some(20_000),
            quote: "Cancel".into(),
            ..Alert::default()
        }]
    );
}

#[test]
fn the_same_transcript_gives_the_same_alerts() {
    let event = transcript(&["cancel", "refund", "close my account"]);
    let first = alerts(&churn(), &event);
    assert_eq!(first, alerts(&churn(), &event));
    let names: Vec<_> = first.iter().map(|alert| number(&alert.alert)).collect();
    assert_eq!(names, ["0:1.1", "1:1.1", "0:1.2"]);
}

#[test]
fn one_rule_speaks_once_in_a_segment_of_what_came_first() {
    let event = transcript(&["He was refunded, so I cancel. Refunds! Cancel!"]);
    let quotes: Vec<_> = alerts(&churn(), &event).into_iter().map(|alert| alert.quote).collect();
    assert_eq!(quotes, ["refunded"]);
}

#[test]
fn a_transcript_without_segments_is_looked_at_as_a_whole() {
    let mut event = transcript(&["please cancel"]);
    if let Body::TranscriptFinal(transcript) = &mut event.body {
        transcript.segments = None;
    }
    let [alert] = &alerts(&churn(), &event)[..] else { panic!("one alert") };
    assert_eq!((number(&alert.alert), alert.channel, alert.begin_ms), ("-:1.1", None, None));
}

#[test]
fn a_rule_for_roles_hears_nobody_else() {
    let config = |roles| json!({ "rules": [{ "name": "r", "any": ["cancel"], "roles": roles }] });
    let event = transcript(&["cancel", "cancel"]);
    let channels = |roles| -> Vec<u32> {
        alerts(&config(roles), &event).into_iter().filter_map(|alert| alert.channel).collect()
    };
    assert_eq!(channels(json!(["customer"])), [1]);
    assert_eq!(channels(json!(["agent"])), [0]);
    assert_eq!(channels(json!(["supervisor"])), [0; 0]);
    assert_eq!(channels(json!([])), [0, 1]);
}

#[test]
fn words_are_whole_where_the_script_has_words() {
    assert_eq!(quoted("cancel", "the cancellation"), None);
    assert_eq!(quoted("cancel", "uncancel"), None);
    assert_eq!(quoted("cancel", "(cancel)").as_deref(), Some("cancel"));
    assert_eq!(quoted("Ärger", "So ein ÄRGER!").as_deref(), Some("ÄRGER"));
    assert_eq!(quoted("о", "слово"), None);
    assert_eq!(quoted("c++", "I like C++.").as_deref(), Some("C++"));
    assert_eq!(quoted("退款", "我要退款。").as_deref(), Some("退款"));
    assert_eq!(quoted("キャンセル", "注文をキャンセルしたい").as_deref(), Some("キャンセル"));
    assert_eq!(quoted("환불", "환불을 원합니다").as_deref(), Some("환불"));
    assert_eq!(quoted("ยกเลิก", "ขอยกเลิกครับ").as_deref(), Some("ยกเลิก"));
    assert_eq!(quoted("vip", "我是VIP客户").as_deref(), Some("VIP"));
}

#[test]
fn phrases_bend_over_spaces_and_apostrophes() {
    assert_eq!(quoted("close my account", "Close  my\naccount now").as_deref(), Some("Close  my\naccount"));
    assert_eq!(quoted("don't call", "Don’t call me").as_deref(), Some("Don’t call"));
    assert_eq!(quoted("close my account", "close my accounts"), None);
    assert_eq!(quoted("  cancel ", "cancel").as_deref(), Some("cancel"));
}

#[test]
fn the_longer_of_two_that_begin_together_is_quoted() {
    let config = json!({ "rules": [{ "name": "r", "any": ["close", "close my account"] }] });
    let quote = |text| alerts(&config, &transcript(&[text]))[0].quote.clone();
    assert_eq!(quote("please close my account"), "close my account");
    assert_eq!(quote("please close my accounts"), "close");
}

#[test]
fn letters_that_grow_when_they_are_lowered_are_quoted_as_they_stand() {
    assert_eq!(quoted("i̇stanbul", "in İSTANBUL today").as_deref(), Some("İSTANBUL"));
    assert_eq!(quoted("cancel", "İİİ cancel İ").as_deref(), Some("cancel"));
}

#[test]
fn a_regex_sees_the_text_as_it_is_and_an_empty_match_is_none() {
    let config = json!({ "rules": [{ "name": "r", "regex": ["x*", "(?-i)IBAN", r"\b\d{4}\b"] }] });
    let quotes = |text| -> Vec<_> {
        alerts(&config, &transcript(&[text])).into_iter().map(|alert| alert.quote).collect()
    };
    assert_eq!(quotes("my iban"), [""; 0]);
    assert_eq!(quotes("my IBAN"), ["IBAN"]);
    assert_eq!(quotes("code 1234."), ["1234"]);
}

#[test]
fn of_too_many_alerts_the_most_severe_are_raised_and_the_rest_is_counted() {
    let config = json!({ "rules": [
        { "name": "chatter", "regex": ["well.*"], "severity": "info" },
        { "name": "fraud", "any": ["gift card"], "severity": "critical" },
    ]});
    // Every alert of a long call is told.
    let mut bench = Bench::<KeywordAlert>::create(&config.to_string()).unwrap();
    assert_eq!(bench.hand(&transcript(&["well, well"; 400])).unwrap().emitted.len(), 400);

    let long = format!("well {}", "and so on ".repeat(20_000));
    let mut said = vec![&long[..]; 60];
    said[50] = "buy a gift card";
    let heard = bench.hand(&transcript(&said)).unwrap();
    assert!(heard.refused.is_empty());
    let Body::Plugin(note) = &heard.emitted[0] else { panic!("{:?}", heard.emitted[0]) };
    assert_eq!(note.data, json!({ "alerts": 60, "left_out": 18 }));
    let names: Vec<_> = heard.emitted[1..]
        .iter()
        .map(|body| match body {
            Body::AlertRaised(alert) => alert.rule.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!((names.len(), names[0], names[40], names[41]), (42, "chatter", "chatter", "fraud"));
}

#[test]
fn a_config_that_cannot_mean_anything_names_rule_and_key() {
    for (config, words) in [
        (json!({}), "rules: is missing or empty"),
        (json!({ "rules": [] }), "rules: is missing or empty"),
        (json!({ "rules": "churn" }), "rules: invalid type: string \"churn\", expected a sequence"),
        (json!({ "rule": [] }), "rule: unknown field `rule`, expected `rules`"),
        (json!({ "rules": [{ "any": ["x"] }] }), "rules.0.name: \"\" cannot name a rule"),
        (json!({ "rules": [{ "name": "A b", "any": ["x"] }] }), "rules.0.name: \"A b\" cannot name a rule"),
        (
            json!({ "rules": [{ "name": "b", "any": ["x"] }, { "name": "a", "al": ["x"] }] }),
            "rules.1.al: rule \"a\": unknown field `al`, expected one of",
        ),
        (
            json!({ "rules": [{ "name": "a", "near": { "word": [] } }] }),
            "rules.0.near.word: rule \"a\": unknown field `word`",
        ),
        (json!({ "rules": [{ "name": "a", "any": "x" }] }), "rules.0.any: rule \"a\": invalid type: string"),
        (json!({ "rules": [{ "name": "a", "any": ["x", 3] }] }), "rules.0.any.1: rule \"a\": invalid type"),
        (
            json!({ "rules": [{ "name": "a", "any": ["x"], "severity": "high" }] }),
            "rules.0.severity: rule \"a\": unknown variant `high`",
        ),
        (
            json!({ "rules": [{ "name": "a", "any": ["x"], "cooldown": "soon" }] }),
            "rules.0.cooldown: rule \"a\": \"soon\" is no duration",
        ),
        (
            json!({ "rules": [{ "name": "a", "any": ["x"], "window": "30s" }] }),
            "rules.0.window: rule \"a\": \"30s\" is no window",
        ),
        (
            json!({ "rules": [{ "name": "a", "regex": ["x", "("] }] }),
            "rules.0.regex.1: rule \"a\": \"(\": unclosed group",
        ),
        (
            json!({ "rules": [{ "name": "a", "any": ["x"] }, { "name": "a", "any": ["y"] }] }),
            "rules.1.name: rule \"a\" is there twice",
        ),
        (json!({ "rules": [1] }), "rules.0: invalid type"),
    ] {
        let told = mistake(config);
        assert!(told.starts_with(words), "{told}\nshould begin with\n{words}");
    }
    assert!(Bench::<KeywordAlert>::create("[]").is_err());
}

#[test]
fn marks_and_joiners_are_of_their_word_and_greek_has_one_sigma() {
    assert_eq!(quoted("कर", "कर्ज और कर्मचारी"), None, "a virama goes on with the word");
    assert_eq!(quoted("कर", "यह कर है").as_deref(), Some("कर"));
    assert_eq!(quoted("cafe", "cafe\u{301} noir").as_deref(), Some("cafe\u{301}"));
    assert_eq!(quoted("می", "می\u{200c}خواهم"), None);
    assert_eq!(quoted("οδος", "ΟΔΟΣ").as_deref(), Some("ΟΔΟΣ"));
    assert_eq!(quoted("ΟΔΟΣ", "οδος").as_deref(), Some("οδος"));
}
