//! `harkd replay`: plugins of today over the calls of yesterday.

use std::process::Output;

use crate::plugins::Plugins;
use crate::support::{CEILING, Emulator, Hark, NatsServer, Process, Setup, harkd, sha256, wait_until, wav};
use async_nats::jetstream;
use futures::StreamExt;
use hark_sdk::event::{Alert, AlertState, Body, Event, ObjectRef, PluginEvent, TranscriptSegment};
use hark_sdk::testing::transcript;
use serde_json::{Value, json};

/// A rule of keyword_alert for each word, named as the word.
fn rules(words: &[&str]) -> String {
    let rule = |word: &&str| format!("[[plugin.config.rules]]\nname = \"{word}\"\nany = [\"{word}\"]\n");
    words.iter().map(rule).collect()
}

fn keywords(nats: &NatsServer, words: &[&str]) -> Setup {
    Hark::new().nats(nats).folder("calls").plugin("keywords", "keyword_alert", &rules(words))
}

/// Runs the command with temporary files in a folder of its own, and asserts that it leaves none.
fn replay(setup: &Setup, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(harkd());
    command.env("TMPDIR", folder.path()).arg("--config").arg(setup.write_config());
    let output = command.arg("replay").args(arguments).output().unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    assert!(!setup.path("state").exists(), "it has no state directory");
    output
}

fn lines(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The difference and the rule of each line.
fn differences(output: &Output) -> Vec<String> {
    let words = |line: &Value| {
        let what = line.get("rule").unwrap_or(&line["data"]);
        format!("{} {}", line["difference"].as_str().unwrap(), what.as_str().unwrap_or("?"))
    };
    let mut all: Vec<String> = lines(output).iter().map(words).collect();
    all.sort();
    all
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A stream of events into which the test publishes itself.
struct Past {
    nats: NatsServer,
    context: jetstream::Context,
}

impl Past {
    async fn new() -> Past {
        let nats = NatsServer::start().await;
        let context = jetstream::new(nats.client().await);
        let families = ["job", "annotation", "alert", "plugin", "transcript"];
        let subjects = families.map(|family| format!("hark.event.{family}.>")).to_vec();
        let config = jetstream::stream::Config { name: "HARK_EVENTS".into(), subjects, ..Default::default() };
        context.create_stream(config).await.unwrap();
        Past { nats, context }
    }

    async fn store(&self, events: &[Event]) {
        for event in events {
            let subject = format!("hark.event.{}.{}.{}", event.kind(), event.source, event.job);
            let stored = self.context.publish(subject, serde_json::to_vec(event).unwrap().into()).await;
            stored.unwrap().await.unwrap();
        }
    }
}

/// An event of the same job.
fn of(last: &Event, body: Body) -> Event {
    Event { body, ..last.clone() }
}

#[tokio::test]
async fn new_rules_over_the_calls_of_a_running_daemon_say_what_is_new_the_same_and_gone() {
    let (nats, audio) = (NatsServer::start().await, wav(3.0, 1));
    let text = "I want to cancel my contract, and I want a refund today.";
    let service = Emulator::knowing(json!({ sha256(&audio): { "text": text } }), &[]).await;
    let mut hark = keywords(&nats, &["cancel", "refund"]).asr(&service).start().await;
    hark.drop_file("calls", "call.wav", &audio);
    let done = hark.next_event("job.completed").await;
    let requests = service.journal().len();

    let today = keywords(&nats, &["cancel", "contract"]);
    let client = nats.client().await;
    let mut published = client.subscribe("hark.replay.>").await.unwrap();
    client.flush().await.unwrap();
    let output = replay(&today, &["--json", "--publish"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(differences(&output), ["gone refund", "new contract", "same cancel"]);
    for line in lines(&output) {
        assert_eq!(
            (&line["job"], &line["type"]),
            (&json!(done.job()), &json!("hark.alert.raised")),
            "{line}"
        );
        assert_eq!(line.get("sequence").is_some(), line["difference"] == "gone", "{line}");
        assert_eq!(line["recording"]["name"], "call.wav");
    }
    for _ in 0..2 {
        let message = tokio::time::timeout(CEILING, published.next()).await.unwrap().unwrap();
        assert_eq!(message.subject.as_str(), format!("hark.replay.alert.raised.calls.{}", done.job()));
        let body: Value = serde_json::from_slice(&message.payload).unwrap();
        assert!(body.get("sequence").is_none() && body["difference"] != "gone", "{body}");
        assert_eq!(message.headers.unwrap().get("ce-type").unwrap().as_str(), "hark.alert.raised");
    }

    let output = replay(&today, &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    for (mark, rule) in [("+", "contract:"), ("=", "cancel:"), ("-", "refund:")] {
        assert!(text.lines().any(|line| line.starts_with(mark) && line.contains(rule)), "{text}");
    }
    assert!(String::from_utf8(output.stderr).unwrap().contains("1 new, 1 the same; gone: 1"));
    // The daemon runs on, the service got no request, and replay left no durable consumer.
    assert_eq!(service.journal().len(), requests);
    let context = jetstream::new(client);
    let mut consumers = context.get_stream("HARK_EVENTS").await.unwrap().consumers();
    while let Some(consumer) = consumers.next().await {
        assert_eq!(consumer.unwrap().config.durable_name, None);
    }
    hark.drop_file("calls", "next.wav", &wav(1.0, 2));
    hark.ended_jobs(2).await;
}

#[tokio::test]
async fn sources_plugins_and_times_choose_what_is_replayed() {
    let past = Past::new().await;
    let mut old = transcript(&["cancel"]);
    old.time = "2026-01-01T00:00:00Z".parse().unwrap();
    let mut other = transcript(&["cancel"]);
    other.source = "sales".into();
    let said = PluginEvent { plugin: "past".into(), data: json!("then"), ..PluginEvent::default() };
    let said = of(&old, Body::Plugin(said));
    past.store(&[old, said, other]).await;
    let setup = keywords(&past.nats, &["cancel"]);
    for (arguments, expected) in [
        (&["--json"][..], &["gone then", "new cancel", "new cancel"][..]),
        (&["--json", "--plugin", "keywords"], &["new cancel", "new cancel"]),
        (&["--json", "--source", "sales"], &["new cancel"]),
        (&["--json", "--source", "nothing"], &[]),
        (&["--json", "--since", "7d"], &["new cancel"]),
        (
            &["--json", "--since", "2025-12-31T00:00:00+01:00", "--source", "calls"],
            &["gone then", "new cancel"],
        ),
        (&["--json", "--since", "2200-01-01T00:00:00Z"], &[]),
    ] {
        let output = replay(&setup, arguments);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(differences(&output), expected, "{arguments:?}");
    }
    assert_eq!(replay(&setup, &["--plugin", "nothing"]).status.code(), Some(64));
    assert_eq!(replay(&setup, &["--since", "yesterday"]).status.code(), Some(64));
}

#[tokio::test]
async fn what_was_said_of_segments_counts_once_and_segments_are_replayed() {
    let past = Past::new().await;
    let last = transcript(&["please cancel", "no"]);
    let Body::TranscriptFinal(fields) = &last.body else { panic!("{last:?}") };
    let segment = Body::TranscriptSegment(TranscriptSegment {
        engine: fields.engine.clone(),
        model: fields.model.clone(),
        piece: 1,
        pieces: None,
        begin_ms: 0,
        end_ms: 10_000,
        truncated: false,
        segments: fields.segments.as_ref().unwrap()[..1].to_vec(),
    });
    let alert = |rule: &str, state| Alert {
        alert: format!("1.{rule}.0"),
        plugin: "keywords".into(),
        rule: rule.into(),
        channel: Some(0),
        begin_ms: Some(0),
        state,
        ..Alert::default()
    };
    past.store(&[
        of(&last, Body::AlertRaised(alert("cancel", AlertState::Tentative))),
        of(&last, Body::AlertRaised(alert("refund", AlertState::Tentative))),
        of(&last, segment),
        of(&last, Body::AlertRaised(alert("cancel", AlertState::Confirmed))),
        of(&last, Body::AlertRetracted(alert("refund", AlertState::Tentative))),
        last.clone(),
    ])
    .await;
    let output = replay(&keywords(&past.nats, &["cancel", "refund"]), &["--json"]);
    assert_eq!(differences(&output), ["same cancel"]);
    // It would be said of the segment, as it was.
    assert_eq!(lines(&output)[0]["piece"], 1);
}

#[tokio::test]
async fn finals_without_an_end_and_finals_in_an_object_are_replayed_in_order() {
    let past = Past::new().await;
    let mut finals: Vec<Event> = (0..500).map(|_| transcript(&["please cancel"])).collect();
    let Body::TranscriptFinal(large) = &mut finals[250].body else { panic!() };
    let bucket = jetstream::object_store::Config { bucket: "HARK_TRANSCRIPTS".into(), ..Default::default() };
    let store = past.context.create_object_store(bucket).await.unwrap();
    let segments = serde_json::to_vec(&large.segments.take().unwrap()).unwrap();
    store.put("large", &mut segments.as_slice()).await.unwrap();
    large.text = "cut".into();
    large.segments_object = Some(ObjectRef { bucket: "HARK_TRANSCRIPTS".into(), name: "large".into() });
    past.store(&finals).await;
    let output = replay(&keywords(&past.nats, &["cancel"]), &["--json"]);
    let jobs: Vec<String> =
        lines(&output).iter().map(|line| line["job"].as_str().unwrap().to_owned()).collect();
    let expected: Vec<String> = finals.iter().map(|last| last.job.to_string()).collect();
    assert_eq!(jobs, expected);
    assert!(words(&output).contains("finals: 500;"), "{}", words(&output));
}

#[tokio::test]
async fn a_plugin_that_fails_is_told_in_output_and_exit_code() {
    let past = Past::new().await;
    past.store(&[transcript(&["do abort"]), transcript(&["hello"])]).await;
    let moody = Plugins::new().c("moody");
    let entry = |library: &str, lines: &str| {
        let library = moody.path().join(library);
        let entry = format!("[[plugin]]\nname = \"moody\"\nlibrary = \"{}\"\n{lines}", library.display());
        Hark::new().nats(&past.nats).folder("calls").lines(&entry)
    };
    for lines_of_entry in ["", "on_failure = \"hold\"\n"] {
        let output = replay(&entry("moody.so", lines_of_entry), &["--json"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(words(&output).contains("moody (1 event)"), "{}", words(&output));
        let failed = &lines(&output)[0];
        assert!(failed["data"]["error"].is_string(), "{failed}");
        assert_eq!((&failed["type"], &failed["difference"]), (&json!("hark.plugin.moody"), &json!("new")));
        assert_eq!(lines(&output).len(), 2, "the other final is replayed: {output:?}");
    }
    let output = replay(&entry("missing.so", ""), &[]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert!(words(&output).contains("\"moody\"") && words(&output).contains("missing.so"), "{output:?}");
}

#[tokio::test]
async fn without_nats_or_the_stream_it_ends_with_69() {
    let nats = NatsServer::start().await;
    let setup = keywords(&nats, &["cancel"]);
    let output = replay(&setup, &[]);
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    assert!(words(&output).contains("no stream HARK_EVENTS"), "{output:?}");
    drop(nats);
    assert_eq!(replay(&setup, &[]).status.code(), Some(69));
}

#[tokio::test]
async fn a_signal_ends_it_in_good_order() {
    let past = Past::new().await;
    past.store(&[transcript(&["do hang"]), transcript(&["hello"])]).await;
    let moody = Plugins::new().c("moody");
    let library = moody.path().join("moody.so");
    let entry =
        format!("[[plugin]]\nname = \"moody\"\nlibrary = \"{}\"\ntimeout = \"1s\"\n", library.display());
    let setup = Hark::new().nats(&past.nats).folder("calls").lines(&entry);
    let folder = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(harkd());
    command.env("TMPDIR", folder.path()).arg("--config").arg(setup.write_config()).arg("replay");
    let mut process = Process::start("replay", &mut command, moody.path());
    wait_until("the plugin's folder", CEILING, async || {
        std::fs::read_dir(folder.path()).unwrap().next().is_some()
    })
    .await;
    assert!(process.terminate(CEILING).await.success());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
