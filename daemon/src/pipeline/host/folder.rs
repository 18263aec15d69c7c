//! A plugin's own folder, which lies on the ledger's disk: its size limit, and what becomes of a plugin that is over the limit.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::task::spawn_blocking;
use tokio::time::sleep;
use uuid::Uuid;

use super::{FILE_CHECK_INTERVAL, Supervisor};
use crate::os;
use crate::os::usage::{self, Entry};

/// Filesystems take file times from a coarse clock, which may be behind by this much.
const TICK: Duration = Duration::from_millis(10);
/// Pause between two measurements, as a multiple of the last one's duration: a folder of many files takes long to measure.
const PAUSE_FACTOR: u32 = 20;

/// The folder of one plugin.
#[derive(Debug, Clone)]
pub(super) struct OwnFolder {
    path: PathBuf,
    memory_limit: u64,
    /// Entries changed before this time are not removed: seconds and nanoseconds.
    since: (i64, i64),
}

impl OwnFolder {
    /// Entries that are written from now on may be removed by [`Self::cut_back`].
    pub(super) fn new(path: &Path, memory_limit: u64) -> OwnFolder {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(TICK);
        let since = (i64::try_from(now.as_secs()).unwrap_or(i64::MAX), i64::from(now.subsec_nanos()));
        OwnFolder { path: path.to_owned(), memory_limit, since }
    }

    /// Measures the folder again and again until it holds too much.
    pub(super) async fn until_overfull(self) {
        let mut pause = FILE_CHECK_INTERVAL;
        loop {
            sleep(pause).await;
            let (folder, began) = (self.clone(), Instant::now());
            // A measurement that panicked counts as not over the limit.
            if spawn_blocking(move || folder.is_over()).await.unwrap_or_default() {
                return;
            }
            pause = (began.elapsed() * PAUSE_FACTOR).max(FILE_CHECK_INTERVAL);
        }
    }

    /// Bytes that the plugin may keep: `memory_limit`, but at most an eighth of the disk, where the ledger has to grow.
    fn most(&self) -> u64 {
        // If the disk cannot be queried, the folder does not exist and holds nothing.
        os::limits::eighth_of_disk(&self.path)
            .map_or(self.memory_limit, |eighth| eighth.min(self.memory_limit))
    }

    /// Whether the folder holds more than [`Self::most`], or folders too deep to be measured. Blocking.
    fn is_over(&self) -> bool {
        let most = self.most();
        let mut held = 0;
        usage::below(&self.path).any(|entry| {
            held += entry.bytes;
            held > most || entry.is_too_deep
        })
    }

    /// Moves entries that lie too deep to be measured into the plugin's own folder, so that [`Self::cut_back`] can remove them. Entries from
    /// before this daemon started stay where they are.
    fn move_up_too_deep_entries(&self) {
        loop {
            let deep = usage::below(&self.path).filter(|it| it.is_too_deep && it.changed >= self.since);
            let deep: Vec<PathBuf> = deep.map(|entry| entry.path).collect();
            let raise = |path: &PathBuf| std::fs::rename(path, self.path.join(Uuid::now_v7().to_string()));
            // An entry that cannot be moved stays, and so the next measurement quarantines the plugin again.
            if deep.iter().map(raise).filter(Result::is_ok).count() == 0 {
                return;
            }
        }
    }

    /// Removes the newest entries, but none from before this daemon started, until the folder is within its limit. Returns the number of
    /// bytes removed. Blocking; the plugin's process must have ended.
    fn cut_back(&self) -> u64 {
        self.move_up_too_deep_entries();
        let most = self.most();
        let entries: Vec<Entry> = usage::below(&self.path).collect();
        let mut held: u64 = entries.iter().map(|entry| entry.bytes).sum();
        let before = held;
        // Only an empty folder can be removed. The list names a folder before its content, so the folders are removed last, in reverse.
        let (folders, mut files): (Vec<_>, Vec<_>) = entries
            .into_iter()
            .filter(|entry| entry.changed >= self.since)
            .partition(|entry| entry.is_folder);
        files.sort_by_key(|entry| std::cmp::Reverse(entry.changed));
        for entry in files.iter().chain(folders.iter().rev()) {
            if held <= most {
                break;
            }
            let removed = match entry.is_folder {
                true => std::fs::remove_dir(&entry.path),
                false => std::fs::remove_file(&entry.path),
            };
            // A folder that holds older files cannot be removed and stays; the caller logs the number of bytes removed.
            if removed.is_ok() {
                held -= entry.bytes;
            }
        }
        before - held
    }
}

impl Supervisor {
    /// Quarantines the plugin at the first time, without counting strikes: a full disk under the ledger stops the daemon and all plugins.
    pub(super) async fn over_its_folder(&mut self) {
        for mut process in [self.process.take(), self.successor.take()].into_iter().flatten() {
            process.kill().await;
        }
        let folder = self.folder.clone();
        let path = folder.path.display().to_string();
        self.count("folder");
        self.quarantine(format!(
            "its folder {path} held more than {} bytes (`memory_limit`, and at most an eighth of the disk), or folders too deep to be measured; \
             its newest files were removed; have it keep less there, or raise `memory_limit`",
            folder.most()
        ));
        let removed_bytes = spawn_blocking(move || folder.cut_back()).await.unwrap_or_default();
        if removed_bytes > 0 {
            tracing::warn!(plugin = %self.name, folder = path, removed_bytes, "the newest files of the plugin's own folder were removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn write(folder: &Path, name: &str, bytes: usize) {
        std::fs::write(folder.join(name), vec![1; bytes]).unwrap();
    }

    #[test]
    fn what_was_written_last_goes_until_the_rest_fits() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "model", 600_000);
        let own = loop {
            let own = OwnFolder::new(folder.path(), 1 << 20);
            let model = usage::below(folder.path()).next().unwrap();
            // Filesystem clocks are coarse: repeat until the file is older than `since`.
            if own.since > model.changed {
                break own;
            }
        };
        assert!(!own.is_over());
        std::fs::create_dir(folder.path().join("notes")).unwrap();
        for number in 0..100 {
            write(folder.path(), &format!("notes/{number:02}"), 10_000);
        }
        assert!(own.is_over());
        assert!(own.cut_back() > 500_000);
        assert!(!own.is_over());
        assert!(folder.path().join("model").exists(), "it was there before");

        write(folder.path(), "model", 2_000_000);
        let later = OwnFolder { since: (i64::MAX, 0), ..own.clone() };
        assert!(later.is_over());
        assert_eq!(later.cut_back(), 0, "what a plugin had before the daemon began is its own");
    }

    #[test]
    fn what_lies_too_deep_to_be_measured_goes() {
        let folder = tempfile::tempdir().unwrap();
        let own = OwnFolder { since: (0, 0), ..OwnFolder::new(folder.path(), 1 << 20) };
        let deep: PathBuf = std::iter::repeat_n("d".repeat(200), 60).collect();
        let deepest = os::Folder::open(folder.path()).unwrap().make(&deep).unwrap();
        let name = std::ffi::OsStr::new("hidden");
        deepest.entry(name).create().unwrap().write_all(&vec![1; 2_000_000]).unwrap();
        assert!(own.is_over());
        assert!(own.cut_back() > 1_000_000);
        assert!(!own.is_over());
    }

    #[test]
    fn files_without_content_and_folders_count() {
        let folder = tempfile::tempdir().unwrap();
        let own = OwnFolder::new(folder.path(), 1 << 20);
        for number in 0..300 {
            match number % 2 {
                0 => write(folder.path(), &number.to_string(), 0),
                _ => std::fs::create_dir(folder.path().join(number.to_string())).unwrap(),
            }
        }
        assert!(own.is_over());
        let own = OwnFolder { since: (0, 0), ..own };
        own.cut_back();
        assert!(!own.is_over());
    }
}
