//! Real speech, a real speech server of others, and its words in the events.

use crate::support::{CEILING, Hark, NatsServer, ReceivedEvent, WhisperServer, sample, wait_until, wav};
use serde_json::{Value, json};

/// A route to the server and a folder of recordings.
async fn daemon(nats: &NatsServer, server: &WhisperServer) -> Hark {
    let (url, model) = (server.url(), server.model());
    let lines = format!(
        "[[recognizer]]\nname = \"own\"\nkind = \"openai\"\nbase_url = \"{url}\"\nmodel = \"{model}\"\nconcurrency = 1\n\n\
         [[route]]\nname = \"default\"\nengine = \"own\"\nwords = true\n"
    );
    Hark::new().nats(nats).without("DASHSCOPE_API_KEY").lines(&lines).folder("calls").start().await
}

/// The events of so many jobs, by the name of the recording. The ceiling is high: the server loads its model at the first request, and on
/// a busy machine a sentence takes ten times as long as on an idle one.
async fn ended(hark: &mut Hark, count: usize) -> Vec<ReceivedEvent> {
    let mut events = Vec::new();
    wait_until("the recordings to be recognized", 6 * CEILING, async || {
        events = hark.events().await;
        let last = |event: &&ReceivedEvent| matches!(event.kind(), "job.completed" | "job.failed");
        events.iter().filter(last).count() >= count
    })
    .await;
    events
}

/// The body of the only event of this kind about the recording.
fn body<'a>(events: &'a [ReceivedEvent], kind: &str, recording: &str) -> &'a Value {
    let about = |event: &&ReceivedEvent| event.kind() == kind && event.body["recording"]["name"] == recording;
    let found: Vec<&ReceivedEvent> = events.iter().filter(about).collect();
    assert_eq!(found.len(), 1, "{kind} of {recording}: {events:#?}");
    &found[0].body
}

/// The words are in the transcript, whatever their case and the punctuation between them.
fn assert_heard(last: &Value, words: &[&str]) {
    let text = last["text"].as_str().unwrap().to_lowercase();
    let heard: Vec<&str> = text.split(|letter: char| !letter.is_alphanumeric()).collect();
    for word in words {
        assert!(heard.contains(word), "{word:?} was not heard in {last:#}");
    }
}

/// The installed server returns no words. Another server may return them: then they are the words of the text, in order, within its time.
fn assert_words(segment: &Value) {
    let Some(words) = segment.get("words").and_then(Value::as_array) else { return };
    let texts: Vec<&str> = words.iter().map(|word| word["text"].as_str().unwrap()).collect();
    assert_eq!(
        texts,
        segment["text"].as_str().unwrap().split_whitespace().collect::<Vec<_>>(),
        "{segment:#}"
    );
    let mut earlier = 0;
    for word in words {
        let (begin, end) = (word["begin_ms"].as_u64().unwrap(), word["end_ms"].as_u64().unwrap());
        assert!(earlier <= begin && begin <= end, "{word} in {segment:#}");
        earlier = begin;
    }
    let last = words.last().unwrap()["end_ms"].as_u64().unwrap();
    assert!(last > 0 && last <= segment["end_ms"].as_u64().unwrap() + 100, "{segment:#}");
}

#[tokio::test]
async fn words_are_heard_where_people_speak_and_none_where_they_do_not() {
    let test = "words_are_heard_where_people_speak_and_none_where_they_do_not";
    let Some(server) = WhisperServer::start(test).await else { return };
    let nats = NatsServer::start().await;
    let mut hark = daemon(&nats, &server).await;
    for name in ["cancel.wav", "stereo.flac"] {
        hark.drop_file("calls", name, &sample(name));
    }
    hark.drop_file("calls", "noise.wav", &wav(3.0, 1));
    let events = ended(&mut hark, 3).await;

    let last = body(&events, "transcript.final", "cancel.wav");
    assert_heard(last, &["i", "want", "to", "cancel", "my", "contract", "refund", "today"]);
    assert!(!last["text"].as_str().unwrap().starts_with(' '), "{last:#}");
    assert_eq!((&last["engine"], &last["model"]), (&json!("own"), &json!(server.model())));
    assert_eq!((&last["language"], &last["emotion"]), (&json!("en"), &Value::Null));
    let length = last["recording"]["duration_ms"].as_u64().unwrap();
    for segment in last["segments"].as_array().unwrap() {
        let (begin, end) = (segment["begin_ms"].as_u64().unwrap(), segment["end_ms"].as_u64().unwrap());
        assert!(begin < end && end <= length, "{segment} in {length} ms");
        assert_words(segment);
    }
    let end = body(&events, "job.completed", "cancel.wav");
    assert_eq!((&end["billed_seconds"], &end["cost_usd"]), (&json!(0), &json!(0.0)), "{end:#}");

    // Both people: the agent is on the first channel, the customer on the second.
    let last = body(&events, "transcript.final", "stereo.flac");
    assert_heard(last, &["morning", "help", "charged", "order", "money", "back"]);

    let last = body(&events, "transcript.final", "noise.wav");
    assert_eq!((&last["text"], &last["segments"]), (&json!(""), &json!([])), "{last:#}");
    body(&events, "job.completed", "noise.wav");
}
