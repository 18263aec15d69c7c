//! Audio is parsed in child processes that may crash, hang and use up memory. The children are real (`harkd audio-worker`), and so are the
//! signals and limits that strike them.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::CEILING;
use hark_sdk::event::Blame;
use harkd::audio::{ProbeError, Workers};
use harkd::telemetry::metrics::Metrics;
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::{Mutex, MutexGuard};

mod cut_off;
mod formats;
mod long;
mod outside;

#[tokio::test]
async fn a_thousand_files_at_once_are_all_answered_by_two_children() {
    let _alone = alone().await;
    let metrics = Metrics::new();
    let workers = Workers::start(harkd(), 2, metrics.clone());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("call.wav");
    std::fs::write(&path, wav(8_000)).unwrap();
    let probes = (0..1_000).map(|_| {
        let (workers, file) = (workers.clone(), File::open(&path).unwrap());
        tokio::spawn(async move { workers.probe(&file, Some("wav")).await })
    });
    for probe in probes.collect::<Vec<_>>() {
        let found = probe.await.unwrap().unwrap();
        assert_eq!((found.format.as_str(), found.duration_ms), ("wav", Some(500)));
    }
    assert_eq!(metrics.audio_worker_starts.get(), 2);
}

#[tokio::test]
async fn a_child_that_is_killed_is_replaced_and_its_file_tried_again() {
    let _alone = alone().await;
    let metrics = Metrics::new();
    let workers = Workers::start(harkd(), 1, metrics.clone());
    workers.probe(&fixture("call.flac"), None).await.unwrap();
    for _ in 0..20 {
        kill_process(child(), Signal::KILL).unwrap();
        workers.probe(&fixture("call.flac"), None).await.unwrap();
    }
    assert_eq!(metrics.audio_worker_starts.get(), 21);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_file_is_blamed_for_children_that_are_killed() {
    let _alone = alone().await;
    let workers = Workers::start(harkd(), 1, Metrics::new());
    let stop = std::sync::atomic::AtomicBool::new(false);
    let failed = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                for child in children() {
                    let _ = kill_process(child, Signal::KILL);
                }
            }
        });
        let failed = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                let mut failed = Vec::new();
                // On a busy machine the thread that kills may begin late.
                let ceiling = std::time::Instant::now() + CEILING;
                let mut probes = 0;
                while probes < 100 || failed.is_empty() && std::time::Instant::now() < ceiling {
                    failed.extend(workers.probe(&fixture("call.flac"), None).await.err());
                    probes += 1;
                }
                failed
            })
        });
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        failed
    });
    assert!(!failed.is_empty(), "no child was killed");
    assert!(failed.iter().all(|error| error.blame() == Blame::Hark), "{failed:?}");
}

#[tokio::test]
async fn a_child_that_is_stopped_is_replaced_and_its_file_is_parsed() {
    let _alone = alone().await;
    let workers = Workers::with_patience(harkd(), 1, Metrics::new(), Duration::from_millis(300));
    workers.probe(&fixture("cbr.mp3"), None).await.unwrap();
    kill_process(child(), Signal::STOP).unwrap();
    let (hung, next) = (fixture("cbr.mp3"), fixture("call.ogg"));
    let (hung, next) = tokio::join!(workers.probe(&hung, None), workers.probe(&next, None));
    assert_eq!(hung.unwrap().format, "mp3");
    assert_eq!(next.unwrap().format, "ogg");
}

#[tokio::test]
async fn a_file_that_claims_gigabytes_ends_at_most_its_child() {
    let _alone = alone().await;
    let metrics = Metrics::new();
    let workers = Workers::start(harkd(), 1, metrics.clone());
    // 2 GB: the parser is refused the memory and reports the refusal. 80 MB: it reads the title, and aborts while it converts the title
    // to UTF-8, at both tries.
    let (endless, long) = (aiff_with_a_title_of(0x7fff_ff00), aiff_with_a_title_of(80 << 20));
    long.write_all_at(&vec![0xff; 80 << 20], 20).unwrap();
    let before = resident();
    for (file, how, children) in [(endless, "more memory", 1), (long, "signal: 6", 2)] {
        let error = workers.probe(&file, Some("aiff")).await.unwrap_err();
        assert_eq!((error.code(), error.blame()), ("ParserFailed", Blame::Audio), "{error}");
        assert!(error.to_string().contains(how), "{error}");
        assert_eq!(metrics.audio_worker_starts.get(), children);
    }
    assert!(resident() < before + (16 << 20), "we stay small");
    assert_eq!(workers.probe(&fixture("call.aiff"), None).await.unwrap().format, "aiff");
}

#[tokio::test]
async fn a_file_that_is_no_recording_has_its_own_error() {
    let _alone = alone().await;
    let workers = Workers::start(harkd(), 1, Metrics::new());
    let zeros = tempfile::tempfile().unwrap();
    zeros.set_len(10 << 30).unwrap();
    let begun = Instant::now();
    assert!(matches!(workers.probe(&zeros, Some("wav")).await, Err(ProbeError::NotAudio(_))));
    assert!(begun.elapsed() < Duration::from_secs(2), "without reading it: {:?}", begun.elapsed());
    let empty = tempfile::tempfile().unwrap();
    assert_eq!(workers.probe(&empty, None).await, Err(ProbeError::Empty));
    // A descriptor that cannot be read is not the fault of the audio.
    let unreadable = File::create(tempfile::tempdir().unwrap().path().join("call.wav")).unwrap();
    unreadable.set_len(100).unwrap();
    assert!(matches!(workers.probe(&unreadable, None).await, Err(ProbeError::Unreadable(_))));
    assert!(matches!(workers.probe(&File::open("/").unwrap(), None).await, Err(ProbeError::Unreadable(_))));
}

#[tokio::test]
async fn a_missing_executable_is_not_blamed_on_the_audio() {
    let workers = Workers::start(PathBuf::from("/nonexistent/harkd"), 1, Metrics::new());
    let error = workers.probe(&fixture("call.flac"), None).await.unwrap_err();
    assert_eq!((error.code(), error.blame()), ("NoAudioWorker", Blame::Hark));
    let workers = Workers::start(PathBuf::from("/bin/false"), 1, Metrics::new());
    let error = workers.probe(&fixture("call.flac"), None).await.unwrap_err();
    assert!(error.to_string().contains("exit status: 1"), "{error}");
}

#[tokio::test]
async fn nothing_is_left_behind() {
    let _alone = alone().await;
    // The thread that starts children and the descriptors that the runtime opens once remain; they belong to the first count.
    Workers::start(harkd(), 1, Metrics::new()).probe(&fixture("call.flac"), None).await.unwrap();
    until(|| children().is_empty()).await;
    let before = descriptors();
    {
        let workers = Workers::with_patience(harkd(), 2, Metrics::new(), Duration::from_millis(500));
        for round in 0..10 {
            workers.probe(&fixture("call.flac"), None).await.unwrap();
            // The caller drops the call before it is done.
            let file = fixture("cbr.mp3");
            let _ = tokio::time::timeout(Duration::from_micros(50 * round), workers.probe(&file, None)).await;
        }
        kill_process(child(), Signal::STOP).unwrap();
        let (one, other) = (fixture("call.ogg"), fixture("call.ogg"));
        let _ = tokio::join!(workers.probe(&one, None), workers.probe(&other, None));
    }
    until(|| children().is_empty() && descriptors() == before).await;
}

/// One test at a time: each counts the children and descriptors of the whole process.
async fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::const_new(());
    let guard = ALONE.lock().await;
    until(|| children().is_empty()).await;
    guard
}

async fn until(condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < end, "children {:?}, descriptors {}", children(), descriptors());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The worker processes that are children of this process, without zombies.
fn children() -> Vec<Pid> {
    named("hark-audio")
}

/// The children of this process with this name, without zombies.
fn named(wanted: &str) -> Vec<Pid> {
    let us = std::process::id().to_string();
    let numbers = Path::new("/proc").read_dir().unwrap().flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let ours = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let Some((name, rest)) = stat.rsplit_once(") ") else { return false };
        let words: Vec<&str> = rest.split(' ').collect();
        name.ends_with(&format!("({wanted}")) && words[0] != "Z" && words[1] == us
    };
    numbers.filter(ours).filter_map(Pid::from_raw).collect()
}

fn child() -> Pid {
    *children().first().expect("a worker is running")
}

fn descriptors() -> usize {
    Path::new("/proc/self/fd").read_dir().unwrap().count()
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    4096 * statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap()
}

fn harkd() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_harkd"))
}

fn fixture(name: &str) -> File {
    File::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/audio").join(name)).unwrap()
}

fn aiff_with_a_title_of(length: u32) -> File {
    let mut file = tempfile::tempfile().unwrap();
    let head = [b"FORM", &(length + 100).to_be_bytes()[..], b"AIFFNAME", &length.to_be_bytes()].concat();
    file.write_all(&head).unwrap();
    file.set_len(u64::from(length) + 100).unwrap();
    file
}

/// A WAV file of silence: 8 kHz, 16 bits, one channel.
fn wav(bytes: u32) -> Vec<u8> {
    let mut wav =
        b"RIFF\x00\x00\x00\x00WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data"
            .to_vec();
    wav.extend(bytes.to_le_bytes());
    wav.resize(wav.len() + bytes as usize, 0);
    wav
}

/// A measurement that asserts nothing: `cargo test --release --test stories audio_worker -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "prints figures"]
async fn figures() {
    let workers = Workers::start(harkd(), 2, Metrics::new());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("call.wav");
    std::fs::write(&path, wav(160_000)).unwrap();
    let long = folder.path().join("long.mp3");
    let frames = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/audio/cbr.mp3")).unwrap();
    std::fs::write(&long, frames.repeat(40_000)).unwrap();
    for (path, count) in [(&path, 20_000), (&long, 10)] {
        workers.probe(&File::open(path).unwrap(), None).await.unwrap();
        let (begun, cpu) = (Instant::now(), ticks());
        let probes = (0..count).map(|_| {
            let (workers, path) = (workers.clone(), path.clone());
            tokio::spawn(async move { workers.probe(&File::open(&path).unwrap(), None).await.unwrap() })
        });
        for probe in probes.collect::<Vec<_>>() {
            probe.await.unwrap();
        }
        let (wall, cpu) = (begun.elapsed().as_secs_f64(), (ticks() - cpu) as f64 / 100.0);
        println!(
            "{count} probes of {} bytes: {:.0} a second, {:.3} ms CPU each (both processes)",
            path.metadata().unwrap().len(),
            f64::from(count) / wall,
            cpu * 1000.0 / f64::from(count),
        );
    }
}

/// Processor time of this process and its workers, in hundredths of a second.
fn ticks() -> u64 {
    let of = |pid: String| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let words: Vec<&str> = stat.rsplit_once(") ").map_or(vec![], |(_, rest)| rest.split(' ').collect());
        let word = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        word(11) + word(12)
    };
    of("self".into()) + children().iter().map(|pid| of(pid.as_raw_nonzero().to_string())).sum::<u64>()
}
