//! Messages that say where the audio is: a URL, or an object.

use super::put;
use crate::support::{
    CEILING, Emulator, FileServer, Hark, NatsServer, sha256, unacknowledged, wait_until, wav,
};
use async_nats::jetstream;
use serde_json::json;

#[tokio::test]
async fn a_message_chooses_among_the_routes_and_buckets_of_its_source() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let source = "[[source]]\nname = \"inbox\"\nkind = \"nats\"\nsubject = \"hark.audio.inbox\"\nroute = \"own\"\n\
                  allow_routes = [\"other\"]\nallow_buckets = [\"CALLS\"]\n";
    let routes = "[[route]]\nname = \"own\"\n[[route]]\nname = \"other\"\n[[route]]\nname = \"costly\"\n";
    let files = FileServer::start(vec![("/call.wav", wav(1.0, 9))]).await;
    let setup = Hark::new().nats(&nats).asr(&service).set("security.allow_urls", "[\"127.0.0.1/32\"]");
    let mut hark = setup.lines(source).lines(routes).start().await;
    let context = jetstream::new(nats.client().await);
    let messages = [
        (json!({"url": files.url("/call.wav")}), "own", "completed"),
        (json!({"url": files.url("/call.wav"), "route": "own"}), "own", "completed"),
        (json!({"url": files.url("/call.wav"), "route": "other"}), "other", "completed"),
        (json!({"url": files.url("/call.wav"), "route": "costly"}), "own", "ForbiddenRoute"),
        (json!({"url": files.url("/call.wav"), "route": "default"}), "own", "ForbiddenRoute"),
        (json!({"url": files.url("/call.wav"), "route": "no route"}), "own", "ForbiddenRoute"),
        (json!({"object": {"bucket": "HARK_TRANSCRIPTS", "name": "n"}}), "own", "ForbiddenBucket"),
    ];
    for (number, (message, ..)) in messages.iter().enumerate() {
        let id = number.to_string();
        put(&context, &[("Nats-Msg-Id", &id)], message.to_string().into_bytes()).await;
    }
    hark.ended_jobs(messages.len()).await;
    let events = hark.events().await;
    for (number, (_, route, outcome)) in messages.iter().enumerate() {
        let id = number.to_string();
        let of = |kind: &str| {
            let mut own = events
                .iter()
                .filter(|event| event.body["recording"]["message_id"].as_str() == Some(id.as_str()));
            own.find(|event| event.kind() == kind).map(|event| event.body.clone()).unwrap_or_default()
        };
        assert_eq!(of("job.accepted")["route"], *route, "{number}");
        match *outcome {
            "completed" => assert!(of("job.completed").is_object(), "{number}"),
            code => {
                let error = &of("job.failed")["error"];
                assert_eq!((&error["code"], &error["blame"]), (&json!(code), &json!("audio")), "{number}");
            }
        }
    }
    wait_until("every message to be settled", CEILING, async || unacknowledged(&context).await == 0).await;
}

#[tokio::test]
async fn a_reference_is_fetched_by_the_service_itself() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let files = FileServer::start(vec![("/call.wav", wav(2.0, 9))]).await;
    let mut hark = Hark::new()
        .nats(&nats)
        .asr(&service)
        .inbox("inbox", "hark.audio.inbox")
        .set("security.allow_urls", "[\"127.0.0.1/32\"]")
        .start()
        .await;
    let context = jetstream::new(nats.client().await);
    let url = format!("{}?signature=secret", files.url("/call.wav"));
    // URL parsers differ on a backslash: the service must receive the normalized URL that the daemon checked.
    let written = url.replace("/call.wav", r"\call.wav");
    let body = json!({"url": written, "metadata": {"n": 1}}).to_string();
    put(&context, &[], body.into_bytes()).await;
    let last = hark.next_event("transcript.final").await;
    assert_eq!(last.body["recording"]["uri"], files.url("/call.wav"));
    assert!(service.journal().iter().any(|line| line["file_url"] == url), "{:?}", service.journal());
    assert_eq!(last.body["recording"]["sha256"], serde_json::Value::Null);
    assert_eq!(last.body["metadata"]["n"], 1);
    let recording = &last.body["recording"];
    assert_eq!([&recording["format"], &recording["duration_ms"]], [&json!("wav"), &json!(2_000)]);
    assert_eq!(last.body["engine"], "flash", "it is short");
    assert!(!hark.partials().is_empty(), "its text streams back");
    assert!(!hark.log().contains("secret"));
}

#[tokio::test]
async fn a_url_is_sent_as_its_length_and_its_redirects_allow() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "0ms"]).await;
    // More than flash takes, and small enough to be looked into whole.
    let long = wav(301.0, 3);
    let files = FileServer::start(vec![("/long.wav", long), ("/short.wav", wav(1.0, 4))]).await;
    let moved = axum::Router::new()
        .route(
            "/away",
            axum::routing::get(async || axum::response::Redirect::temporary("https://169.254.169.254/a.wav")),
        )
        .route("/shut", axum::routing::get(async || axum::http::StatusCode::FORBIDDEN));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move { axum::serve(listener, moved).await });
    let setup = Hark::new().nats(&nats).asr(&service).inbox("inbox", "hark.audio.inbox");
    let mut hark = setup.set("security.allow_urls", "[\"127.0.0.1/32\"]").start().await;
    let context = jetstream::new(nats.client().await);
    for (name, url) in [
        ("long", files.url("/long.wav")),
        ("away", format!("http://127.0.0.1:{port}/away?signature=secret")),
        ("shut", format!("http://127.0.0.1:{port}/shut?signature=secret")),
    ] {
        put(&context, &[("Hark-Name", name)], json!({ "url": url }).to_string().into_bytes()).await;
    }
    hark.ended_jobs(3).await;
    let events = hark.events().await;
    let of = |name: &str, kind: &str| {
        let own = events.iter().find(|event| event.kind() == kind && event.body["recording"]["name"] == name);
        own.map(|event| event.body.clone()).unwrap_or_default()
    };
    let heard = of("long", "transcript.final");
    assert_eq!(
        [&heard["engine"], &heard["recording"]["duration_ms"]],
        [&json!("filetrans"), &json!(301_000)]
    );
    let away = of("away", "job.failed");
    assert_eq!([&away["error"]["code"], &away["error"]["blame"]], [&json!("ForbiddenURL"), &json!("audio")]);
    assert!(away["error"]["message"].as_str().unwrap().contains("169.254.169.254"), "{away}");
    // What cannot be looked into is sent by URL, and the service says what it found.
    assert_eq!(of("shut", "job.submitted")["engine"], "filetrans");
    assert!(hark.log().contains("the audio URL cannot be looked into") && !hark.log().contains("secret"));
    server.abort();
}

#[tokio::test]
async fn an_object_is_heard_and_deleted_after_its_own_last_event() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--fault", "arrearage,on=flash"]).await;
    let source = "[[source]]\nname = \"inbox\"\nkind = \"nats\"\nsubject = \"hark.audio.inbox\"\n\
                  allow_buckets = [\"HARK_UPLOADS\", \"CALLS\", \"GONE\"]\n";
    let mut hark = Hark::new().nats(&nats).asr(&service).lines(source).start().await;
    let context = jetstream::new(nats.client().await);
    let uploads = context.get_object_store("HARK_UPLOADS").await.expect("the daemon makes it");
    let stream = context.get_stream("OBJ_HARK_UPLOADS").await.unwrap();
    assert_eq!(stream.cached_info().config.max_age, std::time::Duration::from_secs(86_400));
    let bucket = |name: &str| async_nats::jetstream::object_store::Config {
        bucket: name.into(),
        ..Default::default()
    };
    let calls = context.create_object_store(bucket("CALLS")).await.unwrap();
    let private = context.create_object_store(bucket("PRIVATE")).await.unwrap();
    // Larger than a message.
    let audio = wav(60.0, 7);
    uploads.put("day/call 1.wav", &mut audio.as_slice()).await.unwrap();
    uploads.put("other", &mut &b"not of this message"[..]).await.unwrap();
    let secret = private.put("secret", &mut audio.as_slice()).await.unwrap();
    uploads.add_link("link", &secret).await.unwrap();
    // As nats-py deletes an object: without a time.
    let withdrawn = json!({"name": "withdrawn", "bucket": "HARK_UPLOADS", "nuid": "n", "size": 0, "chunks": 0, "digest": "",
        "mtime": "", "deleted": true});
    let subject = "$O.HARK_UPLOADS.M.d2l0aGRyYXdu";
    context.publish(subject, withdrawn.to_string().into()).await.unwrap().await.unwrap();
    calls.put("garbage", &mut &b"garbage, no audio"[..]).await.unwrap();
    let refer = async |bucket: &str, name: &str| {
        let message = json!({"object": {"bucket": bucket, "name": name}, "metadata": {"of": name}});
        put(&context, &[], message.to_string().into_bytes()).await;
    };
    refer("HARK_UPLOADS", "day/call 1.wav").await;
    hark.next_event("job.retrying").await;
    assert!(uploads.info("day/call 1.wav").await.is_ok(), "its job has not ended");
    for (bucket, name) in [
        ("HARK_UPLOADS", "missing"),
        ("HARK_UPLOADS", "withdrawn"),
        ("HARK_UPLOADS", "link"),
        ("GONE", "a"),
        ("PRIVATE", "secret"),
        ("CALLS", "garbage"),
    ] {
        refer(bucket, name).await;
    }
    hark.ended_jobs(6).await;
    // Another daemon, or this one after a restart, goes on with what is spooled.
    hark.restart().await;
    service.set_faults(json!([])).await;
    let ended = hark.ended_jobs(7).await;
    let outcome = |name: &str| {
        let of = ended.iter().find(|event| event.body["metadata"]["of"] == name).unwrap();
        of.body["error"]["code"].as_str().unwrap_or("completed").to_owned()
    };
    let outcomes = ["day/call 1.wav", "missing", "withdrawn", "link", "a", "secret", "garbage"].map(outcome);
    let missing = "ObjectUnavailable";
    assert_eq!(outcomes, ["completed", missing, missing, missing, missing, "ForbiddenBucket", "NotAudio"]);
    let done = ended.iter().find(|event| event.kind() == "job.completed").unwrap();
    let recording = &done.body["recording"];
    assert_eq!(
        [&recording["name"], &recording["sha256"], &recording["bytes"]],
        [&json!("day/call 1.wav"), &json!(sha256(&audio)), &json!(audio.len())]
    );
    wait_until("every message to be settled", CEILING, async || unacknowledged(&context).await == 0).await;
    for (store, gone) in [(&uploads, "day/call 1.wav"), (&calls, "garbage")] {
        assert!(store.info(gone).await.is_err() || store.info(gone).await.unwrap().deleted, "{gone}");
    }
    for (store, kept) in [(&uploads, "other"), (&private, "secret")] {
        assert!(!store.info(kept).await.unwrap().deleted, "{kept}");
    }
    let spool = hark.path("state/spool");
    let garbage =
        ended.iter().find(|event| event.body["metadata"]["of"] == "garbage").unwrap().job().to_owned();
    wait_until("the spool to have only what failed and may be retried", CEILING, async || {
        let names = spool.read_dir().unwrap().map(|entry| entry.unwrap().file_name());
        names.map(|name| name.into_string().unwrap()).eq([garbage.clone()])
    })
    .await;
}
