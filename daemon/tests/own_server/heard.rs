//! What servers tell, and what becomes of it in the events.

use std::time::Duration;

use serde_json::{Value, json};

use super::{QWEN, WHISPER, final_of, job, retries, setup, stream, verbose};
use crate::support::{
    CEILING, FileServer, Hark, NatsServer, Reply, SpeechServer, all_acknowledged, publish, wav,
};

#[tokio::test]
async fn a_recording_is_heard_with_language_and_times_and_without_dashscope() {
    let nats = NatsServer::start().await;
    let server = SpeechServer::start(verbose()).await;
    let mut hark = setup(&nats, &server.url(), WHISPER).start().await;
    let audio = wav(2.0, 1);
    hark.drop_file("calls", "a.wav", &audio);
    let events = job(&mut hark, 1).await;
    let told = final_of(&events);
    assert_eq!(
        [&told["engine"], &told["model"], &told["text"], &told["language"], &told["emotion"]],
        [&json!("gpu"), &json!("whisper-1"), &json!("Good morning. Goodbye."), &json!("en"), &Value::Null]
    );
    let segment = &told["segments"][1];
    assert_eq!(
        [&segment["begin_ms"], &segment["end_ms"], &segment["timing"], &segment["text"]],
        [&json!(900), &json!(2_000), &json!("service"), &json!("Goodbye.")]
    );
    let last = &events.last().unwrap().body;
    assert_eq!([&last["billed_seconds"], &last["cost_usd"]], [&json!(0), &json!(0.0)]);
    let [asked] = &server.asked()[..] else { panic!("one request") };
    assert_eq!(
        (asked.path.as_str(), &asked.audio, &asked.authorization),
        ("/v1/audio/transcriptions", &audio, &None)
    );
    let fields = ["model", "response_format", "language", "stream"]
        .map(|field| asked.fields.get(field).map(String::as_str));
    assert_eq!(fields, [Some("whisper-1"), Some("verbose_json"), None, None]);
    let (_, metrics) = hark.get("/metrics").await.unwrap();
    assert!(metrics.contains("hark_recognize_requests_total{engine=\"gpu\",outcome=\"ok\"} 1"), "{metrics}");
}

#[tokio::test]
async fn what_a_name_and_a_sidecar_tell_is_in_the_events_and_in_the_context() {
    let nats = NatsServer::start().await;
    let server = SpeechServer::start(verbose()).await;
    let route = "[[route]]\nname = \"default\"\nengine = \"gpu\"\ncontext = \"{extension} is {agent}, {missing}of {{Acme}}\"";
    let recognizer = format!(
        "[[recognizer]]\nname = \"gpu\"\nkind = \"openai\"\nbase_url = \"{}\"\n{WHISPER}",
        server.url()
    );
    let setup = Hark::new().nats(&nats).without("DASHSCOPE_API_KEY").lines(&recognizer).lines(route);
    let mut hark = setup.folder_with("calls", "metadata_from_name = \"freepbx\"").start().await;
    std::fs::write(
        hark.path("calls/out-71222-002-20241105-091730-1730780250.107.json"),
        r#"{"agent": "Ada", "vip": true}"#,
    )
    .unwrap();
    hark.drop_file("calls", "out-71222-002-20241105-091730-1730780250.107.wav", &wav(2.0, 1));
    let events = job(&mut hark, 1).await;
    let metadata = json!({"direction": "out", "external": "71222", "extension": "002", "datetime": "20241105-091730",
                          "uniqueid": "1730780250.107", "agent": "Ada", "vip": true});
    for event in &events {
        assert_eq!(event.body["metadata"], metadata, "{}", event.kind());
    }
    assert_eq!(server.asked()[0].fields["prompt"], "002 is Ada, of {Acme}");

    std::os::unix::fs::symlink("/etc/hostname", hark.path("calls/b.json")).unwrap();
    hark.drop_file("calls", "b.wav", &wav(2.0, 2));
    let events = job(&mut hark, 2).await;
    let accepted = &events[0].body;
    assert_eq!((events[0].kind(), &accepted["metadata"]), ("job.accepted", &json!({})));
    assert_eq!(accepted["warnings"][0]["code"], "SidecarUnreadable");
    let message = accepted["warnings"][0]["message"].as_str().unwrap();
    assert!(message.contains("\"b.json\"") && message.contains("symbolic link"), "{message}");
    assert_eq!(events.last().unwrap().kind(), "job.completed");
}

#[tokio::test]
async fn a_chat_streams_its_text_and_names_the_language_it_heard() {
    let nats = NatsServer::start().await;
    let server = SpeechServer::start(stream().slowly(Duration::from_millis(50))).await;
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, "canary-0123456789\n").unwrap();
    let more = format!("{QWEN}\napi_key_file = {key:?}\nusd_per_second = 0.001");
    let setup = setup(&nats, &server.url(), &more).lines("context = \"names: Ada\"");
    let mut hark = setup.set("log.level", "\"trace\"").start().await;
    let audio = wav(1.5, 1);
    hark.drop_file("calls", "a.wav", &audio);
    let events = job(&mut hark, 1).await;
    let told = final_of(&events);
    assert_eq!([&told["text"], &told["language"]], [&json!("你好, 再见."), &json!("zh")]);
    let segment = &told["segments"][0];
    assert_eq!([&segment["timing"], &segment["end_ms"]], [&json!("chunk"), &json!(1_500)]);
    let last = &events.last().unwrap().body;
    assert_eq!([&last["billed_seconds"], &last["cost_usd"]], [&json!(2), &json!(0.002)]);
    assert_eq!(hark.next_event("transcript.partial").await.body["text"], "你好");
    let [asked] = &server.asked()[..] else { panic!("one request") };
    assert_eq!((asked.path.as_str(), &asked.audio), ("/v1/chat/completions", &audio));
    assert_eq!(asked.authorization.as_deref(), Some("Bearer canary-0123456789"));
    assert_eq!(asked.chat["messages"][0], json!({"role": "system", "content": "names: Ada"}));
    assert!(!hark.log().contains("canary"), "the key is in the log");
}

#[tokio::test]
async fn no_speech_is_no_error() {
    let nats = NatsServer::start().await;
    let server =
        SpeechServer::start(Reply::chunks("chat.completion.chunk", &["language None<asr_text>"], "stop"))
            .await;
    let mut hark = setup(&nats, &server.url(), QWEN).start().await;
    let speaches = json!({"detail": "No clip timestamps found. Set 'vad_filter' to True."});
    for (count, next) in [(1, None), (2, Some(Reply::json(500, &speaches)))] {
        server.next(next);
        hark.drop_file("calls", &format!("{count}.wav"), &wav(1.0, count as u64));
        let events = job(&mut hark, count).await;
        let told = final_of(&events);
        assert_eq!(
            [&told["text"], &told["segments"], &told["language"]],
            [&json!(""), &json!([]), &Value::Null]
        );
        assert_eq!((events.last().unwrap().kind(), retries(&events)), ("job.completed", vec![]));
    }
}

#[tokio::test]
async fn what_the_server_does_not_support_is_asked_for_in_another_way_and_remembered() {
    let nats = NatsServer::start().await;
    let server = SpeechServer::start(Reply::json(200, &json!({"text": "so it is"}))).await;
    let mut hark = setup(&nats, &server.url(), WHISPER).start().await;
    let refused = |message: &str| Reply::json(400, &json!({"error": {"message": message, "code": 400}}));
    server.next([refused("Currently do not support verbose_json"), refused("bad request")]);
    for count in 1..=2 {
        hark.drop_file("calls", &format!("{count}.wav"), &wav(1.0, count as u64));
        let events = job(&mut hark, count).await;
        assert_eq!((&final_of(&events)["text"], retries(&events)), (&json!("so it is"), vec![]));
    }
    let forms: Vec<[Option<String>; 2]> = server
        .asked()
        .into_iter()
        .map(|asked| ["response_format", "stream"].map(|field| asked.fields.get(field).cloned()))
        .collect();
    let of = |format: &str, stream: bool| [Some(format.to_owned()), stream.then(|| "true".to_owned())];
    assert_eq!(forms, [of("verbose_json", false), of("json", true), of("json", false), of("json", false)]);
}

#[tokio::test]
async fn whisper_cpp_is_asked_to_find_out_the_language() {
    let nats = NatsServer::start().await;
    let server = SpeechServer::start(verbose().header("server", "whisper.cpp")).await;
    let mut hark = setup(&nats, &server.url(), &format!("{WHISPER}\nformat = \"wav\"")).start().await;
    for count in 1..=2 {
        hark.drop_file("calls", &format!("{count}.wav"), &wav(1.0, count as u64));
        job(&mut hark, count).await;
    }
    let languages: Vec<Option<String>> =
        server.asked().into_iter().map(|asked| asked.fields.get("language").cloned()).collect();
    assert_eq!(languages, [None, Some("auto".into()), Some("auto".into())]);
}

#[tokio::test]
async fn a_url_in_a_message_is_fetched_and_sent_as_bytes() {
    let nats = NatsServer::start().await;
    let server = SpeechServer::start(verbose()).await;
    let audio = wav(2.0, 1);
    let files = FileServer::start(vec![("/call.wav", audio.clone())]).await;
    let inbox = "[[source]]\nname = \"inbox\"\nkind = \"nats\"\nsubject = \"hark.audio.inbox\"\nroute = \"private\"\n";
    let setup = setup(&nats, &server.url(), WHISPER).lines(inbox);
    let mut hark = setup.set("security.allow_urls", "[\"127.0.0.1/32\"]").start().await;
    let context = async_nats::jetstream::new(nats.client().await);
    let refer = async |path: &str| {
        let reference = json!({"url": format!("{}?signature=x", files.url(path))}).to_string().into_bytes();
        publish(&context, "hark.audio.inbox", &[("Content-Type", "application/json")], reference).await;
    };
    refer("/call.wav").await;
    let events = job(&mut hark, 1).await;
    assert_eq!(final_of(&events)["text"], "Good morning. Goodbye.");
    let recording = &events.last().unwrap().body["recording"];
    assert_eq!(
        [&recording["uri"], &recording["duration_ms"]],
        [&json!(files.url("/call.wav")), &json!(2_000)]
    );
    assert_eq!(server.asked()[0].audio, audio);
    refer("/none.wav").await;
    let last = &job(&mut hark, 2).await.pop().unwrap().body;
    assert_eq!(
        (&last["error"]["code"], &last["error"]["blame"]),
        (&json!("DownloadFailed"), &json!("audio"))
    );
    all_acknowledged(&nats, CEILING).await;
    assert_eq!(std::fs::read_dir(hark.path("state/spool")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_text_that_was_cut_and_times_in_nanoseconds_are_told_as_they_are() {
    let nats = NatsServer::start().await;
    let server = SpeechServer::start(Reply::verbose("en", "so it is", &[(0.0, 0.8e9, "so it is")])).await;
    let mut hark = setup(&nats, &server.url(), WHISPER).start().await;
    hark.drop_file("calls", "a.wav", &wav(1.0, 1));
    let events = job(&mut hark, 1).await;
    let segment = &final_of(&events)["segments"][0];
    assert_eq!([&segment["end_ms"], &segment["timing"]], [&json!(800), &json!("service")]);
    server.next([Reply::chunks("transcription.chunk", &["on and on and on"], "length")]);
    hark.drop_file("calls", "b.wav", &wav(1.0, 2));
    assert_eq!(final_of(&job(&mut hark, 2).await)["truncated"], true);
}
