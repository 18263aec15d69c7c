//! 100,000 files at once: the time until the ledger has them all, and the memory used.
//!
//! `cargo test --release -p harkd --test stories directory_burst -- --ignored --nocapture --test-threads 1`

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use harkd::config::DirectorySource;
use harkd::job::ledger::{Ledger, files};
use harkd::source::directory::Directory;
use harkd::telemetry::metrics::Metrics;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const FILES: u64 = 100_000;
const GOAL: Duration = Duration::from_secs(40);
const GOAL_KB: u64 = 50_000_000 / 1_024;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement of a minute; wants an idle machine and an optimized build"]
async fn takes_in_a_hundred_thousand_files_of_one_folder() {
    burst("flat", |calls, number| fs::write(calls.join(format!("{number}.wav")), number.to_string())).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement of a minute; wants an idle machine and an optimized build"]
async fn takes_in_a_hundred_thousand_files_in_as_many_fresh_folders() {
    burst("folders", |calls, number| {
        let folder = calls.join(format!("{}/{number}", number % 100));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("call.wav"), number.to_string())
    })
    .await;
}

async fn burst(name: &str, drop_file: impl Fn(&Path, u64) -> std::io::Result<()> + Send + 'static) {
    // As the daemon does.
    harkd::os::return_large_memory();
    let disk = tempfile::tempdir().unwrap();
    let calls = disk.path().join("calls");
    fs::create_dir(&calls).unwrap();
    let config: DirectorySource = toml::from_str(&format!("name = \"calls\"\npath = {calls:?}")).unwrap();
    let ledger = Ledger::open(&disk.path().join("state")).unwrap();
    let stop = CancellationToken::new();
    let start = |stop: CancellationToken| {
        let directory = Directory::new(config.clone(), ledger.clone(), Metrics::new(), 0.0).unwrap();
        let (tell, state) = watch::channel(Err("starting".to_owned()));
        (tokio::spawn(async move { directory.run(tell, stop).await }), state)
    };
    let (running, mut state) = start(stop.clone());
    state.wait_for(Result::is_ok).await.unwrap();

    let before = memory("VmRSS");
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let began = Instant::now();
    let folder = calls.clone();
    tokio::task::spawn_blocking(move || (0..FILES).for_each(|number| drop_file(&folder, number).unwrap()))
        .await
        .unwrap();
    let dropped = began.elapsed();
    let mut told = Instant::now();
    loop {
        let known = ledger.read(|connection| files::count(connection, "calls")).await.unwrap();
        if known == FILES {
            break;
        }
        if told.elapsed() > Duration::from_secs(5) {
            told = Instant::now();
            eprintln!("{name}: {known} after {:?}", began.elapsed());
        }
        assert!(began.elapsed() < 3 * GOAL, "{known} of {FILES}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // The time that the machine needs to create the files does not count.
    let found = began.elapsed() - dropped;
    let more = memory("VmHWM").saturating_sub(before);
    stop.cancel();
    running.await.unwrap().unwrap();

    // A start on the full ledger.
    let began = Instant::now();
    let stop = CancellationToken::new();
    let (running, mut state) = start(stop.clone());
    state.wait_for(Result::is_ok).await.unwrap();
    let ready = began.elapsed();
    stop.cancel();
    running.await.unwrap().unwrap();
    eprintln!(
        "{name}: dropped in {dropped:?}, found {found:?} later, {more} KiB more memory, ready again in {ready:?}"
    );
    assert!(found < GOAL, "{found:?}");
    assert!(more < GOAL_KB, "{more} KiB");
    assert!(ready < Duration::from_secs(2), "{ready:?}");
}

/// A field of `/proc/self/status`, in KiB.
fn memory(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
