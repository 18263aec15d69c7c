//! Audio dropped into a folder becomes events, and its file is put away as the source's config says.

use std::time::Duration;

use crate::support::{CEILING, Emulator, Hark, NatsServer, ReceivedEvent, wait_until, wav};
use serde_json::{Value, json};

/// What docs/events.md promises of every event, checked on all of them.
fn assert_sound(events: &[ReceivedEvent]) {
    for event in events {
        let sequence = event.body["sequence"].as_u64().expect("a sequence");
        let id = format!("{}:{sequence}", event.job());
        let header =
            |name: &str| event.headers.get(name).map(|value| value.as_str().to_owned()).unwrap_or_default();
        assert_eq!(header("ce-id"), id);
        assert_eq!(header("Nats-Msg-Id"), id);
        assert_eq!(header("ce-specversion"), "1.0");
        assert_eq!(header("ce-subject"), event.job());
        assert_eq!(header("ce-source"), format!("/hark/{}", event.body["source"].as_str().unwrap()));
        assert_eq!(header("ce-datacontenttype"), "application/json");
        assert_eq!(header("ce-dataschema"), format!("urn:hark:{}:1", event.kind()));
        assert_eq!(header("ce-time"), event.body["time"].as_str().unwrap());
        let source = event.body["source"].as_str().unwrap();
        assert_eq!(event.subject, format!("hark.event.{}.{source}.{}", event.kind(), event.job()));
        // The SDK reads what the daemon writes.
        assert_eq!(serde_json::to_value(event.event()).unwrap(), event.body);
    }
    let sequences: Vec<u64> = events.iter().map(|event| event.body["sequence"].as_u64().unwrap()).collect();
    assert_eq!(sequences, (1..=events.len() as u64).collect::<Vec<_>>(), "sequences without a gap");
}

fn kinds(events: &[ReceivedEvent]) -> Vec<&str> {
    events.iter().map(ReceivedEvent::kind).collect()
}

#[tokio::test]
async fn a_file_becomes_partials_a_final_annotations_and_an_end() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "20ms"]).await;
    let mut hark = Hark::new().nats(&nats).asr(&service).folder("calls").start().await;
    let audio = wav(3.0, 1);
    let path = hark.drop_file("calls", "first call.wav", &audio);

    let done = hark.next_event("job.completed").await;
    let events = hark.events_of(done.job()).await;
    assert_eq!(
        kinds(&events),
        [
            "job.accepted",
            "job.submitted",
            "annotation.language",
            "annotation.emotion",
            "transcript.final",
            "job.completed"
        ]
    );
    assert_sound(&events);

    let last = &events[4].body;
    let sha256 = last["recording"]["sha256"].as_str().unwrap();
    assert_eq!(last["text"], dashscope_emulator_text(sha256));
    assert_eq!(last["engine"], "flash");
    assert_eq!(last["model"], "qwen3-asr-flash");
    assert_eq!(last["segments"][0]["timing"], "chunk");
    assert_eq!(
        (&last["segments"][0]["begin_ms"], &last["segments"][0]["end_ms"]),
        (&Value::from(0), &Value::from(3_000))
    );
    assert_eq!(last["usage"]["seconds"], 3);
    let recording = &last["recording"];
    assert_eq!(recording["name"], "first call.wav");
    assert_eq!(recording["bytes"], audio.len());
    assert_eq!(
        (&recording["format"], &recording["duration_ms"], &recording["channels"]),
        (&"wav".into(), &3_000.into(), &1.into())
    );
    assert!(recording["uri"].as_str().unwrap().ends_with("/calls/first%20call.wav"), "{recording}");
    assert_eq!(done.body["billed_seconds"], 3);
    assert!((done.body["cost_usd"].as_f64().unwrap() - 0.000_105).abs() < 1e-9);
    assert!(path.exists(), "when_done = keep");

    let partials = hark.partials();
    assert!(partials.len() > 1, "partials grow: {}", partials.len());
    let revisions: Vec<u64> = partials.iter().map(|event| event.body["revision"].as_u64().unwrap()).collect();
    assert!(revisions.is_sorted(), "{revisions:?}");
    assert_eq!(revisions[0], 1);
    let lengths: Vec<usize> =
        partials.iter().map(|event| event.body["text"].as_str().unwrap().len()).collect();
    assert!(lengths.is_sorted(), "{lengths:?}");
    assert!(partials[0].body.get("sequence").is_none());
    assert_eq!(partials[0].headers.get("ce-id").unwrap().as_str(), format!("{}:p1", done.job()));

    assert!(hark.stop().await.success());
}

/// The emulator's rule for audio that is in no manifest.
fn dashscope_emulator_text(sha256: &str) -> String {
    dashscope_emulator::text_for(sha256)
}

#[tokio::test]
async fn a_trace_shows_each_step_of_a_recording_and_neither_the_key_nor_the_text() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let setup = Hark::new().nats(&nats).asr(&service).folder("calls").inbox("inbox", "hark.audio.inbox");
    let mut hark = setup.set("log.format", "\"json\"").set("log.level", "\"trace\"").start().await;
    hark.drop_file("calls", "call.wav", &wav(3.0, 1));
    let client = nats.client().await;
    client.publish("hark.audio.inbox", wav(3.0, 2).into()).await.unwrap();
    client.flush().await.unwrap();
    let mut texts = Vec::new();
    for done in hark.ended_jobs(2).await {
        let events = hark.events_of(done.job()).await;
        let last = events.iter().find(|event| event.kind() == "transcript.final").unwrap();
        texts.push(last.body["text"].as_str().unwrap().to_owned());
    }
    assert!(hark.stop().await.success());
    let log = hark.log();
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for step in ["full scan ended", "received", "answered", "the text grows", "job advanced", "stored"] {
        assert!(
            lines.iter().any(|line| line["level"] == "trace" && line["message"] == step),
            "{step}: {log}"
        );
    }
    // A fragment of a transcript in the log is a leak too.
    let pieces = texts.iter().flat_map(|text| text.as_bytes().chunks(16)).map(String::from_utf8_lossy);
    let secrets =
        ["sk-of-the-tests".into()].into_iter().chain(pieces.filter(|piece| piece.chars().count() == 16));
    for secret in secrets {
        assert!(!log.contains(&*secret), "{secret:?} is in the log: {log}");
    }
}

#[tokio::test]
async fn many_files_each_end_once_and_are_paid_once() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let mut hark = Hark::new().nats(&nats).asr(&service).folder("calls").start().await;
    for seed in 0..60 {
        hark.drop_file("calls", &format!("{seed}.wav"), &wav(1.0, seed));
    }
    let ended = hark.ended_jobs(60).await;
    assert!(ended.iter().all(|event| event.kind() == "job.completed"));
    for done in &ended {
        let events = hark.events_of(done.job()).await;
        assert_sound(&events);
        let last = events.iter().find(|event| event.kind() == "transcript.final").unwrap();
        assert_eq!(
            last.body["text"],
            dashscope_emulator_text(last.body["recording"]["sha256"].as_str().unwrap())
        );
    }
    let paid = service.journal_of("flash");
    assert_eq!(paid.len(), 60);
}

#[tokio::test]
async fn done_files_are_moved_and_failed_ones_elsewhere() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let setup = Hark::new().nats(&nats).asr(&service);
    let (done, failed) = (setup.path("done"), setup.path("failed"));
    let lines = format!(
        "when_done = \"move\"\ndone_directory = '{}'\nfailed_directory = '{}'\n",
        done.display(),
        failed.display()
    );
    let mut hark = setup.folder_with("calls", &lines).start().await;
    let good = hark.drop_file("calls", "good.wav", &wav(1.0, 7));
    let bad = hark.drop_file("calls", "bad.wav", b"this is no audio at all");
    hark.ended_jobs(2).await;
    let moved = async || done.join("good.wav").exists() && failed.join("bad.wav").exists();
    wait_until("the files to be moved", CEILING, moved).await;
    assert!(!good.exists() && !bad.exists());
}

#[tokio::test]
async fn a_restart_resumes_open_jobs_and_repeats_nothing() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let mut hark = Hark::new().nats(&nats).asr(&service).folder("calls").start().await;
    hark.drop_file("calls", "a.wav", &wav(1.0, 1));
    hark.ended_jobs(1).await;
    hark.kill();
    hark.drop_file("calls", "b.wav", &wav(1.0, 2));
    hark.restart().await;
    let ended = hark.ended_jobs(2).await;
    assert_eq!(ended.len(), 2);
    assert!(hark.stop().await.success());
    hark.restart().await;
    hark.drop_file("calls", "c.wav", &wav(1.0, 3));
    let ended = hark.ended_jobs(3).await;
    assert_eq!(ended.len(), 3, "one job a file, over two restarts");
    assert_eq!(service.journal_of("flash").len(), 3);
}

#[tokio::test]
async fn an_idle_daemon_logs_that_the_broker_is_away_and_that_it_is_back() {
    let mut nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let hark = Hark::new().nats(&nats).asr(&service).folder("calls").start().await;
    nats.kill();
    wait_until("/readyz to be 503", CEILING, async || {
        hark.get("/readyz").await.is_some_and(|(status, body)| status == 503 && body.contains("nats"))
    })
    .await;
    nats.restart().await;
    wait_until("/readyz to be 200", CEILING, async || {
        hark.get("/readyz").await.is_some_and(|(status, _)| status == 200)
    })
    .await;
}

#[tokio::test]
async fn recordings_that_are_renamed_while_the_account_is_held_are_recognized_once() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--fault", "arrearage,on=flash"]).await;
    let mut hark = Hark::new().nats(&nats).asr(&service).folder("calls").start().await;
    for number in 0..4 {
        hark.drop_file("calls", &format!("{number}.wav"), &wav(1.0, number));
    }
    hark.next_event("job.retrying").await;
    for number in 0..4 {
        let name = |new: &str| hark.path("calls").join(format!("{new}{number}.wav"));
        std::fs::rename(name(""), name("renamed-")).unwrap();
    }
    service.set_faults(json!([])).await;
    let ended = hark.ended_jobs(4).await;
    let kinds: Vec<&str> = ended.iter().map(ReceivedEvent::kind).collect();
    assert_eq!(kinds, ["job.completed"; 4], "{:?}", ended[0].body);
    let taken = service.journal().iter().filter(|line| line["outcome"] == "ok").count();
    assert_eq!(taken, 4, "each is paid once");
}

#[tokio::test]
async fn a_recording_that_is_deleted_before_its_turn_fails_with_a_code() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--fault", "arrearage,on=flash"]).await;
    let mut hark = Hark::new().nats(&nats).asr(&service).folder("calls").start().await;
    let path = hark.drop_file("calls", "a.wav", &wav(1.0, 1));
    hark.next_event("job.retrying").await;
    std::fs::remove_file(path).unwrap();
    service.set_faults(json!([])).await;
    let failed = hark.next_event("job.failed").await;
    assert_eq!(failed.body["error"]["code"], "RecordingGone");
    assert_eq!(failed.body["error"]["blame"], "audio");
}

/// Whether any file below a folder contains these bytes.
fn holds(folder: &std::path::Path, text: &str) -> bool {
    std::fs::read_dir(folder).unwrap().flatten().any(|entry| {
        if entry.path().is_dir() {
            return holds(&entry.path(), text);
        }
        let bytes = std::fs::read(entry.path()).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

#[tokio::test]
async fn a_transcript_stays_on_the_disk_no_longer_than_the_config_says() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let setup = Hark::new().nats(&nats).asr(&service).folder("calls").set("state.keep", "\"1s\"");
    let mut hark = setup.start().await;
    let state = hark.path("state");
    hark.drop_file("calls", "one.wav", &wav(2.0, 1));
    let text = hark.next_event("transcript.final").await.body["text"].as_str().unwrap().to_owned();
    hark.ended_jobs(1).await;
    wait_until("the text to be erased", CEILING, async || !holds(&state, &text)).await;
}

#[tokio::test]
async fn files_of_before_the_first_start_are_logged_with_their_number_and_price() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let setup = Hark::new()
        .nats(&nats)
        .asr(&service)
        .folder("skipped")
        .folder_with("heard", "existing = \"process\"\n");
    for (folder, count) in [("skipped", 3), ("heard", 2)] {
        for number in 0..count {
            std::fs::write(setup.path(folder).join(format!("{number}.wav")), wav(1.0, number)).unwrap();
        }
    }
    // A file counts as present before the start if it is at least 100 ms older.
    tokio::time::sleep(Duration::from_millis(150)).await;
    let mut hark = setup.start().await;
    hark.ended_jobs(2).await;
    let log = hark.log();
    let told = |source: &str, what: &str| {
        let line = log.lines().find(|line| line.contains(source) && line.contains("before the first start"));
        assert!(line.is_some_and(|line| line.contains(what)), "{what}: {line:?}");
    };
    for (source, files) in [("source=\"skipped\"", "files=3"), ("source=\"heard\"", "files=2")] {
        told(source, files);
        told(source, "usd_per_hour=0.126");
    }
}

#[tokio::test]
async fn suppressed_emotion_is_in_no_event_and_not_in_the_ledger() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let routes = "[[route]]\nname = \"quiet\"\nemotion = false\n[[route]]\nname = \"task\"\nengine = \"filetrans\"\nemotion = [\"customer\"]\n";
    // A plugin that cannot be loaded holds the jobs, so that the ledger has what was heard.
    let held = "[[plugin]]\nname = \"held\"\nlibrary = \"/nowhere/libheld.so\"\nsources = [\"quiet\", \"task\"]\non_failure = \"hold\"\n";
    let setup = Hark::new().nats(&nats).asr(&service).lines(routes).lines(held).folder("calls");
    let setup = setup.folder_with("quiet", "route = \"quiet\"\n").folder_with("task", "route = \"task\"\n");
    let mut hark = setup.start().await;
    hark.drop_file("calls", "a.wav", &wav(2.0, 1));
    hark.ended_jobs(1).await;
    let shown =
        |events: &[ReceivedEvent]| events.iter().filter(|event| event.kind() == "annotation.emotion").count();
    assert_eq!(shown(&hark.events().await), 1, "the service tells it");
    hark.drop_file("quiet", "a.wav", &wav(2.0, 1));
    hark.drop_file("task", "a.wav", &wav(2.0, 1));
    for _ in 0..2 {
        let held = hark.next_event("job.retrying").await;
        assert_eq!(held.body["error"]["code"], "PluginHolds");
    }
    let ledger = rusqlite::Connection::open(hark.path("state/ledger.sqlite3")).unwrap();
    let mut heard = ledger.prepare("SELECT heard FROM piece WHERE heard IS NOT NULL").unwrap();
    let heard: Vec<String> = heard.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(heard.len(), 2);
    assert!(heard.iter().all(|heard| heard.contains("\"emotion\":null")), "{heard:?}");

    let config = std::fs::read_to_string(hark.config_file()).unwrap();
    std::fs::write(hark.config_file(), config.replace("\"hold\"", "\"skip\"")).unwrap();
    hark.restart().await;
    hark.ended_jobs(3).await;
    let events = hark.events().await;
    assert_eq!(shown(&events), 1);
    let finals =
        events.iter().filter(|event| event.kind() == "transcript.final" && event.body["source"] != "calls");
    for event in finals {
        assert_eq!(
            (&event.body["emotion"], &event.body["segments"][0]["emotion"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(event.body["language"], "en");
    }
}
