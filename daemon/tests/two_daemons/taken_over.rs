//! One daemon is killed or stopped, and the other daemon finishes its jobs.

use async_nats::jetstream;
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::{
    FILETRANS, claims, daemon, is_marked, jobs, lost_bucket, nothing_waits, put, taken, task_of, urls,
};
use crate::support::{
    CEILING, Emulator, Hark, NatsServer, REDELIVERY, ReceivedEvent, caf, of_kind, sha256, stereo, wait_until,
    wav,
};

/// Each case waits half a minute for a redelivery, so they run concurrently in one test, whatever the number of cores.
#[tokio::test]
async fn jobs_of_a_killed_daemon_are_finished_by_the_other_daemon() {
    tokio::join!(
        a_job_that_was_never_sent_is_finished_by_the_other_daemon(),
        a_task_that_was_submitted_is_resumed_by_the_other_daemon(),
        a_stream_that_was_cut_off_by_a_kill_is_retried_and_marked(),
        urls::a_task_of_a_url_is_resumed_by_the_other_daemon(),
        lost_bucket::a_task_is_resumed_by_the_other_daemon_although_the_bucket_was_lost(),
        lost_bucket::a_job_whose_claim_was_lost_with_the_bucket_is_found_again_and_marked(),
        lost_bucket::a_message_that_was_done_while_a_daemon_was_stopped_is_not_recognized_again(),
        urls::a_task_that_reached_the_bucket_late_is_resumed_by_the_other_daemon(),
        urls::an_ambiguous_submit_of_a_url_is_retried_as_often_as_the_config_allows(0),
        urls::an_ambiguous_submit_of_a_url_is_retried_as_often_as_the_config_allows(1),
        events_after_a_stored_final_are_published_by_the_other_daemon(),
        a_duplicate_takes_over_the_job_of_a_message_that_is_gone(),
        pieces_that_are_stored_as_heard_are_not_paid_again_by_the_other_daemon("", caf(50.0, 1)),
        pieces_that_are_stored_as_heard_are_not_paid_again_by_the_other_daemon(
            SPLIT,
            stereo(&[noise(3), noise(4)])
        ),
    );
}

#[tokio::test]
async fn a_job_is_taken_over_although_the_stream_of_its_events_was_deleted() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "150ms"]).await;
    let mut one = daemon(&nats, &service).start().await;
    put(&nats, "call", wav(4.0, 1)).await;
    one.next_event("transcript.partial").await;
    // The second daemon has nothing to publish, so it does not notice that the stream is deleted.
    let mut two = daemon(&nats, &service).start().await;
    one.kill();
    jetstream::new(nats.client().await).delete_stream("HARK_EVENTS").await.unwrap();
    nothing_waits(&nats).await;
    let jobs = jobs(&mut two).await;
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    assert!(jobs.values().all(|events| is_marked(events)), "its first daemon had asked for it");
}

#[tokio::test]
async fn a_daemon_that_was_stopped_and_resumed_sends_and_publishes_nothing_for_lost_jobs() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "150ms"]).await;
    let mut one = daemon(&nats, &service).set("dashscope.concurrency", "1").start().await;
    // The daemon streams one recording and queues the other.
    for number in 0..2 {
        put(&nats, &format!("call-{number}"), wav(4.0, number)).await;
    }
    let streaming = one.next_event("transcript.partial").await;
    wait_until("every message to be taken in", CEILING, async || claims(&nats).await.len() == 2).await;
    one.process().pause();
    let mut two = daemon(&nats, &service).start().await;
    wait_until("the end of the jobs at the other daemon", REDELIVERY, async || {
        two.log().matches(" job ended").count() == 2
    })
    .await;
    let before = two.events().await.len();
    one.process().resume();
    wait_until("the woken daemon to let go", CEILING, async || {
        one.log().matches("another daemon has taken over this job").count() == 2
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
    // The resumed daemon takes in new messages.
    put(&nats, "another", wav(1.0, 9)).await;
    nothing_waits(&nats).await;
}

/// The service of the first daemon accepts the connection and reads nothing, so the daemon is stopped while the request is on its way.
#[tokio::test]
async fn a_request_that_was_on_its_way_while_the_other_daemon_took_the_job_over_is_cut_off() {
    let nats = NatsServer::configured("max_payload: 16MB").await;
    let slow = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/api/v1", slow.local_addr().unwrap());
    let one = Hark::new().nats(&nats).set("dashscope.base_url", &format!("{address:?}"));
    let mut one = one.inbox("inbox", "hark.audio.inbox").start().await;
    // More bytes than the sockets' buffers hold.
    put(&nats, "call", wav(200.0, 1)).await;
    let (mut socket, _) = slow.accept().await.unwrap();
    socket.readable().await.unwrap();
    one.process().pause();
    let service = Emulator::start(&[]).await;
    let mut two = daemon(&nats, &service).start().await;
    wait_until("the end of the job at the other daemon", REDELIVERY, async || {
        two.log().contains(" job ended")
    })
    .await;
    one.process().resume();
    let mut request = Vec::new();
    let _ = socket.read_to_end(&mut request).await;
    let head = String::from_utf8_lossy(&request[..request.len().min(2_000)]).to_ascii_lowercase();
    let (head, _) = head.split_once("\r\n\r\n").unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let body = request.len() - head.len() - 4;
    assert!(body < length.parse().unwrap(), "the whole request arrived, {body} bytes, and is paid");
    wait_until("the woken daemon to let go", CEILING, async || {
        let log = one.log();
        ["another daemon has taken over this job", "the request was cut off"]
            .iter()
            .all(|words| log.contains(words))
    })
    .await;
    nothing_waits(&nats).await;
    assert_eq!(jobs(&mut two).await.len(), 1);
    assert_eq!(taken(&service, "flash"), 1);
}

async fn a_job_that_was_never_sent_is_finished_by_the_other_daemon() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--fault", "arrearage,on=flash"]).await;
    let mut one = daemon(&nats, &service).start().await;
    put(&nats, "call", wav(2.0, 1)).await;
    let retrying = one.next_event("job.retrying").await;
    // At once: the next request, which asks whether the account is accepted again, would be cut off by the kill.
    one.kill();
    let mut two = daemon(&nats, &service).start().await;
    service.set_faults(json!([])).await;
    nothing_waits(&nats).await;
    let jobs = jobs(&mut two).await;
    assert_eq!(jobs.keys().collect::<Vec<_>>(), [retrying.job()]);
    assert!(!is_marked(&jobs[retrying.job()]));
    assert_eq!(taken(&service, "flash"), 1);
    let shown = two.api().json(&format!("/api/jobs/{}/events", retrying.job())).await;
    let shown: Vec<&Value> = shown["events"].as_array().unwrap().iter().map(|event| &event["body"]).collect();
    let stored: Vec<&Value> = jobs[retrying.job()].iter().map(|event| &event.body).collect();
    assert_eq!(shown, stored, "those of the first daemon too");
}

const SPLIT: &str = "channels = \"split\"\nroles = [\"agent\", \"customer\"]\nskip_silence = true";

/// Half a minute of noise at 8 kHz.
fn noise(seed: u64) -> Vec<i16> {
    wav(30.0, seed)[44..]
        .chunks_exact(2)
        .map(|sample| i16::from_le_bytes(sample.try_into().unwrap()))
        .collect()
}

async fn pieces_that_are_stored_as_heard_are_not_paid_again_by_the_other_daemon(route: &str, audio: Vec<u8>) {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "50ms"]).await;
    let pieces = format!("[[route]]\nname = \"default\"\nengine = \"flash\"\npiece = \"5s\"\n{route}");
    let daemon = || daemon(&nats, &service).lines(&pieces).set("dashscope.concurrency", "2");
    let mut one = daemon().start().await;
    put(&nats, "call", audio).await;
    for _ in 0..3 {
        one.next_event("transcript.segment").await;
    }
    one.kill();
    let mut two = daemon().start().await;
    nothing_waits(&nats).await;
    let jobs = jobs(&mut two).await;
    let events = jobs.values().next().unwrap();
    let segments: Vec<&ReceivedEvent> =
        events.iter().filter(|event| event.kind() == "transcript.segment").collect();
    let mut numbers: Vec<u64> = segments.iter().map(|event| event.body["piece"].as_u64().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "each piece is heard once");
    assert!(numbers.len() >= 10, "{numbers:?}");
    let texts = |event: &ReceivedEvent| event.body["segments"].as_array().unwrap().clone();
    let mut heard: Vec<Value> = segments.iter().flat_map(|event| texts(event)).collect();
    heard.sort_by_key(|segment| (segment["begin_ms"].as_u64(), segment["channel"].as_u64()));
    let made = events.iter().find(|event| event.kind() == "transcript.final").unwrap();
    assert_eq!(made.body["segments"], json!(heard), "the texts are those that were stored");
    let measured = events.iter().filter(|event| event.kind() == "annotation.speech").count();
    assert_eq!(measured, 1, "told once");
    // Two requests were under way, and the answers of two may have been heard and not stored.
    let again = taken(&service, "flash") - numbers.len();
    assert!(again <= 4, "{again} of {} pieces were sent again", numbers.len());
    // A request that the kill kept from the service is marked as well: the other daemon cannot know that it did not arrive.
    assert!(
        again == 0 || is_marked(events),
        "{again} of {} pieces were sent again without a mark",
        numbers.len()
    );
}

async fn a_duplicate_takes_over_the_job_of_a_message_that_is_gone() {
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
        claims(&nats).await.iter().filter(|claim| task_of(claim).is_some()).count() == 3
    })
    .await;
    let mut two = daemon(&nats, &service).lines(FILETRANS).start().await;
    one.kill();
    nothing_waits(&nats).await;
    let jobs = jobs(&mut two).await;
    assert_eq!(jobs.len(), 3);
    assert!(!jobs.values().any(|events| is_marked(events)));
    for events in jobs.values() {
        assert!(events.last().unwrap().body["audio_seconds"].is_number(), "the known length was handed over");
    }
    assert_eq!(taken(&service, "submit"), 3, "each task was paid once");
}

async fn a_stream_that_was_cut_off_by_a_kill_is_retried_and_marked() {
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

/// The final is so large that its segments are in an object, and has so many alerts that the kill falls between them.
async fn events_after_a_stored_final_are_published_by_the_other_daemon() {
    const SENTENCES: usize = 240;
    let nats = NatsServer::configured("max_payload: 80KB").await;
    let audio = wav(1.0, 1);
    let sentence = |number: usize| {
        let language = if number < SENTENCES / 2 { "en" } else { "de" };
        json!({"begin_time": number, "end_time": number + 1, "text": format!("refund {number}."), "language": language, "emotion": "neutral"})
    };
    let sentences: Vec<Value> = (0..SENTENCES).map(sentence).collect();
    let manifest = json!({ sha256(&audio): { "sentences": sentences } });
    let service = Emulator::knowing(manifest, &["--task-delay", "100ms"]).await;
    let rules = "[[plugin.config.rules]]\nname = \"refund\"\nregex = [\"refund \\\\d+\"]\n";
    let setup = || daemon(&nats, &service).lines(FILETRANS).plugin("keywords", "keyword_alert", rules);
    let client = nats.client().await;
    let mut finals = client.subscribe("hark.event.transcript.final.>").await.unwrap();
    client.flush().await.unwrap();
    let mut one = setup().start().await;
    let mut two = setup().start().await;
    put(&nats, "call", audio).await;
    let stored = finals.next().await.unwrap();
    // Kill the daemon that has the job.
    let busy = if one.log().contains("recognized") { &mut one } else { &mut two };
    busy.kill();
    nothing_waits(&nats).await;
    let (job, events) = jobs(&mut two).await.pop_first().unwrap();
    let body: Value = serde_json::from_slice(&stored.payload).unwrap();
    assert_eq!(body["job"], job.as_str());
    assert!(body["segments_object"].is_object() && body["segments"].is_null(), "{body}");
    let place = |wanted: &dyn Fn(&ReceivedEvent) -> bool| events.iter().position(wanted);
    let taken_over = place(&|event| event.body["error"]["code"] == "TakenOver");
    assert!(taken_over > place(&|event| event.kind() == "transcript.final"), "the kill fell between");
    let count = |kind: &str| of_kind(&events, kind).len();
    assert_eq!((count("annotation.language"), count("annotation.emotion")), (2, 1));
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
