//! A watched folder.
//!
//! Delivery promise: every file that has stood still becomes one job. The job and the file's row in the ledger are written in one transaction,
//! so a restart makes no second job. Events of the kernel are only hints where to look sooner (`watch`); the daemon decides by the `scan`,
//! compared with the ledger: at start, 200 ms after a hint, and every 30 s regardless.
//!
//! What is a recording: a regular file that `FileFilter` wants by its name, that is not empty, that has stood still for `settle`
//! (`standing_still`), and that no process has open for writing (`ready`). Symbolic links are never followed, neither to files nor to folders (a
//! link to a file of the folder is a second name of that file, and a link that leads out does not belong to the source); only the watched
//! folder itself may be a link. Hidden files and folders are ignored, and so are folders of NAS systems and desktops. Everything below the
//! watched folder is listed, opened, moved and deleted through descriptors ([`crate::os::beneath`]), so a link that replaces a folder
//! meanwhile is not followed.
//!
//! What is the same recording (`identity`, `intake`): a file with the same inode, size and mtime, under any name (a move, a second hard
//! link); a file with the same path, size and mtime (a copy of the folder, a filesystem that does not keep inodes); a file with the same
//! bytes at another path once the old path is empty (a move between filesystems), or at the same path (a `touch`, a copy over itself). A
//! copy beside the original is a new recording.
//!
//! The way of a file: `scan` compares what `walk` lists with the ledger. A new file waits in `standing_still` until it no longer changes.
//! `ready` opens it, `reading` hashes it and reads its `sidecar`, and `intake` writes its job. After the job's last event is stored, `done`
//! decides what becomes of the file, and `put_away` moves or deletes it.

mod absent;
mod context;
mod delete;
mod done;
pub mod examine;
mod file_filter;
mod filesystems;
mod find_recording;
mod forgotten;
mod found;
mod identity;
mod intake;
mod listing;
mod log_once;
mod not_recognized;
mod put_away;
mod reading;
mod ready;
mod root;
mod scan;
pub(super) mod sidecar;
mod standing_still;
mod walk;
mod watch;
pub(super) mod wav_header;

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::context::Context;
pub use self::delete::delete_written;
pub(super) use self::file_filter::FileFilter;
pub use self::find_recording::{find_recording, is_heard};
pub use self::intake::placed;
pub use self::listing::recordings_in;
pub use self::put_away::{NotPutAway, PutAway};
use self::root::{ScanError, look_into};
use self::scan::Scan;
use self::watch::Watch;
use crate::broker::stream::until_it_works;
use crate::config::DirectorySource;
use crate::job::Job;
use crate::job::ledger::{Ledger, LedgerError};
use crate::source::switch::Switch;
use crate::source::{Watching, set_state};
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

/// Pause before a folder that had an error is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// How many recordings of a folder are put away (moved or deleted) at the same time. If a file server does not answer, they hang, and the
/// daemon has only a limited number of such tasks for all sources together.
const PUTTING_AWAY: usize = 8;

/// How long a recording waits for its turn before it gives up its task to recordings of other sources.
const PATIENCE: Duration = Duration::from_secs(2);

/// A folder as a source.
pub struct Directory {
    context: Arc<Context>,
    putting_away: Semaphore,
}

impl Directory {
    /// Makes the source without any file access that can block; [`Self::run`] waits for a folder that does not exist yet or cannot be read.
    /// `usd_per_hour`: the price of an hour of audio, for the log.
    ///
    /// # Errors
    /// A sentence about a path or glob that cannot be used.
    pub fn new(
        config: DirectorySource,
        ledger: Ledger,
        metrics: Metrics,
        usd_per_hour: f64,
    ) -> Result<Directory, String> {
        // Created with 0: a counter that first appears with the value 1 shows no increase in a metrics system.
        for counter in [&metrics.source_not_put_away, &metrics.source_unreadable] {
            counter.with_label_values(&[&config.name]).inc_by(0);
        }
        let context = Arc::new(Context::new(config, ledger, metrics, usd_per_hour)?);
        Ok(Directory { context, putting_away: Semaphore::new(PUTTING_AWAY) })
    }

    /// How an operator pauses it, and has it scan at once. While it is paused, the scan goes on, because it also has to follow moved files.
    pub fn switch(&self) -> &Switch {
        &self.context.switch
    }

    /// Watches and scans until `stop`. `watching` receives `Ok` as soon as the folder can be listed, before the first scan, and `Err` with
    /// the reason whenever the folder, or one below it, cannot.
    ///
    /// # Errors
    /// When the ledger is closed or damaged: a retry would not help.
    pub async fn run(&self, watching: Watching, stop: CancellationToken) -> Result<(), LedgerError> {
        stop.run_until_cancelled(self.watch(&watching)).await.map_or(Ok(()), Err)
    }

    /// The watched folder, absolute.
    pub fn root(&self) -> &Path {
        self.context.root()
    }

    /// Keeps, moves or deletes a job's file as `when_done` configures, after the job's last event is stored. May be called again. `true`:
    /// the file was not at its path, but may be found under another name.
    ///
    /// # Errors
    /// When the file cannot be moved or deleted, or not yet; the file is where it was, and a retry may succeed.
    pub async fn settle(&self, job: &Job, failed: bool) -> Result<bool, NotPutAway> {
        let place = timeout(PATIENCE, self.putting_away.acquire()).await;
        let Ok(_place) = place else { return Err(NotPutAway::Waits) };
        let settled = done::settle(&self.context, job, failed).await;
        if settled.is_err() {
            let source = self.context.source();
            self.context.metrics.source_not_put_away.with_label_values(&[source]).inc();
        }
        settled
    }

    async fn watch(&self, watching: &Watching) -> LedgerError {
        loop {
            let Err(error) = self.watch_while_there(watching).await;
            set_state(watching, Err(error.to_string()));
            match error {
                ScanError::Ledger(error) => return error,
                ScanError::Folder { .. } => {
                    warn!(source = self.context.source(), "{error}; the source accepts no files");
                }
            }
            sleep(PAUSE).await;
        }
    }

    async fn watch_while_there(&self, watching: &Watching) -> Result<Infallible, ScanError> {
        let source = self.context.source();
        // Before the folder exists: files that appear with it are new.
        filesystems::want(&self.context).await?;
        let look = || look_into(&self.context);
        until_it_works(&format!("source {source}"), |state| set_state(watching, state), look).await;
        let watch = match Watch::new() {
            Ok(watch) => Some(Arc::new(watch)),
            Err(error) => {
                warn!(source, "{error}; until then changes are found by rescans alone");
                None
            }
        };
        info!(source, path = %self.context.root().display(), "watching");
        self.look(watch, watching).await
    }

    /// Waits until new recordings are taken in.
    async fn admits(&self) {
        self.context.ledger.admitted().await;
        self.context.switch.running().await;
    }

    /// Runs the looks (full scans, hints, due files) whenever there is a reason to, until one fails.
    async fn look(&self, watch: Option<Arc<Watch>>, watching: &Watching) -> Result<Infallible, ScanError> {
        let mut scan = Scan::begin(Arc::clone(&self.context), watch.clone());
        // `next`: when the next full scan is due. `rested`: when it may begin at the earliest, so that endless hints do not keep the machine
        // busy.
        let mut next = Instant::now();
        let mut rested = next;
        let mut gathered = next;
        let mut scans = 0;
        let mut hinted = Box::pin(hints(watch.as_deref()));
        loop {
            let wanted = scan.settling.crowded().map_or(next, |due| next.min(due.into())).max(rested);
            let due = scan.settling.next_due().map_or(wanted, |due| Instant::from(due).max(gathered));
            let looked = tokio::select! {
                biased;
                () = sleep_until(wanted) => {
                    let began = Instant::now();
                    let looked = scan.everything().await;
                    let ended = Instant::now();
                    rested = ended + (2 * (ended - began)).min(MOST_REST);
                    let rescan = if scan.hintless { RESCAN_WITHOUT_HINTS } else { RESCAN };
                    next = began + self.context.config.rescan.unwrap_or(rescan);
                    looked
                }
                () = sleep_until(due), if due < wanted => {
                    let looked = scan.look_at(scan.settling.take_due(standing_still::now())).await;
                    gathered = Instant::now() + GATHER;
                    looked
                }
                read = scan.read() => read,
                () = self.admits(), if scan.turned_away => {
                    scan.turned_away = false;
                    next = Instant::now();
                    Ok(())
                }
                wanted = self.context.switch.scan_wanted(scans) => {
                    scans = wanted;
                    (next, rested) = (Instant::now(), Instant::now());
                    Ok(())
                }
                hints = &mut hinted => {
                    hinted = Box::pin(self::hints(watch.as_deref()));
                    if hints.everything {
                        next = Instant::now();
                    }
                    scan.look_at(hints.paths.into_iter().collect()).await
                }
            };
            looked?;
            set_state(watching, scan.seen.clone());
        }
    }
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
        assert!(matches!(waits, Err(NotPutAway::Waits)), "{waits:?}");
        drop(hanging);
        directory.settle(&job, false).await.unwrap();
        assert!(!path.exists());
    }
}
