//! A piece whose text repeats itself, or is cut, is sent again in halves.

use std::time::Duration;

use serde_json::{Value, json};

use super::{WHISPER, final_of, job, retries, setup};
use crate::support::{CEILING, Hark, NatsServer, Reply, SpeechServer, wait_until, wav};

/// What is heard of eight seconds is said over and over; four seconds are heard well.
async fn server_that_loops() -> SpeechServer {
    let said = [(0.0, 1.0, "Good morning."), (1.0, 3.5, "Goodbye.")];
    let server = SpeechServer::start(Reply::verbose("english", "Good morning. Goodbye.", &said)).await;
    let looped = "Thank you. ".repeat(40);
    // A second of WAV at 16 kHz has 32,000 bytes.
    server.always_if_longer(6 * 32_000, Reply::verbose("english", &looped, &[(0.0, 8.0, &looped)]));
    server
}

/// The server's `piece`, and pieces as WAV, whose length tells the seconds.
fn lines(piece: &str) -> String {
    format!("{WHISPER}\npiece = \"{piece}\"\nformat = \"wav\"")
}

/// Sixteen thousand samples a second.
fn fine(seconds: f64, seed: u64) -> Vec<u8> {
    let mut wav = wav(2.0 * seconds, seed);
    wav[24..32].copy_from_slice(&[16_000_u32, 32_000].map(u32::to_le_bytes).concat());
    wav
}

/// Milliseconds of each recording that the server was sent.
fn asked(server: &SpeechServer) -> Vec<u64> {
    server.asked().iter().map(|asked| (asked.audio.len() as u64 - 44) / 32).collect()
}

fn begins(segments: &Value) -> Vec<u64> {
    segments.as_array().unwrap().iter().map(|segment| segment["begin_ms"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn a_recording_sent_as_it_is_is_heard_in_halves() {
    let nats = NatsServer::start().await;
    let server = server_that_loops().await;
    let mut hark = setup(&nats, &server.url(), &lines("30s")).start().await;
    let audio = fine(8.0, 1);
    hark.drop_file("calls", "a.wav", &audio);
    let events = job(&mut hark, 1).await;
    let made = final_of(&events);
    assert_eq!(made["text"], "Good morning. Goodbye. Good morning. Goodbye.");
    let lengths = asked(&server);
    assert_eq!((server.asked()[0].audio.clone(), lengths.len()), (audio, 3), "{lengths:?}");
    let cut = lengths[1];
    assert!((3_900..4_600).contains(&cut) && cut + lengths[2] == 8_000, "{lengths:?}");
    assert_eq!(begins(&made["segments"]), [0, 1_000, cut, cut + 1_000], "times of the whole recording");
    assert_eq!(made["quality"]["repetition"], 0);
    assert_eq!((retries(&events), events.last().unwrap().kind()), (vec![], "job.completed"));
    let submitted = events.iter().filter(|event| event.kind() == "job.submitted").count();
    assert_eq!((submitted, &events.last().unwrap().body["possible_duplicate_charge"]), (1, &Value::Null));
}

#[tokio::test]
async fn a_piece_heard_in_halves_keeps_its_number_and_times_over_kills() {
    let nats = NatsServer::start().await;
    let server = server_that_loops().await;
    let mut hark = setup(&nats, &server.url(), &lines("10s")).start().await;
    server.always(
        Reply::verbose("english", "Goodbye.", &[(0.0, 1.0, "Goodbye.")]).after(Duration::from_secs(60)),
    );
    hark.drop_file("calls", "a.wav", &fine(17.0, 2));
    // Both pieces were answered, and the server is silent about their first halves.
    let halves = |server: &SpeechServer| asked(server).into_iter().filter(|length| *length < 6_000).count();
    for kills in 1..=2 {
        wait_until("halves to be sent", CEILING, async || halves(&server) >= 2 * kills).await;
        if kills == 2 {
            server.always(Reply::verbose("english", "Goodbye.", &[(0.0, 1.0, "Goodbye.")]));
        }
        hark.restart().await;
    }
    let events = job(&mut hark, 1).await;
    let whole = asked(&server).into_iter().filter(|length| *length > 6_000).count();
    assert_eq!(whole, 2, "each piece was asked for once as a whole");
    let mut segments: Vec<&Value> =
        events.iter().filter(|event| event.kind() == "transcript.segment").map(|event| &event.body).collect();
    segments.sort_by_key(|segment| segment["piece"].as_u64());
    let [one, two] = segments[..] else { panic!("{} pieces", segments.len()) };
    assert_eq!((&one["piece"], &two["piece"], &one["begin_ms"]), (&json!(1), &json!(2), &json!(0)));
    assert_eq!((&one["end_ms"], &two["end_ms"]), (&two["begin_ms"], &json!(17_000)));
    for piece in [one, two] {
        let [begin, middle] = begins(&piece["segments"])[..] else { panic!("two halves: {piece}") };
        assert!(piece["begin_ms"] == begin && begin < middle && middle < piece["end_ms"].as_u64().unwrap());
    }
    assert_eq!(final_of(&events)["text"], "Goodbye. Goodbye. Goodbye. Goodbye.");
}

#[tokio::test]
async fn a_half_that_fails_leaves_the_first_answer_and_its_flag() {
    let nats = NatsServer::start().await;
    let server = server_that_loops().await;
    server.always(Reply::json(400, &json!({"error": {"message": "no", "code": 400}})));
    let mut hark = setup(&nats, &server.url(), &lines("30s")).start().await;
    hark.drop_file("calls", "a.wav", &fine(8.0, 3));
    let events = job(&mut hark, 1).await;
    let made = final_of(&events);
    assert_eq!(
        (&made["text"], &made["quality"]["repetition"]),
        (&json!("Thank you. ".repeat(40).trim()), &json!(1))
    );
    assert_eq!(events.last().unwrap().kind(), "job.completed");
}

#[tokio::test]
async fn a_text_that_was_cut_is_asked_for_in_halves_unless_the_server_charges() {
    for (price, requests, truncated) in [("0.0", 3, Value::Null), ("0.001", 1, json!(true))] {
        let nats = NatsServer::start().await;
        let server = SpeechServer::start(Reply::verbose("en", "so it is", &[(0.0, 1.0, "so it is")])).await;
        server.next([Reply::chunks("transcription.chunk", &["on and on"], "length")]);
        let setup = setup(&nats, &server.url(), &format!("{WHISPER}\nusd_per_second = {price}"));
        let mut hark: Hark = setup.start().await;
        hark.drop_file("calls", "a.wav", &wav(4.0, requests));
        let events = job(&mut hark, 1).await;
        assert_eq!((server.asked().len() as u64, &final_of(&events)["truncated"]), (requests, &truncated));
    }
}
