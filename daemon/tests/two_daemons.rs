//! Two daemons on one stream: they share its work, and each finishes what the other one leaves.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "an unwrap here is an assertion of the test")]

mod support;

use std::collections::BTreeMap;

use async_nats::HeaderMap;
use async_nats::jetstream;
use serde_json::{Value, json};
use support::{CEILING, Emulator, Hark, Heard, NatsServer, REDELIVERY, Setup, wait_until, wav};

const FILETRANS: &str = "[[route]]\nname = \"default\"\nengine = \"filetrans\"";

fn daemon(nats: &NatsServer, service: &Emulator) -> Setup {
    Hark::new().nats(nats).asr(service).inbox("inbox", "hark.audio.inbox")
}

async fn put(nats: &NatsServer, id: &str, audio: Vec<u8>) {
    let mut headers = HeaderMap::new();
    headers.insert("Content-Type", "audio/wav");
    headers.insert("Nats-Msg-Id", id);
    let context = jetstream::new(nats.client().await);
    let sent = context.publish_with_headers("hark.audio.inbox", headers, audio.into()).await.unwrap();
    sent.await.unwrap();
}

/// Waits until every message is acknowledged.
async fn nothing_waits(nats: &NatsServer) {
    let context = jetstream::new(nats.client().await);
    wait_until("every message to be acknowledged", REDELIVERY, async || {
        context.get_stream("HARK_AUDIO").await.unwrap().get_info().await.unwrap().state.messages == 0
    })
    .await;
}

/// The stored events by job, held against what every job's events must be.
async fn jobs(hark: &mut Hark) -> BTreeMap<String, Vec<Heard>> {
    let mut jobs: BTreeMap<String, Vec<Heard>> = BTreeMap::new();
    for event in hark.events().await {
        jobs.entry(event.job().to_owned()).or_default().push(event);
    }
    for (job, events) in &jobs {
        let kinds: Vec<&str> = events.iter().map(Heard::kind).collect();
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

fn is_marked(events: &[Heard]) -> bool {
    events.last().unwrap().body["possible_duplicate_charge"] == json!(true)
}

/// Requests of this kind that the service took.
fn taken(service: &Emulator, kind: &str) -> usize {
    service.journal().iter().filter(|line| line["kind"] == kind && line["outcome"] == "ok").count()
}

/// What the bucket says of every message.
async fn claims(nats: &NatsServer) -> Vec<Value> {
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

#[tokio::test]
async fn two_daemons_share_the_work_and_remember_together_what_is_done() {
    let mut nats = NatsServer::start().await;
    let service = Emulator::start(&["--flash-delay", "100ms"]).await;
    let narrow =
        |setup: Setup| setup.set("dashscope.concurrency", "2").set("dashscope.filetrans_concurrency", "1");
    let mut one = narrow(daemon(&nats, &service)).start().await;
    let two = narrow(daemon(&nats, &service)).start().await;
    for number in 0..24 {
        put(&nats, &format!("call-{number}"), wav(1.0, number)).await;
    }
    nothing_waits(&nats).await;
    assert_eq!(jobs(&mut one).await.len(), 24);
    assert_eq!(taken(&service, "flash"), 24);
    for hark in [&one, &two] {
        assert!(hark.log().contains("recognized"), "each has a part of the work");
    }
    let told = claims(&nats).await;
    assert_eq!(told.len(), 24);
    assert!(told.iter().all(|claim| claim["state"] == "ended"), "{told:?}");

    // A restarted server has forgotten the ids of acknowledged messages, and one daemon only remembers each.
    nats.restart().await;
    for number in 0..24 {
        put(&nats, &format!("call-{number}"), wav(1.0, number)).await;
    }
    nothing_waits(&nats).await;
    assert_eq!(jobs(&mut one).await.len(), 24);
    assert_eq!(taken(&service, "flash"), 24);
}

/// Each waits half a minute for a message to be delivered again: side by side, whatever the number of cores.
#[tokio::test]
async fn what_a_killed_daemon_leaves_is_finished_by_the_other_one() {
    tokio::join!(
        a_job_that_was_never_sent_is_finished_by_the_other_daemon(),
        a_task_that_was_submitted_is_resumed_by_the_other_daemon(),
        a_stream_that_was_cut_off_by_a_kill_is_repeated_and_marked(),
    );
}

async fn a_job_that_was_never_sent_is_finished_by_the_other_daemon() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--fault", "arrearage,on=flash"]).await;
    let mut one = daemon(&nats, &service).start().await;
    put(&nats, "call", wav(2.0, 1)).await;
    let retrying = one.next_event("job.retrying").await;
    let mut two = daemon(&nats, &service).start().await;
    one.kill();
    service.set_faults(json!([])).await;
    nothing_waits(&nats).await;
    let jobs = jobs(&mut two).await;
    assert_eq!(jobs.keys().collect::<Vec<_>>(), [retrying.job()]);
    assert!(!is_marked(&jobs[retrying.job()]));
    assert_eq!(taken(&service, "flash"), 1);
}

async fn a_task_that_was_submitted_is_resumed_by_the_other_daemon() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--task-delay", "3s"]).await;
    let mut one = daemon(&nats, &service).lines(FILETRANS).start().await;
    for number in 0..3 {
        put(&nats, &format!("call-{number}"), wav(2.0, number)).await;
    }
    for _ in 0..3 {
        one.next_event("job.submitted").await;
    }
    wait_until("the bucket to know the tasks", CEILING, async || {
        claims(&nats).await.iter().filter(|claim| claim["task_id"].is_string()).count() == 3
    })
    .await;
    let mut two = daemon(&nats, &service).lines(FILETRANS).start().await;
    one.kill();
    nothing_waits(&nats).await;
    let jobs = jobs(&mut two).await;
    assert_eq!(jobs.len(), 3);
    assert!(!jobs.values().any(|events| is_marked(events)));
    for events in jobs.values() {
        assert!(events.last().unwrap().body["audio_seconds"].is_number(), "what was known of it came along");
    }
    assert_eq!(taken(&service, "submit"), 3, "each task was paid once");
}

async fn a_stream_that_was_cut_off_by_a_kill_is_repeated_and_marked() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "150ms"]).await;
    let mut one = daemon(&nats, &service).start().await;
    put(&nats, "call", wav(4.0, 1)).await;
    let partial = one.next_event("transcript.partial").await;
    let mut two = daemon(&nats, &service).start().await;
    one.kill();
    nothing_waits(&nats).await;
    let jobs = jobs(&mut two).await;
    assert_eq!(jobs.keys().collect::<Vec<_>>(), [partial.job()]);
    assert!(is_marked(&jobs[partial.job()]), "the service had it already");
    assert_eq!(taken(&service, "flash"), 2);
}

#[tokio::test]
async fn a_daemon_that_was_stopped_and_wakes_sends_and_says_nothing_more_of_lost_jobs() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "150ms"]).await;
    let mut one = daemon(&nats, &service).set("dashscope.concurrency", "1").start().await;
    for number in 0..3 {
        put(&nats, &format!("call-{number}"), wav(4.0, number)).await;
    }
    let streaming = one.next_event("transcript.partial").await;
    wait_until("every message to be taken in", CEILING, async || claims(&nats).await.len() == 3).await;
    one.process().pause();
    let mut two = daemon(&nats, &service).start().await;
    wait_until("the end of the jobs at the other daemon", REDELIVERY, async || {
        two.log().matches(" done").count() == 3
    })
    .await;
    let before = two.events().await.len();
    one.process().resume();
    wait_until("the woken daemon to let go", CEILING, async || {
        one.log().matches("another daemon has taken this job over").count() == 3
    })
    .await;
    nothing_waits(&nats).await;
    let jobs = jobs(&mut two).await;
    assert_eq!(jobs.values().map(Vec::len).sum::<usize>(), before, "the woken daemon's events are refused");
    assert_eq!(jobs.len(), 3);
    let marked: Vec<&str> =
        jobs.iter().filter(|(_, events)| is_marked(events)).map(|(job, _)| job.as_str()).collect();
    assert_eq!(marked, [streaming.job()]);
    assert_eq!(taken(&service, "flash"), 4, "one of them twice, and that is marked");
    // It is as good as new.
    put(&nats, "another", wav(1.0, 9)).await;
    nothing_waits(&nats).await;
}
