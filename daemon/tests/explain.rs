//! `harkd explain` says what the daemon then does, and what it costs.
#![allow(clippy::unwrap_used, reason = "an unwrap here is an assertion of the test")]

mod support;

use serde_json::Value;
use support::{Emulator, Hark, NatsServer, wav};

fn explained(hark: &Hark, arguments: &[&str], code: i32) -> Value {
    let output = hark.command(&[&["explain", "--json"], arguments].concat()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn the_bill_of_a_folder_is_the_one_that_was_explained() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let mut hark = Hark::new()
        .nats(&nats)
        .asr(&service)
        .folder_with("calls", "route = \"pieces\"\n")
        .lines("[[route]]\nname = \"pieces\"\nengine = \"flash\"\npiece = \"100s\"\n")
        .start()
        .await;
    // Not in the watched folder yet: nothing is sent for an explanation.
    let folder = hark.path("new");
    std::fs::create_dir(&folder).unwrap();
    for (name, seconds) in [("short.wav", 12.0), ("long.wav", 320.0)] {
        std::fs::write(folder.join(name), wav(seconds, seconds as u64)).unwrap();
    }
    std::fs::write(folder.join("notes.txt"), "no recording").unwrap();
    let path = folder.to_str().unwrap();
    let explained = explained(&hark, &[path, "--route", "pieces"], 0);
    let files = explained["files"].as_array().unwrap();
    assert_eq!(files.len(), 2, "the text is no recording: {explained:#}");
    let (long, short) = (&files[0], &files[1]);
    assert_eq!((&long["engine"], &short["engine"]), (&"flash".into(), &"flash".into()));
    assert!(long["pieces"].as_u64().unwrap() >= 4 && short["pieces"] == 1, "{explained:#}");
    assert_eq!((&short["seconds"], &short["cost_usd"]), (&12.into(), &0.000_42.into()));
    assert_eq!(short["rejected"][0]["engine"], "filetrans");
    assert!(service.journal().iter().all(|entry| entry["kind"] != "flash"), "nothing is sent");

    for name in ["short.wav", "long.wav"] {
        std::fs::rename(folder.join(name), hark.path("calls").join(name)).unwrap();
    }
    let ended = hark.ended_jobs(2).await;
    let paid: f64 = ended.iter().map(|event| event.body["cost_usd"].as_f64().unwrap()).sum();
    let expected = explained["total"]["cost_usd"].as_f64().unwrap();
    assert!((paid - expected).abs() < 0.01, "{paid} was paid, {expected} was explained");
    let billed: u64 = ended.iter().map(|event| event.body["billed_seconds"].as_u64().unwrap()).sum();
    assert_eq!(Value::from(billed), explained["total"]["seconds"]);
}

#[tokio::test]
async fn what_cannot_be_recognized_is_explained_and_ends_with_1() {
    let nats = NatsServer::start().await;
    let hark = Hark::new().nats(&nats).folder("calls").start().await;
    let file = hark.path("notes.wav");
    std::fs::write(&file, "no audio").unwrap();
    let explained = explained(&hark, &[file.to_str().unwrap(), "http://192.168.0.1/call.wav"], 1);
    for (file, words) in explained["files"].as_array().unwrap().iter().zip(["not audio", "192.168.0.1"]) {
        assert!(file["error"].as_str().unwrap().contains(words), "{file}");
    }
    let output = hark.command(&["explain", "--route", "fast", file.to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
}
