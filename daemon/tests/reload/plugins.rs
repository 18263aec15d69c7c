//! Plugins are changed, added, removed: a recording under way keeps those that it began with.

use std::collections::BTreeSet;

use crate::support::{CEILING, Emulator, Hark, ReceivedEvent, NatsServer, sha256, wait_until, wav};
use super::{events_of_recording, only};

/// The configuration of `keyword_alert` with a rule of this name, which finds a word that is in this recording and not in the other.
fn rule(name: &str, audio: &[u8], other: &[u8]) -> String {
    let words = |audio: &[u8]| -> Vec<String> {
        let text = dashscope_emulator::text_for(&sha256(audio)).to_lowercase();
        text.split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let elsewhere = words(other);
    let word = words(audio).into_iter().find(|word| !elsewhere.contains(word)).unwrap();
    format!("[[plugin.config.rules]]\nname = \"{name}\"\nany = [\"{word}\"]\n")
}

/// The rules of the confirmed alerts, each once.
fn alerted(events: &[ReceivedEvent]) -> Vec<&str> {
    let confirmed =
        events.iter().filter(|event| event.kind() == "alert.raised" && event.body["state"] == "confirmed");
    let mut rules: Vec<&str> = confirmed.map(|event| event.body["rule"].as_str().unwrap()).collect();
    rules.dedup();
    rules
}

/// The plugins that have raised an alert.
fn plugins_of(events: &[ReceivedEvent]) -> BTreeSet<&str> {
    let raised = events.iter().filter(|event| event.kind() == "alert.raised");
    raised.map(|event| event.body["plugin"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn other_rules_apply_to_the_next_recording_and_the_old_ones_to_the_call_under_way() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "300ms"]).await;
    let (first, second) = (wav(3.0, 1), wav(3.0, 2));
    let setup = Hark::new().nats(&nats).asr(&service).folder("calls");
    let old = rule("old", &first, &second) + &rule("old_too", &second, &first);
    let mut hark = setup.plugin("keywords", "keyword_alert", &old).start().await;
    hark.drop_file("calls", "under way.wav", &first);
    let alert = hark.next_event("alert.raised").await;
    assert_eq!((&alert.body["rule"], &alert.body["state"]), (&"old".into(), &"tentative".into()));

    let log = hark.reload(|text| text.replace("\"old", "\"new")).await;
    assert!(log.contains("plugin keywords"), "{log}");
    hark.drop_file("calls", "next.wav", &second);
    let events = events_of_recording(&mut hark, "under way.wav").await;
    assert_eq!(alerted(&events), ["old"]);
    only(&events, "transcript.final");
    let events = events_of_recording(&mut hark, "next.wav").await;
    assert_eq!(alerted(&events), ["new_too"]);
    wait_until("the old process to end", CEILING, async || {
        hark.process().children_named("hark-plugin").len() == 1
    })
    .await;
}

#[tokio::test]
async fn a_plugin_is_added_and_removed_and_one_that_stays_keeps_its_process() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let (first, second) = (wav(1.0, 1), wav(1.0, 2));
    let setup = Hark::new().nats(&nats).asr(&service).folder("calls");
    let rules = rule("said", &first, &second) + &rule("said_too", &second, &first);
    let mut hark = setup.plugin("keywords", "keyword_alert", &rules).start().await;
    let before = std::fs::read_to_string(hark.config_file()).unwrap();
    let process = hark.process().children_named("hark-plugin");
    assert_eq!(process.len(), 1);
    let table = before[before.find("[[plugin]]").unwrap()..].to_owned();
    let another = table.replace("name = \"keywords\"", "name = \"another\"");

    let log = hark.reload(|text| text + &another).await;
    assert!(log.contains("plugin another (added)"), "{log}");
    hark.drop_file("calls", "both.wav", &first);
    let events = events_of_recording(&mut hark, "both.wav").await;
    assert_eq!(plugins_of(&events), BTreeSet::from(["another", "keywords"]));

    // The order changes, and whom it listens to: the process is the same.
    hark.reload(|_| another.clone() + &before.replace("library", "sources = [\"calls\"]\nlibrary")).await;
    assert!(hark.process().children_named("hark-plugin").contains(&process[0]));

    let log = hark.reload(|_| before).await;
    assert!(log.contains("plugin another (removed)"), "{log}");
    wait_until("its process to end", CEILING, async || {
        hark.process().children_named("hark-plugin") == process
    })
    .await;
    hark.drop_file("calls", "one.wav", &second);
    let events = events_of_recording(&mut hark, "one.wav").await;
    assert_eq!(plugins_of(&events), BTreeSet::from(["keywords"]));
    let (_, page) = hark.get("/metrics").await.unwrap();
    assert!(!page.contains("hark_plugin_state{plugin=\"another\""), "{page}");
}

#[tokio::test]
async fn a_job_that_a_plugin_holds_goes_on_when_the_config_lets_it() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let setup = Hark::new().nats(&nats).asr(&service).folder("calls");
    let audio = wav(1.0, 1);
    // Its library is not there yet when the daemon starts.
    let table = rule("said", &audio, &[]);
    let mut hark = setup
        .plugin(
            "keywords",
            "keyword_alert",
            &format!("on_failure = \"hold\"\nsha256 = \"{}\"\n{table}", "0".repeat(64)),
        )
        .start()
        .await;
    hark.drop_file("calls", "held.wav", &audio);
    assert_eq!(hark.next_event("job.retrying").await.body["error"]["code"], "PluginHolds");
    hark.reload(|text| text.replace(&"0".repeat(64), "")).await;
    let events = events_of_recording(&mut hark, "held.wav").await;
    assert_eq!(alerted(&events), ["said"]);
}

#[tokio::test]
async fn the_old_plugin_of_a_call_that_fails_ends_as_well() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[
        "--token-delay",
        "200ms",
        "--fault",
        "cut_answer,on=flash,next=1,after_bytes=4000",
    ])
    .await;
    let (first, second) = (wav(3.0, 1), wav(1.0, 2));
    let setup = Hark::new().nats(&nats).asr(&service).folder("calls").set("dashscope.ambiguous_retries", "0");
    let mut hark = setup.plugin("keywords", "keyword_alert", &rule("old", &first, &second)).start().await;
    hark.drop_file("calls", "fails.wav", &first);
    hark.next_event("alert.raised").await;
    hark.reload(|text| text.replace("\"old", "\"new")).await;
    assert_eq!(hark.process().children_named("hark-plugin").len(), 2);
    only(&events_of_recording(&mut hark, "fails.wav").await, "job.failed");
    wait_until("the old process to end", CEILING, async || {
        hark.process().children_named("hark-plugin").len() == 1
    })
    .await;
}
