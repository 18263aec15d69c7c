//! A damaged ledger ends the daemon with a message that names the file and what to do; the file is left as it is. The daemon does not
//! repair it: jobs that are lost from it may have been paid for.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::support::{CEILING, Emulator, Hark, LedgerRecord, NatsServer, wait_until, wav};
use rusqlite::{Connection, OpenFlags};
use serde_json::json;

/// SQLite's page size, in bytes.
const PAGE: u64 = 4_096;

fn overwrite(path: &Path, from: u64, bytes: &[u8]) {
    std::fs::File::options().write(true).open(path).unwrap().write_all_at(bytes, from).unwrap();
}

/// Bytes that are neither text nor a database page, the same every time.
fn garbage(length: u64) -> Vec<u8> {
    (0..length).map(|at| (at * 167 + 13) as u8).collect()
}

/// The ledger's files without the WAL index, which SQLite rebuilds.
fn files(ledger: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    ["", "-wal"]
        .map(|suffix| {
            let path = PathBuf::from(format!("{}{suffix}", ledger.display()));
            (path.clone(), std::fs::read(path).ok().filter(|bytes| !bytes.is_empty()))
        })
        .into()
}

/// A connection with an open read transaction: SQLite cannot reset the WAL while it is open. The connection is read-only, so its close does
/// not checkpoint either.
fn hold_wal(ledger: &Path) -> Connection {
    let reader = Connection::open_with_flags(ledger, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM job;").unwrap();
    reader
}

#[tokio::test]
async fn every_damage_is_named_and_the_file_is_left_as_it_is() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "0ms"]).await;
    let mut hark = Hark::new().nats(&nats).asr(&service).folder("calls").start().await;
    let state = hark.path("state");
    let ledger = state.join("ledger.sqlite3");
    let reader = hold_wal(&ledger);
    for seed in 0..30 {
        hark.drop_file("calls", &format!("{seed}.wav"), &wav(1.0, seed));
    }
    hark.ended_jobs(30).await;
    wait_until("every job to be settled", CEILING, async || {
        LedgerRecord::read(&state).open().next().is_none()
    })
    .await;
    // After the kill much of the ledger is in the WAL.
    hark.kill();
    let killed = files(&ledger);
    drop(reader);
    assert!(killed[1].1.as_ref().unwrap().len() > 100 * PAGE as usize, "the WAL is too short for this test");
    // After a checkpoint the database file has everything.
    let folded = Connection::open(&ledger).unwrap();
    folded.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(folded);
    // The root page of a table is in use, in whatever order pages became free.
    let files_page: u64 = Connection::open(&ledger)
        .unwrap()
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'file'", [], |row| row.get(0))
        .unwrap();
    let folded = files(&ledger);
    let pages = folded[0].1.as_ref().unwrap().len() as u64 / PAGE;
    assert!(pages > 10, "{pages} pages are too few for this test");

    type Damage<'a> = (&'a str, &'a [(PathBuf, Option<Vec<u8>>)], Box<dyn Fn() + 'a>);
    let damages: Vec<Damage<'_>> = vec![
        ("not a database", &folded, Box::new(|| overwrite(&ledger, 0, &[0; 100]))),
        ("", &folded, Box::new(|| overwrite(&ledger, 3 * PAGE, &garbage(4 * PAGE)))),
        ("", &folded, Box::new(|| overwrite(&ledger, (files_page - 1) * PAGE, &vec![0; PAGE as usize]))),
        (
            "",
            &folded,
            Box::new(|| {
                std::fs::File::options().write(true).open(&ledger).unwrap().set_len(pages / 2 * PAGE).unwrap()
            }),
        ),
        ("there is nothing in it", &folded, Box::new(|| std::fs::write(&ledger, b"").unwrap())),
        ("it is gone", &killed, Box::new(|| std::fs::remove_file(&ledger).unwrap())),
        // The database is sound, but the body of a job cannot be parsed.
        (
            "",
            &folded,
            Box::new(|| {
                let ledger = Connection::open(&ledger).unwrap();
                ledger.execute("UPDATE job SET duty = 'prepare', about = substr(about, 1, 40)", []).unwrap();
            }),
        ),
    ];
    for (number, (finding, whole, damage)) in damages.into_iter().enumerate() {
        for (path, bytes) in whole {
            match bytes {
                Some(bytes) => std::fs::write(path, bytes).unwrap(),
                None => drop(std::fs::remove_file(path)),
            }
        }
        let _ = std::fs::remove_file(state.join("ledger.sqlite3-shm"));
        damage();
        let damaged = files(&ledger);
        let said_before = hark.log().len();
        hark.kill_and_launch();
        let status = hark.process().ended(CEILING).await;
        let said = hark.log()[said_before..].to_owned();
        assert_eq!(status.code(), Some(70), "damage {number}: {said}");
        let sentence = said.lines().last().unwrap();
        let expected = format!("harkd: the ledger {} is damaged (", ledger.display());
        assert!(sentence.starts_with(&expected) && sentence.contains(finding), "damage {number}: {sentence}");
        assert!(sentence.contains("restore a copy"), "damage {number}: {sentence}");
        if number < 6 {
            assert!(files(&ledger) == damaged, "damage {number}: the files were changed");
        }
    }
}

#[tokio::test]
async fn damage_that_shows_while_running_ends_the_daemon_with_its_name() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let mut hark = Hark::new().nats(&nats).asr(&service).folder("calls").start().await;
    service.set_faults(json!([{"kind": "status", "status": 503}])).await;
    hark.drop_file("calls", "a.wav", &wav(1.0, 1));
    hark.next_event("job.retrying").await;
    let ledger = hark.path("state").join("ledger.sqlite3");
    let connection = Connection::open(&ledger).unwrap();
    connection.busy_timeout(CEILING).unwrap();
    connection.execute("UPDATE job SET about = substr(about, 1, 40)", []).unwrap();
    let status = hark.process().ended(CEILING).await;
    let said = hark.log();
    assert_eq!(status.code(), Some(70), "{said}");
    assert!(said.lines().last().unwrap().contains("ledger.sqlite3 is damaged ("), "{said}");
}

#[tokio::test]
async fn a_log_that_was_torn_by_a_power_cut_is_no_damage() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "0ms"]).await;
    let mut hark = Hark::new().nats(&nats).asr(&service).folder("calls").start().await;
    let reader = hold_wal(&hark.path("state").join("ledger.sqlite3"));
    hark.drop_file("calls", "a.wav", &wav(1.0, 1));
    hark.next_event("job.completed").await;
    hark.kill();
    drop(reader);
    // Only a part of the last commit reached the disk.
    let log = hark.path("state").join("ledger.sqlite3-wal");
    let length = std::fs::metadata(&log).unwrap().len();
    overwrite(&log, length - PAGE / 2, &[0; PAGE as usize / 2]);
    hark.restart().await;
    hark.drop_file("calls", "b.wav", &wav(1.0, 2));
    hark.next_event("job.completed").await;
}
