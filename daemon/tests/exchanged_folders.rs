//! A user who may write to a watched folder repeatedly exchanges a folder below it with a link to a folder outside, while the daemon scans,
//! reads, moves and deletes: no file outside is recognized, moved or deleted.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::{CEILING, Emulator, Hark, NatsServer, sha256, wait_until, wav};
use rustix::fs::{CWD, RenameFlags, renameat_with};

const FILES: u64 = 60;
const FOLDERS: [&str; 2] = ["moved", "deleted"];

/// A thread that exchanges pairs of paths until it is stopped; an even number of exchanges, so that the paths are as at the start.
struct Exchange {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Exchange {
    fn start(pairs: Vec<[PathBuf; 2]>) -> Exchange {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut rounds = 0;
            while !stopped.load(Ordering::Relaxed) {
                for _ in 0..2 {
                    for [one, other] in &pairs {
                        renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
                    }
                    // Long enough for a few system calls of the daemon, too short for many.
                    std::thread::sleep(Duration::from_micros(20));
                }
                rounds += 1;
            }
            rounds
        });
        Exchange { stop, thread }
    }

    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Writes recordings into a folder; only their bytes depend on the seed, not names, sizes and times. Returns their hashes.
fn recordings(folder: &Path, seed: u64) -> HashSet<String> {
    std::fs::create_dir_all(folder).unwrap();
    let write = |number| {
        let audio = wav(0.5, seed + number);
        let path = folder.join(format!("{number}.wav"));
        std::fs::write(&path, &audio).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        sha256(&audio)
    };
    (0..FILES).map(write).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_outside_a_watched_folder_is_recognized_moved_or_deleted() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "1ms"]).await;
    let setup = Hark::new().nats(&nats).asr(&service).set("log.level", "\"warn\"");
    let done = format!("done_directory = '{}'", setup.path("done").display());
    let setup = setup
        .folder_with("moved", &format!("rescan = \"1s\"\nwhen_done = \"move\"\n{done}\n"))
        .folder_with("deleted", "rescan = \"1s\"\nwhen_done = \"delete\"\n");

    let mut hark = setup.start().await;
    let (mut within, mut outside, mut pairs) = (HashSet::new(), HashSet::new(), Vec::new());
    for (at, folder) in (0..).zip(FOLDERS) {
        let out = hark.path(&format!("outside-{folder}"));
        outside.extend(recordings(&out, 10_000 * (2 * at + 1)));
        // The name is hidden: the daemon does not enter the folder under this name.
        let link = hark.path(folder).join(".link");
        std::os::unix::fs::symlink(&out, &link).unwrap();
        within.extend(recordings(&hark.path(folder).join("deep"), 10_000 * (2 * at + 2)));
        pairs.push([hark.path(folder).join("deep"), link]);
    }
    let exchange = Exchange::start(pairs);
    // Some jobs fail because their file is at the other path at that moment; a later scan finds those files again.
    hark.ended_jobs(within.len()).await;
    let rounds = exchange.stop();
    assert!(rounds > 1_000, "{rounds} rounds");

    wait_until("every recording inside to be recognized and put away", 2 * CEILING, async || {
        let mut completed = HashSet::new();
        for event in hark.events().await {
            let sha256 = event.body["recording"]["sha256"].as_str().unwrap_or_default().to_owned();
            assert!(!outside.contains(&sha256), "a file outside is recognized: {}", event.body);
            if event.kind() == "job.completed" {
                completed.insert(sha256);
            }
        }
        let is_empty =
            |folder: &str| std::fs::read_dir(hark.path(folder).join("deep")).unwrap().next().is_none();
        within.is_subset(&completed) && FOLDERS.into_iter().all(is_empty)
    })
    .await;
    for folder in FOLDERS {
        let left = std::fs::read_dir(hark.path(&format!("outside-{folder}"))).unwrap().count();
        assert_eq!(left as u64, FILES, "outside of {folder}");
    }
    let moved: HashSet<String> = std::fs::read_dir(hark.path("done/deep"))
        .unwrap()
        .map(|entry| sha256(&std::fs::read(entry.unwrap().path()).unwrap()))
        .collect();
    assert!(moved.is_disjoint(&outside));
}
