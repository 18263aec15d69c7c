//! A real folder, a real ledger: what becomes a job, and what does not.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "an unwrap here is an assertion of the test")]

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hark_sdk::event::{Blame, Fault};
use harkd::config::{DirectorySource, Existing, WhenDone};
use harkd::http::metrics::Metrics;
use harkd::job::audio::GONE;
use harkd::job::ledger::{Ledger, LedgerError};
use harkd::job::machine::{Fact, Policy};
use harkd::job::{Job, Origin};
use harkd::source::directory::Directory;
use rustix::thread::CapabilitySet;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const CEILING: Duration = Duration::from_secs(60);
const SETTLE: Duration = Duration::from_millis(300);

/// What counts as there before a start is older than this.
const BEFORE: Duration = Duration::from_millis(150);

/// A watched folder with its ledger, both gone with the test.
struct Watched {
    disk: TempDir,
    ledger: Ledger,
    config: DirectorySource,
    running: Option<Running>,
}

struct Running {
    directory: Arc<Directory>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), LedgerError>>,
}

impl Watched {
    fn new(change: impl FnOnce(&mut DirectorySource)) -> Watched {
        let disk = tempfile::tempdir().unwrap();
        let calls = disk.path().join("calls");
        fs::create_dir(&calls).unwrap();
        let mut config: DirectorySource =
            toml::from_str(&format!("name = \"calls\"\npath = {calls:?}\nsettle = \"300ms\"")).unwrap();
        change(&mut config);
        let ledger = Ledger::open(&disk.path().join("state")).unwrap();
        Watched { disk, ledger, config, running: None }
    }

    async fn started(change: impl FnOnce(&mut DirectorySource)) -> Watched {
        let mut watched = Watched::new(change);
        watched.start().await;
        watched
    }

    fn path(&self, name: &str) -> PathBuf {
        self.disk.path().join("calls").join(name)
    }

    /// Starts a source over the same ledger, and waits until it watches.
    async fn start(&mut self) {
        let mut state = self.launch();
        state.wait_for(Result::is_ok).await.unwrap();
    }

    fn launch(&mut self) -> watch::Receiver<Result<(), String>> {
        let directory =
            Arc::new(Directory::new(self.config.clone(), self.ledger.clone(), Metrics::new(), 0.0).unwrap());
        let (tell, state) = watch::channel(Err("starting".to_owned()));
        let stop = CancellationToken::new();
        let task = tokio::spawn({
            let (directory, stop) = (Arc::clone(&directory), stop.clone());
            async move { directory.run(tell, stop).await }
        });
        self.running = Some(Running { directory, stop, task });
        state
    }

    async fn stop(&mut self) {
        let running = self.running.take().unwrap();
        running.stop.cancel();
        running.task.await.unwrap().unwrap();
    }

    async fn jobs(&self) -> Vec<Job> {
        let read = |connection: &rusqlite::Connection| {
            let mut statement = connection.prepare("SELECT body FROM job ORDER BY id")?;
            let bodies = statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
            Ok(bodies)
        };
        let bodies = self.ledger.read(read).await.unwrap();
        bodies.iter().map(|body| serde_json::from_str(body).unwrap()).collect()
    }

    async fn count(&self, sql: &'static str) -> i64 {
        self.ledger
            .read(move |connection| Ok(connection.query_row(sql, [], |row| row.get(0))?))
            .await
            .unwrap()
    }

    /// Waits for so many jobs, and sees that no more come.
    async fn jobs_become(&self, number: i64) -> Vec<Job> {
        self.becomes("SELECT count(*) FROM job", number).await;
        self.after_a_while().await;
        let jobs = self.jobs().await;
        assert_eq!(
            jobs.len() as i64,
            number,
            "{:?}",
            jobs.iter().map(|job| &job.recording.uri).collect::<Vec<_>>()
        );
        jobs
    }

    async fn becomes(&self, sql: &'static str, number: i64) {
        let began = Instant::now();
        loop {
            let count = self.count(sql).await;
            if count == number {
                return;
            }
            assert!(began.elapsed() < CEILING, "{sql}: {count} and not {number} after {CEILING:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// As if the file had not been where the job looked for it, and was not there at the second look either.
    async fn is_missed_twice(&self, job: &Job) {
        let fault = Fault { code: GONE.into(), blame: Blame::Audio, message: "gone".into(), attempts: None };
        let policy = Policy { ambiguous_retries: 0, price: 0.0 };
        for _ in 0..2 {
            self.ledger.advance(job.id, Fact::Missing { fault: fault.clone() }, policy).await.unwrap();
        }
    }

    /// As if JetStream had acknowledged the last event of every job, and nothing were settled yet.
    async fn last_events_are_stored(&self) {
        let stored = "UPDATE job SET duty = 'settle', body = json_set(body, '$.state', \
                      json('{\"name\": \"stored\", \"failed\": false, \"bad_input\": false}'))";
        self.ledger.write(move |connection| Ok(connection.execute(stored, [])?)).await.unwrap();
    }

    /// Long enough for a hint, a settled file and a scan: a witness dropped now is heard, so anything older would have been.
    async fn after_a_while(&self) {
        let begun = self.count("SELECT count(*) FROM file WHERE path LIKE '%/witness-%'").await;
        let witness = self.path(&format!("witness-{begun}.wav"));
        fs::write(&witness, format!("witness {begun}")).unwrap();
        let began = Instant::now();
        while self.count("SELECT count(*) FROM file WHERE path LIKE '%/witness-%'").await == begun {
            assert!(began.elapsed() < CEILING, "the witness is not heard");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let gone = "DELETE FROM job WHERE json_extract(body, '$.recording.name') LIKE 'witness-%'";
        self.ledger.write(move |connection| Ok(connection.execute(gone, [])?)).await.unwrap();
    }
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Gives away what lets root read everything. Of this thread, and of those that it begins from now on.
fn obey_modes() {
    let mut sets = rustix::thread::capabilities(None).unwrap();
    sets.effective -= CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
    rustix::thread::set_capabilities(None, sets).unwrap();
}

fn chmod(folder: &Path, mode: u32) {
    fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
}

fn sha256(text: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn origin(job: &Job) -> &Path {
    match &job.origin {
        Origin::File { path, .. } => path,
        other => panic!("{other:?}"),
    }
}

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
        watched.count("SELECT count(*) FROM outbox WHERE kind = 'job.accepted'").await,
        2,
        "with the witness'"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_recording_is_passed_over() {
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
async fn what_is_written_behind_a_link_in_the_place_of_a_folder_is_passed_over() {
    let watched = Watched::started(|_| {}).await;
    write(&watched.path("deep/a.wav"), "inside");
    watched.jobs_become(1).await;
    let outside = watched.disk.path().join("outside");
    fs::rename(watched.path("deep"), &outside).unwrap();
    std::os::unix::fs::symlink(&outside, watched.path("deep")).unwrap();
    // The kernel still watches the folder, and tells of it under its old name.
    write(&outside.join("b.wav"), "outside");
    watched.jobs_become(1).await;
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
async fn without_recursion_only_the_folder_itself_counts() {
    let watched = Watched::started(|config| config.recursive = false).await;
    write(&watched.path("deep/a.wav"), "deep");
    write(&watched.path("b.wav"), "top");
    let jobs = watched.jobs_become(1).await;
    assert_eq!(jobs[0].recording.name.as_deref(), Some("b.wav"));
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
async fn a_growing_file_waits_until_it_is_whole() {
    let watched = Watched::started(|_| {}).await;
    let mut whole = Vec::new();
    // Closed and opened again for each part: only standing still tells that it is finished.
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

#[tokio::test(flavor = "multi_thread")]
async fn a_file_renamed_or_linked_into_the_folder_is_heard() {
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
async fn a_moved_file_is_the_same_recording_and_its_job_follows_it() {
    let watched = Watched::started(|_| {}).await;
    write(&watched.path("a.wav"), "moved about");
    watched.jobs_become(1).await;
    fs::create_dir(watched.path("archive")).unwrap();
    fs::rename(watched.path("a.wav"), watched.path("archive/b.wav")).unwrap();
    let jobs = watched.jobs_become(1).await;
    assert_eq!(origin(&jobs[0]), watched.path("archive/b.wav"));
    // By copy and removal, as between two disks: other inode, same bytes.
    fs::copy(watched.path("archive/b.wav"), watched.disk.path().join("copy")).unwrap();
    fs::remove_file(watched.path("archive/b.wav")).unwrap();
    fs::rename(watched.disk.path().join("copy"), watched.path("c.wav")).unwrap();
    let jobs = watched.jobs_become(1).await;
    assert_eq!(origin(&jobs[0]), watched.path("c.wav"));
}

/// As a move to this filesystem from another is: a copy, and the original goes.
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
    assert_eq!((jobs.len(), origin(&jobs[0])), (1, watched.path("b.wav").as_path()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_file_is_followed_while_others_may_not_come_in() {
    let watched = Watched::started(|_| {}).await;
    write(&watched.path("0.wav"), "moved about");
    watched.jobs_become(1).await;
    watched.ledger.admit(0);
    write(&watched.path("new.wav"), "before the door");
    // The scan comes to the new one meanwhile.
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
async fn an_equal_file_beside_one_that_is_just_being_put_away_is_heard() {
    let watched = Watched::started(|config| config.when_done = WhenDone::Delete).await;
    write(&watched.path("a.wav"), "said twice");
    write(&watched.path("c.wav"), "linked twice");
    watched.jobs_become(2).await;
    fs::hard_link(watched.path("c.wav"), watched.path(".d")).unwrap();
    // In the middle of settling: the files are deleted, their rows are not forgotten yet.
    watched.last_events_are_stored().await;
    fs::remove_file(watched.path("a.wav")).unwrap();
    fs::remove_file(watched.path("c.wav")).unwrap();
    write(&watched.path("b.wav"), "said twice");
    fs::rename(watched.path(".d"), watched.path("d.wav")).unwrap();
    let jobs = watched.jobs_become(4).await;
    let mut heard: Vec<_> = jobs.iter().filter_map(|job| job.recording.name.as_deref()).collect();
    heard.sort_unstable();
    assert_eq!(heard, ["a.wav", "b.wav", "c.wav", "d.wav"]);
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
async fn names_that_rotated_while_nobody_looked_cost_nothing_in_whatever_order_they_are_listed() {
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
    // What has stood still for that long is read at the first look.
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
    fs::hard_link(watched.path("a.wav"), watched.path("c.wav")).unwrap();
    watched.jobs_become(3).await;
    write(&watched.path("b.wav"), "other");
    let jobs = watched.jobs_become(4).await;
    assert_eq!(jobs[3].recording.sha256, Some(sha256(b"other")));
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
async fn a_file_whose_job_could_not_find_it_is_heard_when_it_is_found() {
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
    heard.sort_by_key(|job| origin(job).to_owned());
    assert_eq!(origin(&heard[0]), watched.path("a.1.wav"));
    assert_eq!(origin(&heard[1]), watched.path("b.wav"));
}

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
async fn files_of_before_the_first_start_stay_unheard_until_they_change() {
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
    write(&watched.path("old.wav"), "new");
    watched.jobs_become(3).await;
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
    // As if it had been killed before the scan was done: some rows, no end.
    let crash = "DELETE FROM file WHERE path LIKE '%3.wav'; UPDATE source SET scanned = 0;";
    watched.ledger.write(move |connection| Ok(connection.execute_batch(crash)?)).await.unwrap();
    write(&watched.path("new.wav"), "new");
    watched.start().await;
    let jobs = watched.jobs_become(1).await;
    assert_eq!(jobs[0].recording.name.as_deref(), Some("new.wav"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_does_not_exist_yet_is_waited_for() {
    let mut watched = Watched::new(|_| {});
    fs::remove_dir(watched.path("")).unwrap();
    let mut state = watched.launch();
    let waiting = state.wait_for(|state| state.as_ref().is_err_and(|reason| reason.contains("calls"))).await;
    waiting.unwrap();
    write(&watched.path("a.wav"), "came with the folder");
    state.wait_for(Result::is_ok).await.unwrap();
    watched.jobs_become(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_goes_away_and_comes_back_costs_nothing() {
    let mut watched = Watched::new(|config| config.rescan = Some(Duration::from_millis(200)));
    let mut state = watched.launch();
    state.wait_for(Result::is_ok).await.unwrap();
    write(&watched.path("deep/a.wav"), "a");
    watched.jobs_become(1).await;
    let aside = watched.disk.path().join("aside");
    fs::rename(watched.path(""), &aside).unwrap();
    state.wait_for(Result::is_err).await.unwrap();
    fs::rename(&aside, watched.path("")).unwrap();
    state.wait_for(Result::is_ok).await.unwrap();
    watched.jobs_become(1).await;
}

#[tokio::test]
async fn a_folder_that_may_not_be_read_is_said_and_heard_as_soon_as_it_may() {
    obey_modes();
    let mut watched = Watched::new(|config| config.rescan = Some(Duration::from_millis(200)));
    let calls = watched.path("");
    let mut state = watched.launch();
    // Neither listed nor searched, searched but not listed, listed but not searched.
    for (mode, jobs) in [(0o000, 1), (0o300, 2), (0o600, 3)] {
        state.wait_for(Result::is_ok).await.unwrap();
        chmod(&calls, mode);
        let reason = state.wait_for(Result::is_err).await.unwrap().clone().unwrap_err();
        for word in [calls.to_str().unwrap().trim_end_matches('/'), "Permission denied", "give harkd's user"]
        {
            assert!(reason.contains(word), "{mode:o}: {reason}");
        }
        chmod(&calls, 0o300);
        write(&watched.path(&format!("{mode:o}.wav")), &format!("came unseen at {mode:o}"));
        assert!(state.borrow().is_err());
        chmod(&calls, 0o700);
        state.wait_for(Result::is_ok).await.unwrap();
        watched.jobs_become(jobs).await;
    }
    watched.stop().await;
    chmod(&calls, 0o000);
    let mut state = watched.launch();
    let said =
        state.wait_for(|state| state.as_ref().is_err_and(|reason| reason.contains("give harkd's user")));
    said.await.unwrap();
    chmod(&calls, 0o700);
    state.wait_for(Result::is_ok).await.unwrap();
    watched.jobs_become(3).await;
}

#[tokio::test]
async fn a_folder_below_that_may_not_be_read_keeps_nobody_else_waiting() {
    obey_modes();
    let mut watched = Watched::new(|config| config.rescan = Some(Duration::from_millis(200)));
    write(&watched.path("shut/a.wav"), "behind a door");
    chmod(&watched.path("shut"), 0o000);
    watched.config.existing = Existing::Process;
    let mut state = watched.launch();
    state.wait_for(Result::is_ok).await.unwrap();
    write(&watched.path("b.wav"), "beside it");
    watched.jobs_become(1).await;
    assert!(!state.has_changed().unwrap(), "{:?}", state.borrow());
    chmod(&watched.path("shut"), 0o700);
    watched.jobs_become(2).await;
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
    let directory = Arc::clone(&watched.running.as_ref().unwrap().directory);
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
    let directory = Arc::clone(&watched.running.as_ref().unwrap().directory);
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
    let directory = Arc::clone(&watched.running.as_ref().unwrap().directory);
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
    let directory = Arc::clone(&watched.running.as_ref().unwrap().directory);
    for job in &jobs {
        directory.settle(job, job.recording.name.as_deref() == Some("b.wav")).await.unwrap();
    }
    assert!(!watched.path("a.wav").exists());
    assert_eq!(fs::read_to_string(watched.path("b.wav")).unwrap(), "failed");
    assert_eq!(fs::read_to_string(watched.path("c.wav")).unwrap(), "not heard yet");
}
