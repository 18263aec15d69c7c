//! The broker has no room: a full disk below it, a stream that takes no more. Events wait in the outbox, the daemon says why, and all of
//! them leave in order when there is room.
#![allow(clippy::unwrap_used, reason = "an unwrap here is an assertion of the test")]

mod support;

use std::time::Duration;

use async_nats::jetstream::{self, stream};
use support::{
    CEILING, Emulator, Hark, Input, LedgerRecord, NatsServer, REDELIVERY, Records, has_own_mounts,
    wait_until, wav,
};

/// Drops recordings and tells what they are expected to become.
fn drop_files(hark: &Hark, inputs: &mut Vec<Input>, count: usize) {
    for _ in 0..count {
        let seed = inputs.len() as u64;
        let (name, audio) = (format!("{seed}.wav"), wav(1.0, seed));
        hark.drop_file("calls", &name, &audio);
        inputs.push(Input::recognized("calls", &name, &audio));
    }
}

/// The operator's own stream: full, it takes no more.
fn stream_of_events(max_bytes: i64) -> stream::Config {
    let kinds = ["job", "annotation", "alert", "plugin", "transcript.final"];
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
    if !has_own_mounts("a_full_disk_below_the_broker_is_waited_for") {
        return;
    }
    let mut nats = NatsServer::on_small_disk(16 << 20).await;
    // Without a limit: the daemon's own reserves more than this disk has.
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
    // A stream that could not be written acknowledges nothing any more until the server is restarted; the daemon says so.
    nats.restart().await;
    all_settled(&hark, inputs.len()).await;
    hark.ready().await;
    Records::gather(&inputs, &hark, &service, &nats).await.assert_kept();
}

#[tokio::test]
async fn a_stream_that_takes_no_more_is_waited_for_until_it_is_made_larger() {
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
    assert!(!more_log.contains("WARN"), "said again within a minute: {more_log}");
    assert!(asked < 200, "{asked} requests in three seconds");
    // One that takes partials as well would have them stand between the events of a job.
    config.subjects = vec!["test.event.>".into()];
    context.update_stream(config.clone()).await.unwrap();
    hark.not_ready("captures partials as well").await;
    // And do: these stay among the events when the subjects are mended.
    drop_files(&hark, &mut inputs, 3);
    wait_until("partials in the stream", CEILING, async || {
        context.get_stream("HARK_EVENTS").await.unwrap().cached_info().state.messages >= 10
    })
    .await;
    let kinds = ["job.>", "annotation.>", "alert.>", "plugin.>", "transcript.final.>"];
    config.subjects = kinds.map(|kind| format!("test.event.{kind}")).into();
    context.update_stream(config).await.unwrap();
    all_settled(&hark, 8).await;
    hark.ready().await;
}

/// Requests that JetStream's API has answered.
async fn api_requests(nats: &NatsServer) -> u64 {
    jetstream::new(nats.client().await).query_account().await.unwrap().requests.total
}
