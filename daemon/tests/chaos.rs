//! Everything at once: kills at seeded random moments, a service that fails in every way, a broker that dies, while recordings keep
//! coming; then the faults stop, everything has to end, and the ledger check compares the records.
//!
//! The short run is part of every test run. `cargo xtask chaos` makes it longer through `HARK_CHAOS_SECONDS`, `HARK_CHAOS_KILLS` and
//! `HARK_CHAOS_INPUTS`; `HARK_SEED` repeats a run's decisions.
#![allow(unreachable_pub, reason = "parts of one test")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "an unwrap here is an assertion of the test")]

mod chaos {
    pub mod feed;
    pub mod figures;
    pub mod plan;
}
mod support;

use std::time::{Duration, Instant};

use chaos::feed::Feed;
use chaos::figures::Figures;
use chaos::plan::{Plan, Strike, faults};
use serde_json::json;
use support::{
    CEILING, Emulator, Footprint, Hark, Input, LedgerRecord, NatsServer, Records, wait_until, wav,
};

/// Most of it is the consumers' `ack_wait` of 30 s: what a killed daemon had at hand comes again after that.
const BOUND: Duration = Duration::from_secs(75);

const SOURCES: [&str; 2] = ["calls", "archive"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_nothing_paid_twice_whatever_is_killed() {
    let plan = Plan::from_environment();
    println!("HARK_SEED={} repeats the decisions of this run", plan.seed);
    let begin = Instant::now();
    let mut nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "2ms", "--task-delay", "400ms"]).await;
    let mut hark = Hark::new()
        .nats(&nats)
        .asr(&service)
        // Kills strike one job more often than any service would; what is asked here is that each repeat is marked.
        .set("dashscope.ambiguous_retries", "20")
        .set("log.level", "\"info\"")
        .plugin("hello", "hello", "")
        .folder(SOURCES[0])
        .folder_with(SOURCES[1], "route = \"long\"\n")
        .inbox("inbox", "hark.audio.inbox")
        .lines("[[route]]\nname = \"default\"\n\n[[route]]\nname = \"long\"\nengine = \"filetrans\"\n")
        .start()
        .await;
    let first = hark.drop_file(SOURCES[0], "first.wav", &wav(1.0, 0));
    hark.ended_jobs(1).await;
    let before = Footprint::of(hark.process().id());
    let mut inputs = vec![Input::recognized(SOURCES[0], "first.wav", &std::fs::read(first).unwrap())];

    let mut figures = Figures::new(&plan);
    service.set_faults(faults(plan.seed)).await;
    let feed = Feed::start(&plan, &hark, &nats);
    for strike in plan.strikes() {
        tokio::time::sleep(strike.after()).await;
        match strike {
            Strike::Kill { .. } => {
                hark.kill_and_launch();
                figures.kills += 1;
            }
            Strike::BrokerRestart { .. } => {
                nats.restart().await;
                figures.broker_restarts += 1;
            }
            Strike::BrokerPause { lasting, .. } => {
                nats.pause();
                tokio::time::sleep(lasting).await;
                nats.resume();
                figures.broker_pauses += 1;
            }
        }
    }
    inputs.extend(feed.ended().await);
    service.set_faults(json!([])).await;
    let faults_end = Instant::now();
    hark.ready().await;

    // The folder's scan is the last to know of a file; so the inputs are counted in the ledger, not only what is open there.
    let (state, count) = (hark.path("state"), inputs.len());
    let context = async_nats::jetstream::new(nats.client().await);
    wait_until("every input to end", BOUND, async || {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let ledger = LedgerRecord::read(&state);
        let waiting = context.get_stream("HARK_AUDIO").await.unwrap().cached_info().state.messages;
        ledger.jobs.len() >= count
            && ledger.open().next().is_none()
            && ledger.outbox_rows == 0
            && waiting == 0
    })
    .await;
    let ended_after = faults_end.elapsed();

    let fresh = wav(1.0, u64::MAX / 4);
    hark.drop_file(SOURCES[0], "fresh.wav", &fresh);
    inputs.push(Input::recognized(SOURCES[0], "fresh.wav", &fresh));
    wait_until("the fresh input to end", CEILING, async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let ledger = LedgerRecord::read(&state);
        ledger.jobs.len() > count && ledger.open().next().is_none() && ledger.outbox_rows == 0
    })
    .await;

    let mut records = Records::gather(&inputs, &hark, &service, &nats).await;
    let fresh = records.events.iter().rfind(|event| event.body["recording"]["name"] == "fresh.wav");
    records.fresh = fresh.map(|event| event.kind().to_owned());
    records.outputs = [("plugin.hello".to_owned(), 1)].into();
    (records.ended_after, records.bound) = (ended_after, BOUND);
    (records.before, records.after) = (before, Footprint::of(hark.process().id()));
    let violations = records.violations();
    println!("{}", figures.table(&records, violations.len(), begin.elapsed()));
    records.assert_kept();
    assert!(hark.stop().await.success());
}
