//! The broker is killed, stopped or loses its store, and the daemon is killed meanwhile. Unpublished events are on the daemon's disk and
//! are published in order.

use std::time::Duration;

use crate::support::{
    CEILING, Emulator, Hark, LedgerRecord, NatsServer, Records, Setup, Stage, sha256, wait_until, wav,
};
use async_nats::jetstream;
use serde_json::json;

/// A daemon with a directory source and a NATS source.
async fn stage(flags: &[&str]) -> Stage {
    let prepare = |setup: Setup| setup.folder("calls").inbox("inbox", "hark.audio.inbox");
    Stage::set(flags, |setup| prepare(setup).set("dashscope.ambiguous_retries", "5")).await
}

#[tokio::test]
async fn a_killed_broker_receives_every_event_in_order_when_it_is_back() {
    let mut stage = stage(&["--token-delay", "1ms"]).await;
    stage.publish(20, 1.0).await;
    stage.drop_files(20);
    stage.hark.next_event("job.completed").await;
    stage.nats.kill();
    // Recognition goes on without a broker.
    stage.drop_files(20);
    wait_until("the folder's jobs to wait for the broker", CEILING, async || {
        // The job of a message sends no request before its claim is in the bucket; so only jobs of files reach this state.
        let mut jobs = stage.ledger().jobs;
        jobs.retain(|job| job.source == "calls");
        jobs.len() >= 40
            && jobs.iter().all(|job| ["publish", "settle", "nothing"].contains(&job.duty.as_str()))
    })
    .await;
    stage.nats.restart().await;
    stage.publish(5, 1.0).await;
    stage.check().await;
}

#[tokio::test]
async fn a_broker_that_is_stopped_longer_than_any_timeout_stores_nothing_twice() {
    let mut stage = stage(&["--token-delay", "1ms"]).await;
    stage.publish(10, 1.0).await;
    stage.drop_files(30);
    stage.hark.next_event("transcript.final").await;
    for _ in 0..2 {
        stage.nats.pause();
        stage.drop_files(10);
        // The daemon stops waiting for an acknowledgement after 5 s and publishes again; the first publish arrives as well.
        tokio::time::sleep(Duration::from_secs(7)).await;
        stage.nats.resume();
        stage.hark.next_event("job.completed").await;
    }
    stage.check().await;
}

#[tokio::test]
async fn a_daemon_is_ready_again_when_its_only_event_turns_out_to_be_stored() {
    let mut stage = stage(&[]).await;
    // The service is stopped, so that no event follows the first one.
    stage.service.pause();
    stage.nats.pause();
    stage.drop_files(1);
    stage.hark.not_ready("acknowledges nothing").await;
    stage.nats.resume();
    stage.hark.ready().await;
    assert_eq!(stage.hark.events().await.len(), 1);
    stage.service.resume();
    stage.check().await;
}

#[tokio::test]
#[ignore = "four minutes: two minutes of silence, and the redeliveries after it"]
async fn a_daemon_survives_a_broker_that_is_stopped_for_two_minutes() {
    let mut stage = stage(&["--token-delay", "50ms", "--flash-delay", "100ms"]).await;
    stage.publish(40, 1.0).await;
    stage.drop_files(40);
    stage.hark.next_event("transcript.partial").await;
    stage.nats.pause();
    stage.drop_files(40);
    tokio::time::sleep(Duration::from_secs(120)).await;
    stage.nats.resume();
    stage.hark.next_event("job.completed").await;
    stage.publish(10, 1.0).await;
    stage.hark.ready().await;
    stage.check().await;
}

#[tokio::test]
async fn a_daemon_killed_while_the_broker_is_away_or_stopped_resumes_its_jobs() {
    let mut stage = stage(&["--token-delay", "5ms"]).await;
    stage.publish(10, 1.0).await;
    stage.drop_files(10);
    stage.hark.next_event("job.submitted").await;
    stage.nats.kill();
    stage.drop_files(10);
    wait_until("the files to be jobs", CEILING, async || stage.ledger().jobs.len() >= 20).await;
    stage.hark.kill_and_launch();
    stage.drop_files(5);
    wait_until("files to be taken in without a broker", CEILING, async || stage.ledger().jobs.len() >= 25)
        .await;
    stage.nats.restart().await;
    stage.hark.ready().await;
    stage.nats.pause();
    stage.drop_files(5);
    wait_until("the last files to be jobs", CEILING, async || stage.ledger().jobs.len() >= 30).await;
    stage.hark.kill_and_launch();
    stage.nats.resume();
    stage.hark.ready().await;
    stage.check().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_broker_that_is_away() {
    let mut stage = stage(&["--token-delay", "0ms"]).await;
    stage.nats.kill();
    stage.drop_files(3);
    wait_until("the transcripts to wait", CEILING, async || {
        let jobs = stage.ledger().jobs;
        jobs.len() == 3 && jobs.iter().all(|job| job.duty == "publish")
    })
    .await;
    assert!(stage.hark.stop().await.success());
    assert!(!stage.hark.log().contains("some tasks did not end in time"));
    stage.nats.restart().await;
    stage.hark.restart().await;
    stage.check().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_partials_that_cannot_be_published() {
    let mut nats = NatsServer::start().await;
    let audio = wav(1.0, 1);
    let manifest = json!({ sha256(&audio): { "text": "and so on ".repeat(700) } });
    let service = Emulator::knowing(manifest, &["--token-delay", "0ms"]).await;
    let mut hark = Hark::new().nats(&nats).asr(&service).folder("calls").start().await;
    nats.kill();
    hark.drop_file("calls", "long.wav", &audio);
    wait_until("the transcript to wait", CEILING, async || {
        LedgerRecord::read(&hark.path("state")).jobs.iter().any(|job| job.duty == "publish")
    })
    .await;
    assert!(hark.stop().await.success());
    assert!(!hark.log().contains("some tasks did not end in time"));
}

#[tokio::test]
async fn a_deleted_stream_of_events_is_created_again_and_receives_later_events() {
    let mut stage = stage(&["--flash-delay", "1500ms"]).await;
    stage.drop_files(3);
    for _ in 0..3 {
        stage.hark.next_event("job.accepted").await;
    }
    let context = jetstream::new(stage.nats.client().await);
    // With a plain subscriber on the subject the server does not answer "no responders" when the stream is missing.
    let _listener = stage.nats.client().await.subscribe("hark.event.>").await.unwrap();
    context.delete_stream("HARK_EVENTS").await.unwrap();
    stage.all_settled().await;
    let mut left = crate::support::ReceivedEvent::everything(&context, "HARK_EVENTS").await;
    left.sort_by_key(|event| (event.job().to_owned(), event.body["sequence"].as_u64()));
    for job in left.chunk_by(|one, other| one.job() == other.job()) {
        let sequences: Vec<u64> = job.iter().map(|event| event.body["sequence"].as_u64().unwrap()).collect();
        assert!(sequences.windows(2).all(|pair| pair[1] == pair[0] + 1), "{sequences:?}");
        assert_eq!(job.last().unwrap().kind(), "job.completed");
    }
    assert_eq!(left.iter().filter(|event| event.kind() == "transcript.final").count(), 3);

    // The jobs that start after the deletion have all their events.
    stage.drop_files(5);
    stage.all_settled().await;
    let mut records = Records::gather(&stage.inputs, &stage.hark, &stage.service, &stage.nats).await;
    let early: Vec<String> = left.iter().map(|event| event.job().to_owned()).collect();
    records.inputs.drain(..3);
    records.events.retain(|event| !early.contains(&event.job().to_owned()));
    records.ledger.jobs.retain(|job| !early.contains(&job.job));
    records.journal.retain(|line| records.inputs.iter().any(|input| line["sha256"] == input.sha256.as_str()));
    records.assert_kept();
}

#[tokio::test]
async fn a_stream_of_audio_created_again_counts_from_one_and_its_messages_are_new() {
    let mut stage = stage(&["--token-delay", "1ms"]).await;
    stage.publish(5, 1.0).await;
    stage.all_settled().await;
    jetstream::new(stage.nats.client().await).delete_stream("HARK_AUDIO").await.unwrap();
    let context = jetstream::new(stage.nats.client().await);
    wait_until("the stream to be made again", CEILING, async || {
        context.get_stream("HARK_AUDIO").await.is_ok()
    })
    .await;
    stage.publish(5, 1.0).await;
    stage.check().await;
}
