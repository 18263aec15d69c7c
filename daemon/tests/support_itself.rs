//! Tests of the test support, so that a fault of the support is not taken for a fault of the daemon.

use crate::support::{CEILING, Emulator, NatsServer, http_get, wait_until, wav};
use async_nats::jetstream;
use serde_json::json;

#[tokio::test]
async fn a_server_keeps_its_store_and_port_over_a_restart() {
    let mut nats = NatsServer::start().await;
    let jetstream = jetstream::new(nats.client().await);
    let config = jetstream::stream::Config {
        name: "KEPT".into(),
        subjects: vec!["kept".into()],
        ..Default::default()
    };
    jetstream.create_stream(config).await.unwrap();
    jetstream.publish("kept", "one".into()).await.unwrap().await.unwrap();
    let url = nats.url();
    nats.restart().await;
    assert_eq!(nats.url(), url);
    let stream = jetstream::new(nats.client().await).get_stream("KEPT").await.unwrap();
    assert_eq!(stream.get_raw_message(1).await.unwrap().payload, "one".as_bytes());
}

#[tokio::test]
async fn a_paused_server_does_not_answer_until_it_is_resumed() {
    let nats = NatsServer::start().await;
    let client = nats.client().await;
    nats.pause();
    let answer =
        tokio::time::timeout(std::time::Duration::from_millis(200), client.request("nobody", "".into()))
            .await;
    assert!(answer.is_err(), "no answer, not even `no responders`");
    nats.resume();
    wait_until("an answer", CEILING, async || client.request("nobody", "".into()).await.is_err()).await;
}

#[tokio::test]
async fn an_emulator_prints_its_addresses_and_takes_faults() {
    let emulator = Emulator::start(&["--token-delay", "1ms"]).await;
    assert!(emulator.api().ends_with("/api/v1"), "{}", emulator.api());
    emulator.set_faults(json!([{"kind": "bad_key"}])).await;
    let address = emulator.api().trim_start_matches("http://").split('/').next().unwrap().parse().unwrap();
    let (status, body) = http_get(address, "/api/v1/tasks/none").await.unwrap();
    assert_eq!(status, 401, "{body}");
    assert!(!emulator.journal().is_empty());
}

#[test]
fn recordings_differ_by_their_seed_alone() {
    assert_eq!(wav(1.0, 1), wav(1.0, 1));
    assert_ne!(wav(1.0, 1), wav(1.0, 2));
    assert_eq!(wav(0.5, 1).len(), 44 + 8_000);
}
