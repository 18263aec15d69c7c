//! The times of words, from servers that tell them and from others.

use serde_json::{Value, json};

use super::{WHISPER, final_of, job, retries, setup};
use crate::support::{NatsServer, Reply, SpeechServer, caf, wav};

const GRANULARITIES: &str = "timestamp_granularities[]";

/// `verbose_json` with a segment of two words, told beside the segments as OpenAI does.
fn with_words() -> Reply {
    Reply::json(
        200,
        &json!({
            "task": "transcribe", "language": "english", "duration": 2.0, "text": " Good morning.",
            "segments": [{"id": 0, "start": 0.0, "end": 1.5, "text": " Good morning."}],
            "words": [{"word": "Good", "start": 0.1, "end": 0.4}, {"word": "morning.", "start": 0.5, "end": 1.5}],
        }),
    )
}

fn words_of(segment: &Value) -> Vec<(u64, u64, &str)> {
    let time = |word: &Value, key: &str| word[key].as_u64().unwrap();
    let of = |word| (time(word, "begin_ms"), time(word, "end_ms"), word["text"].as_str().unwrap());
    segment["words"].as_array().unwrap().iter().map(of).collect()
}

#[tokio::test]
async fn words_have_times_of_the_recording_in_every_piece() {
    let nats = NatsServer::start().await;
    let server = SpeechServer::start(with_words()).await;
    let recognizer = format!("{WHISPER}\npiece = \"5s\"");
    let mut hark = setup(&nats, &server.url(), &recognizer).lines("words = true").start().await;
    hark.drop_file("calls", "long.caf", &caf(12.0, 1));
    let events = job(&mut hark, 1).await;
    let segments = final_of(&events)["segments"].as_array().unwrap();
    assert!(segments.len() >= 3, "{segments:#?}");
    for segment in segments {
        let begin = segment["begin_ms"].as_u64().unwrap();
        let expected = [(begin + 100, begin + 400, "Good"), (begin + 500, begin + 1_500, "morning.")];
        assert_eq!(words_of(segment), expected);
    }
    assert!(segments.last().unwrap()["begin_ms"].as_u64().unwrap() > 5_000);
    let asked = server.asked();
    assert!(asked.iter().all(|asked| asked.fields[GRANULARITIES] == "segment,word"), "{asked:?}");
}

#[tokio::test]
async fn a_server_without_words_is_asked_for_segments_and_a_route_without_them_gets_none() {
    let nats = NatsServer::start().await;
    let server = SpeechServer::start(with_words()).await;
    let plain = "[[route]]\nname = \"plain\"\nengine = \"gpu\"\n";
    let setup = setup(&nats, &server.url(), WHISPER).lines("words = true").lines(plain);
    let mut hark = setup.folder_with("others", "route = \"plain\"\n").start().await;
    hark.drop_file("others", "a.wav", &wav(2.0, 1));
    let events = job(&mut hark, 1).await;
    assert_eq!(final_of(&events)["segments"][0].get("words"), None);

    let segments_only = Reply::verbose("english", " Good morning.", &[(0.0, 1.5, " Good morning.")]);
    let refusal =
        json!({"error": {"message": "timestamp_granularities[]=word is not supported", "code": 400}});
    server.next([Reply::json(400, &refusal), segments_only.clone(), segments_only]);
    for count in 2..=3 {
        hark.drop_file("calls", &format!("{count}.wav"), &wav(2.0, count));
        let events = job(&mut hark, count as usize).await;
        let segment = &final_of(&events)["segments"][0];
        assert_eq!(
            (segment.get("words"), &segment["timing"], retries(&events)),
            (None, &json!("service"), vec![])
        );
    }
    let asked = server.asked();
    let granularities: Vec<Option<&str>> =
        asked.iter().map(|asked| asked.fields.get(GRANULARITIES).map(String::as_str)).collect();
    assert_eq!(
        granularities,
        [None, Some("segment,word"), None, None],
        "what was refused is not asked for again"
    );
    assert!(asked.iter().all(|asked| asked.fields["response_format"] == "verbose_json"));
}
