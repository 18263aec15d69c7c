//! Streams and whole answers of every dialect, cut at every place.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// The transcript of a stream that arrives in parts, or the code of its error.
fn heard(parts: &[&[u8]]) -> Result<Transcript, String> {
    let code = |failed: Failed| match failed {
        Failed::Refused(refusal) => format!("{} {}", refusal.status, refusal.message),
        Failed::Other(error) => error.fault.code.clone(),
    };
    let (mut incoming, mut parser) = (Incoming::default(), Parser::default());
    let mut events: Vec<Event> = Vec::new();
    for part in parts {
        events.extend(parser.push(part).unwrap());
    }
    for event in &events {
        incoming.take_event(event).map_err(code)?;
        if incoming.end == AnswerEnd::Certain {
            break;
        }
    }
    incoming.finish().map_err(code)?;
    Ok(incoming.into_transcript(Some(2_000), None))
}

#[test]
fn a_body_tells_itself_whether_it_is_a_stream() {
    for (body, expected) in [
        ("{\"text\": \"so\"}", Some(false)),
        ("data: {}\n\n", Some(true)),
        ("\n\nevent: x\n", Some(true)),
        (": ping\n\n", Some(true)),
        ("", None),
        ("<html>", None),
    ] {
        assert_eq!(is_stream(body.as_bytes()), expected, "{body}");
    }
}

fn data(events: &[serde_json::Value], last: &str) -> String {
    let events: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    events + last
}

fn chunks(object: &str, texts: &[&str], reason: &str) -> Vec<serde_json::Value> {
    let chunk = |text: &&str| json!({"object": object, "choices": [{"delta": {"content": text}, "finish_reason": null}]});
    let mut events: Vec<_> = texts.iter().map(chunk).collect();
    events.push(json!({"object": object, "choices": [{"delta": {"content": ""}, "finish_reason": reason}]}));
    events
}

const DONE: &str = "data: [DONE]\n\n";

/// Text and language of a stream, or the error that it is.
type Expected = Result<(&'static str, Option<&'static str>), &'static str>;

fn streams() -> Vec<(String, Expected)> {
    let parts = ["language Eng", "lish<asr", "_text>The wo", "rds, 你好."];
    let done = json!({"type": "transcript.text.done", "text": "The words."});
    let delta = |text: &str| json!({"type": "transcript.text.delta", "delta": text});
    let error = json!({"error": {"message": "engine died", "type": "InternalServerError", "code": 500}});
    vec![
        (data(&chunks("chat.completion.chunk", &parts, "stop"), DONE), Ok(("The words, 你好.", Some("en")))),
        (data(&chunks("chat.completion.chunk", &parts, "stop"), ""), Ok(("The words, 你好.", Some("en")))),
        (data(&chunks("chat.completion.chunk", &["language None<asr_text>"], "stop"), DONE), Ok(("", None))),
        (
            // A server that cuts long audio itself ends each of its parts.
            data(
                &[
                    chunks("transcription.chunk", &["Eins"], "stop"),
                    chunks("transcription.chunk", &[" language German<asr_text>zwei"], "stop"),
                ]
                .concat(),
                DONE,
            ),
            Ok(("Eins zwei", Some("de"))),
        ),
        (data(&[delta("The"), delta(" word"), done.clone()], ""), Ok(("The words.", None))),
        (data(&[delta("The"), delta(" word"), done], DONE), Ok(("The words.", None))),
        (data(&[delta("The"), delta(" words.")], DONE), Ok(("The words.", None))),
        (data(&[delta("The")], ""), Err("EndedWithoutStop")),
        (data(&chunks("chat.completion.chunk", &["The"], "abort"), DONE), Err("EndedWithoutStop")),
        (data(&chunks("chat.completion.chunk", &["The"], "stop")[..1], ""), Err("EndedWithoutStop")),
        (
            [data(&chunks("transcription.chunk", &["The"], "stop")[..1], ""), data(&[error], DONE)].concat(),
            Err("500 engine died"),
        ),
        ("data: nonsense\n\n".into(), Err("UnreadableAnswer")),
        (String::new(), Err("EndedWithoutStop")),
    ]
}

#[test]
fn every_dialect_is_heard_to_its_end() {
    for (stream, expected) in streams() {
        let found = heard(&[stream.as_bytes()]);
        match (found, expected) {
            (Ok(found), Ok((text, language))) => {
                assert_eq!(found.text, text, "{stream}");
                let told = found.segments.first().and_then(|segment| segment.language.as_deref());
                assert_eq!(told, language, "{stream}");
            }
            (found, expected) => {
                assert_eq!(found.map(|found| found.text), Err(expected.unwrap_err().to_owned()))
            }
        }
    }
}

#[test]
fn a_text_that_was_cut_is_marked() {
    let cut = heard(&[data(&chunks("chat.completion.chunk", &["and on and on"], "length"), DONE).as_bytes()]);
    assert!(cut.unwrap().truncated);
}

#[test]
fn times_of_a_verbose_answer_are_the_server_s_and_others_are_the_piece_s() {
    let segments = |body: serde_json::Value, asked| {
        let mut incoming = Incoming::default();
        incoming.take(dialects::read(body.to_string().as_bytes()).unwrap()).ok().unwrap();
        incoming.finish().ok().unwrap();
        let transcript = incoming.into_transcript(Some(2_000), asked);
        let of = |segment: Segment| {
            (segment.begin_ms, segment.end_ms, segment.timing, segment.text, segment.language)
        };
        transcript.segments.into_iter().map(of).collect::<Vec<_>>()
    };
    let verbose = json!({"language": "english", "text": " One. Two.", "segments": [
        {"start": 0.0, "end": 0.9, "text": " One."}, {"start": 0.9, "end": 2.4, "text": " Two."},
    ]});
    let en = || Some("en".to_owned());
    assert_eq!(
        segments(verbose, Some("de")),
        [
            (Some(0), Some(900), Timing::Service, "One.".into(), en()),
            (Some(900), Some(2_000), Timing::Service, "Two.".into(), en()),
        ]
    );
    let plain = || json!({"text": "One."});
    let chunk = |language| (Some(0), Some(2_000), Timing::Chunk, "One.".to_owned(), language);
    assert_eq!(segments(plain(), None), [chunk(None)]);
    assert_eq!(segments(plain(), Some("en")), [chunk(en())]);
    assert_eq!(segments(json!({"text": " ", "segments": [], "language": "en"}), None), []);
}

proptest! {
    #[test]
    fn where_the_bytes_are_cut_makes_no_difference(
        which in 0..12_usize,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let stream = streams()[which].0.clone().into_bytes();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let parts: Vec<&[u8]> = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
        prop_assert_eq!(heard(&parts), heard(&[&stream]));
    }
}
