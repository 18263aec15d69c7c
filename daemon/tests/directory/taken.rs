//! Which dropped files become jobs, and which are skipped.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use harkd::config::Existing;

use super::watched::{SETTLE, Watched, origin, write};
use crate::support::sha256;

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_file_becomes_one_job_that_says_what_it_is() {
    let watched = Watched::started(|_| {}).await;
    write(&watched.path("2026/a call+50%.WAV"), "RIFF one");
    let jobs = watched.jobs_become(1).await;
    let recording = &jobs[0].recording;
    assert_eq!(recording.name.as_deref(), Some("a call+50%.WAV"));
    assert_eq!(recording.bytes, Some(8));
    assert_eq!(recording.sha256.as_deref(), Some(sha256(b"RIFF one").as_str()));
    assert!(recording.uri.starts_with("file:///"), "{}", recording.uri);
    assert!(recording.uri.ends_with("/calls/2026/a%20call+50%25.WAV"), "{}", recording.uri);
    assert_eq!(recording.path_b64, None);
    assert_eq!(jobs[0].source, "calls");
    assert_eq!(
        watched.count("SELECT count(*) FROM event WHERE kind = 'job.accepted'").await,
        2,
        "with the witness'"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_no_recordings_are_skipped() {
    let mut watched = Watched::new(|_| {});
    fs::create_dir(watched.path("x.wav")).unwrap();
    write(&watched.path("x.wav/inside.wav"), "a folder may be called so");
    for name in [
        ".hidden.wav",
        ".tmp/a.wav",
        "a.wav.part",
        "b.tmp",
        "c.wav.filepart",
        "d.wav.crdownload",
        "e.wav~",
        "f.txt",
        "g.wav.tmp",
    ] {
        write(&watched.path(name), name);
    }
    write(&watched.path("empty.wav"), "");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        watched.path("fifo.wav"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let outside = watched.disk.path().join("outside");
    write(&outside.join("secret.wav"), "outside");
    std::os::unix::fs::symlink(&outside, watched.path("linked")).unwrap();
    std::os::unix::fs::symlink(outside.join("secret.wav"), watched.path("linked.wav")).unwrap();
    std::os::unix::fs::symlink(watched.path("x.wav/inside.wav"), watched.path("again.wav")).unwrap();
    watched.config.existing = Existing::Process;
    watched.start().await;
    let jobs = watched.jobs_become(1).await;
    assert!(jobs[0].recording.uri.ends_with("/x.wav/inside.wav"));
    watched.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_behind_a_link_in_the_place_of_a_folder_are_skipped() {
    let watched = Watched::started(|_| {}).await;
    write(&watched.path("deep/a.wav"), "inside");
    watched.jobs_become(1).await;
    let outside = watched.disk.path().join("outside");
    fs::rename(watched.path("deep"), &outside).unwrap();
    std::os::unix::fs::symlink(&outside, watched.path("deep")).unwrap();
    // The kernel still watches the moved folder, and reports its files under the old path.
    write(&outside.join("b.wav"), "outside");
    watched.jobs_become(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_recursion_only_the_folder_itself_counts() {
    let watched = Watched::started(|config| config.recursive = false).await;
    write(&watched.path("deep/a.wav"), "deep");
    write(&watched.path("b.wav"), "top");
    let jobs = watched.jobs_become(1).await;
    assert_eq!(jobs[0].recording.name.as_deref(), Some("b.wav"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_renamed_or_linked_into_the_folder_gets_a_job() {
    let watched = Watched::started(|_| {}).await;
    let outside = watched.disk.path().join("upload.wav");
    fs::write(&outside, "renamed").unwrap();
    fs::rename(&outside, watched.path("a.wav")).unwrap();
    fs::write(&outside, "linked").unwrap();
    fs::hard_link(&outside, watched.path("b.wav")).unwrap();
    fs::write(watched.path("c.wav.part"), "finished under its own name").unwrap();
    fs::rename(watched.path("c.wav.part"), watched.path("c.wav")).unwrap();
    let folder = watched.disk.path().join("batch");
    write(&folder.join("deep/d.wav"), "a folder at once");
    fs::rename(&folder, watched.path("batch")).unwrap();
    watched.jobs_become(4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_not_utf8_is_kept_as_bytes() {
    use base64::Engine;
    let watched = Watched::started(|_| {}).await;
    let path = watched.disk.path().join("calls").join(OsStr::from_bytes(b"gr\xfc\xdfe.wav"));
    fs::write(&path, "hello").unwrap();
    let jobs = watched.jobs_become(1).await;
    let recording = &jobs[0].recording;
    assert_eq!(recording.name.as_deref(), Some("gr\u{fffd}\u{fffd}e.wav"));
    assert!(recording.uri.ends_with("/gr%FC%DFe.wav"), "{}", recording.uri);
    let bytes =
        base64::engine::general_purpose::STANDARD.decode(recording.path_b64.as_ref().unwrap()).unwrap();
    assert_eq!(bytes, path.as_os_str().as_bytes());
    assert_eq!(origin(&jobs[0]), path);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_into_fresh_nested_folders_is_found_whole() {
    let watched = Watched::started(|_| {}).await;
    for number in 0..4_000 {
        let path = watched.path(&format!("{}/{}/{number}/call.wav", number % 7, number % 50));
        write(&path, &format!("call {number}"));
    }
    watched.jobs_become(4_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_a_folder_that_was_moved_or_created_again_is_found_by_its_event() {
    let watched = Watched::started(|config| config.rescan = Some(Duration::from_secs(3_600))).await;
    write(&watched.path("a/deep/1.wav"), "1");
    watched.jobs_become(1).await;
    fs::rename(watched.path("a"), watched.path("b")).unwrap();
    watched.becomes("SELECT count(*) FROM file WHERE path LIKE '%/b/deep/1.wav'", 1).await;
    write(&watched.path("b/deep/2.wav"), "2");
    watched.jobs_become(2).await;
    fs::remove_dir_all(watched.path("b/deep")).unwrap();
    write(&watched.path("b/deep/3.wav"), "3");
    watched.jobs_become(3).await;
    write(&watched.path("b/deep/4.wav"), "4");
    watched.jobs_become(4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_growing_file_waits_until_it_is_whole() {
    let watched = Watched::started(|_| {}).await;
    let mut whole = Vec::new();
    // The file is closed and opened again for each part: only the `settle` time shows that it is finished.
    for part in 0..12 {
        let mut file = OpenOptions::new().create(true).append(true).open(watched.path("a.wav")).unwrap();
        let text = format!("part {part};");
        file.write_all(text.as_bytes()).unwrap();
        whole.extend_from_slice(text.as_bytes());
        drop(file);
        tokio::time::sleep(SETTLE / 3).await;
    }
    let jobs = watched.jobs_become(1).await;
    assert_eq!(jobs[0].recording.sha256, Some(sha256(&whole)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_open_for_writing_waits_however_long_it_stands_still() {
    let watched = Watched::started(|_| {}).await;
    let mut file = File::create(watched.path("a.wav")).unwrap();
    file.write_all(b"first half").unwrap();
    tokio::time::sleep(4 * SETTLE).await;
    watched.after_a_while().await;
    assert_eq!(watched.jobs().await.len(), 0, "it is still open");
    file.write_all(b", second half").unwrap();
    drop(file);
    let jobs = watched.jobs_become(1).await;
    assert_eq!(jobs[0].recording.sha256, Some(sha256(b"first half, second half")));
}
