//! The ledger: SQLite, one writer thread that commits in groups, a pool of readers, and a feed of changes.
//!
//! A write is a function of a transaction. The writer runs all waiting writes inside one transaction, each in a savepoint, and answers
//! after the commit is on disk: a hundred jobs cost one fsync. If the disk is full (or the file cannot be written), the whole group waits
//! and is run again. Its callers wait with it, which stops the sources; nothing is dropped, and the daemon goes on by itself when there is
//! room. Only for a damaged file the daemon does not wait: it names the file and ends.

mod admission;
pub mod advance;
pub mod cancel;
pub mod checkpoint;
mod directory;
pub mod due;
mod error;
pub mod files;
pub mod filesystems;
pub mod forget;
pub mod forgotten_files;
mod form;
mod gaps;
pub mod intake;
pub mod jobs;
mod open;
pub mod outbox;
pub mod pause;
pub mod pieces;
pub mod published;
mod readers;
pub mod remote_objects;
pub mod retention;
mod search;
pub mod spend;
mod sql;
pub mod view;
mod writer;
pub mod written;

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{broadcast, mpsc, watch};
use tracing::warn;
use uuid::Uuid;

pub use self::admission::Admission;
pub use self::advance::Advanced;
pub use self::error::LedgerError;
use self::error::is_no_room;
pub use self::gaps::Walk;
use self::readers::{Reader, Readers};
use self::writer::{Pending, Write, write_in_groups};
use super::Duty;

/// How many writes may wait for the writer. Enough to fill a group while the last group is syncing; beyond that, callers wait.
const WRITE_QUEUE: usize = 1_024;

/// Pause before a read is tried again after the machine lacked a resource for it (no descriptor, no room for the log's index).
const READ_AGAIN: Duration = Duration::from_millis(500);

/// Changes that a listener may be behind by. A change takes 40 bytes; a listener that is further behind is told that it lags.
const CHANGES: usize = 4_096;

/// A job has changed. Every change is sent to all listeners after its commit. Listeners keep nothing that the ledger does not have: a
/// listener that lags behind reads the ledger again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Which job.
    pub job: Uuid,
    /// Where it stands.
    pub now: Now,
}

/// The state of a job after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Now {
    /// This is owed to it, or to the piece that changed.
    Owes(Duty),
    /// Nothing is owed to what changed.
    Waits,
    /// The ledger has deleted the job: another daemon owns it, or an operator had it forgotten.
    Forgotten,
}

/// The handle; clones share the same file.
#[derive(Clone)]
pub struct Ledger {
    writes: mpsc::Sender<Box<dyn Write>>,
    readers: Arc<Readers>,
    reader: Reader,
    changes: broadcast::Sender<Change>,
    canceled: broadcast::Sender<cancel::Dropped>,
    room: watch::Receiver<Result<(), String>>,
    admission: Arc<watch::Sender<Admission>>,
    wakers: Arc<[watch::Sender<()>; Duty::ALL.len()]>,
    /// Keeps other daemons out of the state directory.
    _lock: Arc<std::fs::File>,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ledger")
    }
}

impl Ledger {
    /// Opens or makes `<directory>/ledger.sqlite3`, checks it, and starts its writer. Blocking; called before the runtime is busy. Where the
    /// disk is full it waits for room.
    ///
    /// # Errors
    /// A directory that is not writable, a file in use, damaged, or of another version: each names the path and what to do.
    pub fn open(directory: &Path) -> Result<Ledger, LedgerError> {
        let (lock, connection) = open::when_there_is_room(directory)?;
        let (writes, queue) = mpsc::channel(WRITE_QUEUE);
        let (has_room, room) = watch::channel(Ok(()));
        thread::Builder::new()
            .name("ledger".into())
            .spawn(move || write_in_groups(&connection, queue, &has_room))
            .map_err(|error| LedgerError::Directory { path: directory.to_owned(), error })?;
        Ok(Ledger {
            writes,
            readers: Arc::new(Readers::open(&directory.join(directory::FILE))?),
            reader: Reader::Daemon,
            changes: broadcast::Sender::new(CHANGES),
            canceled: broadcast::Sender::new(CHANGES),
            room,
            admission: Arc::new(watch::Sender::new(Ok(u64::MAX))),
            wakers: Arc::new(Duty::ALL.map(|_| watch::Sender::new(()))),
            _lock: Arc::new(lock),
        })
    }

    /// The same ledger for requests of operators: their reads may take long, and leave a part of the readers to the daemon's own.
    pub fn for_requests(&self) -> Ledger {
        Ledger { reader: Reader::Request, ..self.clone() }
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
        let mut is_logged = false;
        loop {
            let tried = Arc::clone(&self.readers).with(self.reader, move |connection| {
                let outcome = read(connection).map_err(|error| LedgerError::of(connection, error));
                (read, outcome)
            });
            let Some((again, outcome)) = tried.await else { return Err(LedgerError::Closed) };
            match outcome {
                Err(LedgerError::Sqlite(error)) if is_no_room(&error) => {
                    if !std::mem::replace(&mut is_logged, true) {
                        warn!(%error, "the ledger cannot be read now; trying again; see the disk of state.directory and the limit of open files");
                    }
                    tokio::time::sleep(READ_AGAIN).await;
                    read = again;
                }
                outcome => return outcome,
            }
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
        self.changes.subscribe()
    }

    /// Sends a job's new state to the listeners and wakes the lane of its duty. Called after the commit.
    pub fn announce(&self, job: Uuid, now: Now) {
        // An error means that there is no listener now.
        let _ = self.changes.send(Change { job, now });
        if let Now::Owes(duty) = now {
            self.wake(duty);
        }
    }

    /// Whether sources may bring new recordings; else why not, and what to do.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn takes_more(&self) -> Result<(), String> {
        if let Err(reason) = &*self.room.borrow() {
            return Err(format!(
                "the ledger cannot be written ({reason}); make room on the disk of state.directory, or mend it"
            ));
        }
        self.admission.borrow().map(drop).map_err(str::to_owned)
    }

    /// `Ok` while writes go through; else why they wait.
    pub fn room(&self) -> watch::Receiver<Result<(), String>> {
        self.room.clone()
    }
}
