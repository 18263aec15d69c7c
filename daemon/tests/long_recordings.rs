//! Recordings that are longer than one request: they are decoded here, cut at silence and sent in pieces.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::{Emulator, Hark, NatsServer, ReceivedEvent, Setup, of_kind, sample, wait_until, wav};
use serde_json::{Value, json};

/// Pieces of at most 20 s through flash.
fn setup(nats: &NatsServer, service: &Emulator) -> Setup {
    Hark::new()
        .nats(nats)
        .asr(service)
        .folder_with("calls", "route = \"pieces\"\n")
        .lines("[[route]]\nname = \"pieces\"\nengine = \"flash\"\npiece = \"20s\"\n")
}

/// More than the five minutes that flash takes.
fn long_recording(seed: u64) -> Vec<u8> {
    wav(310.0, seed)
}

/// The pieces follow each other to the end, no longer than 20 s, and the final is made of them.
fn assert_whole(events: &[ReceivedEvent]) {
    let mut segments = of_kind(events, "transcript.segment");
    segments.sort_by_key(|segment| segment["piece"].as_u64());
    let numbers: Vec<u64> = segments.iter().map(|segment| segment["piece"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "each piece is heard once");
    assert!(segments.len() >= 16, "{} pieces", segments.len());
    let mut end = 0;
    for segment in &segments {
        let (begin_ms, end_ms) = (segment["begin_ms"].as_u64().unwrap(), segment["end_ms"].as_u64().unwrap());
        assert_eq!(begin_ms, end, "nothing is left out: {segment}");
        assert!(end_ms > begin_ms && end_ms - begin_ms <= 20_000, "{segment}");
        end = end_ms;
    }
    assert_eq!(end, 310_000);
    let finals = of_kind(events, "transcript.final");
    let [made] = finals[..] else { panic!("{} finals", finals.len()) };
    let heard: Vec<&Value> =
        segments.iter().flat_map(|segment| segment["segments"].as_array().unwrap()).collect();
    assert_eq!(made["segments"].as_array().unwrap().iter().collect::<Vec<_>>(), heard);
    assert!(heard.iter().all(|segment| segment["timing"] == "chunk"));
    let texts: Vec<&str> = heard.iter().map(|segment| segment["text"].as_str().unwrap()).collect();
    assert_eq!(made["text"], texts.join(" "));
    assert_eq!((&made["speech"], &made["quality"]["failed_ms"]), (&json!(true), &json!(0)));
    let last = &events.last().unwrap().body;
    assert_eq!(last["audio_seconds"], 310.0);
}

#[tokio::test]
async fn a_long_recording_is_heard_in_pieces() {
    let (nats, service) = (NatsServer::start().await, Emulator::start(&[]).await);
    let mut hark = setup(&nats, &service).start().await;
    hark.drop_file("calls", "long.wav", &long_recording(1));
    let job = hark.ended_jobs(1).await[0].job().to_owned();
    let events = hark.events_of(&job).await;
    assert_eq!(events.last().unwrap().kind(), "job.completed");
    assert_whole(&events);
    assert_eq!(of_kind(&events, "job.submitted").len(), 1, "with its first piece");
    let begins: BTreeSet<u64> = of_kind(&events, "transcript.segment")
        .iter()
        .map(|segment| segment["begin_ms"].as_u64().unwrap())
        .collect();
    let partials = hark.partials();
    assert!(partials.iter().any(|partial| partial.body["piece"] == 3));
    assert!(partials.iter().all(|partial| begins.contains(&partial.body["begin_ms"].as_u64().unwrap())));
    assert!(std::fs::read_dir(hark.path("state/spool")).unwrap().next().is_none(), "no piece is left behind");
}

#[tokio::test]
async fn speech_is_cut_in_its_pauses() {
    let (nats, service) = (NatsServer::start().await, Emulator::start(&[]).await);
    let mut hark = setup(&nats, &service).start().await;
    let sentence = sample("cancel.wav");
    let rate = u32::from_le_bytes(sentence[24..28].try_into().unwrap()) as usize;
    let pause = vec![0; 2 * rate];
    let (mut recording, mut pauses) = (sentence[..44].to_vec(), Vec::new());
    while recording.len() < 44 + 2 * rate * 320 {
        recording.extend(&sentence[44..]);
        let begin_ms = (recording.len() - 44) * 1_000 / (2 * rate);
        pauses.push(begin_ms as u64..begin_ms as u64 + 1_000);
        recording.extend(&pause);
    }
    let bytes = (recording.len() - 44) as u32;
    recording[40..44].copy_from_slice(&bytes.to_le_bytes());
    recording[4..8].copy_from_slice(&(bytes + 36).to_le_bytes());
    hark.drop_file("calls", "speech.wav", &recording);
    let job = hark.ended_jobs(1).await[0].job().to_owned();
    let events = hark.events_of(&job).await;
    let begins: Vec<u64> = of_kind(&events, "transcript.segment")
        .iter()
        .map(|segment| segment["begin_ms"].as_u64().unwrap())
        .filter(|begin| *begin > 0)
        .collect();
    assert!(begins.len() >= 15, "{begins:?}");
    let within = |begin: &&u64| pauses.iter().any(|pause| pause.contains(begin));
    assert_eq!(begins.iter().find(|begin| !within(begin)), None, "a cut outside the pauses {pauses:?}");
    let speech_ms = of_kind(&events, "transcript.final")[0]["quality"]["speech_ms"].as_u64().unwrap();
    let (spoken, all) = (320_000 - 1_000 * pauses.len() as u64, 320_000);
    assert!((spoken / 2..all).contains(&speech_ms), "{speech_ms} ms of speech in {spoken}");
    assert!(
        of_kind(&events, "annotation.speech").is_empty(),
        "a sample was heard, in which no turn can be measured"
    );
}

#[tokio::test]
async fn pieces_that_were_heard_are_not_paid_again_after_a_kill() {
    let nats = NatsServer::start().await;
    // Each word takes a while, so that some pieces are heard, some under way and some waiting when the daemon is killed.
    let service = Emulator::start(&["--token-delay", "20ms"]).await;
    // A piece may be under way at each kill.
    let setup = setup(&nats, &service).set("dashscope.ambiguous_retries", "3");
    let mut hark = setup.set("dashscope.concurrency", "3").start().await;
    hark.drop_file("calls", "long.wav", &long_recording(2));
    for kills in 1..=3 {
        wait_until("further pieces to be sent", Duration::from_secs(60), async || {
            service.journal_of("flash").len() >= 4 * kills
        })
        .await;
        hark.kill_and_launch();
    }
    let job = hark.ended_jobs(1).await[0].job().to_owned();
    let events = hark.events_of(&job).await;
    assert_whole(&events);
    let pieces = of_kind(&events, "transcript.segment").len();
    // A kill meets at most the three requests that are under way; each is marked.
    let again = service.journal_of("flash").len() - pieces;
    assert!(again <= 9, "{again} of {pieces} pieces were sent again");
    let last = &events.last().unwrap().body;
    assert_eq!(last["possible_duplicate_charge"] == true, again > 0);
}

#[tokio::test]
async fn a_piece_that_fails_for_good_costs_only_itself() {
    let nats = NatsServer::start().await;
    let service =
        Emulator::start(&["--fault", "status,on=flash,status=400,code=InvalidParameter,next=1"]).await;
    let mut hark = setup(&nats, &service).start().await;
    hark.drop_file("calls", "long.wav", &long_recording(3));
    let job = hark.ended_jobs(1).await[0].job().to_owned();
    let events = hark.events_of(&job).await;
    let last = events.last().unwrap();
    assert_eq!((last.kind(), &last.body["incomplete"]), ("job.completed", &json!(true)));
    let finals = of_kind(&events, "transcript.final");
    let failed: Vec<&Value> = finals[0]["segments"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|segment| !segment["error"].is_null())
        .collect();
    let [failed] = failed[..] else { panic!("{} pieces failed", failed.len()) };
    assert_eq!((&failed["text"], &failed["error"]["code"]), (&json!(""), &json!("InvalidParameter")));
    let length = failed["end_ms"].as_u64().unwrap() - failed["begin_ms"].as_u64().unwrap();
    assert_eq!(finals[0]["quality"]["failed_ms"], length);
}

#[tokio::test]
async fn silence_is_not_sent_and_nothing_said_is_nothing_wrong() {
    let (nats, service) = (NatsServer::start().await, Emulator::start(&[]).await);
    let mut hark = setup(&nats, &service).start().await;
    let mut silent = wav(310.0, 4);
    silent[44..].fill(0);
    hark.drop_file("calls", "silent.wav", &silent);
    let job = hark.ended_jobs(1).await[0].job().to_owned();
    let events = hark.events_of(&job).await;
    let last = events.last().unwrap();
    assert_eq!((last.kind(), &last.body["billed_seconds"]), ("job.completed", &json!(0)));
    let finals = of_kind(&events, "transcript.final");
    assert_eq!((&finals[0]["text"], &finals[0]["speech"]), (&json!(""), &json!(false)));
    assert_eq!((&finals[0]["segments"], &finals[0]["quality"]["speech_ms"]), (&json!([]), &json!(0)));
    assert_eq!(service.journal_of("flash").len(), 0);
}
