//! Audio published on a NATS subject, and how the daemon handles messages that are not audio.

use crate::support::{
    CEILING, Emulator, Hark, NatsServer, REDELIVERY, all_acknowledged, publish, unacknowledged, wait_until,
    wav,
};
use async_nats::jetstream;
use futures::StreamExt;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};

async fn put(context: &jetstream::Context, headers: &[(&str, &str)], payload: Vec<u8>) -> u64 {
    publish(context, "hark.audio.inbox", headers, payload).await.sequence
}

#[tokio::test]
async fn a_message_of_audio_is_recognized_and_then_acknowledged() {
    let mut nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let mut hark = Hark::new().nats(&nats).asr(&service).inbox("inbox", "hark.audio.inbox").start().await;
    let context = jetstream::new(nats.client().await);
    let pairs = [
        ("Content-Type", "audio/wav"),
        ("Hark-Name", "call.wav"),
        // The service accepts only its own language codes.
        ("Hark-Language", "en-US"),
        ("Hark-Meta-Agent-Id", "7"),
        ("Nats-Msg-Id", "call-1"),
    ];
    let sequence = put(&context, &pairs, wav(2.0, 1)).await;

    let done = hark.next_event("job.completed").await;
    assert_eq!(done.body["metadata"]["agent_id"], "7");
    assert_eq!(done.body["recording"]["name"], "call.wav");
    assert_eq!(done.body["recording"]["uri"], format!("nats:HARK_AUDIO/{sequence}"));
    assert_eq!(done.body["recording"]["message_id"], "call-1");
    wait_until("the message to be acknowledged", CEILING, async || unacknowledged(&context).await == 0).await;

    // A restarted server has forgotten the ids of acknowledged messages; the ledger still has them.
    nats.restart().await;
    let context = jetstream::new(nats.client().await);
    put(&context, &pairs, wav(2.0, 1)).await;
    wait_until("the duplicate to be acknowledged", CEILING, async || unacknowledged(&context).await == 0)
        .await;
    assert_eq!(hark.ended_jobs(1).await.len(), 1);
    assert_eq!(service.journal().iter().filter(|line| line["kind"] == "flash").count(), 1);
}

#[tokio::test]
async fn a_message_does_not_wait_for_a_folder_full_of_recordings() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let mut hark = Hark::new()
        .nats(&nats)
        .asr(&service)
        .set("dashscope.requests_per_minute", "600")
        .set("dashscope.concurrency", "4")
        .folder("calls")
        .inbox("inbox", "hark.audio.inbox")
        .start()
        .await;
    for number in 0..150 {
        hark.drop_file("calls", &format!("{number}.wav"), &wav(1.0, number));
    }
    wait_until("the folder to be taken in", CEILING, async || {
        hark.events().await.iter().filter(|event| event.kind() == "job.accepted").count() == 150
    })
    .await;

    put(&jetstream::new(nats.client().await), &[("Content-Type", "audio/wav")], wav(1.0, 999)).await;
    let mut before_it = 0;
    wait_until("the end of the message's job", CEILING, async || {
        let ended = hark.ended_jobs(1).await;
        before_it = ended.iter().take_while(|event| event.body["source"] != "inbox").count();
        before_it < ended.len()
    })
    .await;
    assert!(before_it < 120, "{before_it} recordings of the folder went first");
}

#[tokio::test]
async fn bad_messages_are_answered_and_harm_nothing_else() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let mut hark = Hark::new().nats(&nats).asr(&service).inbox("inbox", "hark.audio.inbox").start().await;
    let context = jetstream::new(nats.client().await);
    let json = [("Content-Type", "application/json")];
    put(&context, &[("Content-Type", "audio/wav")], b"garbage, no audio".to_vec()).await;
    put(&context, &json, b"{\"url\": ".to_vec()).await;
    put(&context, &json, br#"{"url": "http://169.254.169.254/latest/meta-data?token=secret"}"#.to_vec())
        .await;
    put(&context, &json, br#"{"url": "https://127.0.0.1/a.wav"}"#.to_vec()).await;
    put(&context, &json, br#"{"url": "https://example.com/a.wav", "route": "nowhere"}"#.to_vec()).await;
    put(&context, &[], Vec::new()).await;
    put(&context, &[("Content-Type", "audio/wav")], wav(1.0, 5)).await;

    let ended = hark.ended_jobs(7).await;
    let mut codes: Vec<String> = ended
        .iter()
        .map(|event| event.body["error"]["code"].as_str().unwrap_or("completed").to_owned())
        .collect();
    codes.sort();
    assert_eq!(
        codes,
        [
            "BadReference",
            "EmptyFile",
            "ForbiddenRoute",
            "ForbiddenURL",
            "ForbiddenURL",
            "NotAudio",
            "completed"
        ]
    );
    for event in ended.iter().filter(|event| event.kind() == "job.failed") {
        assert_eq!(event.body["error"]["blame"], "audio", "{}", event.body);
        assert!(!event.body.to_string().contains("secret"), "{}", event.body);
    }
    wait_until("every message to be settled", CEILING, async || unacknowledged(&context).await == 0).await;
    assert!(!hark.log().contains("secret"));
}

#[tokio::test]
async fn a_message_chooses_among_the_routes_and_buckets_of_its_source() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let source = "[[source]]\nname = \"inbox\"\nkind = \"nats\"\nsubject = \"hark.audio.inbox\"\nroute = \"own\"\n\
                  allow_routes = [\"other\"]\nallow_buckets = [\"CALLS\"]\n";
    let routes = "[[route]]\nname = \"own\"\n[[route]]\nname = \"other\"\n[[route]]\nname = \"costly\"\n";
    let files = crate::support::FileServer::start(vec![("/call.wav", wav(1.0, 9))]).await;
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
    let files = crate::support::FileServer::start(vec![("/call.wav", wav(2.0, 9))]).await;
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
    let files =
        crate::support::FileServer::start(vec![("/long.wav", long), ("/short.wav", wav(1.0, 4))]).await;
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
        ("HARK_UPLOADS", "link"),
        ("GONE", "a"),
        ("PRIVATE", "secret"),
        ("CALLS", "garbage"),
    ] {
        refer(bucket, name).await;
    }
    hark.ended_jobs(5).await;
    // Another daemon, or this one after a restart, goes on with what is spooled.
    hark.restart().await;
    service.set_faults(json!([])).await;
    let ended = hark.ended_jobs(6).await;
    let outcome = |name: &str| {
        let of = ended.iter().find(|event| event.body["metadata"]["of"] == name).unwrap();
        of.body["error"]["code"].as_str().unwrap_or("completed").to_owned()
    };
    let outcomes = ["day/call 1.wav", "missing", "link", "a", "secret", "garbage"].map(outcome);
    let missing = "ObjectUnavailable";
    assert_eq!(outcomes, ["completed", missing, missing, missing, "ForbiddenBucket", "NotAudio"]);
    let done = ended.iter().find(|event| event.kind() == "job.completed").unwrap();
    let recording = &done.body["recording"];
    assert_eq!(
        [&recording["name"], &recording["sha256"], &recording["bytes"]],
        [&json!("day/call 1.wav"), &json!(crate::support::sha256(&audio)), &json!(audio.len())]
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

#[tokio::test]
async fn a_message_survives_a_kill_and_is_one_job() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "60ms"]).await;
    let mut hark = Hark::new()
        .nats(&nats)
        .asr(&service)
        .inbox("inbox", "hark.audio.inbox")
        .set("dashscope.ambiguous_retries", "2")
        .start()
        .await;
    let context = jetstream::new(nats.client().await);
    put(&context, &[("Content-Type", "audio/wav")], wav(4.0, 3)).await;
    hark.next_event("transcript.partial").await;
    hark.restart().await;
    let ended = hark.ended_jobs(1).await;
    assert_eq!(ended[0].kind(), "job.completed");
    assert_eq!(ended[0].body["possible_duplicate_charge"], true, "the service had it already");
    wait_until("the message to be acknowledged", crate::support::REDELIVERY, async || {
        unacknowledged(&context).await == 0
    })
    .await;
    assert_eq!(hark.ended_jobs(1).await.len(), 1);
}

#[tokio::test]
async fn a_source_whose_subject_was_changed_receives_from_the_new_one() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let mut hark = Hark::new().nats(&nats).asr(&service).inbox("inbox", "hark.audio.inbox").start().await;
    hark.stop().await;
    let config = std::fs::read_to_string(hark.config_file()).unwrap();
    std::fs::write(hark.config_file(), config.replace("hark.audio.inbox", "hark.audio.other")).unwrap();
    hark.restart().await;
    let context = jetstream::new(nats.client().await);
    let headers = [("Content-Type", "audio/wav"), ("Hark-Name", "other.wav")];
    publish(&context, "hark.audio.other", &headers, wav(1.0, 1)).await;
    let done = hark.next_event("job.completed").await;
    assert_eq!(done.body["recording"]["name"], "other.wav");
}

#[tokio::test]
async fn a_backlog_of_more_bytes_than_one_request_is_taken_in() {
    let nats = NatsServer::configured("max_payload: 8388608").await;
    let service = Emulator::start(&[]).await;
    let setup = Hark::new().nats(&nats).asr(&service).inbox("inbox", "hark.audio.inbox");
    let mut hark = setup.start().await;
    hark.stop().await;
    let context = jetstream::new(nats.client().await);
    for _ in 0..6 {
        put(&context, &[("Content-Type", "audio/wav")], vec![b'x'; 7 << 20]).await;
    }
    hark.restart().await;
    assert_eq!(hark.ended_jobs(6).await.len(), 6);
    assert!(!hark.log().contains("consumer is looked up again"), "a full batch is taken for trouble");
}

#[tokio::test]
async fn a_large_json_message_takes_no_more_memory_than_its_bytes() {
    let nats = NatsServer::configured("max_payload: 30MB").await;
    let service = Emulator::start(&[]).await;
    let mut hark = Hark::new().nats(&nats).asr(&service).inbox("inbox", "hark.audio.inbox").start().await;
    let numbers = "0,".repeat(12 << 20);
    let message = format!(r#"{{"url": "https://example.com/a.wav", "metadata": {{"n": [{numbers}0]}}}}"#);
    put(&jetstream::new(nats.client().await), &[], message.into_bytes()).await;
    assert_eq!(hark.ended_jobs(1).await[0].body["error"]["blame"], "audio");
    let status = std::fs::read_to_string(format!("/proc/{}/status", hark.process().id())).unwrap();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kilobytes: u64 = most.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kilobytes < 256 << 10, "{kilobytes} kB at most");
}

#[tokio::test]
async fn a_message_that_came_to_two_sources_is_one_job() {
    const IDS: usize = 100;
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "0ms"]).await;
    let context = jetstream::new(nats.client().await);
    nats.forgetful_audio_stream().await;
    for subject in ["hark.audio.inbox", "hark.audio.other"] {
        for id in 0..IDS {
            let name = format!("call-{id}");
            wait_until("the server to forget the id", CEILING, async || {
                let headers = [("Content-Type", "audio/wav"), ("Nats-Msg-Id", &name)];
                !publish(&context, subject, &headers, wav(0.5, id as u64)).await.duplicate
            })
            .await;
        }
    }
    let setup = Hark::new().nats(&nats).asr(&service).inbox("inbox", "hark.audio.inbox");
    let mut hark = setup.inbox("other", "hark.audio.other").start().await;
    all_acknowledged(&nats, REDELIVERY).await;
    let ended = hark.ended_jobs(IDS).await;
    assert!(ended.iter().all(|event| event.kind() == "job.completed"), "{:?}", ended[0].body);
    assert!(ended.iter().all(|event| event.body["possible_duplicate_charge"].is_null()));
}

#[tokio::test]
async fn jobs_of_a_deleted_stream_acknowledge_nothing_in_the_next_one() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--task-delay", "6s"]).await;
    let mut hark = Hark::new()
        .nats(&nats)
        .asr(&service)
        .inbox("inbox", "hark.audio.inbox")
        .lines("[[route]]\nname = \"default\"\nengine = \"filetrans\"\n")
        .start()
        .await;
    let context = jetstream::new(nats.client().await);
    let count = 4;
    for number in 0..count {
        put(&context, &[("Content-Type", "audio/wav")], wav(1.0, number)).await;
    }
    for _ in 0..count {
        hark.next_event("job.submitted").await;
    }
    context.delete_stream("HARK_AUDIO").await.unwrap();
    wait_until("the stream to be made again", CEILING, async || {
        context.get_stream("HARK_AUDIO").await.is_ok()
    })
    .await;
    // The new messages have the sequence numbers of the old ones, and their tasks still run when the old jobs end.
    service.set_faults(json!([{"kind": "task_stuck"}])).await;
    for number in 0..count {
        put(&context, &[("Content-Type", "audio/wav")], wav(1.0, 100 + number)).await;
    }
    hark.ended_jobs(count as usize).await;
    for _ in 0..count {
        hark.next_event("job.submitted").await;
    }
    assert_eq!(unacknowledged(&context).await, count, "none is acknowledged before its job's last event");
}

#[tokio::test]
async fn jobs_of_a_broker_that_lost_its_streams_end_although_new_messages_have_their_keys() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--task-delay", "6s"]).await;
    let lines = "[[route]]\nname = \"default\"\nengine = \"filetrans\"\n";
    let setup = Hark::new().nats(&nats).asr(&service).lines(lines).inbox("inbox", "hark.audio.inbox");
    let mut hark = setup.start().await;
    let context = jetstream::new(nats.client().await);
    let count = 4;
    for number in 0..count as u64 {
        put(&context, &[("Content-Type", "audio/wav")], wav(1.0, number)).await;
    }
    for _ in 0..count {
        hark.next_event("job.submitted").await;
    }
    for stream in ["HARK_AUDIO", "HARK_EVENTS", "KV_HARK_JOBS"] {
        context.delete_stream(stream).await.unwrap();
    }
    wait_until("the stream to be made again", CEILING, async || {
        context.get_stream("HARK_AUDIO").await.is_ok()
    })
    .await;
    // The new messages have the sequence numbers of the old ones, whose tasks still run.
    for number in 0..count as u64 {
        put(&context, &[("Content-Type", "audio/wav")], wav(1.0, 100 + number)).await;
    }
    wait_until("the end of all jobs, old and new", CEILING, async || {
        let Ok(events) = context.get_stream_no_info("HARK_EVENTS").await else { return false };
        match events.info_with_subjects("hark.event.job.completed.>").await {
            Ok(ended) => ended.count().await == count * 2,
            Err(_) => false,
        }
    })
    .await;
    wait_until("every message to be acknowledged", CEILING, async || unacknowledged(&context).await == 0)
        .await;
}

#[tokio::test]
async fn a_renamed_source_acknowledges_the_messages_that_the_old_one_took_in() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--task-delay", "3s"]).await;
    let lines = "[[route]]\nname = \"default\"\nengine = \"filetrans\"\n";
    let setup = Hark::new().nats(&nats).asr(&service).lines(lines).inbox("inbox", "hark.audio.inbox");
    let mut hark = setup.start().await;
    let context = jetstream::new(nats.client().await);
    put(&context, &[("Content-Type", "audio/wav")], wav(1.0, 1)).await;
    hark.next_event("job.submitted").await;
    hark.kill();
    context.get_stream("HARK_AUDIO").await.unwrap().delete_consumer("hark_inbox").await.unwrap();
    let config = std::fs::read_to_string(hark.config_file()).unwrap();
    std::fs::write(hark.config_file(), config.replace("name = \"inbox\"", "name = \"calls\"")).unwrap();
    hark.restart().await;
    hark.ended_jobs(1).await;
    wait_until("the message to be acknowledged", REDELIVERY, async || unacknowledged(&context).await == 0)
        .await;
}

#[tokio::test]
async fn messages_wait_in_the_stream_while_the_state_directory_is_full() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--fault", "arrearage,on=flash"]).await;
    let setup = Hark::new().nats(&nats).asr(&service).inbox("inbox", "hark.audio.inbox");
    let mut hark = setup.set("state.max_size", "\"3MiB\"").start().await;
    let context = jetstream::new(nats.client().await);
    for number in 0..20 {
        put(&context, &[("Content-Type", "audio/wav")], wav(28.0, number)).await;
    }
    hark.not_ready("state.max_size").await;
    let spooled = async || {
        let files = std::fs::read_dir(hark.path("state").join("spool")).unwrap().flatten();
        files.map(|file| file.metadata().map_or(0, |file| file.len())).sum::<u64>()
    };
    let most = spooled().await;
    // The limit, plus the least that one request for messages may fetch: one message of the largest size.
    assert!(most < (3 << 20) + (2 << 20), "{most} bytes");
    service.set_faults(json!([])).await;
    assert_eq!(hark.ended_jobs(20).await.len(), 20);
}

/// Publishes raw header bytes that a client library would not send.
async fn put_raw(nats: &NatsServer, head: &[u8], payload: &[u8]) {
    let mut stream = tokio::net::TcpStream::connect(nats.url().trim_start_matches("nats://")).await.unwrap();
    let (size, total) = (head.len(), head.len() + payload.len());
    let frame =
        format!("CONNECT {{\"verbose\":false,\"headers\":true}}\r\nHPUB hark.audio.inbox {size} {total}\r\n");
    let bytes = [frame.as_bytes(), head, payload, b"\r\nPING\r\n"].concat();
    stream.write_all(&bytes).await.unwrap();
    let mut answers = tokio::io::BufReader::new(stream).lines();
    while let Some(line) = answers.next_line().await.unwrap() {
        assert!(!line.starts_with("-ERR"), "{line}");
        if line == "PONG" {
            return;
        }
    }
    panic!("the server hung up");
}

#[tokio::test]
async fn headers_that_cannot_be_read_are_answered_once_and_hold_nothing_up() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let mut hark = Hark::new().nats(&nats).asr(&service).inbox("inbox", "hark.audio.inbox").start().await;
    let context = jetstream::new(nats.client().await);
    for head in [
        &b"NATS/1.0\r\nCall Name: a\r\n\r\n"[..],
        b"NATS/1.0\r\nHark-Name: \xff\xfe\r\n\r\n",
        b"NATS/1.0\r\nno colon here\r\n\r\n",
    ] {
        put_raw(&nats, head, b"speech of a caller").await;
    }
    put(&context, &[("Content-Type", "audio/wav")], wav(1.0, 5)).await;
    wait_until("every message to be settled", crate::support::REDELIVERY, async || {
        unacknowledged(&context).await == 0
    })
    .await;
    let ended = hark.ended_jobs(4).await;
    let codes: Vec<&str> = ended.iter().filter_map(|event| event.body["error"]["code"].as_str()).collect();
    assert_eq!(codes, ["UnreadableHeaders"; 3]);
    assert_eq!(ended.len(), 4, "each is answered once");
    assert!(ended.iter().all(|event| event.body["recording"]["bytes"].as_u64() >= Some(18)));
    put(&context, &[("Content-Type", "audio/wav")], wav(1.0, 6)).await;
    assert_eq!(hark.ended_jobs(5).await[4].kind(), "job.completed", "it goes on");
}
