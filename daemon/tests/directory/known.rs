//! A known file stays known when it is copied with its times, renamed, or given another inode.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use harkd::config::Existing;

use super::watched::{BEFORE, SETTLE, Watched, write};

/// Copies as `cp -a` does: other inodes, the same names, sizes and times.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
            let time = fs::metadata(&from).unwrap().modified().unwrap();
            File::options().write(true).open(&to).unwrap().set_modified(time).unwrap();
        }
    }
}

/// A stopped source that has skipped `0.wav`, `1.wav`, `deep/0.wav`, … and has jobs for `new.wav` and `deep/new.wav`.
async fn skipped_and_heard() -> Watched {
    let mut watched = Watched::new(|_| {});
    for number in 0..20 {
        write(&watched.path(&format!("{number}.wav")), &format!("old {number}"));
        write(&watched.path(&format!("deep/{number}.wav")), &format!("old and deep {number}"));
    }
    tokio::time::sleep(BEFORE).await;
    watched.start().await;
    write(&watched.path("new.wav"), "new");
    write(&watched.path("deep/new.wav"), "new and deep");
    watched.jobs_become(2).await;
    watched.stop().await;
    watched
}

/// Asserts that known files get no job, and that a fresh recording gets one.
async fn only_fresh_files_get_jobs(watched: &mut Watched) {
    watched.start().await;
    watched.jobs_become(2).await;
    for job in watched.jobs().await {
        assert!(harkd::job::audio::open(&job, watched.disk.path()).is_ok(), "{}", job.recording.uri);
    }
    write(&watched.path("fresh.wav"), "fresh");
    watched.jobs_become(3).await;
    watched.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_was_copied_with_its_times_has_the_same_recordings() {
    for folder in ["", "deep"] {
        let mut watched = skipped_and_heard().await;
        let aside = watched.disk.path().join("aside");
        fs::rename(watched.path(folder), &aside).unwrap();
        copy(&aside, &watched.path(folder));
        only_fresh_files_get_jobs(&mut watched).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filesystem_that_numbers_its_files_anew_has_the_same_recordings() {
    for renumber in [
        "UPDATE file SET inode = inode + 1000000",
        "UPDATE file SET dev = dev + 1, inode = inode + 1",
        "UPDATE file SET inode = (SELECT inode FROM file AS other WHERE other.id > file.id ORDER BY id LIMIT 1) \
         WHERE id < (SELECT max(id) FROM file)",
        // The folder itself has another device number too.
        "UPDATE file SET dev = dev + 1, inode = inode + 1; UPDATE source SET dev = dev + 1 WHERE dev <> 0",
    ] {
        let mut watched = skipped_and_heard().await;
        watched.ledger.write(move |connection| Ok(connection.execute_batch(renumber)?)).await.unwrap();
        only_fresh_files_get_jobs(&mut watched).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_file_that_came_while_the_numbers_changed_gets_a_job() {
    let mut watched = skipped_and_heard().await;
    // Some filesystems without inodes report the modification time for every time of a file. A start in the future has the same effect:
    // every time is before it.
    let renumber = "UPDATE file SET dev = dev + 1; UPDATE source SET dev = dev + 1 WHERE dev <> 0; \
                    UPDATE source SET since = since + 3600000000000";
    watched.ledger.write(move |connection| Ok(connection.execute_batch(renumber)?)).await.unwrap();
    write(&watched.path("meanwhile.wav"), "meanwhile");
    watched.start().await;
    watched.jobs_become(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_files_under_a_new_name_stay_skipped_and_so_do_second_names() {
    let mut watched = skipped_and_heard().await;
    fs::rename(watched.path("0.wav"), watched.path("deep/moved.wav")).unwrap();
    fs::hard_link(watched.path("1.wav"), watched.path("linked.wav")).unwrap();
    fs::hard_link(watched.path("new.wav"), watched.path("heard.wav")).unwrap();
    only_fresh_files_get_jobs(&mut watched).await;
    // After this, the second name is the only name of the file.
    fs::remove_file(watched.path("1.wav")).unwrap();
    watched.start().await;
    watched.becomes("SELECT count(*) FROM file WHERE path LIKE '%/linked.wav'", 1).await;
    watched.jobs_become(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_was_removed_and_put_there_again_is_a_new_one_under_any_name() {
    // Long scan interval: the new file must be found by its event, because a full scan would forget the removed file in any case.
    let watched = Watched::started(|config| config.rescan = Some(Duration::from_secs(3_600))).await;
    write(&watched.path("a.wav"), "said once");
    watched.jobs_become(1).await;
    for (jobs, name) in (2..).zip(["a.wav", "b.wav", "deep/c.wav"]) {
        for name in ["a.wav", "b.wav"] {
            if watched.path(name).exists() {
                fs::remove_file(watched.path(name)).unwrap();
            }
        }
        // Wait as a person would; the event of the witness file comes after the event of the removal.
        watched.after_a_while().await;
        write(&watched.path(name), "said once");
        watched.jobs_become(jobs).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_by_copy_and_removal_makes_no_job_however_often_it_is_scanned_in_between() {
    let watched = Watched::started(|config| config.rescan = Some(Duration::from_millis(20))).await;
    write(&watched.path("a.wav"), "moved to another disk");
    watched.jobs_become(1).await;
    // As `mv` to another filesystem does: the copy grows, then the original is removed, then the copy settles.
    fs::write(watched.path("b.wav"), "moved to").unwrap();
    tokio::time::sleep(SETTLE / 3).await;
    fs::write(watched.path("b.wav"), "moved to another disk").unwrap();
    fs::remove_file(watched.path("a.wav")).unwrap();
    watched.becomes("SELECT count(*) FROM file WHERE path LIKE '%/b.wav'", 1).await;
    watched.jobs_become(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_skipped_file_gets_a_job_when_its_size_or_a_second_time_its_bytes_change() {
    let mut watched = Watched::new(|_| {});
    for name in ["touched.wav", "written.wav", "replaced.wav", "longer.wav"] {
        write(&watched.path(name), "there before");
    }
    tokio::time::sleep(BEFORE).await;
    watched.start().await;
    watched.becomes("SELECT count(*) FROM file", 4).await;
    let hashed = "SELECT count(*) FROM file WHERE job IS NULL AND sha256 IS NOT NULL";
    File::options()
        .write(true)
        .open(watched.path("touched.wav"))
        .unwrap()
        .set_modified(std::time::UNIX_EPOCH)
        .unwrap();
    write(&watched.path("written.wav"), "THERE BEFORE");
    fs::write(watched.path(".new"), "There before").unwrap();
    fs::rename(watched.path(".new"), watched.path("replaced.wav")).unwrap();
    write(&watched.path("longer.wav"), "not there before");
    watched.becomes(hashed, 3).await;
    let jobs = watched.jobs_become(1).await;
    assert_eq!(jobs[0].recording.name.as_deref(), Some("longer.wav"));

    let hour = std::time::UNIX_EPOCH + Duration::from_secs(3_600);
    File::options().write(true).open(watched.path("touched.wav")).unwrap().set_modified(hour).unwrap();
    write(&watched.path("written.wav"), "other bytes!");
    let jobs = watched.jobs_become(2).await;
    assert_eq!(jobs[1].recording.name.as_deref(), Some("written.wav"));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_a_folder_that_takes_the_place_of_an_empty_one_count_as_existing() {
    for (existing, jobs) in [(Existing::Skip, 1), (Existing::Process, 11)] {
        let mut watched = Watched::new(|config| {
            config.existing = existing;
            config.rescan = Some(Duration::from_millis(200));
        });
        let disk = watched.disk.path().join("a disk");
        for number in 0..10 {
            write(&disk.join(format!("{number}.wav")), &number.to_string());
        }
        tokio::time::sleep(BEFORE).await;
        watched.start().await;
        watched.becomes("SELECT count(*) FROM source WHERE scanned = 1", 1).await;
        fs::rename(&disk, watched.path("")).unwrap();
        write(&watched.path("new.wav"), "new");
        watched.jobs_become(jobs).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_moved_into_the_watched_one_is_taken_in_however_old_its_files_are() {
    let watched = Watched::new(|_| {});
    let batch = watched.disk.path().join("batch");
    write(&batch.join("a.wav"), "a");
    write(&batch.join("b.wav"), "b");
    tokio::time::sleep(BEFORE).await;
    let mut watched = watched;
    watched.start().await;
    watched.becomes("SELECT count(*) FROM source WHERE scanned = 1", 1).await;
    fs::rename(&batch, watched.path("batch")).unwrap();
    watched.jobs_become(2).await;
}

#[tokio::test]
async fn known_files_are_paged_by_an_index_and_not_sorted() {
    let watched = Watched::new(|_| {});
    let plan = |connection: &rusqlite::Connection| {
        let mut statement = connection.prepare(
            "EXPLAIN QUERY PLAN SELECT id FROM file WHERE source = 'a' AND (path, id) > (x'00', 1) ORDER BY path, id LIMIT 9",
        )?;
        let lines = statement.query_map([], |row| row.get::<_, String>(3))?.collect::<Result<Vec<_>, _>>()?;
        Ok(lines.join("; "))
    };
    let plan = watched.ledger.read(plan).await.unwrap();
    assert!(plan.contains("file_by_path") && !plan.contains("B-TREE"), "{plan}");
}
