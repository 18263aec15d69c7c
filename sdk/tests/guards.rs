//! The C interface of a plugin: panics, refusals, and emissions that the daemon would not forward.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is the assertion")]

use hark_sdk::emission::Rubbish;
use hark_sdk::event::{Alert, AlertState, Body, Engine, Event, Severity, TranscriptSegment, Word};
use hark_sdk::testing::{Bench, partial, transcript};
use hark_sdk::{Error, Host, Level, Plugin, Transcript, Wants};

/// A plugin that does what the transcript's text names.
struct Puppet;

impl Plugin for Puppet {
    const WANTS: Wants = Wants::FINALS.and(Wants::JOBS);

    fn create(config: &str) -> Result<Self, Error> {
        match config {
            "panic" => panic!("cannot make it"),
            "refuse" => Err(Error::new("key \"rules\" is missing; add a [[plugin.config.rules]]")),
            _ => Ok(Puppet),
        }
    }

    fn on_final(&mut self, transcript: &Transcript, host: &Host) -> Result<(), Error> {
        match transcript.text.as_str() {
            "panic" => panic!("it is inside 'ü' of `a secret sentence`"),
            "fail" => Err(Error::new("not this one")),
            "die" => Err(Error::fatal("beyond repair")),
            "replace" => host.replace("x", &["x".to_owned()]),
            "flood" => (0..20_001).try_for_each(|number| host.emit(&number)),
            "emit as another" => host.alert(&alert("another")),
            "alert" => host.alert(&alert("")),
            "large" => host.emit(&"x".repeat(2 << 20)),
            _ => host.annotate("greeting", "hello"),
        }
    }
}

struct Shout;

impl Plugin for Shout {
    const TRANSFORM: bool = true;

    fn create(_: &str) -> Result<Self, Error> {
        Ok(Shout)
    }

    fn on_final(&mut self, transcript: &Transcript, host: &Host) -> Result<(), Error> {
        let mut segments: Vec<String> =
            transcript.segments.iter().flatten().map(|segment| segment.text.to_uppercase()).collect();
        if transcript.text.starts_with("forgetful") {
            segments.pop();
        }
        host.replace(&transcript.text.to_uppercase(), &segments)
    }
}

fn alert(plugin: &str) -> Alert {
    Alert {
        alert: "churn-1".into(),
        plugin: plugin.into(),
        rule: "churn".into(),
        severity: Severity::Warning,
        state: AlertState::Confirmed,
        channel: None,
        role: None,
        begin_ms: None,
        end_ms: None,
        quote: "cancel".into(),
        ..Alert::default()
    }
}

fn puppet() -> Bench<Puppet> {
    Bench::create("{}").unwrap()
}

#[test]
fn a_panic_in_create_is_a_refusal() {
    let message = Bench::<Puppet>::create("panic").err().unwrap();
    assert!(message.starts_with("panicked in create at sdk/tests/guards.rs:"), "{message}");
}

#[test]
fn a_refusal_of_create_keeps_its_words() {
    let message = Bench::<Puppet>::create("refuse").err().unwrap();
    assert_eq!(message, "key \"rules\" is missing; add a [[plugin.config.rules]]");
}

#[test]
fn a_plugin_that_panicked_is_never_called_again_and_quotes_nothing_above_trace() {
    let mut bench = puppet();
    let failure = bench.hand(&transcript(&["panic"])).unwrap_err();
    assert!(failure.fatal);
    assert!(failure.message.contains("guards.rs") && !failure.message.contains("secret"), "{failure:?}");
    let failure = bench.hand(&transcript(&["hello"])).unwrap_err();
    assert!(failure.fatal && failure.message == "called again after a panic", "{failure:?}");
}

#[test]
fn an_error_is_of_one_event_and_a_fatal_one_of_the_instance() {
    let mut bench = puppet();
    let failure = bench.hand(&transcript(&["fail"])).unwrap_err();
    assert!(!failure.fatal && failure.message == "not this one", "{failure:?}");
    let failure = bench.hand(&transcript(&["die"])).unwrap_err();
    assert!(failure.fatal && failure.message == "beyond repair", "{failure:?}");
    assert_eq!(bench.hand(&transcript(&["hello"])).unwrap().emitted.len(), 1);
}

#[test]
fn an_alert_gets_the_plugins_own_name_and_no_other() {
    let heard = puppet().hand(&transcript(&["alert"])).unwrap();
    let [Body::AlertRaised(alert)] = &heard.emitted[..] else { panic!("{heard:?}") };
    assert_eq!(alert.plugin, hark_sdk::testing::NAME);
    assert!(!puppet().hand(&transcript(&["emit as another"])).unwrap_err().fatal);
}

#[test]
fn an_alert_may_have_the_plugins_name_in_its_identity() {
    let raised = |plugin| {
        let json =
            serde_json::to_vec(&Alert { alert: "job:{plugin}:churn:0:1.1".into(), ..alert("") }).unwrap();
        let Ok(Body::AlertRaised(alert)) = hark_sdk::emission::emitted(plugin, "alert.raised", &json) else {
            panic!("no alert")
        };
        alert.alert
    };
    assert_eq!(raised("keywords"), "job:keywords:churn:0:1.1");
    assert_ne!(raised("keywords"), raised("sales"));
}

/// A plugin that warns of its config.
struct Hesitant;

impl Plugin for Hesitant {
    const WANTS: Wants = Wants::SEGMENTS;

    fn create(_: &str) -> Result<Self, Error> {
        Ok(Hesitant)
    }

    fn warnings(&self) -> Vec<String> {
        vec!["rules.0: rule \"a\" never matches".to_owned()]
    }

    fn on_segment(&mut self, _: &Event, segment: &TranscriptSegment, host: &Host) -> Result<(), Error> {
        host.emit(&segment.piece)
    }
}

#[test]
fn a_plugin_warns_of_its_config_when_it_is_created() {
    let bench = Bench::<Hesitant>::create("{}").unwrap();
    assert_eq!(bench.created(), [(Level::Warn, "rules.0: rule \"a\" never matches".to_owned())]);
    assert!(Bench::<Puppet>::create("{}").unwrap().created().is_empty());
}

#[test]
fn a_plugin_that_wants_segments_gets_them() {
    let segment = TranscriptSegment {
        engine: Engine::FLASH,
        model: String::new(),
        piece: 7,
        pieces: None,
        begin_ms: 0,
        end_ms: 0,
        truncated: false,
        segments: Vec::new(),
    };
    let mut bench = Bench::<Hesitant>::create("{}").unwrap();
    let heard = bench.hand(&hark_sdk::testing::event(Body::TranscriptSegment(segment))).unwrap();
    let [Body::Plugin(event)] = &heard.emitted[..] else { panic!("{heard:?}") };
    assert_eq!(event.data, 7);
    assert!(bench.hand(&transcript(&["hello"])).unwrap().emitted.is_empty());
}

#[test]
fn floods_and_large_events_are_refused() {
    let failure = puppet().hand(&transcript(&["flood"])).unwrap_err();
    assert_eq!(failure.message, "the daemon refused plugin; its log has the reason");
    assert!(puppet().hand(&transcript(&["large"])).is_err());
}

#[test]
fn only_what_is_wanted_arrives() {
    let heard = puppet().hand(&partial(1, "panic")).unwrap();
    assert!(heard.emitted.is_empty());
}

#[test]
fn kinds_and_fields_of_a_later_daemon_are_passed_over() {
    let mut bench = puppet();
    let heard = bench.hand_raw("job.future", "{\"job\": 7}").unwrap();
    assert!(heard.emitted.is_empty() && heard.log.is_empty(), "{heard:?}");
    let mut body = serde_json::to_value(transcript(&["hello"])).unwrap();
    body["of_the_future"] = 1.into();
    body["segments"][0]["of_the_future"] = 1.into();
    assert_eq!(bench.hand_raw("transcript.final", &body.to_string()).unwrap().emitted.len(), 1);
}

#[test]
fn a_transform_replaces_every_text_and_nothing_else() {
    let mut bench = Bench::<Shout>::create("{}").unwrap();
    let event = transcript(&["good morning", "hello"]);
    let replaced = bench.hand(&event).unwrap().replaced.unwrap();
    let Body::TranscriptFinal(transcript) = &replaced.body else { panic!("{replaced:?}") };
    assert_eq!(transcript.text, "GOOD MORNING HELLO");
    let texts: Vec<_> = transcript.segments.iter().flatten().map(|segment| segment.text.as_str()).collect();
    assert_eq!(texts, ["GOOD MORNING", "HELLO"]);
    let lower = |event: &Event| serde_json::to_string(event).unwrap().to_lowercase();
    assert_eq!(lower(&replaced), lower(&event));
}

#[test]
fn a_segment_whose_text_changes_loses_its_words() {
    let mut event = transcript(&["my card is 4111", "GOOD"]);
    let Body::TranscriptFinal(fields) = &mut event.body else { panic!("{event:?}") };
    for segment in fields.segments.iter_mut().flatten() {
        segment.words = Some(vec![Word { begin_ms: 0, end_ms: 1, text: segment.text.clone() }]);
    }
    let replaced = Bench::<Shout>::create("{}").unwrap().hand(&event).unwrap().replaced.unwrap();
    let Body::TranscriptFinal(fields) = &replaced.body else { panic!("{replaced:?}") };
    let has_words: Vec<bool> =
        fields.segments.iter().flatten().map(|segment| segment.words.is_some()).collect();
    assert_eq!(has_words, [false, true], "what is as it was keeps them");
}

#[test]
fn a_transform_that_forgets_a_segment_is_refused() {
    let mut bench = Bench::<Shout>::create("{}").unwrap();
    assert!(bench.hand(&transcript(&["forgetful", "secret"])).is_err());
    assert!(puppet().hand(&transcript(&["replace"])).is_err(), "no transform");
}

#[test]
fn a_plugin_cannot_emit_foreign_kinds_or_names() {
    use hark_sdk::emission::{annotated, emitted};
    assert!(matches!(emitted("me", "job.completed", b"{}"), Err(Rubbish::Kind(_))));
    assert!(matches!(emitted("me", "transcript.final", b"{}"), Err(Rubbish::Kind(_))));
    assert!(matches!(emitted("me", "nonsense", b"{}"), Err(Rubbish::UnknownKind(_))));
    assert!(matches!(emitted("me", "plugin.you", b"{}"), Err(Rubbish::ForeignName(_))));
    assert!(matches!(emitted("me", "plugin", b"{"), Err(Rubbish::Shape { .. })));
    assert!(matches!(emitted("me", "alert.raised", b"[]"), Err(Rubbish::Shape { .. })));
    assert!(matches!(annotated("me", "a b", b"1"), Err(Rubbish::Name(_))));
    assert!(matches!(annotated("me", "language", b"\"en\""), Err(Rubbish::Shape { .. })));
    assert!(emitted("me", "plugin.me", b"1").is_ok());
    assert!(annotated("me", "emotion", br#"{"channel":0,"value":"sad"}"#).is_ok());
}

#[test]
fn levels_are_those_of_the_header() {
    assert_eq!([1, 2, 3, 4, 5, 99].map(Level::from_abi).map(|level| level as i32), [1, 2, 3, 4, 5, 5]);
}
