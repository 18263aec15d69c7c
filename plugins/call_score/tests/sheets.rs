//! Score sheets of calls, through the plugin's exported functions.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is the assertion")]

use call_score::CallScore;
use hark_sdk::event::{
    AnnotationSpeech, Blame, Body, ChannelSpeech, Event, Fault, Interruption, Segment, TimeSpan,
    TranscriptFinal,
};
use hark_sdk::testing::{Bench, event, transcript};
use proptest::prelude::*;
use serde_json::{Value, json};

/// The sheet of docs/plugins/call_score.md.
fn sheet() -> Value {
    json!({
        "pass": 80,
        "checks": [
            { "name": "greeting", "weight": 20, "rule": { "any": ["good morning", "hello"], "roles": ["agent"], "window": "first 15s" } },
            { "name": "no promises", "weight": 20, "fatal": true, "rule": { "missing": ["guarantee"], "roles": ["agent"] } },
            { "name": "lets the customer speak", "weight": 20, "talk_ratio": { "role": "agent", "at_most": 0.7 } },
            { "name": "no dead air", "weight": 20, "longest_silence": "10s" },
            { "name": "does not interrupt", "weight": 10, "interruptions": { "role": "agent", "at_most": 1 } },
            { "name": "speaks calmly", "weight": 10, "words_per_minute": { "role": "agent", "at_most": 180 } },
        ],
    })
}

fn call() -> Event {
    transcript(&["Good morning, this is Ann.", "I want to cancel.", "I see, one moment please.", "Fine."])
}

fn change(event: &mut Event, how: impl FnOnce(&mut TranscriptFinal)) {
    let Body::TranscriptFinal(fields) = &mut event.body else { panic!("{event:?}") };
    how(fields);
}

fn channel(channel: u32, role: &str, speech_ms: u64) -> ChannelSpeech {
    ChannelSpeech { channel, role: Some(role.to_owned()), speech_ms, ..ChannelSpeech::default() }
}

fn speech() -> AnnotationSpeech {
    let interruption = |channel, begin_ms| Interruption { channel, role: None, begin_ms };
    AnnotationSpeech {
        channels: vec![channel(0, "agent", 6_000), channel(1, "customer", 4_000)],
        longest_silence: Some(TimeSpan { begin_ms: 21_000, end_ms: 33_500 }),
        interruptions: vec![interruption(0, 12_300), interruption(1, 15_000), interruption(0, 31_000)],
        ..AnnotationSpeech::default()
    }
}

fn score(config: &Value, call: &Event, speech: Option<AnnotationSpeech>) -> Value {
    let mut bench = Bench::<CallScore>::create(&config.to_string()).unwrap();
    if let Some(speech) = speech {
        let annotation = Event { job: call.job, ..event(Body::AnnotationSpeech(speech)) };
        assert!(bench.hand(&annotation).unwrap().emitted.is_empty());
    }
    let heard = bench.hand(call).unwrap();
    assert!(heard.refused.is_empty(), "{:?}", heard.refused);
    let [Body::Plugin(said)] = &heard.emitted[..] else { panic!("{heard:?}") };
    said.data.clone()
}

/// Whether a check passes, and why.
fn check(kind: &str, value: Value, call: &Event, speech: Option<AnnotationSpeech>) -> (Option<bool>, String) {
    let config = json!({ "checks": [{ "name": "c", "weight": 1, kind: value }] });
    let check = &score(&config, call, speech)["checks"][0];
    (check["passed"].as_bool(), check["why"].as_str().unwrap().to_owned())
}

#[test]
fn a_sheet_says_what_counts_and_why() {
    let call = call();
    let expected = json!({
        "score": 70, "passed": false, "checks": [
            { "name": "greeting", "weight": 20, "passed": true, "why": "\"Good morning\" is said by agent in segment 1 at 0 s" },
            { "name": "no promises", "weight": 20, "passed": true, "why": "none of the words is said in 2 segments of agent" },
            { "name": "lets the customer speak", "weight": 20, "passed": true, "why": "agent speaks 6 s of 10 s, 60 %; at most 70 %" },
            { "name": "no dead air", "weight": 20, "passed": false, "why": "the longest silence takes 12.5 s, from 21 s to 33.5 s; at most 10 s" },
            { "name": "does not interrupt", "weight": 10, "passed": false, "why": "agent interrupts 2 times, at 12.3 s, 31 s; at most 1" },
            { "name": "speaks calmly", "weight": 10, "passed": true, "why": "agent says 10 words in 6 s of speech, 100 a minute; at most 180" },
        ],
    });
    assert_eq!(score(&sheet(), &call, Some(speech())), expected);
}

#[test]
fn what_was_not_measured_is_left_out_of_the_sum() {
    let score = score(&sheet(), &call(), None);
    assert_eq!((&score["score"], &score["passed"]), (&json!(100), &json!(true)));
    let passed: Vec<&Value> =
        score["checks"].as_array().unwrap().iter().map(|check| &check["passed"]).collect();
    assert_eq!(passed, [&json!(true), &json!(true), &Value::Null, &Value::Null, &Value::Null, &Value::Null]);
    let why = score["checks"][2]["why"].as_str().unwrap();
    assert!(why.starts_with("not measured: there is no annotation.speech"), "{why}");

    let config = json!({ "checks": [{ "name": "c", "weight": 1, "longest_silence": "10s" }] });
    let score = self::score(&config, &call(), None);
    assert_eq!((&score["score"], &score["passed"]), (&Value::Null, &Value::Null), "nothing was measured");
}

#[test]
fn a_failed_fatal_check_makes_the_score_0() {
    let mut call = call();
    change(&mut call, |fields| fields.segments.as_mut().unwrap()[2].text = "I guarantee it.".into());
    let score = score(&sheet(), &call, Some(speech()));
    assert_eq!((&score["score"], &score["passed"]), (&json!(0), &json!(false)));
    assert_eq!(score["checks"][1]["why"], "\"guarantee\" is said by agent in segment 3 at 20 s");
    assert_eq!(score["checks"][0]["passed"], true);
}

#[test]
fn the_measurement_of_another_call_does_not_count() {
    let mut bench = Bench::<CallScore>::create(&sheet().to_string()).unwrap();
    bench.hand(&event(Body::AnnotationSpeech(speech()))).unwrap();
    let heard = bench.hand(&call()).unwrap();
    let [Body::Plugin(said)] = &heard.emitted[..] else { panic!("{heard:?}") };
    assert_eq!(said.data["checks"][3]["passed"], Value::Null);
}

#[test]
fn rules_name_the_words_the_segment_and_the_second() {
    for (rule, passed, why) in [
        (json!({ "any": ["cancel"] }), true, "\"cancel\" is said by customer in segment 2 at 10 s"),
        (json!({ "any": ["cancel"], "roles": ["agent"] }), false, "not said in 2 segments of agent"),
        (
            json!({ "any": ["fine"], "window": "first 15s" }),
            false,
            "not said in 2 segments within the window",
        ),
        (
            json!({ "all": ["cancel", "moment"], "scope": "call" }),
            true,
            "\"cancel\" is said by customer in segment 2 at 10 s",
        ),
        (
            json!({ "any": ["cancel"], "missing": ["moment"] }),
            false,
            "\"moment\" is said by agent in segment 3 at 20 s",
        ),
        (
            json!({ "missing": ["refund"], "window": "last 10s" }),
            true,
            "none of the words is said in 1 segments within the window",
        ),
    ] {
        assert_eq!(check("rule", rule.clone(), &call(), None), (Some(passed), why.to_owned()), "{rule}");
    }
}

#[test]
fn a_rule_is_not_measured_where_the_transcript_lacks_what_it_asks_for() {
    let not = |why: &str| (None, format!("not measured: {why}"));
    let each = |how: fn(&mut Segment)| {
        let mut call = call();
        change(&mut call, |fields| fields.segments.iter_mut().flatten().for_each(how));
        call
    };
    let roles = json!({ "any": ["hello"], "roles": ["agent"] });
    let why = not("no segment has a role; split the channels and name their roles in the route");
    assert_eq!(check("rule", roles.clone(), &each(|segment| segment.role = None), None), why);
    let mut whole = call();
    change(&mut whole, |fields| fields.segments = None);
    assert_eq!(check("rule", roles, &whole, None), why);
    assert_eq!(
        check("rule", json!({ "any": ["cancel"] }), &whole, None),
        (Some(true), "\"cancel\" is said".to_owned())
    );

    let window = json!({ "any": ["hello"], "window": "first 15s" });
    assert_eq!(
        check("rule", window, &each(|segment| segment.begin_ms = None), None),
        not("no segment has a time")
    );
    let emotion = json!({ "any": ["hello"], "emotion": ["angry"] });
    assert_eq!(
        check("rule", emotion.clone(), &each(|segment| segment.emotion = None), None),
        not("no segment has an emotion")
    );
    assert_eq!(check("rule", emotion, &call(), None).0, Some(false));
    assert_eq!(
        check("rule", json!({ "missing": ["hello"] }), &transcript(&[]), None),
        not("nothing is said")
    );
}

#[test]
fn what_may_have_been_said_where_nothing_was_recognized_is_not_measured() {
    let mut call = call();
    change(&mut call, |fields| {
        let last = &mut fields.segments.as_mut().unwrap()[3];
        last.error = Some(Fault {
            code: "Timeout".into(),
            blame: Blame::Service,
            message: String::new(),
            attempts: None,
        });
        last.text = String::new();
    });
    for (kind, value, passed) in [
        ("rule", json!({ "any": ["cancel"] }), Some(true)),
        ("rule", json!({ "any": ["refund"] }), None),
        ("rule", json!({ "missing": ["refund"] }), None),
        ("rule", json!({ "missing": ["cancel"] }), Some(false)),
        ("words_per_minute", json!({ "role": "agent", "at_most": 180 }), None),
        ("longest_silence", json!("20s"), Some(true)),
    ] {
        assert_eq!(check(kind, value.clone(), &call, Some(speech())).0, passed, "{kind} {value}");
    }
}

#[test]
fn measured_figures_need_speakers_on_channels_of_their_own() {
    let limit = |at_most: f64| json!({ "role": "agent", "at_most": at_most });
    let one = AnnotationSpeech { channels: vec![channel(0, "agent", 6_000)], ..speech() };
    let mut doubled = speech();
    doubled.channels.push(ChannelSpeech { doubles: Some(0), ..channel(2, "agent", 6_000) });
    let silent =
        AnnotationSpeech { channels: vec![channel(0, "agent", 0), channel(1, "customer", 0)], ..speech() };
    for (kind, measured, why) in [
        ("talk_ratio", one.clone(), "all speakers are on one channel"),
        ("interruptions", one, "all speakers are on one channel"),
        ("talk_ratio", doubled, "the channel of agent repeats channel 0"),
        ("talk_ratio", silent.clone(), "there is no speech"),
        ("words_per_minute", silent, "agent does not speak"),
    ] {
        assert_eq!(
            check(kind, limit(0.5), &call(), Some(measured)),
            (None, format!("not measured: {why}")),
            "{kind}"
        );
    }
    let stranger = json!({ "role": "supervisor", "at_most": 1 });
    let why = "not measured: no channel is of the role supervisor".to_owned();
    assert_eq!(check("interruptions", stranger, &call(), Some(speech())), (None, why));

    for (at_most, passed) in [(0.6, true), (0.59, false)] {
        assert_eq!(check("talk_ratio", limit(at_most), &call(), Some(speech())).0, Some(passed));
    }
    for (at_most, passed) in [(2.0, true), (1.0, false)] {
        assert_eq!(check("interruptions", limit(at_most), &call(), Some(speech())).0, Some(passed));
    }
    let none = AnnotationSpeech { longest_silence: None, interruptions: vec![], ..speech() };
    assert_eq!(
        check("longest_silence", json!("1s"), &call(), Some(none.clone())),
        (Some(true), "the longest silence takes 0 s; at most 1 s".into())
    );
    assert_eq!(
        check("interruptions", limit(0.0), &call(), Some(none)),
        (Some(true), "agent interrupts 0 times; at most 0".into())
    );
}

#[test]
fn words_are_counted_in_scripts_without_spaces_too() {
    for (text, words) in
        [("Well-known: it's 5 o'clock.", 5), ("我要取消合同。", 3), ("注文をキャンセルしたいです。", 6)]
    {
        let (_, why) = check(
            "words_per_minute",
            json!({ "role": "agent", "at_most": 180 }),
            &transcript(&[text]),
            Some(speech()),
        );
        assert!(why.starts_with(&format!("agent says {words} words in 6 s")), "{text}: {why}");
    }
}

#[test]
fn many_interruptions_are_counted_and_the_first_are_listed() {
    let mut measured = speech();
    measured.interruptions =
        (0..10_000).map(|index| Interruption { channel: 0, role: None, begin_ms: index * 1_000 }).collect();
    let (passed, why) =
        check("interruptions", json!({ "role": "agent", "at_most": 3 }), &call(), Some(measured));
    assert_eq!(
        (passed, why.as_str()),
        (Some(false), "agent interrupts 10000 times, at 0 s, 1 s, 2 s, 3 s, 4 s, …; at most 3")
    );
}

#[test]
fn the_example_of_the_manual_is_a_valid_config() {
    let manual = include_str!("../../../docs/plugins/call_score.md");
    let example = manual.split("```toml").nth(1).unwrap().split("```").next().unwrap();
    let config: Value = toml::from_str(example).unwrap();
    let config = &config["plugin"][0]["config"];
    let bench = Bench::<CallScore>::create(&config.to_string()).unwrap();
    assert!(bench.created().is_empty(), "{:?}", bench.created());
    assert_eq!(*config, sheet());
    let said: Value =
        serde_json::from_str(manual.split("```json").nth(1).unwrap().split("```").next().unwrap()).unwrap();
    assert_eq!(score(config, &call(), Some(speech())), said);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn the_score_is_the_share_of_what_passed(
        checks in prop::collection::vec((1..50_u32, 0..3_u32, any::<bool>()), 1..8),
        pass in 0..100_u32,
    ) {
        // A check that passes, one that fails, one that is not measured.
        let look = |kind| match kind {
            0 => ("rule", json!({ "any": ["cancel"] })),
            1 => ("rule", json!({ "any": ["refund"] })),
            _ => ("longest_silence", json!("10s")),
        };
        let check = |(index, (weight, kind, fatal)): (usize, &(u32, u32, bool))| {
            let (key, value) = look(*kind);
            json!({ "name": index.to_string(), "weight": weight, "fatal": fatal, key: value })
        };
        let config = json!({ "pass": pass, "checks": checks.iter().enumerate().map(check).collect::<Vec<_>>() });
        let score = score(&config, &call(), None);
        let sum = |wanted: &[u32]| checks.iter().filter(|(_, kind, _)| wanted.contains(kind)).map(|(weight, ..)| weight).sum::<u32>();
        let fails_fatally = checks.iter().any(|(_, kind, fatal)| *kind == 1 && *fatal);
        match (sum(&[0]), sum(&[0, 1])) {
            (_, 0) => prop_assert!(score["score"].is_null() && score["passed"].is_null()),
            _ if fails_fatally => prop_assert_eq!((&score["score"], &score["passed"]), (&json!(0), &json!(false))),
            (reached, possible) => {
                let exact = f64::from(reached) * 100.0 / f64::from(possible);
                prop_assert!((score["score"].as_f64().unwrap() - exact).abs() <= 0.05);
                prop_assert_eq!(&score["passed"], &json!(reached * 100 >= pass * possible));
            }
        }
    }
}
