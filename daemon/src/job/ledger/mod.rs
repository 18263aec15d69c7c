//! The ledger: SQLite, one writer thread that commits in groups, a pool of readers, and a feed of changes.
//!
//! A write is a function of a transaction. The writer runs all waiting writes inside one transaction, each in a savepoint, and answers
//! after the commit is on disk: a hundred jobs cost one fsync. If the disk is full (or the file cannot be written), the whole group waits
//! and is run again. Its callers wait with it, which stops the sources; nothing is dropped, and the daemon goes on by itself when there is
//! room. Only for a damaged file the daemon does not wait: it names the file and ends.

mod admission;
pub mod due;
mod error;
mod feed;
pub mod files;
mod form;
pub mod intake;
pub mod jobs;
mod log;
mod open;
pub mod outbox;
pub mod pieces;
pub mod places;
mod readers;
pub mod retention;
mod wal;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use rusqlite::Connection;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use uuid::Uuid;

pub use self::admission::Admission;
pub use self::error::LedgerError;
use self::error::is_no_room;
use self::feed::Feed;
pub use self::feed::{Change, Now};
use self::log::Log;
use self::readers::Readers;
use self::writer::{Pending, Write, write_in_groups};
use super::Duty;

/// How many writes may wait for the writer. Enough to fill a group while the last group is syncing; beyond that, callers wait.
const WRITE_QUEUE: usize = 1_024;

/// Pause before a read is tried again after the machine lacked a resource for it (no descriptor, no room for the log's index).
const READ_AGAIN: Duration = Duration::from_millis(500);

/// Pause before the check of the pages is tried again after the machine lacked a resource for it.
const CHECK_AGAIN: Duration = Duration::from_secs(60);

/// The handle; clones share the same file.
#[derive(Clone)]
pub struct Ledger {
    writes: mpsc::Sender<Box<dyn Write>>,
    readers: Arc<Readers>,
    feed: Feed,
    room: watch::Receiver<Result<(), String>>,
    admission: Arc<watch::Sender<Admission>>,
    /// Bytes that sources may still write into the state directory, see [`Ledger::admit`].
    left: Arc<AtomicU64>,
    wakers: Arc<[watch::Sender<()>; Duty::ALL.len()]>,
    lock: Arc<std::fs::File>,
    path: PathBuf,
    unchecked: Option<PathBuf>,
    last_sign_of_life: Option<Timestamp>,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ledger")
    }
}

impl Ledger {
    /// Opens or makes `<directory>/ledger.sqlite3`, checks it (a large one later: [`Ledger::check_rest`]), and starts its writer. Blocking;
    /// called before the runtime is busy. Where the disk is full it waits for room.
    ///
    /// # Errors
    /// A directory that is not writable, a file in use, damaged, or of another version: each names the path and what to do.
    pub fn open(directory: &Path) -> Result<Ledger, LedgerError> {
        let open::Opened { writer: connection, reader, lock, unchecked, last_sign_of_life } =
            open::when_there_is_room(directory, open::CHECKED_AT_ONCE)?;
        let (writes, queue) = mpsc::channel(WRITE_QUEUE);
        let (tell_room, room) = watch::channel(Ok(()));
        let refused = |error| LedgerError::Directory { path: directory.to_owned(), error };
        let clock = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(refused)?;
        thread::Builder::new()
            .name("ledger".into())
            .spawn(move || write_in_groups(&connection, queue, &tell_room, Log::new(clock)))
            .map_err(refused)?;
        Ok(Ledger {
            writes,
            readers: Arc::new(Readers::new(reader, &directory.join(open::FILE))?),
            feed: Feed::new(),
            room,
            admission: Arc::new(watch::channel(Admission::Open).0),
            left: Arc::new(AtomicU64::new(u64::MAX)),
            wakers: Arc::new(Duty::ALL.map(|_| watch::channel(()).0)),
            lock: Arc::new(lock),
            path: directory.join(open::FILE),
            unchecked,
            last_sign_of_life,
        })
    }

    /// Checks the pages of a ledger that was too large to be checked by [`Ledger::open`], while the daemon works; returns at once if they
    /// were checked. If the machine lacks a resource that the check needs, it waits and tries again.
    ///
    /// # Errors
    /// [`LedgerError::Corrupt`]: the daemon may not use the ledger any more.
    pub async fn check_rest(&self, stop: CancellationToken) -> Result<(), LedgerError> {
        let Some(path) = &self.unchecked else { return Ok(()) };
        while !stop.is_cancelled() {
            let begin = Instant::now();
            match check_beside(path.clone(), &stop).await {
                Ok(true) => {
                    debug!(seconds = begin.elapsed().as_secs_f64(), "the ledger's pages are whole");
                    return Ok(());
                }
                Ok(false) => return Ok(()),
                Err(LedgerError::Open { error, .. }) => {
                    warn!(%error, "the ledger cannot be checked now; trying again; see the disk of state.directory and the limit of open files");
                }
                Err(error) => return Err(error),
            }
            tokio::select! {
                () = tokio::time::sleep(CHECK_AGAIN) => {}
                () = stop.cancelled() => {}
            }
        }
        Ok(())
    }

    /// Runs `write` in a transaction and returns its result, after the commit is on disk. Waits while the disk is full.
    /// `write` may run more than once; only the last run's effects stay.
    ///
    /// # Errors
    /// The error of `write` (then it changed nothing), or [`LedgerError::Closed`].
    pub async fn write<T, F>(&self, write: F) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T, LedgerError> + Send + 'static,
    {
        let (pending, answered) = Pending::new(write);
        self.writes.send(Box::new(pending)).await.map_err(|_| LedgerError::Closed)?;
        answered.await.map_err(|_| LedgerError::Closed)?
    }

    /// Runs `read` against the last commit, on a blocking thread. If the machine lacks a resource that a read needs, it waits and runs
    /// `read` again.
    ///
    /// # Errors
    /// The error of `read`.
    pub async fn read<T, F>(&self, mut read: F) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T, LedgerError> + Send + 'static,
    {
        let mut said = false;
        loop {
            let tried = Arc::clone(&self.readers).with(move |connection| {
                let outcome = read(connection).map_err(|error| LedgerError::of(connection, error));
                (read, outcome)
            });
            let Some((again, outcome)) = tried.await else { return Err(LedgerError::Closed) };
            match outcome {
                Err(LedgerError::Sqlite(error)) if is_no_room(&error) => {
                    if !std::mem::replace(&mut said, true) {
                        warn!(%error, "the ledger cannot be read now; trying again; see the disk of state.directory and the limit of open files");
                    }
                    tokio::time::sleep(READ_AGAIN).await;
                    read = again;
                }
                outcome => return outcome,
            }
        }
    }

    /// Empties the log (`ledger.sqlite3-wal`) before the daemon ends, as the writer does when it is idle. If that fails, the next start
    /// does it.
    pub async fn fold_log(&self) {
        let path = self.path.clone();
        let folded = tokio::task::spawn_blocking(move || open::fold_log(&path)).await;
        match folded {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(%error, "the ledger's log stays as it is for now"),
            Err(_) => debug!("the ledger's log stays as it is; the daemon is ending"),
        }
    }

    /// Wakes the lanes of a duty: there may be more of it. Called after the commit.
    pub fn wake(&self, duty: Duty) {
        self.wakers[duty as usize].send_modify(|()| ());
    }

    /// Wakes the lanes of every duty: a job was written together with its pieces.
    pub fn wake_all(&self) {
        Duty::ALL.into_iter().for_each(|duty| self.wake(duty));
    }

    /// A receiver of each [`Ledger::wake`] of a duty from now on; wakes that come while the lane works count as one.
    pub fn wakes(&self, duty: Duty) -> watch::Receiver<()> {
        self.wakers[duty as usize].subscribe()
    }

    /// A receiver of every change from now on. A receiver that lags has to read the ledger again.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.feed.listen()
    }

    /// Sends a job's new state to the listeners of the feed and wakes the lane of its duty. Called after the commit.
    pub fn tell(&self, job: Uuid, now: Now) {
        self.feed.tell(Change { job, now });
        if let Now::Owes(duty) = now {
            self.wake(duty);
        }
    }

    /// Sets the lock file's time to now, so that the next start knows how long no daemon ran. Blocking.
    pub fn sign_of_life(&self) {
        if let Err(error) = self.lock.set_modified(SystemTime::now()) {
            debug!(%error, "the time of the lock file cannot be set; the next start does not know how long the daemon was down");
        }
    }

    /// When a daemon on this ledger was last known to be alive, before this one.
    pub fn last_sign_of_life(&self) -> Option<Timestamp> {
        self.last_sign_of_life
    }

    /// `Ok` while writes go through; else why they wait.
    pub fn room(&self) -> watch::Receiver<Result<(), String>> {
        self.room.clone()
    }
}

/// Whether the pages were checked; they were not if `stop` came first.
async fn check_beside(path: PathBuf, stop: &CancellationToken) -> Result<bool, LedgerError> {
    let (tell, told) = oneshot::channel();
    // A send fails only if the receiver is gone, because the daemon is stopping.
    let work = move || open::check_in_use(&path, |handle| drop(tell.send(handle)));
    let mut checking = tokio::task::spawn_blocking(work);
    let interrupt = async {
        let handle = told.await;
        stop.cancelled().await;
        if let Ok(handle) = handle {
            handle.interrupt();
        }
    };
    let checked = tokio::select! {
        checked = &mut checking => checked,
        () = interrupt => checking.await,
    };
    checked.map_err(|_| LedgerError::Closed)?
}
