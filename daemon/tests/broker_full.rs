//! The broker has no room: its disk is full, or a stream has reached its limit. Events wait in the outbox, the daemon reports the reason,
//! and publishes all of them in order when there is room.

use std::time::Duration;

use crate::support::{
    CEILING, Emulator, Hark, Input, LedgerRecord, NatsServer, REDELIVERY, Records, has_own_mounts,
    wait_until, wav,
};
use async_nats::jetstream::{self, stream};

/// Drops recordings into the folder and appends what they are expected to become to `inputs`.
fn drop_files(hark: &Hark, inputs: &mut Vec<Input>, count: usize) {
    for _ in 0..count {
        let seed = inputs.len() as u64;
        let (name, audio) = (format!("{seed}.wav"), wav(1.0, seed));
        hark.drop_file("calls", &name, &audio);
        inputs.push(Input::recognized("calls", &name, &audio));
    }
}

/// A stream made by the operator, which refuses new messages when it is full.
fn stream_of_events(max_bytes: i64) -> stream::Config {
    let kinds = ["job", "annotation", "alert", "plugin", "transcript.segment", "transcript.final"];
    stream::Config {
        name: "HARK_EVENTS".into(),
        subjects: kinds.map(|kind| format!("hark.event.{kind}.>")).into(),
        discard: stream::DiscardPolicy::New,
        max_bytes,
        allow_direct: true,
        ..stream::Config::default()
    }
}

async fn all_settled(hark: &Hark, count: usize) {
    wait_until("every job to be settled", REDELIVERY, async || {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let ledger = LedgerRecord::read(&hark.path("state"));
        ledger.jobs.len() >= count && ledger.open().next().is_none() && ledger.outbox_rows == 0
    })
    .await;
}

#[tokio::test]
async fn a_full_disk_below_the_broker_is_waited_for() {
    if !has_own_mounts("broker_full::a_full_disk_below_the_broker_is_waited_for") {
        return;
    }
    let mut nats = NatsServer::on_small_disk(16 << 20).await;
    // Without a limit: the stream that the daemon creates reserves more than this disk has.
    jetstream::new(nats.client().await).create_stream(stream_of_events(-1)).await.unwrap();
    let service = Emulator::start(&["--token-delay", "1ms"]).await;
    let mut hark = Hark::new().nats(&nats).asr(&service).folder("calls").start().await;
    let mut inputs = Vec::new();
    drop_files(&hark, &mut inputs, 5);
    hark.ended_jobs(5).await;
    nats.disk().fill();
    drop_files(&hark, &mut inputs, 60);
    hark.not_ready("HARK_EVENTS").await;
    nats.disk().empty();
    // After a failed write nats-server acknowledges nothing on that stream until it is restarted; the daemon reports that.
    nats.restart().await;
    all_settled(&hark, inputs.len()).await;
    hark.ready().await;
    Records::gather(&inputs, &hark, &service, &nats).await.assert_kept();
}

#[tokio::test]
async fn a_full_stream_is_waited_for_until_it_is_made_larger() {
    let nats = NatsServer::start().await;
    let context = jetstream::new(nats.client().await);
    let mut config = stream_of_events(40 << 10);
    context.create_stream(config.clone()).await.unwrap();
    let service = Emulator::start(&["--token-delay", "1ms"]).await;
    let mut hark = Hark::new().nats(&nats).asr(&service).folder("calls").start().await;
    let mut inputs = Vec::new();
    drop_files(&hark, &mut inputs, 40);
    hark.not_ready("HARK_EVENTS takes no more").await;
    config.max_bytes = 10 << 20;
    context.update_stream(config).await.unwrap();
    all_settled(&hark, inputs.len()).await;
    hark.ready().await;
    Records::gather(&inputs, &hark, &service, &nats).await.assert_kept();
}

#[tokio::test]
async fn a_stream_that_does_not_capture_the_events_is_waited_for_quietly() {
    let nats = NatsServer::start().await;
    let context = jetstream::new(nats.client().await);
    let mut config = stream_of_events(-1);
    context.create_stream(config.clone()).await.unwrap();
    let service = Emulator::start(&["--token-delay", "1ms"]).await;
    let setup = Hark::new().nats(&nats).asr(&service).set("nats.subject_prefix", "\"test\"");
    let mut hark = setup.folder_with("calls", "existing = \"process\"\n").launch().await;
    let mut inputs = Vec::new();
    drop_files(&hark, &mut inputs, 5);
    hark.not_ready("HARK_EVENTS does not capture test.event.job.>").await;
    let (log, requests) = (hark.log().len(), api_requests(&nats).await);
    tokio::time::sleep(Duration::from_secs(3)).await;
    hark.not_ready("HARK_EVENTS does not capture").await;
    let (more_log, asked) = (hark.log().split_off(log), api_requests(&nats).await - requests);
    assert!(!more_log.contains("WARN"), "logged again within a minute: {more_log}");
    assert!(asked < 200, "{asked} requests in three seconds");
    // A stream that captures partials too would store them between the events of a job.
    config.subjects = vec!["test.event.>".into()];
    context.update_stream(config.clone()).await.unwrap();
    hark.not_ready("captures partials as well").await;
    // These partials are stored, and stay in the stream when the subjects are corrected.
    drop_files(&hark, &mut inputs, 3);
    wait_until("partials in the stream", CEILING, async || {
        context.get_stream("HARK_EVENTS").await.unwrap().cached_info().state.messages >= 10
    })
    .await;
    let kinds =
        ["job.>", "annotation.>", "alert.>", "plugin.>", "transcript.segment.>", "transcript.final.>"];
    config.subjects = kinds.map(|kind| format!("test.event.{kind}")).into();
    context.update_stream(config).await.unwrap();
    all_settled(&hark, 8).await;
    hark.ready().await;
}

/// Number of requests that the JetStream API has answered.
async fn api_requests(nats: &NatsServer) -> u64 {
    jetstream::new(nats.client().await).query_account().await.unwrap().requests.total
}
