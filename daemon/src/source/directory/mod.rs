//! A watched folder.
//!
//! Delivery promise: every file that has stood still becomes one job. The job and the file's row in the ledger are written in one
//! transaction, so a restart makes no second job. Events of the kernel are only hints where to look sooner (`watch`); the daemon decides by
//! the `scan`, compared with the ledger: at start, 200 ms after a hint, and every 30 s regardless (RELIABILITY 2).
//!
//! What is a recording: a regular file that `FileFilter` wants by its name, that is not empty, that has stood still for `settle`
//! (`settle`), and that no process has open for writing (`ready`). Symbolic links are never followed, neither to files nor to folders (a
//! link to a file of the folder is a second name of that file, and a link that leads out does not belong to the source); only the watched
//! folder itself may be a link. Hidden files and folders are ignored, and so are folders of NAS systems and desktops. Everything below the
//! watched folder is listed, opened, moved and deleted through descriptors ([`crate::os::beneath`]), so a link that replaces a folder
//! meanwhile is not followed.
//!
//! What is the same recording (`identity`, `intake`): a file with the same inode, size and mtime, under any name (a move, a second hard
//! link); a file with the same path, size and mtime (a copy of the folder, a filesystem that does not keep inodes); a file with the same
//! bytes at another path once the old path is empty (a move between filesystems), or at the same path (a `touch`, a copy over itself). A
//! copy beside the original is a new recording.

mod absent;
mod before;
mod complaints;
pub mod done;
mod file_filter;
mod identity;
mod intake;
mod kept;
mod looks;
mod moved;
pub mod not_put_away;
mod piece;
mod reading;
mod ready;
mod root;
mod scan;
pub mod settle;
pub mod walk;
mod watch;
mod wav_header;

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::Stat;
use tokio::sync::{self, Semaphore};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::file_filter::FileFilter;
use self::intake::Destination;
use self::not_put_away::SettleError;
use self::scan::{Scan, ScanError, Surroundings};
use self::watch::Watch;
use crate::config::{DirectorySource, WhenDone};
use crate::job::Job;
use crate::job::ledger::{Ledger, LedgerError};
use crate::telemetry::metrics::Metrics;

/// Time for the rest of a burst to arrive after its first hint.
const AFTER_HINT: Duration = Duration::from_millis(200);

/// The files of a burst become ready one after the other; those that become ready within this time are read and written into the ledger
/// together.
const GATHER: Duration = Duration::from_millis(100);

/// A full scan is followed by a pause twice as long as the scan, and no longer than this: a scan that also takes files in is as slow as
/// these.
const MOST_REST: Duration = Duration::from_secs(5);

/// Interval of full scans regardless of hints.
const RESCAN: Duration = Duration::from_secs(30);

/// Interval of full scans if some or all changes raise no hints.
const RESCAN_WITHOUT_HINTS: Duration = Duration::from_secs(10);

/// Pause before a folder that is absent, cannot be read, or had an error is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// How often an absent folder is logged, in pauses.
const ABSENT_MENTION: u32 = 60;

/// How many recordings of a folder are put away (moved or deleted) at the same time. If a file server does not answer, they hang, and the
/// daemon has only a limited number of such tasks for all sources together.
const PUTTING_AWAY: usize = 8;

/// How long a recording waits for its turn before it gives up its task to recordings of other sources.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why a source cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The path cannot be made absolute.
    #[error("path {path}: {error}; give an absolute path")]
    Path { path: PathBuf, error: std::io::Error },
    /// A glob of `include` or `exclude`.
    #[error("include or exclude: {0}")]
    Glob(#[from] globset::Error),
}

/// A folder as a source.
pub struct Directory {
    config: DirectorySource,
    file_filter: Arc<FileFilter>,
    ledger: Ledger,
    metrics: Metrics,
    price: f64,
    putting_away: Semaphore,
}

impl Directory {
    /// Makes the source without any file access that can block; [`Self::run`] waits for a folder that does not exist yet or cannot be read.
    /// `price`: USD per second of audio, for the log.
    ///
    /// # Errors
    /// A path or glob that cannot be used.
    pub fn new(
        config: DirectorySource,
        ledger: Ledger,
        metrics: Metrics,
        price: f64,
    ) -> Result<Directory, DirectoryError> {
        let root = std::path::absolute(&config.path)
            .map_err(|error| DirectoryError::Path { path: config.path.clone(), error })?;
        let file_filter = FileFilter::new(root, &config.include, &config.exclude, config.recursive)?;
        let putting_away = Semaphore::new(PUTTING_AWAY);
        // Created with 0: a counter that first appears with the value 1 shows no increase in a metrics system.
        metrics.source_not_put_away.with_label_values(&[&config.name]).inc_by(0);
        Ok(Directory { config, file_filter: Arc::new(file_filter), ledger, metrics, price, putting_away })
    }

    /// Watches and scans until `stop`. `watching` receives `Ok` as soon as the folder itself is watched, before the first scan, and `Err`
    /// with the reason whenever the folder is not watched.
    ///
    /// # Errors
    /// When the ledger is closed or damaged: a retry would not help.
    pub async fn run(
        &self,
        watching: sync::watch::Sender<Result<(), String>>,
        stop: CancellationToken,
    ) -> Result<(), LedgerError> {
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            error = self.watch(&watching, &stop) => Err(error),
        }
    }

    /// Keeps, moves or deletes a job's file as `when_done` configures, after the job's last event is stored. May be called again. `true`:
    /// the file was not at its path, but may be found under another name.
    ///
    /// # Errors
    /// When the file cannot be moved or deleted, or not yet; the file is where it was, and a retry may succeed.
    pub async fn settle(&self, job: &Job, failed: bool) -> Result<bool, SettleError> {
        let place = timeout(PATIENCE, self.putting_away.acquire()).await;
        let Ok(_place) = place else { return Err(SettleError::Waits) };
        let settled = done::settle(&self.config, &self.ledger, job, failed).await;
        if settled.is_err() {
            self.metrics.source_not_put_away.with_label_values(&[&self.config.name]).inc();
        }
        settled
    }

    async fn watch(
        &self,
        watching: &sync::watch::Sender<Result<(), String>>,
        stop: &CancellationToken,
    ) -> LedgerError {
        loop {
            let Err(trouble) = self.watch_while_there(watching, stop).await;
            tell(watching, Err(trouble.to_string()));
            match trouble {
                ScanError::Ledger(error) => return error,
                ScanError::Folder { .. } => {
                    warn!(source = self.config.name, "{trouble}; the source accepts no files")
                }
            }
            sleep(PAUSE).await;
        }
    }

    async fn wait_for_folder(
        &self,
        watching: &sync::watch::Sender<Result<(), String>>,
    ) -> Result<Stat, LedgerError> {
        let mut tries = 0;
        loop {
            let trouble = match root::look_into(&self.file_filter.root).await {
                Ok((_, status)) => return Ok(status),
                Err(ScanError::Ledger(error)) => return Err(error),
                Err(trouble) => trouble.to_string(),
            };
            if tries % ABSENT_MENTION == 0 {
                warn!(source = self.config.name, "waiting for the folder {trouble}");
            }
            tries += 1;
            tell(watching, Err(trouble));
            sleep(PAUSE).await;
        }
    }

    async fn watch_while_there(
        &self,
        watching: &sync::watch::Sender<Result<(), String>>,
        stop: &CancellationToken,
    ) -> Result<Infallible, ScanError> {
        let (source, root) = (self.config.name.as_str(), &self.file_filter.root);
        // Before the folder exists: files that appear with it are new.
        before::want(&self.ledger, source, root).await?;
        let status = self.wait_for_folder(watching).await?;
        let watch = match Watch::new() {
            Ok(watch) => Some(Arc::new(watch)),
            Err(error) => {
                warn!(source, "{error}; until then changes are found by rescans alone");
                None
            }
        };
        if let Some(watch) = watch.clone() {
            let folder = root.clone();
            if let Err(error) =
                scan::blocking(move || watch.add(&folder, status.st_dev, status.st_ino)).await?
            {
                warn!(source, "{error}; until then changes are found by rescans alone");
            }
        }
        let around = Surroundings {
            destination: Destination {
                source: source.to_owned(),
                root: root.clone(),
                route: self.config.route.clone(),
                puts_away: self.config.when_done != WhenDone::Keep,
            },
            file_filter: Arc::clone(&self.file_filter),
            existing: self.config.existing,
            price: self.price,
            ledger: self.ledger.clone(),
            metrics: self.metrics.clone(),
            watch: watch.clone(),
            stop: stop.clone(),
        };
        let mut scan = Scan::begin(around, self.config.settle);
        info!(source, path = %root.display(), "watching");
        tell(watching, Ok(()));
        self.look(&mut scan, watch.as_deref(), watching).await
    }

    /// Runs the looks (full scans, hints, due files) whenever there is a reason to, until one fails.
    async fn look(
        &self,
        scan: &mut Scan,
        watch: Option<&Watch>,
        watching: &sync::watch::Sender<Result<(), String>>,
    ) -> Result<Infallible, ScanError> {
        // `next`: when the next full scan is due. `rested`: when it may begin at the earliest, so that endless hints do not keep the machine
        // busy.
        let mut next = Instant::now();
        let mut rested = next;
        let mut gathered = next;
        let mut hinted = Box::pin(hints(watch));
        loop {
            let wanted = scan.settling.crowded().map_or(next, |due| next.min(due.into())).max(rested);
            let due = scan.settling.next_due().map_or(wanted, |due| Instant::from(due).max(gathered));
            let admitted = scan.admitted();
            let looked = tokio::select! {
                biased;
                () = sleep_until(wanted) => {
                    let began = Instant::now();
                    let looked = scan.everything().await;
                    let ended = Instant::now();
                    rested = ended + (2 * (ended - began)).min(MOST_REST);
                    next = began + self.rescan(scan.hintless);
                    looked
                }
                () = sleep_until(due), if due < wanted => {
                    let looked = scan.due().await;
                    gathered = Instant::now() + GATHER;
                    looked
                }
                read = scan.read() => read,
                () = admitted => {
                    scan.turned_away = false;
                    next = Instant::now();
                    Ok(())
                }
                hints = &mut hinted => {
                    hinted = Box::pin(self::hints(watch));
                    if hints.everything {
                        next = Instant::now();
                    }
                    scan.hinted(hints).await
                }
            };
            looked?;
            tell(watching, scan.seen.clone());
        }
    }

    fn rescan(&self, hintless: bool) -> Duration {
        self.config.rescan.unwrap_or(if hintless { RESCAN_WITHOUT_HINTS } else { RESCAN })
    }
}

/// Sets the source's state; wakes receivers only if the state has changed.
fn tell(watching: &sync::watch::Sender<Result<(), String>>, state: Result<(), String>) {
    watching.send_if_modified(|known| {
        let is_news = *known != state;
        *known = state;
        is_news
    });
}

/// Waits for a hint, and returns the hints of its burst.
async fn hints(watch: Option<&Watch>) -> watch::Hints {
    let Some(watch) = watch else { return std::future::pending().await };
    watch.hinted().await;
    sleep(AFTER_HINT).await;
    watch.take()
}

#[cfg(test)]
mod tests {
    use hark_sdk::event::Recording;
    use serde_json::Map;
    use uuid::Uuid;

    use super::*;
    use crate::job::Origin;

    #[tokio::test]
    async fn recordings_that_are_put_away_for_ever_keep_none_of_the_others_places() {
        let disk = tempfile::tempdir().unwrap();
        let path = disk.path().join("a.wav");
        std::fs::write(&path, "a").unwrap();
        let identity = crate::job::FileIdentity::of(&rustix::fs::lstat(&path).unwrap());
        let config =
            toml::from_str(&format!("name = \"calls\"\npath = {:?}\nwhen_done = \"delete\"", disk.path()));
        let ledger = Ledger::open(&disk.path().join("state")).unwrap();
        let directory = Directory::new(config.unwrap(), ledger, Metrics::new(), 0.0).unwrap();
        let origin = Origin::File { root: disk.path().to_owned(), below: "a.wav".into(), identity };
        let job = Job::new(Uuid::now_v7(), "calls", "default", origin, Recording::default(), Map::new());

        let places = u32::try_from(PUTTING_AWAY).unwrap();
        let hanging = directory.putting_away.acquire_many(places).await.unwrap();
        let waits = timeout(2 * PATIENCE, directory.settle(&job, false)).await.expect("it waits for ever");
        assert!(matches!(waits, Err(SettleError::Waits)), "{waits:?}");
        drop(hanging);
        directory.settle(&job, false).await.unwrap();
        assert!(!path.exists());
    }
}
