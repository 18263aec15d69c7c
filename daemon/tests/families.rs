//! The service's newer family of models (`qwen-audio-3.x`, `fun-asr`) against the emulator, and what routes ask of models: words, speakers,
//! hot words, context.

use crate::support::{Emulator, FileServer, Hark, NatsServer, ReceivedEvent, Setup, publish, sha256, wav};
use async_nats::jetstream;
use serde_json::{Value, json};

const CONTEXT: &str = "Names: Ada Lovelace, Charles Babbage.";

fn setup(nats: &NatsServer, service: &Emulator, flash: &str, filetrans: &str, route: &str) -> Setup {
    Hark::new()
        .nats(nats)
        .asr(service)
        .set("dashscope.flash_model", &format!("{flash:?}"))
        .set("dashscope.filetrans_model", &format!("{filetrans:?}"))
        .folder_with("calls", "route = \"r\"\n")
        .lines(&format!("[[route]]\nname = \"r\"\n{route}\n"))
}

/// A recording of two seconds in which two people speak, and its manifest.
fn dialogue(seed: u64) -> (Vec<u8>, Value) {
    let audio = wav(2.0, seed);
    let sentences = json!([
        {"begin_time": 0, "end_time": 800, "text": "That damn contract.", "speaker_id": 0},
        {"begin_time": 900, "end_time": 1_900, "text": "Let us see.", "speaker_id": 1},
    ]);
    let manifest = json!({sha256(&audio): {"sentences": sentences}});
    (audio, manifest)
}

async fn final_of(hark: &mut Hark) -> (Value, Vec<ReceivedEvent>) {
    let last = hark.ended_jobs(1).await[0].clone();
    assert_eq!(last.kind(), "job.completed", "{}", last.body);
    let events = hark.events_of(last.job()).await;
    let made = events.iter().find(|event| event.kind() == "transcript.final").unwrap();
    (made.body.clone(), events)
}

#[tokio::test]
async fn the_newer_flash_streams_its_text_and_tells_who_said_which_word_when() {
    let (nats, (audio, manifest)) = (NatsServer::start().await, dialogue(1));
    let service = Emulator::knowing(manifest, &["--token-delay", "20ms"]).await;
    let route = "words = true\nspeakers = 1\nlanguage = \"en\"\ncontext = \"calls\"\nhotwords = [{ word = \"Hark\", weight = 5 }]";
    let mut hark =
        setup(&nats, &service, "qwen-audio-3.1-asr-flash", "qwen-audio-3.1-asr-flash-filetrans", route)
            .start()
            .await;
    hark.drop_file("calls", "a.wav", &audio);
    let (made, events) = final_of(&mut hark).await;
    assert_eq!((&made["engine"], &made["model"]), (&json!("flash"), &json!("qwen-audio-3.1-asr-flash")));
    assert_eq!(made["text"], "That damn contract. Let us see.", "no word is masked");
    assert_eq!((&made["language"], &made["emotion"]), (&json!("en"), &Value::Null), "the route's language");
    let segments = made["segments"].as_array().unwrap();
    let shown: Vec<_> = segments
        .iter()
        .map(|segment| {
            (
                segment["speaker"].as_str().unwrap(),
                segment["begin_ms"].as_u64().unwrap(),
                segment["timing"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(shown, [("0", 0, "service"), ("1", 900, "service")]);
    let words: Vec<&str> =
        segments[0]["words"].as_array().unwrap().iter().map(|word| word["text"].as_str().unwrap()).collect();
    assert_eq!(words, ["That", "damn", "contract."]);
    assert_eq!(segments[1]["words"][0]["begin_ms"], 900);
    assert_eq!(events.last().unwrap().body["billed_seconds"], 2);
    let partials: Vec<String> =
        hark.partials().iter().map(|partial| partial.body["text"].as_str().unwrap().to_owned()).collect();
    assert!(partials.contains(&"That damn".to_owned()), "{partials:?}");
}

/// The emulator refuses to be asked, as a service may.
#[tokio::test]
async fn a_model_that_tells_no_speakers_is_not_asked_for_them() {
    let (nats, (audio, manifest)) = (NatsServer::start().await, dialogue(8));
    let service = Emulator::knowing(manifest, &["--token-delay", "0ms"]).await;
    let mut hark = setup(&nats, &service, "fun-asr-flash", "fun-asr", "speakers = 1").start().await;
    hark.drop_file("calls", "a.wav", &audio);
    let (made, _) = final_of(&mut hark).await;
    assert_eq!(
        (&made["text"], made["segments"][0].get("speaker")),
        (&json!("That damn contract. Let us see."), None)
    );
}

#[tokio::test]
async fn the_newer_tasks_tell_words_and_speakers_unmasked() {
    for (seed, model) in [(2, "qwen-audio-3.1-asr-flash-filetrans"), (3, "fun-asr")] {
        let (nats, (audio, manifest)) = (NatsServer::start().await, dialogue(seed));
        let service = Emulator::knowing(manifest, &["--task-delay", "50ms"]).await;
        let route = "engine = \"filetrans\"\nwords = true\nspeakers = 2\nlanguage = \"fil\"";
        let mut hark = setup(&nats, &service, "qwen-audio-3.1-asr-flash", model, route).start().await;
        hark.drop_file("calls", "a.wav", &audio);
        let (made, _) = final_of(&mut hark).await;
        assert_eq!(
            (&made["model"], &made["text"]),
            (&json!(model), &json!("That damn contract. Let us see."))
        );
        let segment = &made["segments"][1];
        assert_eq!((&segment["speaker"], &segment["words"][0]["text"]), (&json!("1"), &json!("Let")));
        assert_eq!(made["language"], "fil", "the service has another code for it");
    }
}

#[tokio::test]
async fn words_and_speakers_are_there_only_if_asked_for() {
    let (nats, (audio, manifest)) = (NatsServer::start().await, dialogue(4));
    let service = Emulator::knowing(manifest, &[]).await;
    let mut hark = setup(&nats, &service, "qwen-audio-3.1-asr-flash", "", "").start().await;
    hark.drop_file("calls", "a.wav", &audio);
    let (made, _) = final_of(&mut hark).await;
    assert_eq!(made["segments"].as_array().unwrap().len(), 2, "the sentences of the stream");
    let has =
        |key: &str| made["segments"].as_array().unwrap().iter().any(|segment| segment.get(key).is_some());
    assert!(!has("words") && !has("speaker") && !has("echo"), "{made}");
    assert_eq!(made["language"], Value::Null);
}

#[tokio::test]
async fn the_qwen3_task_tells_words_if_asked_for() {
    let (nats, service) = (NatsServer::start().await, Emulator::start(&["--task-delay", "50ms"]).await);
    let route = "engine = \"filetrans\"\nwords = true\nhotwords = [\"Hark\"]\ncontext = \"calls\"";
    let mut hark = setup(&nats, &service, "", "", route).start().await;
    hark.drop_file("calls", "a.wav", &wav(2.0, 5));
    let (made, _) = final_of(&mut hark).await;
    let words = made["segments"][0]["words"].as_array().unwrap();
    assert_eq!((&words[0]["text"], &words[0]["begin_ms"]), (&json!("unrecognized"), &json!(0)));
}

#[tokio::test]
async fn audio_without_speech_is_an_empty_transcript() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--fault", "empty_text"]).await;
    let mut hark = setup(&nats, &service, "qwen-audio-3.1-asr-flash", "", "").start().await;
    hark.drop_file("calls", "a.wav", &wav(2.0, 6));
    let (made, events) = final_of(&mut hark).await;
    assert_eq!((&made["text"], &made["speech"], &made["segments"]), (&json!(""), &json!(false), &json!([])));
    assert_eq!(events.last().unwrap().body["billed_seconds"], 0);
}

#[tokio::test]
async fn a_stream_that_is_cut_off_is_not_taken_for_a_whole_one() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--fault", "no_stop,after_events=3,next=1"]).await;
    let mut hark = setup(&nats, &service, "qwen-audio-3.1-asr-flash", "", "").start().await;
    hark.drop_file("calls", "a.wav", &wav(2.0, 7));
    let (made, events) = final_of(&mut hark).await;
    let retrying = events.iter().find(|event| event.kind() == "job.retrying").unwrap();
    assert_eq!(retrying.body["error"]["code"], "EndedWithoutStop");
    assert!(made["text"].as_str().unwrap().starts_with("unrecognized audio "));
    assert_eq!(events.last().unwrap().body["possible_duplicate_charge"], true);
}

#[tokio::test]
async fn an_echo_of_the_context_is_flagged_in_every_event_of_its_text() {
    for (seed, flash, filetrans, engine) in [
        (8, "", "", "flash"),
        (9, "qwen-audio-3.1-asr-flash", "", "flash"),
        (10, "", "qwen-audio-3.1-asr-flash-filetrans", "filetrans"),
    ] {
        let nats = NatsServer::start().await;
        let service =
            Emulator::start(&["--token-delay", "20ms", "--task-delay", "50ms", "--fault", "echo"]).await;
        let route = format!("engine = {engine:?}\ncontext = {CONTEXT:?}");
        let mut hark = setup(&nats, &service, flash, filetrans, &route).start().await;
        hark.drop_file("calls", "a.wav", &wav(2.0, seed));
        let (made, _) = final_of(&mut hark).await;
        assert_eq!(made["text"], CONTEXT);
        assert_eq!(
            (&made["quality"]["echo"], &made["speech"]),
            (&json!(1), &Value::Null),
            "{flash} {filetrans}"
        );
        assert_eq!(made["segments"][0]["echo"], true);
        let partials = hark.partials();
        assert_eq!(partials.is_empty(), engine == "filetrans");
        assert!(partials.iter().all(|partial| partial.body["echo"] == true));
    }
}

#[tokio::test]
async fn a_message_whose_context_or_language_the_model_does_not_take_is_bad_input_before_anything_is_sent() {
    let (nats, service) = (NatsServer::start().await, Emulator::start(&[]).await);
    let mut hark = setup(
        &nats,
        &service,
        "qwen-audio-3.1-asr-flash",
        "qwen3-asr-flash-filetrans",
        "engine = \"flash\"",
    )
    .lines("[[source]]\nname = \"inbox\"\nkind = \"nats\"\nsubject = \"hark.audio.inbox\"\nroute = \"r\"\n")
    .set("security.allow_urls", "[\"127.0.0.1/32\"]")
    .start()
    .await;
    let context = jetstream::new(nats.client().await);
    let headers = [("Content-Type", "application/json")];
    let url = "http://127.0.0.1:9/a.wav";
    let long = json!({"url": url, "context": "word ".repeat(100)}).to_string();
    publish(&context, "hark.audio.inbox", &headers, long.into_bytes()).await;
    let language = json!({"url": url, "language": "yue"}).to_string();
    publish(&context, "hark.audio.inbox", &headers, language.into_bytes()).await;
    let mut found: Vec<(String, String)> = hark
        .ended_jobs(2)
        .await
        .iter()
        .map(|event| {
            assert_eq!((event.kind(), &event.body["error"]["blame"]), ("job.failed", &json!("audio")));
            let error = &event.body["error"];
            (error["code"].as_str().unwrap().to_owned(), error["message"].as_str().unwrap().to_owned())
        })
        .collect();
    found.sort();
    assert!(found[0].1.contains("has 499 characters, and the model takes 400"), "{found:?}");
    assert_eq!((&*found[0].0, &*found[1].0), ("ContextTooLong", "UnknownLanguage"));
    assert!(service.journal().is_empty(), "nothing was sent");
}

#[tokio::test]
async fn what_a_message_says_and_its_model_does_not_take_is_a_warning_and_the_job_goes_on() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--task-delay", "50ms"]).await;
    let files = FileServer::start(vec![("/a.wav", wav(1.0, 20)), ("/b.wav", wav(1.0, 21))]).await;
    let mut hark = setup(&nats, &service, "qwen-audio-3.1-asr-flash", "fun-asr", "engine = \"filetrans\"")
        .lines("[[route]]\nname = \"who\"\nengine = \"flash\"\nspeakers = 1\n")
        .lines("[[source]]\nname = \"inbox\"\nkind = \"nats\"\nsubject = \"hark.audio.inbox\"\nroute = \"r\"\nallow_routes = [\"who\"]\n")
        .set("security.allow_urls", "[\"127.0.0.1/32\"]")
        .start()
        .await;
    let context = jetstream::new(nats.client().await);
    let headers = [("Content-Type", "application/json")];
    for reference in [
        json!({"url": files.url("/a.wav"), "context": "calls", "language": "en"}),
        json!({"url": files.url("/b.wav"), "context": "calls", "language": "en", "route": "who"}),
    ] {
        publish(&context, "hark.audio.inbox", &headers, reference.to_string().into_bytes()).await;
    }
    let ended = hark.ended_jobs(2).await;
    assert!(ended.iter().all(|event| event.kind() == "job.completed"), "{ended:?}");
    let events = hark.events().await;
    let mut warned: Vec<String> = events
        .iter()
        .filter(|event| event.kind() == "job.accepted")
        .map(|event| {
            let [warning] = &event.body["warnings"].as_array().unwrap()[..] else { panic!("{}", event.body) };
            format!("{}: {}", warning["code"].as_str().unwrap(), warning["message"].as_str().unwrap())
        })
        .collect();
    warned.sort();
    assert_eq!(
        warned,
        [
            "ContextUnused: fun-asr takes no context; the message's context has no effect with it",
            "LanguageUnused: qwen-audio-3.1-asr-flash ignores the language where it tells speakers apart; \
             the message's language has no effect with it",
        ]
    );
}
