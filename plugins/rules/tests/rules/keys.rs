//! Each key of a rule, and the cases K1 to K4.

use hark_rules::{Config, Rules, Unit};
use hark_sdk::event::Segment;
use serde_json::{Value, json};

/// Channel, begin in seconds, text.
type Line = (u32, u64, &'static str);

/// A call of segments of ten seconds; channel 0 is the agent, channel 1 the customer, who is angry where the text has "!!".
fn segments(lines: &[Line]) -> Vec<Segment> {
    let segments = lines.iter().map(|(channel, begin, text)| Segment {
        channel: *channel,
        role: Some(["agent", "customer"][*channel as usize].to_owned()),
        begin_ms: Some(begin * 1_000),
        end_ms: Some((begin + 10) * 1_000),
        text: (*text).to_owned(),
        emotion: Some(if text.contains("!!") { "angry" } else { "neutral" }.to_owned()),
        ..Segment::default()
    });
    segments.collect()
}

fn compiled(mut rule: Value) -> Rules {
    rule["name"] = json!("r");
    Rules::new(Config::parse(&json!({ "rules": [rule] }).to_string()).unwrap()).unwrap()
}

/// The quotes of a rule's alerts, each with the second that its segment begins at.
fn alerts(rule: Value, lines: &[Line]) -> Vec<(u64, String)> {
    let rules = compiled(rule);
    let segments = segments(lines);
    let units: Vec<Unit> = segments.iter().map(|segment| Unit::of_segment(&rules, segment)).collect();
    let judged = rules.judge(&units, None).into_iter();
    let begin =
        |segment: Option<usize>| segment.and_then(|segment| segments[segment].begin_ms).unwrap_or(999_000);
    judged.map(|one| (begin(one.segment) / 1_000, one.quote)).collect()
}

/// What a phrase finds in a text.
fn quote(phrase: &str, text: &'static str) -> Option<String> {
    alerts(json!({ "any": [phrase] }), &[(0, 0, text)]).into_iter().next().map(|(_, quote)| quote)
}

#[track_caller]
fn expect(rule: Value, lines: &[Line], expected: &[(u64, &str)]) {
    let got = alerts(rule, lines);
    let got: Vec<(u64, &str)> = got.iter().map(|(begin, quote)| (*begin, quote.as_str())).collect();
    assert_eq!(got, expected);
}

#[test]
fn k1_punctuation_between_the_words_of_a_phrase_does_not_count() {
    for (phrase, text, found) in [
        ("no thank you", "No, thank you.", "No, thank you"),
        ("no thank you", "NO... thank — you", "NO... thank — you"),
        ("no, thank you!", "no thank you", "no thank you"),
        ("well known", "a well-known fact", "well-known"),
        ("well-known", "well known", "well known"),
        ("don't call", "Don’t call me", "Don’t call"),
        ("我要退款", "我要，退款。", "我要，退款"),
        ("もう結構です", "もう、結構です。", "もう、結構です"),
        ("24 7", "24/7", "24/7"),
    ] {
        assert_eq!(quote(phrase, text).as_deref(), Some(found), "{phrase} in {text}");
    }
    assert_eq!(quote("no thank you", "no, I thank you"), None);
    assert_eq!(quote("5 €", "5 $"), None, "a sign is a word");
}

#[test]
fn k2_a_phrase_runs_over_the_border_of_two_segments() {
    let rule = || json!({ "any": ["close my account"] });
    expect(
        rule(),
        &[(1, 0, "Please close my"), (1, 10, "account.")],
        &[(0, "close my account.".trim_end_matches('.'))],
    );
    expect(rule(), &[(1, 0, "close"), (0, 5, "Yes?"), (1, 10, "my account")], &[(0, "close my account")]);
    expect(rule(), &[(1, 0, "close"), (1, 40, "my account")], &[(0, "close my account")]);
    expect(rule(), &[(1, 0, "close"), (1, 41, "my account")], &[]);
    expect(rule(), &[(1, 0, "close my"), (0, 10, "account")], &[]);
    expect(rule(), &[(1, 0, "close"), (1, 10, "my"), (1, 20, "account")], &[]);
    expect(rule(), &[(1, 0, "close my"), (1, 10, "…"), (1, 20, "account")], &[(0, "close my account")]);
    expect(json!({ "any": ["我要退款"] }), &[(1, 0, "我要"), (1, 10, "退款。")], &[(0, "我要退款")]);
    expect(
        json!({ "all": ["cancel"], "not": ["close my account"] }),
        &[(1, 0, "Cancel, close my"), (1, 10, "account")],
        &[],
    );
    expect(
        json!({ "any": ["close my account"], "emotion": ["angry"] }),
        &[(1, 0, "close my!!"), (1, 10, "account")],
        &[],
    );
}

#[test]
fn k3_composed_and_decomposed_letters_are_the_same() {
    for (phrase, text) in
        [("café", "cafe\u{301}"), ("cafe\u{301}", "Café"), ("ガス", "カ\u{3099}ス"), ("한글", "한글")]
    {
        assert_eq!(quote(phrase, text).as_deref(), Some(text), "{phrase} in {text}");
        expect(json!({ "any": [text], "fold": false }), &[(0, 0, text)], &[(0, text)]);
    }
    expect(json!({ "any": ["café"], "fold": false }), &[(0, 0, "cafe\u{301}")], &[(0, "cafe\u{301}")]);
}

#[test]
fn k4_letters_are_the_same_in_every_case() {
    for (phrase, text) in [
        ("iptal", "İptal"),
        ("İptal", "iptal"),
        ("iptal", "IPTAL"),
        ("kız", "KIZ"),
        ("straße", "STRASSE"),
        ("strasse", "Straße"),
        ("ΟΔΟΣ", "οδος"),
        ("vip", "ＶＩＰ"),
        ("キャンセル", "ｷｬﾝｾﾙ"),
        ("きゃんせる", "キャンセル"),
        ("uber", "Über"),
    ] {
        assert_eq!(quote(phrase, text).as_deref(), Some(text), "{phrase} in {text}");
    }
    for (phrase, text) in [("か", "が"), ("ハ", "バ"), ("cancel", "cancellation"), ("カ", "ガス")] {
        assert_eq!(quote(phrase, text), None, "{phrase} in {text}");
    }
    for (phrase, text) in [("iptal", "İptal"), ("vip", "VIP"), ("キ", "き"), ("cafe", "café")] {
        expect(json!({ "any": [phrase], "fold": false }), &[(0, 0, text)], &[]);
    }
}

#[test]
fn any_and_regex_are_alternatives_and_all_needs_every_phrase() {
    let lines = &[(1, 0, "cancel"), (1, 10, "Refunds!"), (1, 20, "refund or cancel")];
    expect(
        json!({ "any": ["cancel"], "regex": ["refunds?"] }),
        lines,
        &[(0, "cancel"), (10, "Refunds"), (20, "refund")],
    );
    expect(json!({ "all": ["cancel", "refund"] }), lines, &[(20, "refund")]);
    expect(json!({ "all": ["cancel", "Cancel"] }), lines, &[(0, "cancel"), (20, "cancel")]);
    expect(json!({ "any": ["cancel"], "all": ["refund"] }), lines, &[(20, "refund")]);
    expect(json!({ "regex": ["refund"], "fold": false }), lines, &[(20, "refund")]);
    expect(
        json!({ "regex": ["x*", "(?-i)IBAN"] }),
        &[(0, 0, "my iban"), (0, 10, "my IBAN")],
        &[(10, "IBAN")],
    );
}

#[test]
fn near_needs_all_words_within_so_many_in_any_order() {
    let rule = |within| json!({ "near": { "words": ["cancel", "contract"], "within": within } });
    let lines = &[(1, 0, "The contract, I want to cancel it")];
    expect(rule(5), lines, &[(0, "contract, I want to cancel")]);
    expect(rule(4), lines, &[]);
    expect(
        json!({ "near": { "words": ["退款", "我"], "within": 4 } }),
        &[(1, 0, "我要退款")],
        &[(0, "我要退款")],
    );
    expect(json!({ "near": { "words": ["退款", "我"], "within": 3 } }), &[(1, 0, "我要退款")], &[]);
    let apart = &[(1, 0, "my contract"), (0, 10, "Yes?"), (1, 20, "cancel it")];
    expect(rule(2), apart, &[]);
    expect(
        json!({ "scope": "call", "near": { "words": ["cancel", "contract"], "within": 2 } }),
        apart,
        &[(0, "contract")],
    );
    expect(json!({ "scope": "call", "near": { "words": ["cancel", "yes"], "within": 9 } }), apart, &[]);
}

#[test]
fn not_forbids_in_the_scope() {
    let lines = &[(1, 0, "cancel"), (1, 40, "cancel? just joking")];
    expect(json!({ "any": ["cancel"], "not": ["just joking"] }), lines, &[(0, "cancel")]);
    expect(json!({ "any": ["cancel"], "not": ["just joking"], "scope": "call" }), lines, &[]);
    expect(json!({ "any": ["cancel"], "not": ["thanks"], "scope": "call" }), lines, &[(0, "cancel")]);
    expect(json!({ "not": ["thanks"] }), lines, &[]);
}

#[test]
fn missing_is_raised_at_the_end_where_none_was_said() {
    let rule = || json!({ "missing": ["good morning", "hello"], "roles": ["agent"], "window": "first 15s" });
    expect(rule(), &[(0, 0, "Good morning!"), (1, 10, "Hi")], &[]);
    expect(rule(), &[(0, 0, "Yes?"), (1, 10, "Hello")], &[(999, "")]);
    expect(rule(), &[(0, 0, "Yes?"), (0, 20, "Hello")], &[(999, "")]);
    expect(rule(), &[], &[(999, "")]);
    expect(json!({ "any": ["cancel"], "missing": ["offer"] }), &[(1, 0, "cancel"), (0, 10, "an offer")], &[]);
    expect(
        json!({ "any": ["cancel"], "missing": ["offer"] }),
        &[(0, 0, "I see"), (1, 10, "cancel"), (1, 20, "cancel")],
        &[(10, "cancel")],
    );
}

#[test]
fn roles_window_and_emotion_choose_the_segments() {
    let lines = &[(0, 0, "cancel"), (1, 10, "cancel!!"), (0, 20, "cancel!!"), (1, 30, "cancel")];
    expect(json!({ "any": ["cancel"], "roles": ["customer"] }), lines, &[(10, "cancel"), (30, "cancel")]);
    expect(
        json!({ "any": ["cancel"], "roles": ["customer"], "emotion": ["angry"] }),
        lines,
        &[(10, "cancel")],
    );
    expect(json!({ "any": ["cancel"], "window": "last 20s" }), lines, &[(20, "cancel"), (30, "cancel")]);
    expect(json!({ "any": ["cancel"], "window": "first 50%" }), lines, &[(0, "cancel"), (10, "cancel")]);
    expect(json!({ "any": ["cancel"], "window": "10s..30s" }), lines, &[(10, "cancel"), (20, "cancel")]);
    expect(json!({ "any": ["cancel"], "roles": ["nurse"] }), lines, &[]);
}

#[test]
fn cooldown_and_once_limit_a_rule_over_all_channels() {
    let lines = &[(0, 0, "cancel"), (1, 10, "cancel"), (0, 30, "cancel"), (1, 50, "cancel")];
    expect(json!({ "any": ["cancel"], "cooldown": "30s" }), lines, &[(0, "cancel"), (30, "cancel")]);
    expect(json!({ "any": ["cancel"], "cooldown": "31s" }), lines, &[(0, "cancel"), (50, "cancel")]);
    expect(json!({ "any": ["cancel"], "once": true }), lines, &[(0, "cancel")]);
}

#[test]
fn a_rule_that_cannot_be_meant_is_warned_of() {
    for (rule, key, words) in [
        (json!({}), "rules.0", "never matches: give it words"),
        (json!({ "not": ["x"], "emotion": ["angry"] }), "rules.0", "never matches"),
        (json!({ "any": ["cancel", " … "] }), "rules.0.any.1", "no word in it"),
        (json!({ "all": [""] }), "rules.0.all.0", "no word in it"),
        (json!({ "regex": ["x*"] }), "rules.0.regex.0", "matches the empty text"),
        (json!({ "regex": ["a", ".*"] }), "rules.0.regex.1", "matches the empty text"),
        (json!({ "regex": ["[^\\s\\S]"] }), "rules.0.regex.0", "can match no text"),
        (json!({ "any": ["x"], "window": "3m..1m" }), "rules.0.window", "no segment begins"),
        (
            json!({ "near": { "words": ["a", "b"], "within": 0 } }),
            "rules.0.near.within",
            "2 words cannot be within 0",
        ),
        (
            json!({ "near": { "words": ["a", "b"], "within": 1 } }),
            "rules.0.near.within",
            "2 words cannot be within 1",
        ),
        (
            json!({ "near": { "words": ["close my account", "x"], "within": 2 } }),
            "rules.0.near.within",
            "3 words",
        ),
        (json!({ "all": ["please cancel"], "not": ["Cancel"] }), "rules.0.not.0", "\"cancel\" of `not`"),
        (json!({ "any": ["a b", "b"], "not": ["b"] }), "rules.0.not.0", "\"b\" of `not`"),
        (json!({ "all": ["b"], "missing": ["b"] }), "rules.0.missing.0", "\"b\" of `missing`"),
    ] {
        let warnings = compiled(rule.clone()).warnings();
        let found = warnings.iter().any(|warning| warning.path == key && warning.text.contains(words));
        assert!(found, "{rule}: {warnings:?}");
    }
    for rule in [
        json!({ "any": ["a", "b c"], "not": ["c"], "regex": ["x+"] }),
        json!({ "any": ["a", "b"], "not": ["b"] }),
        json!({ "all": ["cancellation"], "not": ["cancel"] }),
        json!({ "near": { "words": ["close my account", "my account"], "within": 3 } }),
        json!({ "missing": ["hello"], "window": "first 15s" }),
    ] {
        assert_eq!(compiled(rule.clone()).warnings(), [], "{rule}");
    }
}
