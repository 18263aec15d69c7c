//! A daemon that is connected to a leaf node uses the JetStream of the hub, by its domain.

use std::net::TcpListener;

use crate::support::{
    CEILING, Emulator, Hark, NatsServer, Setup, all_acknowledged, publish, sha256, wait_until, wav,
};
use async_nats::jetstream;
use serde_json::json;

/// A hub, and a leaf node with its own JetStream.
async fn hub_and_leaf() -> (NatsServer, NatsServer) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let hub = NatsServer::configured(&format!(
        "jetstream: {{ domain: hub }}\nleafnodes: {{ host: 127.0.0.1, port: {port} }}\nmax_payload: 72KB"
    ))
    .await;
    let leaf = NatsServer::configured(&format!(
        "jetstream: {{ domain: leaf }}\nleafnodes: {{ remotes: [ {{ urls: [\"nats-leaf://127.0.0.1:{port}\"] }} ] }}\nmax_payload: 72KB"
    ))
    .await;
    let of_hub = jetstream::with_domain(leaf.client().await, "hub");
    wait_until("the leaf node to reach the hub", CEILING, async || of_hub.query_account().await.is_ok())
        .await;
    (hub, leaf)
}

fn setup(hub: &NatsServer, leaf: &NatsServer, service: &Emulator, domain: &str) -> Setup {
    Hark::new()
        .nats(hub)
        .asr(service)
        .set("nats.servers", &format!("[\"{}\"]", leaf.url()))
        .set("nats.jetstream_domain", &format!("\"{domain}\""))
        .folder("calls")
        .inbox("inbox", "hark.audio.inbox")
}

#[tokio::test]
async fn the_streams_and_buckets_are_the_hubs() {
    let (hub, leaf) = hub_and_leaf().await;
    let (long, text) = (wav(1.0, 1), "and so on ".repeat(500));
    let manifest = json!({ sha256(&long): { "text": text } });
    let service = Emulator::knowing(manifest, &["--token-delay", "0ms"]).await;
    let mut hark = setup(&hub, &leaf, &service, "hub").start().await;
    hark.drop_file("calls", "long.wav", &long);
    let context = jetstream::new(hub.client().await);
    publish(&context, "hark.audio.inbox", &[("Content-Type", "audio/wav")], wav(1.0, 2)).await;
    let ended = hark.ended_jobs(2).await;
    assert!(ended.iter().all(|event| event.kind() == "job.completed"), "{ended:?}");
    all_acknowledged(&hub, CEILING).await;
    for name in ["HARK_EVENTS", "HARK_AUDIO", "KV_HARK_JOBS", "OBJ_HARK_TRANSCRIPTS"] {
        let messages = context.get_stream(name).await.unwrap().cached_info().state.last_sequence;
        assert!(messages > 0, "{name} has nothing");
    }
    let of_leaf = jetstream::new(leaf.client().await);
    assert!(of_leaf.get_stream("HARK_EVENTS").await.is_err(), "the leaf node has a stream");

    // The commands find the hub's streams by the same config key.
    let folder = tempfile::tempdir().unwrap();
    let tail = crate::support::Process::start(
        "tail",
        &mut hark.command(&["tail", "--all", "--json", "--kind", "job.completed"]),
        folder.path(),
    );
    wait_until("tail to show both ends", CEILING, async || {
        tail.log().matches("hark.job.completed").count() == 2
    })
    .await;
}

#[tokio::test]
async fn a_domain_that_is_not_there_is_named() {
    let (hub, leaf) = hub_and_leaf().await;
    let service = Emulator::start(&[]).await;
    let mut hark = setup(&hub, &leaf, &service, "nowhere").launch().await;
    hark.not_ready("has the domain \\\"nowhere\\\" (nats.jetstream_domain)").await;
}
