//! Finals that are too large for a message: the event keeps its other fields, and its segments are in an object.

use crate::support::{CEILING, Emulator, Hark, NatsServer, Setup, sha256, wait_until, wav};
use async_nats::jetstream::{self, Context, object_store, stream};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

const QUICK: [&str; 4] = ["--token-delay", "0ms", "--task-delay", "100ms"];

/// An emulator that recognizes `text` in `audio`.
async fn service_that_hears(text: &str, audio: &[u8]) -> Emulator {
    Emulator::knowing(json!({ sha256(audio): { "text": text } }), &QUICK).await
}

/// Without partials, because such a text would have thousands.
fn without_partials(nats: &NatsServer, service: &Emulator) -> Setup {
    let setup = Hark::new().nats(nats).asr(service).folder("calls");
    setup.lines("[[route]]\nname = \"default\"\npartials = false\n")
}

async fn segments_of(context: &Context, last: &Value) -> Value {
    let place = &last["segments_object"];
    assert!(last.get("segments").is_none() && place.is_object(), "{last}");
    let store = context.get_object_store(place["bucket"].as_str().unwrap()).await.unwrap();
    let mut segments = Vec::new();
    store.get(place["name"].as_str().unwrap()).await.unwrap().read_to_end(&mut segments).await.unwrap();
    serde_json::from_slice(&segments).unwrap()
}

async fn change(context: &Context, change: impl FnOnce(&mut stream::Config)) {
    change_stream(context, "HARK_EVENTS", change).await;
}

async fn change_stream(context: &Context, name: &str, change: impl FnOnce(&mut stream::Config)) {
    let mut config = context.get_stream(name).await.unwrap().cached_info().config.clone();
    change(&mut config);
    context.update_stream(config).await.unwrap();
}

#[tokio::test]
async fn a_final_that_is_too_large_begins_as_every_event_and_leaves_its_segments_in_an_object() {
    // The daemon keeps 64 KiB of a message free: the text fits once and not twice.
    let nats = NatsServer::configured("max_payload: 72KB").await;
    let (audio, text) = (wav(1.0, 1), "and so on ".repeat(500));
    let service = service_that_hears(&text, &audio).await;
    let mut hark = Hark::new().nats(&nats).asr(&service).folder("calls").start().await;
    hark.drop_file("calls", "long.wav", &audio);
    hark.ended_jobs(1).await;
    let last = hark.next_event("transcript.final").await;
    let context = jetstream::new(nats.client().await);
    let segments = segments_of(&context, &last.body).await;
    assert_eq!((&segments[0]["timing"], &segments[0]["text"]), (&json!("chunk"), &json!(text)));
    let bucket = context.get_stream("OBJ_HARK_TRANSCRIPTS").await.unwrap();
    let days = bucket.cached_info().config.max_age.as_secs() / 86_400;
    assert_eq!(days, 91, "a day longer than the events");
    let stream = context.get_stream("HARK_EVENTS").await.unwrap();
    let stored = stream.get_last_raw_message_by_subject(&last.subject).await.unwrap();
    assert!(stored.payload.starts_with(br#"{"job":"#), "{:?}", stored.payload);
}

#[tokio::test]
async fn segments_larger_than_any_message_reach_the_object_all_the_same() {
    let nats = NatsServer::configured("max_payload: 72KB").await;
    let (audio, text) = (wav(1.0, 1), "and so on ".repeat(20_000));
    let service = service_that_hears(&text, &audio).await;
    let mut hark = without_partials(&nats, &service).start().await;
    hark.drop_file("calls", "long.wav", &audio);
    assert_eq!(hark.ended_jobs(1).await[0].kind(), "job.completed");
    let last = hark.next_event("transcript.final").await;
    let segments = segments_of(&jetstream::new(nats.client().await), &last.body).await;
    assert_eq!(segments[0]["text"].as_str().unwrap().trim(), text.trim());
}

#[tokio::test]
async fn the_memory_of_large_finals_goes_back() {
    let nats = NatsServer::start().await;
    let (audio, text) = (wav(1.0, 1), "and so on ".repeat(300_000));
    let service = service_that_hears(&text, &audio).await;
    let mut setup = Hark::new().nats(&nats).asr(&service).folder("calls");
    for name in ["one", "two", "three"] {
        setup = setup.plugin(name, "hello", "");
    }
    let mut hark = setup.lines("[[route]]\nname = \"default\"\nengine = \"filetrans\"\n").start().await;
    const ROOM: u64 = 64 << 20;
    let before = hark.process().resident();
    for number in 1..=4 {
        hark.drop_file("calls", &format!("{number}.wav"), &audio);
        hark.ended_jobs(number).await;
    }
    wait_until("the memory of 12 MB of texts to go back", CEILING, async || {
        hark.process().resident() < before + ROOM
    })
    .await;
}

#[tokio::test]
async fn a_stream_may_have_a_lower_limit_than_its_server_and_change_it() {
    let nats = NatsServer::start().await;
    let (audio, text) = (wav(1.0, 1), "and so on ".repeat(2_000));
    let service = service_that_hears(&text, &audio).await;
    let mut hark = without_partials(&nats, &service).start().await;
    let context = jetstream::new(nats.client().await);
    hark.drop_file("calls", "whole.wav", &audio);
    assert!(hark.next_event("transcript.final").await.body["segments"].is_array());
    hark.ended_jobs(1).await;
    // The daemon reserves half of such a small limit for the headers.
    change(&context, |config| config.max_message_size = 32 << 10).await;
    hark.drop_file("calls", "cut.wav", &audio);
    let last = hark.next_event("transcript.final").await;
    assert_eq!(segments_of(&context, &last.body).await[0]["text"], text);
    assert!(last.body["text"].as_str().unwrap().len() > 12 << 10, "as much of the text as fits");
    assert_eq!(hark.ended_jobs(2).await[1].kind(), "job.completed");
    // After a restart the daemon knows the limit before it publishes.
    assert!(hark.stop().await.success());
    hark.restart().await;
    hark.drop_file("calls", "again.wav", &audio);
    assert_eq!(hark.ended_jobs(3).await[2].kind(), "job.completed");
}

#[tokio::test]
async fn a_stream_for_which_every_event_was_too_large_is_used_again_when_its_limit_is_raised() {
    let nats = NatsServer::start().await;
    let service = service_that_hears("and so on", &wav(1.0, 1)).await;
    let mut hark = without_partials(&nats, &service).start().await;
    let context = jetstream::new(nats.client().await);
    // Less than any event has without text and segments.
    change(&context, |config| config.max_message_size = 700).await;
    hark.drop_file("calls", "one.wav", &wav(1.0, 1));
    hark.not_ready("cannot be cut to fit a message of 700 bytes").await;
    // The same when the daemon learns the limit at its start, before it publishes.
    hark.kill_and_launch();
    hark.not_ready("cannot be cut to fit a message of 700 bytes").await;
    // First the stream is replaced by another stream of the same name.
    let mut config = context.get_stream("HARK_EVENTS").await.unwrap().cached_info().config.clone();
    config.max_message_size = 1_000_000;
    context.delete_stream("HARK_EVENTS").await.unwrap();
    context.create_stream(config).await.unwrap();
    hark.ready().await;
    assert_eq!(hark.ended_jobs(1).await[0].kind(), "job.completed");
    // Then the limit of the same stream is changed.
    change(&context, |config| config.max_message_size = 700).await;
    hark.drop_file("calls", "two.wav", &wav(1.0, 2));
    hark.not_ready("cannot be cut to fit").await;
    change(&context, |config| config.max_message_size = 1_000_000).await;
    hark.ready().await;
    assert_eq!(hark.ended_jobs(2).await[1].kind(), "job.completed");
}

#[tokio::test]
async fn segments_of_a_final_that_waits_are_put_away_once() {
    let nats = NatsServer::configured("max_payload: 72KB").await;
    let (audio, text) = (wav(1.0, 1), "and so on ".repeat(2_000));
    let service = service_that_hears(&text, &audio).await;
    let mut hark = without_partials(&nats, &service).start().await;
    let context = jetstream::new(nats.client().await);
    // Room for the four events before the final: accepted, submitted, language and emotion.
    change(&context, |config| {
        config.discard = stream::DiscardPolicy::New;
        config.max_messages = 4;
    })
    .await;
    let client = nats.client().await;
    let mut tries = client.subscribe("hark.event.transcript.final.>").await.unwrap();
    client.flush().await.unwrap();
    hark.drop_file("calls", "long.wav", &audio);
    for _ in 0..3 {
        tokio::time::timeout(CEILING, tries.next()).await.expect("the final is tried again");
    }
    let bucket =
        async || context.get_stream("OBJ_HARK_TRANSCRIPTS").await.unwrap().cached_info().state.clone();
    assert_eq!(bucket().await.last_sequence, 4, "three chunks, and the object's own entry");
    change(&context, |config| config.max_messages = -1).await;
    assert_eq!(hark.ended_jobs(1).await[0].kind(), "job.completed");
    assert_eq!(bucket().await.last_sequence, 4);
    hark.ready().await;
}

#[tokio::test]
async fn finals_whose_segments_cannot_be_stored_delay_no_other_job() {
    // This user may not write to the bucket of the segments.
    let nats = NatsServer::configured(
        "max_payload: 1MB\nauthorization { users = [
            { user: hark, password: hark, permissions: { publish: { deny: [\"$O.HARK_TRANSCRIPTS.>\"] } } }
            { user: root, password: root }
        ] }\nno_auth_user: root",
    )
    .await;
    let (audio, text) = (wav(1.0, 1), "and so on ".repeat(180_000));
    let service = service_that_hears(&text, &audio).await;
    let user = nats.url().replace("//", "//hark:hark@");
    let mut hark =
        without_partials(&nats, &service).set("nats.servers", &format!("[\"{user}\"]")).start().await;
    // More finals than the daemon keeps in memory: each has 3.6 MB.
    for number in 0..4 {
        hark.drop_file("calls", &format!("long-{number}.wav"), &audio);
    }
    wait_until("all of them to wait for their place", CEILING, async || {
        let jobs = crate::support::LedgerRecord::read(&hark.path("state")).jobs;
        jobs.iter().filter(|job| job.duty == "publish").count() == 4
    })
    .await;
    hark.drop_file("calls", "short.wav", &wav(1.0, 2));
    let ended = hark.ended_jobs(1).await;
    assert_eq!(ended[0].body["recording"]["name"], "short.wav");
    assert!(hark.log().contains("HARK_TRANSCRIPTS"), "the bucket is named in the log");
    // The daemon's stop does not wait for them either.
    assert!(hark.stop().await.success());
    assert!(!hark.log().contains("some tasks did not end in time"));
    // The same holds after a restart.
    hark.restart().await;
    hark.drop_file("calls", "shorter.wav", &wav(1.0, 3));
    assert_eq!(hark.ended_jobs(2).await[1].body["recording"]["name"], "shorter.wav");
}

#[tokio::test]
async fn events_after_finals_that_cannot_be_stored_delay_no_other_job_and_stay_in_order() {
    // Together more than the daemon keeps in memory.
    const JOBS: u64 = 5;
    const ALERTS: usize = 240;
    let nats = NatsServer::configured("max_payload: 72KB").await;
    let context = jetstream::new(nats.client().await);
    let full = object_store::Config { bucket: "HARK_TRANSCRIPTS".into(), max_bytes: 1, ..Default::default() };
    context.create_object_store(full).await.unwrap();
    let sentence = |number: usize| json!({"begin_time": number, "end_time": number + 1, "text": format!("refund {number}."), "language": "en", "emotion": "neutral"});
    let sentences: Vec<Value> = (0..ALERTS).map(sentence).collect();
    let heard = (0..JOBS).map(|number| (sha256(&wav(1.0, number)), json!({ "sentences": sentences })));
    let service = Emulator::knowing(Value::Object(heard.collect()), &QUICK).await;
    let mut hark = Hark::new()
        .nats(&nats)
        .asr(&service)
        .folder("calls")
        .lines("[[route]]\nname = \"default\"\nengine = \"filetrans\"\n")
        .plugin(
            "keywords",
            "keyword_alert",
            "[[plugin.config.rules]]\nname = \"refund\"\nregex = [\"refund \\\\d+\"]\n",
        )
        .start()
        .await;
    for number in 0..JOBS {
        hark.drop_file("calls", &format!("long-{number}.wav"), &wav(1.0, number));
    }
    wait_until("all of them to wait for their place", CEILING, async || {
        let jobs = crate::support::LedgerRecord::read(&hark.path("state")).jobs;
        jobs.iter().filter(|job| job.duty == "publish").count() as u64 == JOBS
    })
    .await;
    hark.drop_file("calls", "short.wav", &wav(1.0, JOBS));
    assert_eq!(hark.ended_jobs(1).await[0].body["recording"]["name"], "short.wav");
    // The same holds after a restart.
    hark.restart().await;
    hark.drop_file("calls", "shorter.wav", &wav(1.0, JOBS + 1));
    assert_eq!(hark.ended_jobs(2).await[1].body["recording"]["name"], "shorter.wav");

    change_stream(&context, "OBJ_HARK_TRANSCRIPTS", |config| config.max_bytes = -1).await;
    let ended = hark.ended_jobs(2 + JOBS as usize).await;
    for last in ended {
        let events = hark.events_of(last.job()).await;
        let sequences: Vec<u64> =
            events.iter().map(|event| event.body["sequence"].as_u64().unwrap()).collect();
        assert_eq!(sequences, (1..=events.len() as u64).collect::<Vec<_>>());
        let alerts = events.iter().filter(|event| event.kind() == "alert.raised").count();
        let is_long = last.body["recording"]["name"].as_str().unwrap().starts_with("long");
        assert_eq!(alerts, if is_long { ALERTS } else { 0 });
    }
}
