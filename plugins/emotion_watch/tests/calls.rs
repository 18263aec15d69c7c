//! Calls and what the plugin says about them, through its exported functions.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is the assertion")]

use emotion_watch::EmotionWatch;
use hark_sdk::Level;
use hark_sdk::event::{
    Alert, AlertState, Blame, Body, Engine, Event, Fault, Segment, Severity, Timing, TranscriptSegment,
};
use hark_sdk::testing::{Bench, NAME, event, transcript};
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

/// Segments of a text like `c:angry a:neutral c:? x:error`, ten seconds each: role by first letter, emotion (`?`: unknown), numbered words.
fn call(text: &str) -> Vec<Segment> {
    let segment = |(index, segment): (u64, &str)| {
        let (who, emotion) = segment.split_once(':').unwrap();
        let fault =
            Fault { code: "Timeout".into(), blame: Blame::Service, message: String::new(), attempts: None };
        Segment {
            channel: u32::from(who != "a"),
            role: Some(
                match who {
                    "a" => "agent",
                    _ => "customer",
                }
                .to_owned(),
            ),
            speaker: (who == "d").then(|| "1".to_owned()),
            begin_ms: Some(index * 10_000),
            end_ms: Some((index + 1) * 10_000),
            timing: Timing::Service,
            text: match emotion {
                "error" | "silent" => String::new(),
                _ => format!("words {index}"),
            },
            emotion: (!["?", "error"].contains(&emotion)).then(|| emotion.to_owned()),
            error: (emotion == "error").then_some(fault),
            ..Segment::default()
        }
    };
    (0..).zip(text.split_whitespace()).map(segment).collect()
}

fn final_of(job: Uuid, segments: Vec<Segment>) -> Event {
    let mut event = transcript(&[]);
    event.job = job;
    event.recording.duration_ms = segments.iter().filter_map(|segment| segment.end_ms).max();
    if let Body::TranscriptFinal(fields) = &mut event.body {
        fields.segments = Some(segments);
    }
    event
}

fn piece(job: Uuid, piece: u32, segments: &[Segment]) -> Event {
    let body = TranscriptSegment {
        engine: Engine::FLASH,
        model: String::new(),
        piece,
        pieces: None,
        begin_ms: 0,
        end_ms: 0,
        truncated: false,
        segments: segments.to_vec(),
    };
    Event { job, ..event(Body::TranscriptSegment(body)) }
}

fn bench(config: Value) -> Bench<EmotionWatch> {
    Bench::create(&config.to_string()).unwrap()
}

fn hand(bench: &mut Bench<EmotionWatch>, event: &Event) -> Vec<Body> {
    let heard = bench.hand(event).unwrap();
    assert!(heard.refused.is_empty(), "{:?}", heard.refused);
    heard.emitted
}

fn alerts(said: &[Body]) -> Vec<&Alert> {
    said.iter()
        .filter_map(|body| if let Body::AlertRaised(alert) = body { Some(alert) } else { None })
        .collect()
}

/// Channel and number, and the words, of the alerts of a rule in a final.
fn found(config: Value, rule: &str, segments: Vec<Segment>) -> Vec<String> {
    let said = hand(&mut bench(config), &final_of(Uuid::now_v7(), segments));
    let shown = |alert: &&Alert| format!("{}: {}", alert.alert.splitn(4, ':').last().unwrap(), alert.quote);
    alerts(&said).iter().filter(|alert| alert.rule == rule).map(shown).collect()
}

#[test]
fn a_streak_says_which_segments_and_when() {
    let job = Uuid::now_v7();
    let call = call("c:neutral c:angry a:neutral c:sad c:angry c:angry a:happy");
    let config = json!({ "roles": ["customer"], "rise": 0 });
    let said = hand(&mut bench(config), &final_of(job, call));
    let expected = Alert {
        alert: format!("{job}:{NAME}:streak:1:1"),
        plugin: NAME.into(),
        rule: "streak".into(),
        severity: Severity::Warning,
        state: AlertState::Confirmed,
        channel: Some(1),
        role: Some("customer".into()),
        begin_ms: Some(10_000),
        end_ms: Some(50_000),
        quote: "words 1 words 3 words 4".into(),
        ..Alert::default()
    };
    let [Body::AlertRaised(alert), Body::Plugin(reasons)] = &said[..] else { panic!("{said:?}") };
    assert_eq!(*alert, expected);
    let place =
        |begin_ms, emotion| json!({ "begin_ms": begin_ms, "end_ms": begin_ms + 10_000, "emotion": emotion });
    let reason = json!({
        "rule": "streak", "channel": 1, "role": "customer", "number": 1, "length": 3,
        "segments": [place(10_000, "angry"), place(30_000, "sad"), place(40_000, "angry")],
    });
    assert_eq!(reasons.data, json!({ "alerts": [reason], "left_out": 0 }));
}

#[test]
fn a_streak_is_of_one_speaker_and_is_told_once() {
    let none: &[&str] = &[];
    for (text, expected) in [
        ("c:angry c:angry", none),
        ("c:angry c:angry c:angry c:angry c:angry c:angry", &["1:1: words 0 words 1 words 2"]),
        ("c:angry a:neutral c:angry a:happy c:angry", &["1:1: words 0 words 2 words 4"]),
        ("c:angry c:angry c:neutral c:angry", none),
        ("c:angry c:angry c:? c:angry", none),
        ("c:angry c:angry c:silent c:angry", &["1:1: words 0 words 1 words 3"]),
        ("c:angry c:angry a:error c:angry", &["1:1: words 0 words 1 words 3"]),
        ("c:angry c:angry c:error c:angry", none),
        ("c:angry d:angry c:angry d:angry c:neutral d:angry", &["1:1: words 1 words 3 words 5"]),
        (
            "c:sad c:sad c:sad c:happy a:sad a:sad a:sad c:sad c:sad c:sad",
            &["1:1: words 0 words 1 words 2", "0:1: words 4 words 5 words 6", "1:2: words 7 words 8 words 9"],
        ),
        ("c:? c:? c:?", none),
    ] {
        assert_eq!(found(json!({}), "streak", call(text)), expected, "{text}");
    }
    assert_eq!(found(json!({ "streak": 0 }), "streak", call("c:angry c:angry c:angry")), none);
    assert_eq!(found(json!({ "roles": ["agent"] }), "streak", call("c:angry c:angry c:angry")), none);
    assert_eq!(
        found(json!({ "negative": ["happy"], "streak": 1 }), "streak", call("c:angry c:happy")),
        ["1:1: words 1"]
    );
}

#[test]
fn a_rise_compares_the_last_third_with_the_first() {
    let none: &[&str] = &[];
    for (text, expected) in [
        ("c:neutral c:neutral c:angry", &["1:1: words 2"][..]),
        ("c:angry c:neutral c:angry", none),
        ("c:angry c:neutral c:neutral", none),
        ("a:neutral a:neutral c:angry", none),
        ("c:? c:neutral c:angry", none),
        ("c:neutral c:neutral c:?", none),
        ("c:neutral a:sad c:neutral a:sad c:angry a:sad", &["1:1: words 4"]),
        ("c:neutral d:neutral c:neutral c:neutral c:sad d:sad", &["1:1: words 4", "1:2: words 5"]),
    ] {
        assert_eq!(found(json!({}), "rise", call(text)), expected, "{text}");
    }
    assert_eq!(found(json!({ "rise": 0 }), "rise", call("c:neutral c:neutral c:angry")), none);
}

#[test]
fn a_rise_says_the_shares_and_the_segments() {
    // 90 s: the first third ends within the fourth segment of ten seconds, so thirds are by time.
    let mut call = call("c:neutral c:neutral c:angry c:neutral a:sad c:neutral c:neutral c:angry c:angry");
    call[8].end_ms = Some(105_000);
    let said = hand(
        &mut bench(json!({ "roles": ["customer"], "streak": 0, "rise": 0.3 })),
        &final_of(Uuid::now_v7(), call),
    );
    let [Body::AlertRaised(alert), Body::Plugin(reasons)] = &said[..] else { panic!("{said:?}") };
    assert_eq!(
        (alert.begin_ms, alert.end_ms, alert.quote.as_str()),
        (Some(80_000), Some(105_000), "words 8")
    );
    let place =
        |begin_ms: u64, end_ms: u64| json!({ "begin_ms": begin_ms, "end_ms": end_ms, "emotion": "angry" });
    let reason = json!({
        "rule": "rise", "channel": 1, "role": "customer", "number": 1, "rise": 0.714,
        "first_third": {
            "begin_ms": 0, "end_ms": 35_000, "speech_ms": 35_000, "negative_ms": 10_000, "share": 0.286,
            "segments": [place(20_000, 30_000)],
        },
        "last_third": {
            "begin_ms": 70_000, "end_ms": 105_000, "speech_ms": 35_000, "negative_ms": 35_000, "share": 1.0,
            "segments": [place(70_000, 80_000), place(80_000, 105_000)],
        },
    });
    assert_eq!(reasons.data["alerts"], json!([reason]));
}

#[test]
fn a_rise_of_just_the_threshold_counts() {
    // 0.4 in the first third, 0.7 in the last one.
    let of = |negative| {
        (0..10).map(|index| if index < negative { "c:sad " } else { "c:happy " }).collect::<String>()
    };
    let text = |last| [of(4), of(0), of(last)].concat();
    assert_eq!(found(json!({ "streak": 0 }), "rise", call(&text(7))).len(), 1);
    assert_eq!(found(json!({ "streak": 0 }), "rise", call(&text(6))).len(), 0);
}

#[test]
fn a_streak_is_told_while_it_is_heard_and_not_again_by_the_final() {
    let job = Uuid::now_v7();
    let call = call("c:angry c:angry c:neutral c:angry c:angry c:angry");
    let mut bench = bench(json!({ "rise": 0 }));
    assert!(hand(&mut bench, &piece(job, 1, &call[..2])).is_empty());
    // The third piece does not know yet what stands before it.
    assert!(hand(&mut bench, &piece(job, 3, &call[4..])).is_empty());
    let said = hand(&mut bench, &piece(job, 2, &call[2..4]));
    assert_eq!(alerts(&said)[0].quote, "words 3 words 4 words 5");
    assert!(hand(&mut bench, &piece(job, 2, &call[2..4])).is_empty(), "a piece that comes twice");
    assert_eq!(said.len(), 1, "figures come with the final");
    let said = hand(&mut bench, &final_of(job, call));
    let [Body::Plugin(reasons)] = &said[..] else { panic!("{said:?}") };
    assert_eq!(reasons.data["alerts"][0]["length"], 3);
}

#[test]
fn the_final_retracts_what_it_does_not_have() {
    let job = Uuid::now_v7();
    let mut bench = bench(json!({}));
    assert_eq!(hand(&mut bench, &piece(job, 1, &call("c:angry c:angry c:angry"))).len(), 1);
    let said = hand(&mut bench, &final_of(job, call("c:angry c:happy c:angry")));
    let [Body::AlertRetracted(alert)] = &said[..] else { panic!("{said:?}") };
    assert_eq!(alert.alert, format!("{job}:{NAME}:streak:1:1"));
    assert!(alert.reason.is_some());
}

#[test]
fn more_than_the_daemon_takes_is_counted() {
    let text = "c:angry c:happy ".repeat(300);
    let said = hand(&mut bench(json!({ "streak": 1, "rise": 0 })), &final_of(Uuid::now_v7(), call(&text)));
    assert_eq!(alerts(&said).len(), 255);
    let Some(Body::Plugin(reasons)) = said.last() else { panic!("{said:?}") };
    assert_eq!(
        (reasons.data["alerts"].as_array().unwrap().len(), &reasons.data["left_out"]),
        (255, &json!(45))
    );
}

#[test]
fn the_example_of_the_manual_is_a_valid_config() {
    let manual = include_str!("../../../docs/plugins/emotion_watch.md");
    let example = manual.split("```toml").nth(1).unwrap().split("```").next().unwrap();
    let config: Value = toml::from_str(example).unwrap();
    let config = &config["plugin"][0]["config"];
    let bench = Bench::<EmotionWatch>::create(&config.to_string()).unwrap();
    assert!(bench.created().is_empty(), "{:?}", bench.created());
}

#[test]
fn mistakes_of_the_config_name_the_key() {
    for (config, words) in [
        (json!({ "role": [] }), "role: unknown field"),
        (json!({ "rise": 30 }), "rise: 30 is not possible"),
        (json!({ "streak": -1 }), "streak: invalid value"),
        (json!({ "negative": [] }), "negative: is empty"),
        (json!({ "negative": ["sad", 1] }), "negative.1: invalid type"),
        (json!({ "streak": 0, "rise": 0 }), "streak: is 0 and so is rise"),
    ] {
        let mistake = Bench::<EmotionWatch>::create(&config.to_string()).err().unwrap();
        assert!(mistake.starts_with(words), "{config}: {mistake}");
    }
    let bench = bench(json!({ "negative": ["angry", "anger"] }));
    let [(Level::Warn, warning)] = bench.created() else { panic!("{:?}", bench.created()) };
    assert!(warning.starts_with("negative.1: \"anger\" is none of the emotions"), "{warning}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_hearing_changes_no_alert(
        text in prop::collection::vec("(a|c|d):(angry|angry|angry|neutral|\\?|silent|error)", 1..30),
        borders in prop::collection::vec(0..30_usize, 0..6),
        seed in any::<u64>(),
        until in 0..8_usize,
    ) {
        let job = Uuid::from_u128(7);
        let call = call(&text.join(" "));
        let config = json!({ "streak": 2 });
        let mut ids: Vec<String> = Vec::new();
        let mut say = |said: &[Body]| ids.extend(alerts(said).iter().map(|alert| format!("{} {}", alert.alert, alert.quote)));
        let whole = hand(&mut bench(config.clone()), &final_of(job, call.clone()));

        let mut borders: Vec<usize> = borders.into_iter().map(|border| border.min(call.len())).chain([0, call.len()]).collect();
        borders.sort_unstable();
        let mut pieces: Vec<Event> = (1..).zip(borders.windows(2)).map(|(number, at)| piece(job, number, &call[at[0]..at[1]])).collect();
        pieces.sort_by_key(|piece| {
            let Body::TranscriptSegment(fields) = &piece.body else { panic!() };
            seed.rotate_left(fields.piece * 11) % 7
        });
        let mut bench = bench(config);
        for (number, piece) in pieces.iter().enumerate() {
            // Some pieces are never heard: they failed.
            if number < until {
                say(&hand(&mut bench, piece));
            }
        }
        let rest = hand(&mut bench, &final_of(job, call));
        prop_assert!(!rest.iter().any(|body| matches!(body, Body::AlertRetracted(_))));
        say(&rest);
        let mut expected: Vec<String> = alerts(&whole).iter().map(|alert| format!("{} {}", alert.alert, alert.quote)).collect();
        expected.sort();
        ids.sort();
        prop_assert_eq!(ids, expected);
    }
}
