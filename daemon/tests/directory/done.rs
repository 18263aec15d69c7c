//! What the source does with a file when its job is settled.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use harkd::config::WhenDone;

use super::watched::{Watched, write};
use crate::support::sha256;

/// Number of jobs whose file still has to be moved or deleted.
const OWED: &str = "SELECT count(*) FROM job WHERE duty = 'settle'";

#[tokio::test(flavor = "multi_thread")]
async fn a_settled_file_is_moved_without_overwriting_and_a_second_time_changes_nothing() {
    let watched = Watched::started(|config| {
        config.when_done = WhenDone::Move;
        config.done_directory = config.path.with_file_name("done");
        config.failed_directory = config.path.with_file_name("failed");
    })
    .await;
    let done = watched.disk.path().join("done");
    write(&done.join("deep/a.wav"), "another file");
    write(&watched.path("deep/a.wav"), "good");
    write(&watched.path("b.wav"), "bad");
    let jobs = watched.jobs_become(2).await;
    let directory = watched.directory();
    for job in &jobs {
        let failed = job.recording.name.as_deref() == Some("b.wav");
        directory.settle(job, failed).await.unwrap();
        directory.settle(job, failed).await.unwrap();
    }
    let good = jobs.iter().find(|job| job.recording.name.as_deref() == Some("a.wav")).unwrap();
    assert_eq!(fs::read_to_string(done.join("deep/a.wav")).unwrap(), "another file");
    assert_eq!(fs::read_to_string(done.join(format!("deep/a-{}.wav", good.id))).unwrap(), "good");
    assert_eq!(fs::read_to_string(watched.disk.path().join("failed/b.wav")).unwrap(), "bad");
    assert!(!watched.path("deep/a.wav").exists() && !watched.path("b.wav").exists());
    assert_eq!(watched.count("SELECT count(*) FROM file WHERE path NOT LIKE '%/witness-%'").await, 0);
    watched.jobs_become(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_moves_with_the_last_recording_of_its_base_name() {
    let other = tempfile::tempdir_in("/dev/shm").unwrap();
    let watched = Watched::started(|config| {
        config.when_done = WhenDone::Move;
        config.done_directory = other.path().join("done");
    })
    .await;
    // `late` was not there when its recording was read, `written` is another file by the time that its recording is settled.
    write(&watched.path("deep/call.json"), r#"{"agent": "Bob"}"#);
    write(&watched.path("written.json"), r#"{"agent": "Bob"}"#);
    write(&watched.path("broken.json"), "{");
    for name in ["deep/call.wav", "deep/call.mp3", "deep/call-2.wav", "written.wav", "broken.wav", "late.wav"]
    {
        write(&watched.path(name), name);
    }
    let jobs = watched.jobs_become(6).await;
    write(&watched.path("written.json"), r#"{"agent": "Eve, and more"}"#);
    write(&watched.path("late.json"), r#"{"agent": "Bob"}"#);
    let directory = watched.directory();
    let settle = async |name: &str| {
        let job = jobs.iter().find(|job| job.recording.name.as_deref() == Some(name)).unwrap();
        directory.settle(job, false).await.unwrap();
    };
    settle("call.wav").await;
    assert!(watched.path("deep/call.json").exists(), "call.mp3 has not ended");
    settle("call.mp3").await;
    assert_eq!(fs::read_to_string(other.path().join("done/deep/call.json")).unwrap(), r#"{"agent": "Bob"}"#);
    assert!(!watched.path("deep/call.json").exists() && watched.path("deep/call-2.wav").exists());
    for name in ["written.wav", "broken.wav", "late.wav"] {
        settle(name).await;
    }
    for name in ["written.json", "broken.json", "late.json"] {
        assert!(watched.path(name).exists(), "{name} was not read");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_whose_recording_was_moved_before_a_crash_follows_it() {
    let other = tempfile::tempdir().unwrap();
    let watched = Watched::started(|config| {
        config.when_done = WhenDone::Move;
        config.done_directory = other.path().to_owned();
    })
    .await;
    write(&watched.path("call.json"), "{}");
    write(&watched.path("call.wav"), "x");
    let jobs = watched.jobs_become(1).await;
    fs::rename(watched.path("call.wav"), other.path().join("call.wav")).unwrap();
    watched.directory().settle(&jobs[0], false).await.unwrap();
    assert!(!watched.path("call.json").exists() && other.path().join("call.json").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_stays_whose_recording_a_person_took_away() {
    let watched = Watched::started(|config| config.when_done = WhenDone::Delete).await;
    write(&watched.path("call.json"), "{}");
    write(&watched.path("call.wav"), "x");
    let jobs = watched.jobs_become(1).await;
    fs::remove_file(watched.path("call.wav")).unwrap();
    watched.directory().settle(&jobs[0], false).await.unwrap();
    assert!(watched.path("call.json").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settled_file_is_moved_to_another_filesystem() {
    let other = tempfile::tempdir_in("/dev/shm").unwrap();
    let watched = Watched::started(|config| {
        config.when_done = WhenDone::Move;
        config.done_directory = other.path().join("done");
    })
    .await;
    write(&watched.path("a.wav"), "far away");
    let jobs = watched.jobs_become(1).await;
    let directory = watched.directory();
    directory.settle(&jobs[0], false).await.unwrap();
    assert_eq!(fs::read_to_string(other.path().join("done/a.wav")).unwrap(), "far away");
    assert_eq!(fs::read_dir(other.path().join("done")).unwrap().count(), 1, "nothing unfinished is left");
    assert!(!watched.path("a.wav").exists());
    // Another recording with the same name and bytes: its copy must not be the copy of the first recording.
    write(&watched.path("a.wav"), "far away");
    let jobs = watched.jobs_become(2).await;
    directory.settle(&jobs[1], false).await.unwrap();
    let copy = other.path().join(format!("done/a-{}.wav", jobs[1].id));
    assert_eq!(fs::read_to_string(copy).unwrap(), "far away");
    assert!(!watched.path("a.wav").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_touched_or_moved_just_before_it_is_settled_is_not_paid_for_again() {
    let mut watched = Watched::started(|config| config.when_done = WhenDone::Delete).await;
    write(&watched.path("touched.wav"), "touched");
    write(&watched.path("moved.wav"), "moved");
    let jobs = watched.jobs_become(2).await;
    let directory = watched.directory();
    watched.stop().await;
    let file = File::options().write(true).open(watched.path("touched.wav")).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    drop(file);
    fs::rename(watched.path("moved.wav"), watched.path("moved-away.wav")).unwrap();
    for job in &jobs {
        directory.settle(job, false).await.unwrap();
    }
    assert!(!watched.path("touched.wav").exists(), "it is what was recognized");
    watched.start().await;
    watched.jobs_become(2).await;
    assert!(watched.path("moved-away.wav").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_recognized_files_are_deleted_and_no_failed_ones() {
    let watched = Watched::started(|config| config.when_done = WhenDone::Delete).await;
    write(&watched.path("a.wav"), "done with");
    write(&watched.path("b.wav"), "failed");
    write(&watched.path("c.wav"), "replaced");
    let jobs = watched.jobs_become(3).await;
    watched.running.as_ref().unwrap().stop.cancel();
    write(&watched.path("c.wav"), "not heard yet");
    let directory = watched.directory();
    for job in &jobs {
        directory.settle(job, job.recording.name.as_deref() == Some("b.wav")).await.unwrap();
    }
    assert!(!watched.path("a.wav").exists());
    assert_eq!(fs::read_to_string(watched.path("b.wav")).unwrap(), "failed");
    assert_eq!(fs::read_to_string(watched.path("c.wav")).unwrap(), "not heard yet");
}

/// Every file in a folder and below, with its text.
fn texts(folder: &Path) -> BTreeMap<String, String> {
    let Ok(entries) = fs::read_dir(folder) else { return BTreeMap::new() };
    let paths = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    paths.map(|path| (name(&path), fs::read_to_string(&path).unwrap())).collect()
}

fn of<const N: usize>(texts: [(&str, &str); N]) -> BTreeMap<String, String> {
    texts.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect()
}

/// A file that is not at its path when its job is settled is put away when it is found again: by the running daemon, or after a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_renamed_just_before_it_is_settled_is_put_away_when_it_is_found() {
    for (when_done, is_restarted) in
        [(WhenDone::Delete, true), (WhenDone::Move, true), (WhenDone::Delete, false)]
    {
        let mut watched = Watched::started(|config| {
            config.when_done = when_done;
            config.done_directory = config.path.with_file_name("done");
        })
        .await;
        for (name, text) in
            [("a.wav", "renamed"), ("b.wav", "taken away"), ("c.wav", "twin"), ("d.wav", "twin")]
        {
            write(&watched.path(name), text);
        }
        write(&watched.path("latest.wav"), "rotated");
        watched.jobs_become(5).await;
        let directory = watched.directory();
        if is_restarted {
            watched.stop().await;
        }
        watched.last_events_are_stored().await;
        fs::rename(watched.path("a.wav"), watched.path("e.wav")).unwrap();
        fs::rename(watched.path("b.wav"), watched.disk.path().join("mine.wav")).unwrap();
        fs::rename(watched.path("c.wav"), watched.path("f.wav")).unwrap();
        fs::rename(watched.path("latest.wav"), watched.path("latest.1.wav")).unwrap();
        write(&watched.path("latest.wav"), "new");
        watched.settle(&directory).await;
        if is_restarted {
            assert_eq!(watched.count(OWED).await, 0);
            watched.start().await;
        }
        watched.becomes(OWED, 3).await;
        watched.settle(&watched.directory()).await;
        let jobs = watched.jobs_become(6).await;
        assert_eq!(jobs[5].recording.sha256, Some(sha256(b"new")));
        assert_eq!(watched.count(OWED).await, 0);

        let mut left = texts(&watched.path(""));
        left.retain(|name, _| !name.starts_with("witness"));
        assert_eq!(left, of([("latest.wav", "new")]));
        let mut done =
            of([("d.wav", "twin"), ("e.wav", "renamed"), ("f.wav", "twin"), ("latest.1.wav", "rotated")]);
        if when_done == WhenDone::Delete {
            done.clear();
        }
        assert_eq!(texts(&watched.disk.path().join("done")), done);
        assert_eq!(fs::read_to_string(watched.disk.path().join("mine.wav")).unwrap(), "taken away");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_absent_when_settled_is_put_away_when_it_is_back_and_no_other_file() {
    let mut watched = Watched::started(|config| config.when_done = WhenDone::Delete).await;
    let disk = watched.disk.path().to_owned();
    let away = |name: &str| disk.join(name);
    let [back, other, copy, failed] = ["back.wav", "other.wav", "copy.wav", "failed.wav"];
    for name in [back, other, copy, failed] {
        write(&watched.path(name), name);
    }
    let jobs = watched.jobs_become(4).await;
    for name in [back, other, copy, failed] {
        fs::rename(watched.path(name), away(name)).unwrap();
    }
    watched.last_events_are_stored().await;
    let failed_job = jobs.iter().find(|job| job.recording.name.as_deref() == Some(failed)).unwrap().id;
    let fails = move |connection: &rusqlite::Connection| {
        let sql = "UPDATE job SET about = json_set(about, '$.stage.failed', json('true')) WHERE id = ?1";
        Ok(connection.execute(sql, [failed_job])?)
    };
    watched.ledger.write(fails).await.unwrap();
    watched.settle(&watched.directory()).await;
    watched.stop().await;
    let paths = [back, other, copy, failed].map(|name| (away(name), watched.path(name)));
    let [back, other, copy, failed] = &paths;
    fs::rename(&back.0, &back.1).unwrap();
    fs::rename(&failed.0, &failed.1).unwrap();
    // By name, size and times this is the same file; its bytes differ.
    let time = fs::metadata(&other.0).unwrap().modified().unwrap();
    fs::write(&other.0, "OTHER.WAV").unwrap();
    File::options().write(true).open(&other.0).unwrap().set_modified(time).unwrap();
    fs::rename(&other.0, watched.path("other.1.wav")).unwrap();
    fs::copy(&copy.0, watched.path("copy.1.wav")).unwrap();

    watched.start().await;
    watched.becomes(OWED, 2).await;
    watched.settle(&watched.directory()).await;
    let jobs = watched.jobs_become(5).await;
    assert_eq!(jobs[4].recording.name.as_deref(), Some("copy.1.wav"), "the copy has a job");
    assert_eq!(watched.count(OWED).await, 0);
    let mut left = texts(&watched.path(""));
    left.retain(|name, _| !name.starts_with("witness"));
    let stays = [("copy.1.wav", "copy.wav"), ("failed.wav", "failed.wav"), ("other.1.wav", "OTHER.WAV")];
    assert_eq!(left, of(stays));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_kept_or_whose_job_is_forgotten_stays_under_whatever_name() {
    for when_done in [WhenDone::Keep, WhenDone::Delete] {
        let mut watched = Watched::started(|config| config.when_done = when_done).await;
        write(&watched.path("a.wav"), "a");
        watched.jobs_become(1).await;
        let directory = watched.directory();
        watched.stop().await;
        watched.last_events_are_stored().await;
        fs::rename(watched.path("a.wav"), watched.path("b.wav")).unwrap();
        watched.settle(&directory).await;
        if when_done == WhenDone::Delete {
            let forget = |connection: &rusqlite::Connection| Ok(connection.execute("DELETE FROM job", [])?);
            watched.ledger.write(forget).await.unwrap();
        }
        watched.start().await;
        watched.becomes("SELECT count(*) FROM file WHERE path LIKE '%/b.wav'", 1).await;
        watched.jobs_become(i64::from(when_done == WhenDone::Keep)).await;
        assert_eq!(watched.count(OWED).await, 0);
        assert!(watched.path("b.wav").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_renamed_while_it_cannot_be_put_away_is_not_paid_for_again() {
    let watched = Watched::started(|config| config.when_done = WhenDone::Delete).await;
    write(&watched.path("a.wav"), "renamed");
    watched.jobs_become(1).await;
    watched.last_events_are_stored().await;
    fs::rename(watched.path("a.wav"), watched.path("b.wav")).unwrap();
    watched.jobs_become(1).await;
    watched.settle(&watched.directory()).await;
    watched.becomes(OWED, 1).await;
    watched.settle(&watched.directory()).await;
    assert!(!watched.path("b.wav").exists());
    watched.jobs_become(1).await;
}
