//! Two daemons on one stream: they share its work, and each finishes the jobs of the other if that is killed.

mod lost_bucket;
mod shared;
mod taken_over;
mod urls;

use std::collections::BTreeMap;

use async_nats::jetstream;
use serde_json::{Value, json};

use crate::support::{Emulator, Hark, NatsServer, REDELIVERY, ReceivedEvent, Setup, all_acknowledged};

pub(crate) const FILETRANS: &str = "[[route]]\nname = \"default\"\nengine = \"filetrans\"";

pub(crate) fn daemon(nats: &NatsServer, service: &Emulator) -> Setup {
    Hark::new().nats(nats).asr(service).inbox("inbox", "hark.audio.inbox")
}

pub(crate) async fn put(nats: &NatsServer, id: &str, audio: Vec<u8>) {
    publish(nats, "hark.audio.inbox", id, "audio/wav", audio).await;
}

pub(crate) async fn publish(
    nats: &NatsServer,
    subject: &'static str,
    id: &str,
    content: &str,
    payload: Vec<u8>,
) {
    let context = jetstream::new(nats.client().await);
    let headers = [("Content-Type", content), ("Nats-Msg-Id", id)];
    crate::support::publish(&context, subject, &headers, payload).await;
}

/// Waits until every message is acknowledged.
pub(crate) async fn nothing_waits(nats: &NatsServer) {
    all_acknowledged(nats, REDELIVERY).await;
}

/// The stored events by job; asserts what must hold for the events of every job.
pub(crate) async fn jobs(hark: &mut Hark) -> BTreeMap<String, Vec<ReceivedEvent>> {
    let mut jobs: BTreeMap<String, Vec<ReceivedEvent>> = BTreeMap::new();
    for event in hark.events().await {
        jobs.entry(event.job().to_owned()).or_default().push(event);
    }
    for (job, events) in &jobs {
        let kinds: Vec<&str> = events.iter().map(ReceivedEvent::kind).collect();
        let sequences: Vec<u64> =
            events.iter().map(|event| event.body["sequence"].as_u64().unwrap()).collect();
        assert_eq!(sequences, (1..=events.len() as u64).collect::<Vec<_>>(), "{job}: {kinds:?}");
        let count = |wanted: &[&str]| kinds.iter().filter(|kind| wanted.contains(*kind)).count();
        assert_eq!(count(&["job.accepted"]), 1, "{job}: {kinds:?}");
        assert_eq!(count(&["transcript.final"]), 1, "{job}: {kinds:?}");
        assert_eq!(count(&["job.completed", "job.failed"]), 1, "{job}: {kinds:?}");
        assert_eq!(kinds.last(), Some(&"job.completed"), "{job}: {kinds:?}");
    }
    jobs
}

pub(crate) fn is_marked(events: &[ReceivedEvent]) -> bool {
    events.last().unwrap().body["possible_duplicate_charge"] == json!(true)
}

/// Number of requests of this kind that the service accepted.
pub(crate) fn taken(service: &Emulator, kind: &str) -> usize {
    service.journal().iter().filter(|line| line["kind"] == kind && line["outcome"] == "ok").count()
}

/// The claims of all messages in the bucket.
pub(crate) async fn claims(nats: &NatsServer) -> Vec<Value> {
    let context = jetstream::new(nats.client().await);
    let stream = context.get_stream("KV_HARK_JOBS").await.unwrap();
    let mut claims = Vec::new();
    let mut next = 1;
    while let Ok(message) = stream.get_first_raw_message_by_subject("$KV.HARK_JOBS.>", next).await {
        next = message.sequence + 1;
        claims.push(serde_json::from_slice(&message.payload).unwrap());
    }
    claims
}

/// The id of the task in a claim.
pub(crate) fn task_of(claim: &Value) -> Option<&str> {
    claim["pieces"][0]["attempts"].as_array()?.last()?["handle"].as_str()
}
