//! Many long tasks at the service: polled within the account's limit of queries, each end noticed soon, resumed after a restart, in little
//! memory.
//!
//! A thousand tasks take some minutes: `cargo test --workspace --test stories many_tasks -- --ignored --nocapture`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::support::{Emulator, Hark, LedgerRecord, NatsServer, wait_until, wav};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// The account's limit of `task_queries_per_second`.
const QUERIES_A_SECOND: usize = 20;
/// The project's goals.
const NOTICED: SignedDuration = SignedDuration::from_secs(60);
const MEMORY: u64 = 150 << 20;

#[tokio::test]
async fn a_hundred_tasks_are_followed_and_resumed() {
    run_tasks(100, "3s", "100ms").await;
}

#[tokio::test]
#[ignore = "takes some minutes"]
async fn a_thousand_tasks_are_followed_and_resumed() {
    run_tasks(1_000, "40s", "2s").await;
}

async fn run_tasks(count: usize, delay: &str, poll: &str) {
    let begin = Instant::now();
    let nats = NatsServer::start().await;
    // With `--enforce-limits` the emulator runs 64 tasks at a time.
    let limits = ["--enforce-limits", "--requests-per-minute", "1000000"];
    let service = Emulator::start(&[&["--task-delay", delay][..], &limits].concat()).await;
    let mut hark = Hark::new()
        .nats(&nats)
        .asr(&service)
        .set("dashscope.poll_interval", &format!("\"{poll}\""))
        .set("log.level", "\"info\"")
        .folder_with("archive", "route = \"long\"\n")
        .lines("[[route]]\nname = \"long\"\nengine = \"filetrans\"\n")
        .start()
        .await;
    for number in 0..count {
        hark.drop_file("archive", &format!("{number}.wav"), &wav(0.2, number as u64));
    }
    let (state, ceiling) = (hark.path("state"), Duration::from_secs(1_200));
    let mut memory = 0;
    let mut downtime = None;
    wait_until("every job to end", ceiling, async || {
        tokio::time::sleep(Duration::from_millis(250)).await;
        memory = memory.max(hark.process().resident());
        if downtime.is_none() {
            // Restart in the middle of the run, when a third of the tasks have ended.
            let ended = service.journal_of("task").len();
            if ended * 3 > count {
                let from = Timestamp::now();
                hark.restart().await;
                downtime = Some((from, Timestamp::now()));
            }
            return false;
        }
        let ledger = LedgerRecord::read(&state);
        ledger.jobs.len() == count && ledger.open().next().is_none()
    })
    .await;
    let journal = service.journal();
    let requests = |kind: &str| journal.iter().filter(|line| line["kind"] == kind).count();
    let busiest = most_in_a_second(&journal);
    let mut noticed = noticed_after(&journal);
    noticed.sort();
    assert_eq!(noticed.len(), count);
    let percentile = |percent: usize| noticed[(noticed.len() * percent).div_ceil(100) - 1].as_secs_f64();
    println!(
        "{count} tasks in {:.0} s: {} submits, {} queries and {} lists, at most {busiest} in any second;",
        begin.elapsed().as_secs_f64(),
        requests("submit"),
        requests("query"),
        requests("list")
    );
    println!(
        "ends noticed after {:.1} s (p50), {:.1} s (p99), {:.1} s (all);",
        percentile(50),
        percentile(99),
        percentile(100)
    );
    println!("memory of the daemon and its children: at most {:.0} MB", memory as f64 / f64::from(1 << 20));
    assert_eq!(requests("submit"), count, "nothing was submitted again");
    assert!(busiest <= QUERIES_A_SECOND, "{busiest} in one second");
    let refused = journal.iter().filter(|line| line["http_status"] == 429).count();
    assert_eq!(refused, 0, "the service's own count");
    assert!(percentile(99) <= NOTICED.as_secs_f64());
    assert!(memory <= MEMORY, "{memory} bytes");
    assert!(hark.events().await.iter().all(|event| event.body["possible_duplicate_charge"] != true));
}

fn time(line: &Value) -> Timestamp {
    line["time"].as_str().unwrap().parse().unwrap()
}

/// The most requests within one second, of those that count against the account's limit of task queries.
fn most_in_a_second(journal: &[Value]) -> usize {
    let mut times: Vec<Timestamp> =
        journal.iter().filter(|line| line["kind"] == "query" || line["kind"] == "list").map(time).collect();
    times.sort();
    let within = |from: &Timestamp| {
        let until = *from + SignedDuration::from_secs(1);
        times.partition_point(|time| *time < until) - times.partition_point(|time| time < from)
    };
    times.iter().map(within).max().unwrap_or(0)
}

/// The time from the end of each task to the first query that returned `SUCCEEDED`.
fn noticed_after(journal: &[Value]) -> Vec<SignedDuration> {
    let mut ends: BTreeMap<&str, Timestamp> = BTreeMap::new();
    let mut noticed: BTreeMap<&str, Timestamp> = BTreeMap::new();
    for line in journal {
        let Some(task) = line["task_id"].as_str() else { continue };
        if line["kind"] == "task" {
            ends.insert(task, time(line));
        } else if line["kind"] == "query" && line["task_status"] == "SUCCEEDED" {
            noticed.entry(task).or_insert(time(line));
        }
    }
    ends.into_iter().map(|(task, end)| noticed[task].duration_since(end)).collect()
}
