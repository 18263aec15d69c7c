//! Channels that are sent each by itself, and silence that is left out, where the server measures times.

use serde_json::{Value, json};

use super::{WHISPER, final_of, job, setup};
use crate::support::{NatsServer, Reply, SpeechServer, channel, sentence, stereo};

fn reply(times: &[(f64, f64, &str)]) -> Reply {
    Reply::verbose("english", "the text as the server joined it", times)
}

/// Milliseconds of a WAV file with 16 kHz and 16 bits.
fn length(wav: &[u8]) -> u64 {
    (wav.len() as u64 - 44) / 32
}

#[tokio::test]
async fn two_channels_become_a_dialogue() {
    let nats = NatsServer::start().await;
    let server = SpeechServer::start(Reply::json(500, &Value::Null)).await;
    // One request at a time, so that the first answer belongs to the first channel.
    let more = format!("{WHISPER}\nconcurrency = 1");
    let lines = "channels = \"split\"\nroles = [\"agent\", \"customer\"]";
    let mut hark = setup(&nats, &server.url(), &more).lines(lines).start().await;
    server.next([
        reply(&[(1.0, 2.0, "Good morning."), (2.0, 3.0, "Hello?"), (7.5, 9.0, "I see.")]),
        reply(&[(0.2, 0.9, "Hi."), (4.0, 7.0, "I want a refund.")]),
    ]);
    let (cancel, thanks) = (sentence("cancel.wav"), sentence("thanks.wav"));
    hark.drop_file(
        "calls",
        "a.wav",
        &stereo(&[channel(10, &[(1.0, &cancel)]), channel(10, &[(4.0, &thanks)])]),
    );
    let events = job(&mut hark, 1).await;
    let told = final_of(&events);
    assert_eq!(told["text"], "Hi.\nGood morning. Hello?\nI want a refund.\nI see.");
    let segments: Vec<[&Value; 4]> = told["segments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|segment| ["channel", "role", "begin_ms", "text"].map(|field| &segment[field]))
        .collect();
    let expected = [
        [json!(1), json!("customer"), json!(200), json!("Hi.")],
        [json!(0), json!("agent"), json!(1_000), json!("Good morning.")],
        [json!(0), json!("agent"), json!(2_000), json!("Hello?")],
        [json!(1), json!("customer"), json!(4_000), json!("I want a refund.")],
        [json!(0), json!("agent"), json!(7_500), json!("I see.")],
    ];
    assert_eq!(segments, expected.each_ref().map(|segment| segment.each_ref()));
    let languages: Vec<[&Value; 2]> = events
        .iter()
        .filter(|event| event.kind() == "annotation.language")
        .map(|event| ["channel", "role"].map(|field| &event.body[field]))
        .collect();
    assert_eq!(languages, [[&json!(0), &json!("agent")], [&json!(1), &json!("customer")]]);
}

#[tokio::test]
async fn silence_is_not_sent_and_the_times_are_those_of_the_recording() {
    let nats = NatsServer::start().await;
    let server = SpeechServer::start(reply(&[])).await;
    let more = format!("{WHISPER}\nformat = \"wav\"\nusd_per_second = 0.001");
    let mut hark = setup(&nats, &server.url(), &more).lines("skip_silence = true").start().await;
    let (cancel, thanks) = (sentence("cancel.wav"), sentence("thanks.wav"));
    let recording = stereo(&[channel(30, &[(3.0, &cancel), (20.0, &thanks)])]);
    hark.drop_file("calls", "1.wav", &recording);
    job(&mut hark, 1).await;
    let [asked] = &server.asked()[..] else { panic!("one piece") };
    let sent = length(&asked.audio);
    assert!((6_000..8_500).contains(&sent), "{sent} ms of two sentences");

    // The same recording once more: its first and last second, and the second in which both sentences meet.
    let end = sent as f64 / 1000.0;
    let length_of_first = cancel.len() as f64 / 8_000.0 - 0.4;
    server.always(reply(&[(0.0, 1.0, "a"), (1.0, length_of_first - 1.0, "b"), (end - 1.0, end, "c")]));
    hark.drop_file("calls", "2.wav", &recording);
    let events = job(&mut hark, 2).await;
    let told = final_of(&events);
    let times: Vec<(u64, u64)> = told["segments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|segment| (segment["begin_ms"].as_u64().unwrap(), segment["end_ms"].as_u64().unwrap()))
        .collect();
    let [first, second, third] = times[..] else { panic!("{told}") };
    assert!((2_900..3_400).contains(&first.0) && first.1 == first.0 + 1_000, "{times:?}");
    assert_eq!(second.0, first.1, "in the same part");
    assert!((22_300..23_400).contains(&third.1) && third.0 == third.1 - 1_000, "{times:?}");
    let last = &events.last().unwrap().body;
    let saved = (30_000 - sent) as f64 / 1000.0;
    assert_eq!(last["saved_seconds"], saved);
    assert_eq!(last["saved_usd"], (30_000 - sent) as f64 / 1e6);
}
