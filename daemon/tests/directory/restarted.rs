//! What the ledger remembers from one start to the next.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use harkd::job::ledger::LedgerError;

use super::watched::{BEFORE, Watched, origin, write};
use crate::support::CEILING;

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_makes_no_second_job() {
    let mut watched = Watched::started(|_| {}).await;
    for number in 0..100 {
        write(&watched.path(&format!("{}/{number}.wav", number % 5)), &number.to_string());
    }
    watched.jobs_become(100).await;
    for _ in 0..3 {
        watched.stop().await;
        watched.start().await;
        watched.jobs_become(100).await;
    }
    watched.stop().await;
    write(&watched.path("meanwhile.wav"), "while nobody watched");
    fs::rename(watched.path("0/0.wav"), watched.path("moved-meanwhile.wav")).unwrap();
    watched.start().await;
    watched.jobs_become(101).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_before_the_first_start_stay_skipped_until_they_change() {
    let mut watched = Watched::new(|_| {});
    write(&watched.path("old.wav"), "old");
    write(&watched.path("deep/old.wav"), "old too");
    tokio::time::sleep(BEFORE).await;
    watched.start().await;
    write(&watched.path("new.wav"), "new");
    let jobs = watched.jobs_become(1).await;
    assert_eq!(jobs[0].recording.name.as_deref(), Some("new.wav"));
    watched.stop().await;
    write(&watched.path("between.wav"), "between two starts");
    watched.start().await;
    watched.jobs_become(2).await;
    fs::rename(watched.path("deep/old.wav"), watched.path("deep/moved.wav")).unwrap();
    watched.jobs_become(2).await;
    write(&watched.path("old.wav"), "and new");
    watched.jobs_become(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_skipped_file_that_is_gone_stays_skipped_under_any_path() {
    let copy = |from: &Path, to: &Path| {
        write(to, &fs::read_to_string(from).unwrap());
        let time = fs::metadata(from).unwrap().modified().unwrap();
        File::options().write(true).open(to).unwrap().set_modified(time).unwrap();
    };
    let mut watched = Watched::new(|_| {});
    write(&watched.path("old/a.wav"), "went");
    write(&watched.path("old/b.wav"), "stayed there");
    tokio::time::sleep(BEFORE).await;
    watched.start().await;
    watched.becomes("SELECT count(*) FROM file", 2).await;
    watched.stop().await;
    copy(&watched.path("old/a.wav"), &watched.path("restored/a.wav"));
    fs::remove_file(watched.path("old/a.wav")).unwrap();
    copy(&watched.path("old/b.wav"), &watched.path("beside/b.wav"));
    watched.start().await;
    let jobs = watched.jobs_become(1).await;
    assert_eq!(origin(&jobs[0]), watched.path("beside/b.wav"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_in_the_first_scan_neither_pays_for_old_files_nor_loses_new_ones() {
    let mut watched = Watched::new(|_| {});
    for number in 0..50 {
        write(&watched.path(&format!("{number}.wav")), "old");
    }
    tokio::time::sleep(BEFORE).await;
    watched.start().await;
    watched.stop().await;
    // As if the daemon had been killed during the first scan: some rows are written, and the scan is not marked as done.
    let crash = "DELETE FROM file WHERE path LIKE '%3.wav'; UPDATE source SET scanned = 0;";
    watched.ledger.write(move |connection| Ok(connection.execute_batch(crash)?)).await.unwrap();
    write(&watched.path("new.wav"), "new");
    watched.start().await;
    let jobs = watched.jobs_become(1).await;
    assert_eq!(jobs[0].recording.name.as_deref(), Some("new.wav"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_ledger_ends_the_source() {
    let mut watched = Watched::started(|config| config.rescan = Some(Duration::from_millis(200))).await;
    write(&watched.path("a.wav"), "a");
    watched.jobs_become(1).await;
    let damage = "UPDATE file SET mtime_ns = 'damaged'";
    watched.ledger.write(move |connection| Ok(connection.execute(damage, [])?)).await.unwrap();
    let ended = tokio::time::timeout(CEILING, watched.running.take().unwrap().task).await.unwrap().unwrap();
    assert!(matches!(ended, Err(LedgerError::Corrupt { .. })), "{ended:?}");
}
