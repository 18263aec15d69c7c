//! The backlog after a day without the broker or the service: how fast it drains when they are back, and how a daemon starts with it.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::{
    CEILING, Emulator, Hark, LedgerRecord, NatsServer, ReceivedEvent, Setup, wait_until, wav,
};
use async_nats::jetstream;
use rusqlite::{Connection, params};
use uuid::Uuid;

/// Number of jobs whose events are interleaved in the outbox.
const INTERLEAVED_JOBS: usize = 32;

/// Copies the one job of a ledger until there are `count` jobs, each with its events in the outbox; returns the number of events.
fn multiply(state: &Path, count: usize) -> usize {
    let mut ledger = Connection::open(state.join("ledger.sqlite3")).unwrap();
    let (model, body): (Uuid, String) =
        ledger.query_row("SELECT id, about FROM job", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let events: Vec<(i64, String)> = ledger
        .prepare("SELECT id, body FROM event WHERE stream_seq IS NULL ORDER BY id")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let ids: Vec<Uuid> = (0..count).map(|_| Uuid::now_v7()).collect();
    let renamed = |text: &str, id: &Uuid| text.replace(&model.to_string(), &id.to_string());
    let transaction = ledger.transaction().unwrap();
    for ids in ids.chunks(INTERLEAVED_JOBS) {
        for id in ids {
            transaction
                .prepare_cached(
                    "INSERT INTO job SELECT ?1, source, duty, due, accepted, ended, stream_seq, outcome, ?2 FROM job WHERE id = ?3",
                )
                .unwrap()
                .execute(params![id, renamed(&body, id), model])
                .unwrap();
            transaction
                .prepare_cached(
                    "INSERT INTO piece SELECT ?1, number, source, recognizer, duty, due, about, heard \
                     FROM piece WHERE job = ?2",
                )
                .unwrap()
                .execute(params![id, model])
                .unwrap();
        }
        for (event, body) in &events {
            for id in ids {
                transaction
                    .prepare_cached(
                        "INSERT INTO event (job, source, kind, sequence, time, body)
                         SELECT ?1, source, kind, sequence, time, ?2 FROM event WHERE id = ?3",
                    )
                    .unwrap()
                    .execute(params![id, renamed(body, id), event])
                    .unwrap();
            }
        }
    }
    transaction.execute("DELETE FROM event WHERE job = ?1", [model]).unwrap();
    for table in ["piece WHERE job", "attempt WHERE job", "job WHERE id"] {
        transaction.execute(&format!("DELETE FROM {table} = ?1"), [model]).unwrap();
    }
    transaction.commit().unwrap();
    count * events.len()
}

/// Peak resident memory of a process, in MiB.
fn most_memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
}

/// A daemon that was killed while the broker was away; its outbox holds the events of one job.
async fn with_backlog(setup: impl FnOnce(Setup) -> Setup) -> (NatsServer, Emulator, Hark) {
    let mut nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "0ms"]).await;
    let quiet = Hark::new().set("log.level", "\"warn,harkd=warn\"");
    let mut hark = setup(quiet.nats(&nats).asr(&service).folder("calls")).start().await;
    let context = jetstream::new(nats.client().await);
    wait_until("the stream of events", CEILING, async || context.get_stream("HARK_EVENTS").await.is_ok())
        .await;
    nats.kill();
    hark.drop_file("calls", "a.wav", &wav(1.0, 1));
    wait_until("its job to wait for the broker", CEILING, async || {
        LedgerRecord::read(&hark.path("state")).jobs.iter().any(|job| job.duty == "publish")
    })
    .await;
    hark.kill();
    (nats, service, hark)
}

/// Drains the events of so many jobs; returns the events per second.
async fn drain(jobs: usize) -> f64 {
    let (mut nats, _service, mut hark) = with_backlog(|setup| setup).await;
    let state = hark.path("state");
    let events = multiply(&state, jobs);

    nats.restart().await;
    let context = jetstream::new(nats.client().await);
    let stored = async || context.get_stream("HARK_EVENTS").await.unwrap().cached_info().state.messages;
    hark.kill_and_launch();
    wait_until("the first event", CEILING, async || stored().await > 0).await;
    let begin = Instant::now();
    wait_until("the last event", Duration::from_secs(600), async || stored().await >= events as u64).await;
    let rate = events as f64 / begin.elapsed().as_secs_f64();
    wait_until("every job to be settled", Duration::from_secs(600), async || {
        tokio::time::sleep(Duration::from_millis(200)).await;
        LedgerRecord::read(&state).open().next().is_none()
    })
    .await;
    let (settled, memory) = (begin.elapsed(), most_memory(hark.process().id()));
    eprintln!(
        "{events} events left at {rate:.0} a second, settled after {:.1} s, {memory} MiB at most",
        settled.as_secs_f64()
    );
    assert!(memory < 150, "{memory} MiB");

    // Each event is stored once, in order.
    let mut sequences: HashMap<String, u64> = HashMap::new();
    for event in ReceivedEvent::everything(&context, "HARK_EVENTS").await {
        let sequence = sequences.entry(event.job().to_owned()).or_default();
        *sequence += 1;
        assert_eq!(event.body["sequence"].as_u64(), Some(*sequence), "{}", event.subject);
    }
    assert_eq!(sequences.len(), jobs);
    assert_eq!(sequences.values().sum::<u64>(), events as u64);
    rate
}

#[tokio::test]
async fn a_full_outbox_is_published_in_order_and_each_event_once() {
    // The bound is low: this is a debug build, on a machine that runs other tests at the same time.
    assert!(drain(1_500).await > 300.0);
}

#[tokio::test]
#[ignore = "a measurement: HARK_DAEMON names the release build; nothing else should run"]
async fn five_thousand_events_a_second_are_published() {
    let rate = drain(15_000).await;
    assert!(rate >= 5_000.0, "{rate:.0} a second");
}

#[tokio::test]
async fn sources_wait_while_the_outbox_is_too_long_and_go_on_when_it_is_drained() {
    let (mut nats, _service, mut hark) = with_backlog(|setup| setup.set("state.max_size", "\"10MiB\"")).await;
    multiply(&hark.path("state"), 2_500);
    hark.kill_and_launch();
    hark.not_ready("state.max_size").await;
    hark.drop_file("calls", "late.wav", &wav(1.0, 2));
    nats.restart().await;
    // SQLite does not shrink the file when the rows are deleted.
    hark.ready().await;
    wait_until("the recording that waited", CEILING, async || {
        let jobs = LedgerRecord::read(&hark.path("state")).jobs;
        jobs.len() == 2_501 && jobs.iter().all(|job| job.duty == "nothing")
    })
    .await;
    assert!(std::fs::metadata(hark.path("state").join("ledger.sqlite3")).unwrap().len() > 10 << 20);
}

/// Starts a daemon on a ledger with so many open jobs; returns the time until it is ready.
async fn start_on(jobs: usize) -> Duration {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let setup = Hark::new().nats(&nats).asr(&service).folder("calls");
    let mut hark = setup.set("dashscope.concurrency", "1").start().await;
    let state = hark.path("state");
    service.pause();
    hark.drop_file("calls", "a.wav", &wav(1.0, 1));
    hark.drop_file("calls", "b.wav", &wav(1.0, 2));
    wait_until("a job to wait for its turn", CEILING, async || {
        let ledger = LedgerRecord::read(&state);
        ledger.outbox_rows == 0 && ledger.jobs.iter().filter(|job| job.duty == "send").count() == 2
    })
    .await;
    hark.kill();
    Connection::open(state.join("ledger.sqlite3"))
        .unwrap()
        .execute_batch(
            "DELETE FROM job WHERE id IN (SELECT job FROM piece WHERE json_extract(about, '$.state.name') = 'sending'); \
             DELETE FROM piece WHERE json_extract(about, '$.state.name') = 'sending'; DELETE FROM attempt;",
        )
        .unwrap();
    multiply(&state, jobs);
    let begin = Instant::now();
    hark.restart().await;
    let elapsed = begin.elapsed();
    let size = std::fs::metadata(state.join("ledger.sqlite3")).unwrap().len() >> 20;
    eprintln!("{jobs} open jobs ({size} MiB): ready after {elapsed:?}");
    assert!(hark.stop().await.success());
    elapsed
}

#[tokio::test]
async fn a_start_on_many_open_jobs_is_quick() {
    // The bound is low: this is a debug build, on a machine that runs other tests at the same time.
    let elapsed = start_on(20_000).await;
    assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
}

#[tokio::test]
#[ignore = "a measurement: nothing else should run"]
async fn a_hundred_thousand_open_jobs_are_ready_in_two_seconds() {
    let elapsed = start_on(100_000).await;
    assert!(elapsed < Duration::from_secs(2), "{elapsed:?}");
}
