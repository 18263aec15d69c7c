//! All faults together: kills of the daemon at seeded random moments, every fault of the service, restarts and pauses of the broker, while
//! recordings keep coming, some of them as objects, and go to filetrans through a bucket of the operator's own. Then the faults stop, every
//! job has to end, the buckets have to be empty, and the ledger check compares the records.
//!
//! The short run is part of every test run. `cargo xtask chaos` makes it longer through `HARK_CHAOS_SECONDS`, `HARK_CHAOS_KILLS` and
//! `HARK_CHAOS_INPUTS` and, with recordings of many pieces, `HARK_CHAOS_PIECES`; `HARK_SEED` repeats a run's decisions.

pub mod absence;
mod feed;
mod figures;
pub mod messages;
pub mod plan;
mod two;

use std::path::Path;
use std::time::{Duration, Instant};

use self::feed::Feed;
use self::figures::Figures;
use self::messages::left;
use self::plan::{Plan, ROUTES, Strike, faults};
use crate::support::{
    CEILING, Emulator, Footprint, Hark, Input, LedgerJob, LedgerRecord, NatsServer, Records, S3Server,
    wait_until, wav,
};
use async_nats::jetstream::Context;
use serde_json::{Value, json};

/// Most of it is the consumers' `ack_wait` of 30 s: the messages of a killed daemon are redelivered after that.
const BOUND: Duration = Duration::from_secs(75);

/// Enough for two faults of the broker between the kills. `cargo xtask chaos` runs for as long as it is told.
const SHORT: Plan =
    Plan { seed: 0, length: Duration::from_secs(20), kills: 16, inputs: 300, in_pieces: false };

const BUCKET: &str = "calls";

const SOURCES: [&str; 2] = ["calls", "archive"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_nothing_paid_twice_whatever_is_killed() {
    let plan = Plan::from_environment_or(SHORT);
    println!("HARK_SEED={} repeats the decisions of this run", plan.seed);
    let begin = Instant::now();
    let mut nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "2ms", "--task-delay", "400ms"]).await;
    let store = S3Server::start().await;
    store.make_bucket(BUCKET).await;
    let mut hark = store
        .behind(Hark::new().nats(&nats).asr(&service), BUCKET, "secret")
        // Kills interrupt one job more often than the default allows retries; this test checks that each retry is marked.
        .set("dashscope.ambiguous_retries", "20")
        .set("log.level", "\"info\"")
        .plugin("hello", "hello", "")
        .folder_with(SOURCES[0], "include = [\"*.{wav,caf}\"]\n")
        .folder_with(SOURCES[1], "route = \"long\"\n")
        .inbox("inbox", "hark.audio.inbox")
        .lines(ROUTES)
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

    // A file has no job before a scan finds it, so "no open job" is not enough: the jobs in the ledger are counted too.
    let (state, count) = (hark.path("state"), inputs.len());
    let context = async_nats::jetstream::new(nats.client().await);
    let mut open = String::new();
    let ended = tokio::time::timeout(BOUND, async {
        while !is_over(&state, &context, count, &mut open).await {
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    });
    assert!(ended.await.is_ok(), "{BOUND:?} after the faults this is still open: {open}");
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

    let mut objects = (Vec::new(), Vec::new());
    wait_until("both buckets to be empty", CEILING, async || {
        objects = (store.objects(BUCKET).await, left(&context).await);
        objects.0.is_empty() && objects.1.is_empty()
    })
    .await;
    let mut records = Records::gather(&inputs, &hark, &service, &nats).await;
    let fresh = records.events.iter().rfind(|event| event.body["recording"]["name"] == "fresh.wav");
    records.fresh = fresh.map(|event| event.kind().to_owned());
    records.outputs = [("plugin.hello".to_owned(), 1)].into();
    (records.ended_after, records.bound) = (ended_after, BOUND);
    records.footprints = vec![Footprint::before_and_after(before, hark.process().id()).await];
    let violations = records.violations();
    println!("{}", figures.table(&records, &violations, begin.elapsed()));
    records.assert_kept();
    assert_eq!(deleted_too_early(&records), Vec::<String>::new());
    assert!(hark.stop().await.success());
}

/// The tasks and jobs whose object was gone when it was needed. A task that the emulator fails by a fault has that fault at its submit.
fn deleted_too_early(records: &Records) -> Vec<String> {
    let of_kind = |kind: &'static str| records.journal.iter().filter(move |line| line["kind"] == kind);
    let is_fault = |task: &&Value| {
        let mut submits = of_kind("submit").filter(|submit| submit["task_id"] == task["task_id"]);
        submits.any(|submit| {
            submit["faults"].as_array().is_some_and(|faults| faults.contains(&"task_failed".into()))
        })
    };
    let not_fetched =
        of_kind("task").filter(|task| task["outcome"] == "FILE_DOWNLOAD_FAILED" && !is_fault(task));
    let not_found = records.events.iter().filter(|event| event.body["error"]["code"] == "ObjectUnavailable");
    not_fetched.map(Value::to_string).chain(not_found.map(|event| event.body.to_string())).collect()
}

/// Whether every input has ended; if not, `open` receives a description of what has not.
async fn is_over(state: &Path, context: &Context, inputs: usize, open: &mut String) -> bool {
    let ledger = LedgerRecord::read(state);
    let mut stream = context.get_stream("HARK_AUDIO").await.unwrap();
    let waiting = stream.info().await.unwrap().state.clone();
    let jobs: Vec<&LedgerJob> = ledger.open().collect();
    *open = format!(
        "{} of {inputs} inputs have a job; open jobs {:?}; {} rows in the outbox; {} messages in the stream, from {}",
        ledger.jobs.len(),
        &jobs[..jobs.len().min(10)],
        ledger.outbox_rows,
        waiting.messages,
        waiting.first_sequence,
    );
    ledger.jobs.len() >= inputs && jobs.is_empty() && ledger.outbox_rows == 0 && waiting.messages == 0
}
