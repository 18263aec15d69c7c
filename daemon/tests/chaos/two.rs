//! Two daemons on one stream. Each is killed or stopped at seeded random moments, briefly or for longer than the consumers' `ack_wait`.
//! Then the faults stop, every job has to end, and the ledger check compares the records.
//!
//! The short run is part of every test run. `cargo xtask chaos --daemons 2` makes it longer through the same variables as with one daemon
//! (see `chaos.rs`).

use std::time::{Duration, Instant};

use super::absence::{self, Act, Deed, script};
use super::messages::{self, Messages};
use super::plan::{Plan, ROUTES, faults};
use crate::support::{
    CEILING, Emulator, Footprint, Hark, LedgerRecord, NatsServer, Records, Setup, Violation, unacknowledged,
    wait_until,
};
use serde_json::{Value, json};

/// The messages of a killed daemon are redelivered after 30 s, and once more if the daemon that receives them is killed too.
const BOUND: Duration = Duration::from_secs(100);

/// The short run: long enough for one redelivery from an absent daemon to the other daemon.
const SHORT: Plan =
    Plan { seed: 0, length: Duration::from_secs(8), kills: 12, inputs: 160, in_pieces: false };

fn daemon(nats: &NatsServer, service: &Emulator) -> Setup {
    Hark::new()
        .nats(nats)
        .asr(service)
        // Kills interrupt one job more often than the default allows retries; this test checks that each retry is marked.
        .set("dashscope.ambiguous_retries", "20")
        // The emulator enforces no limit on queries, and every kill discards what a search for a lost task has found so far.
        .set("dashscope.task_queries_per_second", "200")
        .set("security.allow_urls", "[\"127.0.0.1/32\"]")
        .set("log.level", "\"info\"")
        .plugin("hello", "hello", "")
        .inbox("inbox", "hark.audio.inbox")
        .lines(
            "[[source]]\nname = \"long\"\nkind = \"nats\"\nsubject = \"hark.audio.long\"\nroute = \"long\"\n",
        )
        .lines(ROUTES)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_daemons_lose_nothing_and_pay_nothing_twice_without_a_mark() {
    let plan = Plan::from_environment_or(SHORT);
    println!("HARK_SEED={} repeats the decisions of this run", plan.seed);
    let begin = Instant::now();
    let nats = NatsServer::start().await;
    // Slow enough that a daemon has work in progress when it is struck.
    let service = Emulator::start(&["--flash-delay", "500ms", "--task-delay", "3s"]).await;
    let mut harks = [daemon(&nats, &service).start().await, daemon(&nats, &service).start().await];
    let before = harks.each_mut().map(|hark| Footprint::of(hark.process().id()));

    service.set_faults(faults(plan.seed)).await;
    let messages = Messages::start(&plan, &nats).await;
    let script = script(&plan);
    let started = Instant::now();
    for Deed { at, daemon, act } in &script {
        tokio::time::sleep(at.saturating_sub(started.elapsed())).await;
        let hark = &mut harks[*daemon];
        match act {
            Act::Kill => hark.kill(),
            Act::Launch => hark.kill_and_launch(),
            Act::Pause => hark.process().pause(),
            Act::Resume => hark.process().resume(),
        }
    }
    let (mut inputs, files) = messages.ended().await;
    service.set_faults(json!([])).await;
    let faults_end = Instant::now();
    for hark in &mut harks {
        hark.ready().await;
    }
    everything_ends(&harks, &nats).await;
    let ended_after = faults_end.elapsed();
    inputs.push(messages::fresh(&nats).await);
    everything_ends(&harks, &nats).await;

    let mut records = Records::gather(&inputs, &harks[0], &service, &nats).await;
    records.ledger.add(LedgerRecord::read(&harks[1].path("state")));
    records.several_daemons = true;
    let fresh = records.events.iter().rfind(|event| event.body["recording"]["name"] == "fresh.wav");
    records.fresh = fresh.map(|event| event.kind().to_owned());
    records.outputs = [("plugin.hello".to_owned(), 1)].into();
    (records.ended_after, records.bound) = (ended_after, BOUND);
    for (before, hark) in before.into_iter().zip(&mut harks) {
        records.footprints.push(Footprint::before_and_after(before, hark.process().id()).await);
    }
    let violations = records.violations();
    println!("{}", table(&plan, &script, &records, violations.len(), begin.elapsed()));
    records.assert_kept();
    assert!(
        records.events.iter().any(|event| event.body["error"]["code"] == "TakenOver"),
        "nothing changed hands"
    );
    drop(files);
    for hark in &mut harks {
        assert!(hark.stop().await.success());
    }
}

/// Number of requests for pieces that were heard already.
fn heard_again(records: &Records) -> usize {
    let is_one = |violation: &&Violation| matches!(violation, Violation::HeardAgain { .. });
    records.violations().iter().filter(is_one).count()
}

/// Waits until every message is acknowledged and neither ledger has an open job or an unpublished event. The ledger check verifies that
/// each input has one last event: a job that its owner ended and could not settle before the takeover is in neither ledger any more.
async fn everything_ends(harks: &[Hark; 2], nats: &NatsServer) {
    let context = async_nats::jetstream::new(nats.client().await);
    let states = [harks[0].path("state"), harks[1].path("state")];
    wait_until("every input to end", BOUND + CEILING, async || {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let waiting = unacknowledged(&context).await;
        let mut both = LedgerRecord::read(&states[0]);
        both.add(LedgerRecord::read(&states[1]));
        waiting == 0 && both.open().next().is_none() && both.outbox_rows == 0
    })
    .await;
}

fn table(plan: &Plan, script: &[Deed], records: &Records, violations: usize, elapsed: Duration) -> String {
    let acts = |wanted: Act| script.iter().filter(|deed| deed.act == wanted).count();
    let events = |kind: &str| records.events.iter().filter(|event| event.kind() == kind).count();
    let is_last = |kind: &str| matches!(kind, "job.completed" | "job.failed");
    let marked = |body: &Value| body["possible_duplicate_charge"] == true;
    let taken_over = records.events.iter().filter(|event| event.body["error"]["code"] == "TakenOver");
    let rows = [
        ("seed", plan.seed.to_string()),
        ("inputs", records.inputs.len().to_string()),
        (
            "SIGKILLs of either daemon",
            script.iter().filter(|deed| deed.act == Act::Launch).count().to_string(),
        ),
        ("SIGSTOPs of either daemon", acts(Act::Pause).to_string()),
        ("absences of more than 30 s", absence::long(script).to_string()),
        ("requests at the service", records.journal.len().to_string()),
        (
            "paid recognitions",
            records.journal.iter().filter(|line| !line["charged_seconds"].is_null()).count().to_string(),
        ),
        ("takeovers", taken_over.count().to_string()),
        ("pieces heard", events("transcript.segment").to_string()),
        ("heard pieces paid again", heard_again(records).to_string()),
        ("jobs completed", events("job.completed").to_string()),
        ("jobs failed", events("job.failed").to_string()),
        (
            "jobs marked possible_duplicate_charge",
            records
                .events
                .iter()
                .filter(|event| is_last(event.kind()) && marked(&event.body))
                .count()
                .to_string(),
        ),
        ("events stored", records.events.len().to_string()),
        ("last job ended after the faults", format!("{:.1} s", records.ended_after.as_secs_f64())),
        ("whole run", format!("{:.1} s", elapsed.as_secs_f64())),
        ("violations of L1 to L9", violations.to_string()),
    ];
    rows.iter().map(|(what, value)| format!("| {what:<42} | {value:>12} |\n")).collect()
}
