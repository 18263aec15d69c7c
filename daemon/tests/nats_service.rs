//! The NATS micro service `hark`, as `nats micro` and an operator's own program use it: discovery, requests, refusals.

use std::time::Duration;

use crate::support::{CEILING, Emulator, Hark, NatsServer, wait_until, wav};
use async_nats::{Client, Message};
use futures::StreamExt;
use serde_json::{Value, json};

/// Every answer to a request that several may answer: those that come within half a second of each other.
async fn answers(client: &Client, subject: &str, body: &str) -> Vec<Message> {
    let inbox = client.new_inbox();
    let mut replies = client.subscribe(inbox.clone()).await.unwrap();
    client.publish_with_reply(subject.to_owned(), inbox, body.to_owned().into()).await.unwrap();
    let mut found = Vec::new();
    while let Ok(Some(reply)) = tokio::time::timeout(Duration::from_millis(500), replies.next()).await {
        found.push(reply);
    }
    found
}

fn body(message: &Message) -> Value {
    serde_json::from_slice(&message.payload).unwrap()
}

/// Code and text of a refusal.
fn refusal(message: &Message) -> (String, String) {
    let headers = message.headers.as_ref().expect("no headers");
    let get = |name: &str| headers.get(name).map(|value| value.as_str().to_owned()).unwrap_or_default();
    (get("Nats-Service-Error-Code"), get("Nats-Service-Error"))
}

#[tokio::test]
async fn every_daemon_is_found_and_answers_for_itself() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let daemon = |prefix: &str| {
        let setup = Hark::new().nats(&nats).asr(&service).folder("calls");
        setup.set("nats.subject_prefix", &format!("\"{prefix}\""))
    };
    let one = daemon("hark").start().await;
    let _two = daemon("hark").start().await;
    let _stranger = daemon("other").set("nats.events_stream", "\"OTHER\"").start().await;
    let client = nats.client().await;

    let mut pings: Vec<Value> = answers(&client, "$SRV.PING.hark", "").await.iter().map(body).collect();
    assert_eq!(pings.len(), 3, "{pings:#?}");
    pings.retain(|ping| ping["metadata"]["prefix"] == "hark");
    let daemons: Vec<&str> = pings.iter().map(|ping| ping["metadata"]["daemon"].as_str().unwrap()).collect();
    assert!(daemons.len() == 2 && daemons[0] != daemons[1], "{pings:#?}");
    assert!(pings.iter().all(|ping| ping["name"] == "hark" && ping["metadata"]["host"] != ""), "{pings:#?}");

    let infos = answers(&client, "$SRV.INFO.hark", "").await;
    for info in infos.iter().map(body).filter(|info| info["metadata"]["prefix"] == "hark") {
        let endpoints = info["endpoints"].as_array().unwrap();
        let enable = endpoints.iter().find(|endpoint| endpoint["name"] == "plugins-enable").unwrap();
        assert_eq!(enable["subject"], "hark.control.plugins.enable");
        assert_eq!(enable["queue_group"], info["metadata"]["daemon"], "each has a group of its own");
    }

    let refused = answers(&client, "hark.control.plugins.enable", &json!({"name": "none"}).to_string()).await;
    assert_eq!(refused.len(), 2, "both daemons answer, and the one with another prefix does not");
    for (answer, (code, words)) in refused.iter().map(|answer| (answer, refusal(answer))) {
        assert!(code == "404" && words.contains("no plugin \"none\""), "{code} {words}");
        let daemon = answer.headers.as_ref().unwrap().get("Hark-Daemon").unwrap();
        assert!(daemons.contains(&daemon.as_str()));
    }
    for bad in ["{", "[]", "{}", "{\"name\": 7}", "{\"name\": \"a\", \"nmae\": 1}"] {
        let answers = answers(&client, "hark.control.plugins.enable", bad).await;
        let codes: Vec<String> = answers.iter().map(|answer| refusal(answer).0).collect();
        assert_eq!(codes, ["400", "400"], "{bad}");
    }
    let stats = answers(&client, "$SRV.STATS.hark", "").await;
    let counted = stats.iter().map(body).flat_map(|stats| stats["endpoints"].as_array().unwrap().clone());
    let counted =
        counted.filter(|endpoint| endpoint["name"] == "plugins-enable" && endpoint["num_errors"] == 6);
    assert_eq!(counted.count(), 2, "refusals are counted");
    drop(one);
}

#[tokio::test]
async fn all_events_of_a_job_are_shown_though_one_answer_has_no_room_for_them() {
    let nats = NatsServer::configured("max_payload: 72KB").await;
    let service = Emulator::start(&[]).await;
    let mut hark = Hark::new().nats(&nats).asr(&service).inbox("inbox", "hark.audio.inbox").start().await;
    let call = hark.path("call.wav");
    std::fs::write(&call, wav(1.0, 1)).unwrap();
    let note = format!("note={}", "x".repeat(2_000));
    let (code, _, words) = hark.run(&["submit", "--meta", &note, call.to_str().unwrap()]).await;
    assert_eq!(code, 0, "{words}");
    let job = hark.ended_jobs(1).await[0].job().to_owned();
    let shown = hark.json(&["jobs", "show", &job]).await;
    let bodies: Vec<&Value> =
        shown["events"].as_array().unwrap().iter().map(|event| &event["body"]).collect();
    let stored = hark.events_of(&job).await;
    assert_eq!(bodies, stored.iter().map(|event| &event.body).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_service_is_back_after_the_server_was_away() {
    let mut nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let mut hark = Hark::new().nats(&nats).asr(&service).folder("calls").start().await;
    nats.restart().await;
    hark.ready().await;
    let client = nats.client().await;
    wait_until("an answer", CEILING, async || {
        let refused = answers(&client, "hark.control.plugins.enable", "{\"name\": \"none\"}").await;
        let pings = answers(&client, "$SRV.PING.hark", "").await;
        refused.len() == 1 && pings.len() == 1
    })
    .await;
}

#[tokio::test]
async fn without_the_right_to_be_listed_a_daemon_works_and_answers() {
    let rights = "subscribe: { deny: [\"$SRV.>\"] }";
    let nats = NatsServer::configured(&format!(
        "authorization {{ users = [
            {{ user: hark, password: hark, permissions: {{ {rights} }} }}
            {{ user: root, password: root }}
        ] }}\nno_auth_user: root"
    ))
    .await;
    let service = Emulator::start(&["--token-delay", "0ms"]).await;
    let server = nats.url().replace("//", "//hark:hark@");
    let setup = Hark::new().nats(&nats).asr(&service).folder("calls");
    let mut hark = setup.set("nats.servers", &format!("[\"{server}\"]")).start().await;
    let client = nats.client().await;
    assert!(answers(&client, "$SRV.PING.hark", "").await.iter().all(|answer| answer.status.is_some()));
    assert_eq!(answers(&client, "hark.control.plugins.enable", "{\"name\": \"none\"}").await.len(), 1);
    hark.drop_file("calls", "a.wav", &crate::support::wav(1.0, 1));
    hark.next_event("job.completed").await;
    assert!(hark.log().contains("subscribe to $SRV."), "{}", hark.log());
}
