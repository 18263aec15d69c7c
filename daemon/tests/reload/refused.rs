//! A config with mistakes changes nothing; what only a restart changes is named.

use super::{events_of_recording, only};
use crate::support::{Emulator, Hark, NatsServer, wav};

#[tokio::test]
async fn a_bad_config_changes_nothing_and_every_mistake_is_told() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let setup = Hark::new().nats(&nats).asr(&service).folder("calls");
    let mut hark = setup.lines("[[route]]\nname = \"default\"\nlanguage = \"en\"\n").start().await;
    let good = std::fs::read_to_string(hark.config_file()).unwrap();

    let log = hark
        .reload(|text| {
            text.replace("language = \"en\"", "language = \"de\"\nlangauge = 1")
                + "[budget]\ndaily_usd = -1.0\n"
        })
        .await;
    assert!(log.contains("the config has mistakes"), "{log}");
    assert!(log.contains("langauge") && log.contains("harkd.toml:"), "with its place: {log}");
    assert!(log.contains("daily_usd"), "every mistake: {log}");
    hark.drop_file("calls", "first.wav", &wav(1.0, 1));
    let first = events_of_recording(&mut hark, "first.wav").await;
    assert_eq!(only(&first, "transcript.final").body["segments"][0]["language"], "en", "the old config");

    // A plugin that cannot be loaded is a mistake, too.
    let log = hark
        .reload(|_| good.clone() + "[[plugin]]\nname = \"gone\"\nlibrary = \"/nowhere/libgone.so\"\n")
        .await;
    assert!(log.contains("plugin \"gone\" does not load"), "{log}");

    let log = hark.reload(|_| good.replace("\"en\"", "\"de\"")).await;
    assert!(log.contains("the config was reloaded") && log.contains("route default"), "{log}");
    hark.drop_file("calls", "second.wav", &wav(1.0, 2));
    let second = events_of_recording(&mut hark, "second.wav").await;
    assert_eq!(only(&second, "transcript.final").body["segments"][0]["language"], "de");
    let (_, page) = hark.get("/metrics").await.unwrap();
    for counted in ["{outcome=\"applied\"} 1", "{outcome=\"refused\"} 2"] {
        assert!(page.contains(&format!("hark_config_reloads_total{counted}")), "{page}");
    }
}

#[tokio::test]
async fn what_only_a_restart_changes_is_named_and_the_rest_is_applied() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let mut hark = Hark::new().nats(&nats).asr(&service).folder("calls").start().await;
    let state = hark.path("state");
    let change = |text: String| {
        let text = text.replace(&format!("'{}'", state.display()), "'/elsewhere'");
        text.replace("ack_wait = \"8s\"", "ack_wait = \"20s\"") + "[budget]\ndaily_usd = 100.0\n"
    };
    let log = hark.reload(change).await;
    assert!(log.contains("some of its keys need a restart"), "{log}");
    assert!(log.contains("nats.ack_wait, state.directory"), "{log}");
    assert!(log.contains("budget.daily_usd"), "{log}");
    hark.drop_file("calls", "a.wav", &wav(1.0, 1));
    only(&events_of_recording(&mut hark, "a.wav").await, "job.completed");
    // They are named for as long as the file and the daemon differ.
    let log = hark.reload(|text| text.replace("100.0", "200.0")).await;
    assert!(log.contains("nats.ack_wait, state.directory"), "{log}");
}
