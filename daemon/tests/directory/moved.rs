//! A renamed file is the same recording; a copy is another recording.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use harkd::config::WhenDone;

use super::watched::{BEFORE, SETTLE, Watched, origin, write};
use crate::support::{CEILING, sha256};

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_file_is_the_same_recording_and_its_job_follows_it() {
    let watched = Watched::started(|_| {}).await;
    write(&watched.path("a.wav"), "moved about");
    watched.jobs_become(1).await;
    fs::create_dir(watched.path("archive")).unwrap();
    fs::rename(watched.path("a.wav"), watched.path("archive/b.wav")).unwrap();
    let jobs = watched.jobs_become(1).await;
    assert_eq!(origin(&jobs[0]), watched.path("archive/b.wav"));
    // Moved by copy and removal, as between two disks: another inode, the same bytes.
    fs::copy(watched.path("archive/b.wav"), watched.disk.path().join("copy")).unwrap();
    fs::remove_file(watched.path("archive/b.wav")).unwrap();
    fs::rename(watched.disk.path().join("copy"), watched.path("c.wav")).unwrap();
    let jobs = watched.jobs_become(1).await;
    assert_eq!(origin(&jobs[0]), watched.path("c.wav"));
}

/// As a move from another filesystem: the file is copied, then the original is removed.
#[tokio::test]
async fn a_copy_whose_original_went_is_the_same_recording_however_long_it_is_read() {
    let large = |path: &Path| File::create(path).unwrap().set_len(1 << 30).unwrap();
    let mut watched = Watched::new(|config| config.rescan = Some(Duration::from_millis(20)));
    watched.start().await;
    large(&watched.path("a.wav"));
    watched.becomes("SELECT count(*) FROM job", 1).await;
    large(&watched.path("b.wav"));
    fs::remove_file(watched.path("a.wav")).unwrap();
    watched.becomes("SELECT count(*) FROM file WHERE path LIKE '%/b.wav'", 1).await;
    let jobs = watched.jobs().await;
    assert_eq!((jobs.len(), origin(&jobs[0])), (1, watched.path("b.wav")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_name_of_a_file_is_never_a_second_recording() {
    let watched = Watched::started(|config| {
        config.when_done = WhenDone::Delete;
        config.rescan = Some(Duration::from_millis(20));
    })
    .await;
    write(&watched.path(".new"), "one file");
    for name in ["a.wav", "b.wav"] {
        fs::hard_link(watched.path(".new"), watched.path(name)).unwrap();
    }
    let jobs = watched.jobs_become(1).await;
    let heard = origin(&jobs[0]);
    watched.directory().settle(&jobs[0], false).await.unwrap();
    assert!(!heard.exists());
    let other = watched.path(if heard.ends_with("a.wav") { "b.wav" } else { "a.wav" });
    watched.jobs_become(1).await;
    assert!(other.exists(), "only the name under which the file was heard goes");
    fs::remove_file(other).unwrap();
    watched.becomes("SELECT count(*) FROM forgotten_file", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_file_is_followed_while_no_new_file_is_admitted() {
    let watched = Watched::started(|_| {}).await;
    write(&watched.path("0.wav"), "moved about");
    watched.jobs_become(1).await;
    watched.ledger.admit(0);
    write(&watched.path("new.wav"), "before the door");
    // A scan reaches the new file meanwhile.
    for number in 0..8 {
        let (from, to) =
            (watched.path(&format!("{number}.wav")), watched.path(&format!("{}.wav", number + 1)));
        fs::rename(from, &to).unwrap();
        let began = Instant::now();
        while origin(&watched.jobs().await[0]) != to {
            assert!(began.elapsed() < CEILING, "the job is not told of {}", to.display());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert_eq!(watched.jobs().await.len(), 1);
    watched.ledger.admit(u64::MAX);
    assert_eq!(origin(&watched.jobs_become(2).await[1]), watched.path("new.wav"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_many_files_that_is_renamed_costs_nothing() {
    let watched = Watched::started(|_| {}).await;
    for number in 0..1_000 {
        write(&watched.path(&format!("old/{number}.wav")), &format!("call {number}"));
    }
    watched.jobs_become(1_000).await;
    fs::rename(watched.path("old"), watched.path("new")).unwrap();
    watched.becomes("SELECT count(*) FROM file WHERE path LIKE '%/new/%'", 1_000).await;
    watched.jobs_become(1_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_rotate_cost_nothing() {
    let watched = Watched::started(|_| {}).await;
    write(&watched.path("call.wav"), "one");
    write(&watched.path("call.1.wav"), "two");
    watched.jobs_become(2).await;
    fs::rename(watched.path("call.1.wav"), watched.path("call.2.wav")).unwrap();
    fs::rename(watched.path("call.wav"), watched.path("call.1.wav")).unwrap();
    write(&watched.path("call.wav"), "three");
    let jobs = watched.jobs_become(3).await;
    assert_eq!(jobs[2].recording.sha256, Some(sha256(b"three")));
    fs::rename(watched.path("call.1.wav"), watched.path("swap.wav")).unwrap();
    fs::rename(watched.path("call.2.wav"), watched.path("call.1.wav")).unwrap();
    fs::rename(watched.path("swap.wav"), watched.path("call.2.wav")).unwrap();
    watched.jobs_become(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_rotated_while_the_daemon_was_down_cost_nothing_in_any_order() {
    let mut watched = Watched::new(|_| {});
    let path = |watched: &Watched, number: usize| watched.path(&format!("call.{number}.wav"));
    for number in 0..40 {
        write(&path(&watched, number), &number.to_string());
    }
    tokio::time::sleep(BEFORE).await;
    watched.start().await;
    watched.becomes("SELECT count(*) FROM file", 40).await;
    watched.stop().await;
    for number in (0..40).rev() {
        fs::rename(path(&watched, number), path(&watched, number + 1)).unwrap();
    }
    // A file that has not changed for `SETTLE` is read at the first scan.
    tokio::time::sleep(SETTLE).await;
    watched.start().await;
    write(&watched.path("new.wav"), "new");
    let jobs = watched.jobs_become(1).await;
    assert_eq!(jobs[0].recording.name.as_deref(), Some("new.wav"));
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_are_recordings_of_their_own_and_changed_files_are_new_ones() {
    let watched = Watched::started(|_| {}).await;
    write(&watched.path("a.wav"), "bytes");
    watched.jobs_become(1).await;
    write(&watched.path("b.wav"), "bytes");
    watched.jobs_become(2).await;
    write(&watched.path("b.wav"), "other");
    let jobs = watched.jobs_become(3).await;
    assert_eq!(jobs[2].recording.sha256, Some(sha256(b"other")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_touch_costs_nothing_and_the_job_may_still_read_its_file() {
    let watched = Watched::started(|_| {}).await;
    write(&watched.path("a.wav"), "bytes");
    watched.jobs_become(1).await;
    let file = File::options().write(true).open(watched.path("a.wav")).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    drop(file);
    watched.becomes("SELECT count(*) FROM file WHERE mtime_ns = 0", 1).await;
    let jobs = watched.jobs_become(1).await;
    assert!(harkd::job::audio::open(&jobs[0], watched.disk.path()).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_equal_file_beside_one_that_is_just_being_put_away_gets_a_job() {
    let watched = Watched::started(|config| config.when_done = WhenDone::Delete).await;
    write(&watched.path("a.wav"), "said twice");
    write(&watched.path("c.wav"), "linked twice");
    watched.jobs_become(2).await;
    fs::hard_link(watched.path("c.wav"), watched.path(".d")).unwrap();
    // A state in the middle of settling: the files are deleted, their rows are still in the ledger.
    watched.last_events_are_stored().await;
    fs::remove_file(watched.path("a.wav")).unwrap();
    fs::remove_file(watched.path("c.wav")).unwrap();
    write(&watched.path("b.wav"), "said twice");
    fs::rename(watched.path(".d"), watched.path("d.wav")).unwrap();
    // While the row is there, the link `d.wav` counts as `c.wav` renamed.
    watched.jobs_become(3).await;
    let forget = |connection: &rusqlite::Connection| {
        Ok(connection.execute("DELETE FROM file WHERE path LIKE '%/a.wav' OR path LIKE '%/c.wav'", [])?)
    };
    watched.ledger.write(forget).await.unwrap();
    let jobs = watched.jobs_become(4).await;
    let mut heard: Vec<_> = jobs.iter().filter_map(|job| job.recording.name.as_deref()).collect();
    heard.sort_unstable();
    assert_eq!(heard, ["a.wav", "b.wav", "c.wav", "d.wav"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_job_could_not_find_it_gets_a_job_when_it_is_found() {
    let mut watched = Watched::started(|_| {}).await;
    write(&watched.path("a.wav"), "moved too late");
    write(&watched.path("b.wav"), "away for a while");
    write(&watched.path("c.wav"), "found by nobody");
    let jobs = watched.jobs_become(3).await;
    watched.stop().await;
    fs::rename(watched.path("a.wav"), watched.path("a.1.wav")).unwrap();
    fs::remove_file(watched.path("c.wav")).unwrap();
    for job in &jobs {
        watched.is_missed_twice(job).await;
    }
    watched.start().await;
    let mut heard: Vec<_> = watched.jobs_become(5).await.split_off(3);
    heard.sort_by_key(origin);
    assert_eq!(origin(&heard[0]), watched.path("a.1.wav"));
    assert_eq!(origin(&heard[1]), watched.path("b.wav"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_gone_is_forgotten_and_one_that_is_put_there_later_is_new() {
    let watched = Watched::started(|config| config.rescan = Some(Duration::from_millis(200))).await;
    write(&watched.path("a.wav"), "a");
    watched.jobs_become(1).await;
    fs::remove_file(watched.path("a.wav")).unwrap();
    watched.becomes("SELECT count(*) FROM file WHERE path NOT LIKE '%/witness-%'", 0).await;
    write(&watched.path("a.wav"), "a");
    watched.jobs_become(2).await;
}
