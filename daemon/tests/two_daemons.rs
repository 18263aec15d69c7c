//! Two daemons on one stream: they share its work, and each finishes what the other one leaves.
#![allow(unreachable_pub, dead_code, reason = "parts of two tests")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "an unwrap here is an assertion of the test")]

mod chaos {
    pub mod absence;
    pub mod messages;
    pub mod plan;
    mod two;
}
mod support;

use std::collections::BTreeMap;

use async_nats::HeaderMap;
use async_nats::jetstream;
use futures::StreamExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use support::{CEILING, Emulator, FileServer, Hark, Heard, NatsServer, REDELIVERY, Setup, wait_until, wav};

const FILETRANS: &str = "[[route]]\nname = \"default\"\nengine = \"filetrans\"";

fn daemon(nats: &NatsServer, service: &Emulator) -> Setup {
    Hark::new().nats(nats).asr(service).inbox("inbox", "hark.audio.inbox")
}

async fn put(nats: &NatsServer, id: &str, audio: Vec<u8>) {
    publish(nats, "hark.audio.inbox", id, "audio/wav", audio).await;
}

async fn publish(nats: &NatsServer, subject: &'static str, id: &str, content: &str, payload: Vec<u8>) {
    let mut headers = HeaderMap::new();
    headers.insert("Content-Type", content);
    headers.insert("Nats-Msg-Id", id);
    let context = jetstream::new(nats.client().await);
    let sent = context.publish_with_headers(subject, headers, payload.into()).await.unwrap();
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

#[tokio::test]
async fn a_burst_is_shared_and_another_subject_does_not_wait_for_it() {
    const BURST: u64 = 240;
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--flash-delay", "100ms", "--token-delay", "0ms"]).await;
    let setup =
        || daemon(&nats, &service).inbox("urgent", "hark.audio.urgent").set("dashscope.concurrency", "4");
    let mut one = setup().start().await;
    // It could have them all before there is another one.
    for number in 0..BURST {
        put(&nats, &format!("call-{number}"), wav(0.5, number)).await;
    }
    let two = setup().start().await;
    publish(&nats, "hark.audio.urgent", "urgent", "audio/wav", wav(0.5, BURST)).await;
    nothing_waits(&nats).await;
    let all = jobs(&mut one).await;
    assert_eq!(all.len() as u64, BURST + 1);
    let done = [&one, &two].map(|hark| hark.log().matches(" done").count() as u64);
    assert_eq!(done.iter().sum::<u64>(), BURST + 1);
    assert!(done.iter().all(|part| part * 4 >= BURST), "shares of {BURST}: {done:?}");
    let ends = one.events().await.into_iter().filter(|event| event.kind() == "job.completed");
    let ends: Vec<Value> = ends.map(|event| event.body["source"].clone()).collect();
    let urgent = ends.iter().position(|source| source == "urgent").unwrap();
    assert!(urgent + 20 < ends.len(), "it ended as number {urgent} of {}", ends.len());
    assert_eq!(taken(&service, "flash") as u64, BURST + 1);
}

/// Each waits half a minute for a message to be delivered again: side by side, whatever the number of cores.
#[tokio::test]
async fn what_a_killed_daemon_leaves_is_finished_by_the_other_one() {
    tokio::join!(
        a_job_that_was_never_sent_is_finished_by_the_other_daemon(),
        a_task_that_was_submitted_is_resumed_by_the_other_daemon(),
        a_stream_that_was_cut_off_by_a_kill_is_repeated_and_marked(),
        a_task_of_a_url_is_resumed_by_the_other_daemon(),
        a_task_is_resumed_by_the_other_daemon_although_the_bucket_was_lost(),
        a_message_of_which_a_lost_bucket_told_is_marked(),
        a_task_that_the_bucket_heard_of_late_is_resumed_by_the_other_daemon(),
        a_url_of_unknown_fate_is_sent_as_often_as_the_config_allows(0),
        a_url_of_unknown_fate_is_sent_as_often_as_the_config_allows(1),
        what_follows_a_stored_final_is_told_by_the_other_daemon(),
        a_repeat_takes_over_the_job_of_a_message_that_is_gone(),
    );
}

async fn a_repeat_takes_over_the_job_of_a_message_that_is_gone() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--fault", "arrearage,on=flash"]).await;
    let stream = nats.forgetful_audio_stream().await;
    let mut one = daemon(&nats, &service).start().await;
    put(&nats, "call", wav(2.0, 1)).await;
    let retrying = one.next_event("job.retrying").await;
    one.kill();
    stream.delete_message(1).await.unwrap();
    service.set_faults(json!([])).await;
    let mut two = daemon(&nats, &service).start().await;
    put(&nats, "call", wav(2.0, 1)).await;
    nothing_waits(&nats).await;
    let all = jobs(&mut two).await;
    assert_eq!(all.keys().collect::<Vec<_>>(), [retrying.job()]);
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

/// The bucket went, and who could have told a new one with it.
async fn a_message_of_which_a_lost_bucket_told_is_marked() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--task-delay", "2s"]).await;
    let mut one = daemon(&nats, &service).lines(FILETRANS).start().await;
    put(&nats, "call", wav(2.0, 1)).await;
    let submitted = one.next_event("job.submitted").await;
    one.kill();
    jetstream::new(nats.client().await).delete_stream("KV_HARK_JOBS").await.unwrap();
    let mut two = daemon(&nats, &service).lines(FILETRANS).start().await;
    nothing_waits(&nats).await;
    let events = two.events().await;
    let again: Vec<Heard> = events.into_iter().filter(|event| event.job() != submitted.job()).collect();
    assert_eq!(again.last().unwrap().kind(), "job.completed");
    assert!(is_marked(&again), "it was paid twice");
}

/// Somebody deleted the bucket while tasks were at work, and nobody had anything to tell it for as long.
async fn a_task_is_resumed_by_the_other_daemon_although_the_bucket_was_lost() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--task-delay", "25s"]).await;
    let mut one = daemon(&nats, &service).lines(FILETRANS).start().await;
    for number in 0..3 {
        put(&nats, &format!("call-{number}"), wav(2.0, number)).await;
    }
    for _ in 0..3 {
        one.next_event("job.submitted").await;
    }
    let context = jetstream::new(nats.client().await);
    context.delete_stream("KV_HARK_JOBS").await.unwrap();
    wait_until("the bucket to know the tasks again", CEILING, async || {
        context.get_stream("KV_HARK_JOBS").await.is_ok()
            && claims(&nats).await.iter().filter(|claim| claim["task_id"].is_string()).count() == 3
    })
    .await;
    let mut two = daemon(&nats, &service).lines(FILETRANS).start().await;
    one.kill();
    nothing_waits(&nats).await;
    let jobs = jobs(&mut two).await;
    assert!(jobs.len() == 3 && !jobs.values().any(|events| is_marked(events)));
    assert_eq!(taken(&service, "submit"), 3, "each task was paid once");
}

async fn a_stream_that_was_cut_off_by_a_kill_is_repeated_and_marked() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "150ms"]).await;
    let mut one = daemon(&nats, &service).start().await;
    put(&nats, "call", wav(4.0, 1)).await;
    let partial = one.next_event("transcript.partial").await;
    one.kill();
    let mut two = daemon(&nats, &service).start().await;
    nothing_waits(&nats).await;
    let jobs = jobs(&mut two).await;
    assert_eq!(jobs.keys().collect::<Vec<_>>(), [partial.job()]);
    assert!(is_marked(&jobs[partial.job()]), "the service had it already");
    assert_eq!(taken(&service, "flash"), 2);
}

/// A daemon that may have the service fetch from `files`, and a message that asks for it.
async fn refer(nats: &NatsServer, files: &FileServer) {
    let reference = json!({"url": files.url("/call.wav"), "name": "call.wav"}).to_string();
    publish(nats, "hark.audio.inbox", "call", "application/json", reference.into_bytes()).await;
}

async fn a_task_of_a_url_is_resumed_by_the_other_daemon() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--task-delay", "3s"]).await;
    let files = FileServer::start(vec![("/call.wav", wav(2.0, 1))]).await;
    let setup = || daemon(&nats, &service).set("security.allow_urls", "[\"127.0.0.1/32\"]");
    let mut one = setup().start().await;
    refer(&nats, &files).await;
    let submitted = one.next_event("job.submitted").await;
    wait_until("the bucket to know the task", CEILING, async || {
        claims(&nats).await.iter().any(|claim| claim["task_id"] == submitted.body["task_id"])
    })
    .await;
    let mut two = setup().start().await;
    one.kill();
    nothing_waits(&nats).await;
    let jobs = jobs(&mut two).await;
    assert_eq!(jobs.keys().collect::<Vec<_>>(), [submitted.job()]);
    let events = &jobs[submitted.job()];
    assert!(!is_marked(events));
    assert_eq!(events.last().unwrap().body["recording"]["uri"], files.url("/call.wav"));
    assert_eq!(taken(&service, "submit"), 1, "the task was paid once");
}

/// The broker was away when the service said that it has the task; the bucket hears of it later.
async fn a_task_that_the_bucket_heard_of_late_is_resumed_by_the_other_daemon() {
    let mut nats = NatsServer::start().await;
    let service = Emulator::start(&["--fault", "stall,on=submit,ms=3000", "--task-delay", "25s"]).await;
    let files = FileServer::start(vec![("/call.wav", wav(2.0, 1))]).await;
    let setup = || daemon(&nats, &service).set("security.allow_urls", "[\"127.0.0.1/32\"]");
    let (mut one, two) = (setup().start().await, setup());
    refer(&nats, &files).await;
    wait_until("the submit", CEILING, async || taken(&service, "submit") == 1).await;
    nats.kill();
    wait_until("the answer", CEILING, async || one.log().contains("other daemons do not know")).await;
    nats.restart().await;
    wait_until("the bucket to know the task", CEILING, async || {
        claims(&nats).await.iter().any(|claim| claim["task_id"].is_string())
    })
    .await;
    one.kill();
    let mut two = two.start().await;
    nothing_waits(&nats).await;
    let jobs = jobs(&mut two).await;
    assert!(jobs.len() == 1 && !jobs.values().any(|events| is_marked(events)));
    assert_eq!(taken(&service, "submit"), 1, "the task was paid once");
}

/// No task of the list can be told to be this one's: nobody uploaded anything.
async fn a_url_of_unknown_fate_is_sent_as_often_as_the_config_allows(retries: usize) {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--fault", "stall,on=submit,next=1"]).await;
    let files = FileServer::start(vec![("/call.wav", wav(2.0, 1))]).await;
    let setup = || {
        daemon(&nats, &service)
            .set("security.allow_urls", "[\"127.0.0.1/32\"]")
            .set("dashscope.ambiguous_retries", &retries.to_string())
    };
    let mut one = setup().start().await;
    refer(&nats, &files).await;
    wait_until("the submit", CEILING, async || taken(&service, "submit") == 1).await;
    let mut two = setup().start().await;
    one.kill();
    nothing_waits(&nats).await;
    let events = two.events().await;
    let end = events.last().unwrap();
    assert_eq!(end.kind(), if retries == 0 { "job.failed" } else { "job.completed" }, "{}", end.body);
    assert_eq!(is_marked(&events), retries > 0, "{}", end.body);
    assert_eq!(taken(&service, "submit"), 1 + retries);
    assert_eq!(taken(&service, "list"), 0, "the list could not tell");
}

/// The final is so large that its segments are in an object, and it has so many alerts that a kill falls between them.
async fn what_follows_a_stored_final_is_told_by_the_other_daemon() {
    const SENTENCES: usize = 240;
    let nats = NatsServer::configured("max_payload: 80KB").await;
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("manifest.json");
    let audio = wav(1.0, 1);
    let sha256: String = Sha256::digest(&audio).iter().map(|byte| format!("{byte:02x}")).collect();
    let sentence = |number: usize| {
        let language = if number < SENTENCES / 2 { "en" } else { "de" };
        json!({"begin_time": number, "end_time": number + 1, "text": format!("refund {number}."), "language": language, "emotion": "neutral"})
    };
    let sentences: Vec<Value> = (0..SENTENCES).map(sentence).collect();
    std::fs::write(&manifest, json!({ sha256: { "sentences": sentences } }).to_string()).unwrap();
    let service = Emulator::start(&["--manifest", manifest.to_str().unwrap(), "--task-delay", "100ms"]).await;
    let rules = "[[plugin.config.rules]]\nname = \"refund\"\nregex = [\"refund \\\\d+\"]\n";
    let setup = || daemon(&nats, &service).lines(FILETRANS).plugin("keywords", "keyword_alert", rules);
    let client = nats.client().await;
    let mut finals = client.subscribe("hark.event.transcript.final.>").await.unwrap();
    client.flush().await.unwrap();
    let mut one = setup().start().await;
    let mut two = setup().start().await;
    put(&nats, "call", audio).await;
    let stored = finals.next().await.unwrap();
    // Whoever had it.
    let busy = if one.log().contains("recognized") { &mut one } else { &mut two };
    busy.kill();
    nothing_waits(&nats).await;
    let (job, events) = jobs(&mut two).await.pop_first().unwrap();
    let body: Value = serde_json::from_slice(&stored.payload).unwrap();
    assert_eq!(body["job"], job.as_str());
    assert!(body["segments_object"].is_object() && body["segments"].is_null(), "{body}");
    let place = |wanted: &dyn Fn(&Heard) -> bool| events.iter().position(wanted);
    let taken_over = place(&|event| event.body["error"]["code"] == "TakenOver");
    assert!(taken_over > place(&|event| event.kind() == "transcript.final"), "the kill fell between");
    let of_kind = |kind: &str| events.iter().filter(|event| event.kind() == kind).count();
    assert_eq!((of_kind("annotation.language"), of_kind("annotation.emotion")), (2, 1));
    let quotes: Vec<&Value> = events
        .iter()
        .filter(|event| event.kind() == "alert.raised")
        .map(|event| &event.body["quote"])
        .collect();
    let expected: Vec<Value> = (0..SENTENCES).map(|number| json!(format!("refund {number}"))).collect();
    assert_eq!(quotes, expected.iter().collect::<Vec<_>>(), "each alert once, in order");
    let end = events.last().unwrap();
    assert_eq!((&end.body["billed_seconds"], is_marked(&events)), (&json!(1), false));
    assert_eq!(taken(&service, "submit"), 1, "it is recognized once");
}

#[tokio::test]
async fn a_daemon_that_was_stopped_and_wakes_sends_and_says_nothing_more_of_lost_jobs() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "150ms"]).await;
    let mut one = daemon(&nats, &service).set("dashscope.concurrency", "1").start().await;
    // It streams one and has the other one waiting.
    for number in 0..2 {
        put(&nats, &format!("call-{number}"), wav(4.0, number)).await;
    }
    let streaming = one.next_event("transcript.partial").await;
    wait_until("every message to be taken in", CEILING, async || claims(&nats).await.len() == 2).await;
    one.process().pause();
    let mut two = daemon(&nats, &service).start().await;
    wait_until("the end of the jobs at the other daemon", REDELIVERY, async || {
        two.log().matches(" done").count() == 2
    })
    .await;
    let before = two.events().await.len();
    one.process().resume();
    wait_until("the woken daemon to let go", CEILING, async || {
        one.log().matches("another daemon has taken this job over").count() == 2
    })
    .await;
    nothing_waits(&nats).await;
    let jobs = jobs(&mut two).await;
    assert_eq!(jobs.values().map(Vec::len).sum::<usize>(), before, "the woken daemon's events are refused");
    assert_eq!(jobs.len(), 2);
    let marked: Vec<&str> =
        jobs.iter().filter(|(_, events)| is_marked(events)).map(|(job, _)| job.as_str()).collect();
    assert_eq!(marked, [streaming.job()]);
    assert_eq!(taken(&service, "flash"), 3, "one of them twice, and that is marked");
    // It is as good as new.
    put(&nats, "another", wav(1.0, 9)).await;
    nothing_waits(&nats).await;
}

#[tokio::test]
async fn a_job_is_taken_over_although_the_stream_of_its_events_was_deleted() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "150ms"]).await;
    let mut one = daemon(&nats, &service).start().await;
    put(&nats, "call", wav(4.0, 1)).await;
    one.next_event("transcript.partial").await;
    // It has nothing to publish, and so does not notice.
    let mut two = daemon(&nats, &service).start().await;
    one.kill();
    jetstream::new(nats.client().await).delete_stream("HARK_EVENTS").await.unwrap();
    nothing_waits(&nats).await;
    let jobs = jobs(&mut two).await;
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    assert!(jobs.values().all(|events| is_marked(events)), "its first daemon had asked for it");
}
