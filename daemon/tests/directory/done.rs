//! What becomes of a file when its job is settled.

use std::fs::{self, File};

use harkd::config::WhenDone;

use crate::watched::{Watched, write};

#[tokio::test(flavor = "multi_thread")]
async fn a_settled_file_is_moved_without_overwriting_and_a_second_time_changes_nothing() {
    let watched = Watched::started(|config| {
        config.when_done = WhenDone::Move;
        config.done_directory = config.path.with_file_name("done");
        config.failed_directory = config.path.with_file_name("failed");
    })
    .await;
    let done = watched.disk.path().join("done");
    write(&done.join("deep/a.wav"), "somebody else's");
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
    assert_eq!(fs::read_to_string(done.join("deep/a.wav")).unwrap(), "somebody else's");
    assert_eq!(fs::read_to_string(done.join(format!("deep/a-{}.wav", good.id))).unwrap(), "good");
    assert_eq!(fs::read_to_string(watched.disk.path().join("failed/b.wav")).unwrap(), "bad");
    assert!(!watched.path("deep/a.wav").exists() && !watched.path("b.wav").exists());
    assert_eq!(watched.count("SELECT count(*) FROM file WHERE path NOT LIKE '%/witness-%'").await, 0);
    watched.jobs_become(2).await;
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
    // Another call of the same name and bytes: its copy is not the first one's.
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
    assert!(!watched.path("touched.wav").exists(), "it is what was heard");
    watched.start().await;
    watched.jobs_become(2).await;
    assert!(watched.path("moved-away.wav").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_heard_is_deleted_and_nothing_that_failed() {
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
