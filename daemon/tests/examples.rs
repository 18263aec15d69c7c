//! The example programs of docs/events.md do what that page says.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Emulator, Hark, NatsServer, python, sha256, wav};
use serde_json::{Value, json};

#[tokio::test]
async fn texts_and_subtitles_are_written_once_and_large_ones_too() {
    // The daemon keeps 64 KiB of a message free: the text fits once and not twice, so its segments are in an object.
    let nats = NatsServer::configured("max_payload: 72KB").await;
    let (small, large) = (wav(2.0, 1), wav(1.0, 1));
    let service = service_that_hears(&[(&small, "hello"), (&large, &"and so on ".repeat(500))]).await;
    let setup = Hark::new().nats(&nats).asr(&service).folder("calls");
    let mut hark = setup.lines("[[route]]\nname = \"default\"\npartials = false\n").start().await;
    let mut finals = Vec::new();
    for (name, audio) in [("small.wav", &small), ("large.wav", &large)] {
        hark.drop_file("calls", name, audio);
        finals.push(hark.next_event("transcript.final").await.body);
    }
    assert!(finals[1]["segments_object"].is_object(), "{}", finals[1]);

    let folder = tempfile::tempdir().unwrap();
    let file = |body: &serde_json::Value, ending: &str| -> PathBuf {
        let job = body["job"].as_str().unwrap();
        let name = body["recording"]["name"].as_str().unwrap();
        folder.path().join(format!("{name}.{}.{ending}", &job[job.len() - 12..]))
    };
    write_texts(&nats, folder.path(), "one");
    for (body, end) in [(&finals[0], "00:00:02,000"), (&finals[1], "00:00:01,000")] {
        let text = body["text"].as_str().unwrap();
        assert_eq!(std::fs::read_to_string(file(body, "txt")).unwrap(), format!("{text}\n"));
        let subtitles = format!("1\n00:00:00,000 --> {end}\n{}\n", text.trim());
        assert_eq!(std::fs::read_to_string(file(body, "srt")).unwrap(), subtitles);
    }

    std::fs::remove_file(file(&finals[0], "txt")).unwrap();
    write_texts(&nats, folder.path(), "one");
    assert!(!file(&finals[0], "txt").exists(), "what was acknowledged does not come again");
    write_texts(&nats, folder.path(), "another");
    assert!(file(&finals[0], "txt").exists(), "another name begins with the oldest");
}

fn write_texts(nats: &NatsServer, into: &Path, durable: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/text_and_subtitles.py");
    let mut run = Command::new(python());
    run.arg(script).arg("--into").arg(into).args(["--server", &nats.url(), "--durable", durable]);
    let output = run.args(["--once", "--patience", "1"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

async fn service_that_hears(texts: &[(&Vec<u8>, &str)]) -> Emulator {
    let entries = texts.iter().map(|(audio, text)| (sha256(audio), json!({ "text": text })));
    Emulator::knowing(Value::Object(entries.collect()), &["--token-delay", "0ms"]).await
}
