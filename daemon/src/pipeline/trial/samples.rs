//! Events for a trial: usual ones, rare ones, and bodies that no daemon sends.

use hark_sdk::event::{
    Annotation, AnnotationSpeech, Body, ChannelSpeech, Engine, Event, Segment, TranscriptSegment,
};
use hark_sdk::testing::{event, partial, transcript};
use serde_json::{Value, json};

const WORDS: &str = "perhaps I shall cancel, please give me a refund; 我要退款。 Grüße 👋 ";

/// Usual events, each with the name of its step in the report.
pub(super) fn ordinary() -> Vec<(&'static str, Event)> {
    let mut silent = transcript(&[]);
    if let Body::TranscriptFinal(fields) = &mut silent.body {
        (fields.segments, fields.language, fields.emotion) = (None, None, None);
    }
    vec![
        ("a final", transcript(&["Good morning.", WORDS])),
        ("a final of silence", silent),
        ("a very long final", transcript(&vec![WORDS; 5_000])),
        ("a partial", partial(1, WORDS)),
        ("a segment", segment(&["Good morning.", WORDS])),
        ("a segment of silence", segment(&[])),
        ("a language", annotation(Body::AnnotationLanguage, "en")),
        ("an emotion", annotation(Body::AnnotationEmotion, "angry")),
        ("measured speech", speech()),
    ]
}

/// The events of one call, in the order in which a plugin gets them.
pub(super) fn call(number: u64) -> Vec<Event> {
    let said = format!("call {number}: {WORDS}");
    let mut events = vec![
        partial(1, &said),
        annotation(Body::AnnotationLanguage, "en"),
        segment(&[&said, "That was it."]),
        speech(),
        transcript(&[&said, "That was it."]),
    ];
    let job = events[0].job;
    events.iter_mut().for_each(|event| event.job = job);
    events
}

/// Events that a newer daemon may send: with a field, and of a kind, that no plugin knows yet.
pub(super) fn of_the_future() -> Vec<(&'static str, String, Value)> {
    let mut body = json!(transcript(&["Good morning."]));
    body["field_of_the_future"] = json!({ "any": ["thing"] });
    vec![
        ("an unknown field", "transcript.final".to_owned(), body),
        ("an unknown kind", "transcript.of_the_future".to_owned(), json!({ "job": "x", "any": 1 })),
    ]
}

/// Bodies that no daemon sends.
pub(super) fn garbage() -> Vec<Value> {
    let whole = json!(transcript(&["Good morning.", WORDS]));
    let mut bodies = vec![json!(null), json!({}), json!([]), json!("text"), json!(-1), json!(1e300)];
    let mut deep = json!(1);
    for _ in 0..100 {
        deep = json!([deep]);
    }
    bodies.push(deep);
    for key in whole.as_object().into_iter().flatten().map(|(key, _)| key) {
        for wrong in [json!(null), json!([[]]), json!({ "": "" }), json!(u64::MAX), json!("\0\u{202e}")] {
            let mut body = whole.clone();
            body[key.as_str()] = wrong;
            bodies.push(body);
        }
    }
    bodies
}

fn segment(texts: &[&str]) -> Event {
    let Body::TranscriptFinal(whole) = transcript(texts).body else { unreachable!("it makes a final") };
    let segments: Vec<Segment> = whole.segments.unwrap_or_default();
    event(Body::TranscriptSegment(TranscriptSegment {
        engine: Engine::FLASH,
        model: whole.model,
        piece: 1,
        pieces: Some(2),
        begin_ms: 0,
        end_ms: 10_000 * segments.len() as u64,
        truncated: false,
        segments,
    }))
}

fn annotation(kind: impl Fn(Annotation) -> Body, value: &str) -> Event {
    event(kind(Annotation {
        channel: 0,
        role: Some("agent".to_owned()),
        begin_ms: Some(0),
        end_ms: Some(10_000),
        value: value.to_owned(),
        about: Default::default(),
    }))
}

fn speech() -> Event {
    let channel = |channel| ChannelSpeech { channel, ..ChannelSpeech::default() };
    event(Body::AnnotationSpeech(AnnotationSpeech {
        channels: vec![channel(0), channel(1)],
        overlap_ms: 100,
        silence_ms: 2_000,
        longest_silence: None,
        interruptions: Vec::new(),
    }))
}
