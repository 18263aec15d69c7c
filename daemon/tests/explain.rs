//! `harkd explain` says what the daemon then does, and what it costs.

use crate::support::{Emulator, Hark, NatsServer, spoken, wav};
use serde_json::Value;

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
    assert!(service.journal_of("flash").is_empty(), "nothing is sent");

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
async fn a_bill_in_tokens_is_near_the_one_that_was_explained() {
    let nats = NatsServer::start().await;
    // The last recording is too long for flash and becomes a task, whose answer tells no tokens.
    let recordings =
        [("a", 20.0, 2.4), ("b", 45.0, 3.3), ("c", 90.0, 2.0), ("d", 150.0, 2.9), ("e", 330.0, 3.0)];
    let files = recordings.map(|(name, seconds, pace)| (name, wav(seconds, seconds as u64), seconds, pace));
    let manifest = spoken(&files.each_ref().map(|(_, audio, seconds, pace)| (&audio[..], *seconds, *pace)));
    let service = Emulator::knowing(manifest, &["--token-delay", "0ms", "--task-delay", "100ms"]).await;
    let mut hark = Hark::new()
        .nats(&nats)
        .asr(&service)
        .set("dashscope.flash_model", "\"qwen-audio-3.1-asr-flash\"")
        .set("dashscope.filetrans_model", "\"qwen-audio-3.1-asr-flash-filetrans\"")
        .folder("calls")
        .start()
        .await;
    let folder = hark.path("new");
    std::fs::create_dir(&folder).unwrap();
    for (name, audio, ..) in &files {
        std::fs::write(folder.join(format!("{name}.wav")), audio).unwrap();
    }
    let explained = explained(&hark, &[folder.to_str().unwrap(), "--route", "default"], 0);
    let expected = explained["total"]["cost_usd"].as_f64().unwrap();

    for (name, audio, ..) in &files {
        hark.drop_file("calls", &format!("{name}.wav"), audio);
    }
    let ended = hark.ended_jobs(files.len()).await;
    let paid: f64 = ended.iter().map(|event| event.body["cost_usd"].as_f64().unwrap()).sum();
    assert!(ended.iter().all(|event| event.kind() == "job.completed"), "{ended:?}");
    let told = ended.iter().filter(|event| event.body["billed_tokens"]["output"].as_u64() > Some(0)).count();
    assert_eq!(told, 4, "flash tells tokens");
    // 485 s of audio by seconds of qwen3 would cost five times as much.
    assert!(paid > 0.001 && (paid / expected - 1.0).abs() < 0.2, "{paid} was paid, {expected} was explained");
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
