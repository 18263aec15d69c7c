//! The ledger: SQLite, one writer thread that commits in groups, one reader.
//!
//! A write is a function of a transaction. The writer runs all that are waiting inside one transaction, each in a savepoint, and
//! answers after the commit is on disk: a hundred jobs cost one fsync. Where the disk is full (or the file cannot be written) the
//! whole group waits and is run again: callers wait with it, which is what stops the sources; nothing is dropped, and the daemon goes
//! on by itself when there is room.

pub mod files;
pub mod intake;
pub mod jobs;
pub mod outbox;
pub mod retention;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tracing::{error, info, warn};

use super::Duty;

/// A format of the file that this program reads; another one is refused, never guessed at.
const SCHEMA_VERSION: i64 = 1;

/// Writes waiting for the writer. Enough to fill a group while the last one is syncing; beyond it, callers wait.
const WRITE_QUEUE: usize = 1_024;

/// At most this many writes share a commit, so that the first of them is not kept waiting for the last.
const GROUP: usize = 256;

/// Pause before a group that found no room is tried again: a goal is to resume within 5 s of space.
const NO_ROOM_PAUSE: Duration = Duration::from_secs(1);

/// Why the ledger cannot be opened or used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The directory or file cannot be made or opened.
    #[error("opening the ledger {path}: {error}; the state directory must be writable by the daemon's user")]
    Open { path: PathBuf, error: rusqlite::Error },
    /// The directory cannot be made.
    #[error(
        "making the state directory {path}: {error}; make it writable by the daemon's user, or set state.directory"
    )]
    Directory { path: PathBuf, error: std::io::Error },
    /// The file is damaged. Nothing in it is trusted.
    #[error(
        "the ledger {path} is damaged ({finding}); stop harkd, move the file away and restore a copy, or start with an empty one: \
         then files that are still in watched folders are treated as if they had never been seen"
    )]
    Corrupt { path: PathBuf, finding: String },
    /// Another version wrote it.
    #[error(
        "the ledger {path} has format {found}, this harkd reads {SCHEMA_VERSION}; use the harkd that wrote it, or a newer one"
    )]
    Version { path: PathBuf, found: i64 },
    /// Another daemon has it.
    #[error(
        "the state directory {path} is in use by another harkd; give each daemon its own state.directory"
    )]
    InUse { path: PathBuf },
    /// A statement failed: our bug, or a damaged file.
    #[error("ledger: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The writer has ended.
    #[error("the ledger is closed")]
    Closed,
}

/// A function of a transaction, with the place for its answer.
trait Write: Send {
    /// Runs it; may be called again after a group found no room. `true`: keep its effects; `false`: it failed in itself.
    fn run(&mut self, connection: &Connection) -> Result<bool, NoRoom>;
    /// Tells the caller, after the commit.
    fn answer(self: Box<Self>);
}

/// The disk is full, or the file cannot be written now.
#[derive(Debug)]
struct NoRoom(String);

struct Pending<T, F> {
    write: F,
    outcome: Option<Result<T, LedgerError>>,
    answer: oneshot::Sender<Result<T, LedgerError>>,
}

impl<T: Send, F: FnMut(&Connection) -> Result<T, LedgerError> + Send> Write for Pending<T, F> {
    fn run(&mut self, connection: &Connection) -> Result<bool, NoRoom> {
        match (self.write)(connection) {
            Err(LedgerError::Sqlite(error)) if is_no_room(&error) => Err(NoRoom(error.to_string())),
            outcome => {
                let keep = outcome.is_ok();
                self.outcome = Some(outcome);
                Ok(keep)
            }
        }
    }

    fn answer(self: Box<Self>) {
        if let Some(outcome) = self.outcome {
            // Nobody waits for the answer any more: the write stands all the same.
            let _ = self.answer.send(outcome);
        }
    }
}

/// The handle; clones share the same file.
#[derive(Clone)]
pub struct Ledger {
    writes: mpsc::Sender<Box<dyn Write>>,
    reader: Arc<Mutex<Connection>>,
    room: watch::Receiver<Result<(), String>>,
    admission: Arc<watch::Sender<bool>>,
    wakers: Arc<[Notify; Duty::ALL.len()]>,
    _lock: Arc<std::fs::File>,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ledger")
    }
}

impl Ledger {
    /// Opens or makes `<directory>/ledger.sqlite3`, checks it, and starts its writer. Blocking; called before the runtime is busy.
    ///
    /// # Errors
    /// A directory that is not writable, a file in use, damaged, or of another version: each names the path and what to do.
    pub fn open(directory: &Path) -> Result<Ledger, LedgerError> {
        make_private(directory)?;
        let lock = lock(directory)?;
        let path = directory.join("ledger.sqlite3");
        let connection = connect(&path)?;
        prepare(&connection, &path)?;
        let reader = connect(&path)?;

        let (writes, queue) = mpsc::channel(WRITE_QUEUE);
        let (tell_room, room) = watch::channel(Ok(()));
        thread::Builder::new()
            .name("ledger".into())
            .spawn(move || write_in_groups(connection, queue, &tell_room))
            .map_err(|error| LedgerError::Directory { path: directory.to_owned(), error })?;
        Ok(Ledger {
            writes,
            reader: Arc::new(Mutex::new(reader)),
            room,
            admission: Arc::new(watch::channel(true).0),
            wakers: Arc::default(),
            _lock: Arc::new(lock),
        })
    }

    /// Runs `write` in a transaction and returns what it returned, after the commit is on disk. Waits while the disk is full.
    /// `write` may run more than once; only the last run's effects stay.
    ///
    /// # Errors
    /// What `write` failed with (then it changed nothing), or [`LedgerError::Closed`].
    pub async fn write<T, F>(&self, write: F) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T, LedgerError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let pending = Pending { write, outcome: None, answer };
        self.writes.send(Box::new(pending)).await.map_err(|_| LedgerError::Closed)?;
        answered.await.map_err(|_| LedgerError::Closed)?
    }

    /// Runs `read` against the last commit, on a blocking thread.
    ///
    /// # Errors
    /// What `read` failed with.
    pub async fn read<T, F>(&self, read: F) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, LedgerError> + Send + 'static,
    {
        let reader = Arc::clone(&self.reader);
        tokio::task::spawn_blocking(move || {
            // A panic of an earlier reader leaves the connection as it was: reads hold no state between them.
            let connection = reader.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            read(&connection)
        })
        .await
        .unwrap_or(Err(LedgerError::Closed))
    }

    /// Tells the one who carries out a duty that there may be more of it. Called after the commit.
    pub fn wake(&self, duty: Duty) {
        self.wakers[duty as usize].notify_one();
    }

    /// Waits for [`Ledger::wake`]; a wake before the wait is not lost. One waiter a duty.
    pub async fn woken(&self, duty: Duty) {
        self.wakers[duty as usize].notified().await;
    }

    /// Opens or closes the door for new recordings: closed while the state directory is as large as it may be. What is inside goes on
    /// to its end, which is what makes room.
    pub fn admit(&self, open: bool) {
        if self.admission.send_replace(open) != open {
            match open {
                true => info!("the state directory has room again; sources go on"),
                false => error!(
                    "the state directory has reached state.max_size and sources wait; raise it, or see why events do not leave"
                ),
            }
        }
    }

    /// Waits until new recordings may come in. Sources ask before each.
    pub async fn admitted(&self) {
        // The sender lives as long as this handle: waiting cannot fail.
        let _ = self.admission.subscribe().wait_for(|open| *open).await;
    }

    /// `Ok` while writes go through; else why they wait.
    pub fn room(&self) -> watch::Receiver<Result<(), String>> {
        self.room.clone()
    }
}

fn make_private(directory: &Path) -> Result<(), LedgerError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| LedgerError::Directory { path: directory.to_owned(), error })
}

/// One daemon a state directory: two would both pay. The kernel drops the lock with the process, however it ends.
fn lock(directory: &Path) -> Result<std::fs::File, LedgerError> {
    let path = directory.join("lock");
    let file = std::fs::File::create(&path).map_err(|error| LedgerError::Directory { path, error })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(LedgerError::InUse { path: directory.to_owned() }),
        Err(std::fs::TryLockError::Error(error)) => {
            Err(LedgerError::Directory { path: directory.to_owned(), error })
        }
    }
}

fn connect(path: &Path) -> Result<Connection, LedgerError> {
    let open = || -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(Duration::from_secs(10))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // FULL: a commit is on the disk, not in the operating system, before anybody is told.
        connection.pragma_update(None, "synchronous", "FULL")?;
        // Texts of ended jobs are erased, not left in free pages.
        connection.pragma_update(None, "secure_delete", "ON")?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(connection)
    };
    open().map_err(|error| match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            LedgerError::Corrupt { path: path.to_owned(), finding: error.to_string() }
        }
        _ => LedgerError::Open { path: path.to_owned(), error },
    })
}

fn prepare(connection: &Connection, path: &Path) -> Result<(), LedgerError> {
    let corrupt = |finding: String| LedgerError::Corrupt { path: path.to_owned(), finding };
    let found: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|error| corrupt(error.to_string()))?;
    match found {
        0 => connection
            .execute_batch(&format!(
                "BEGIN; {} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;",
                include_str!("schema.sql")
            ))
            .map_err(|error| LedgerError::Open { path: path.to_owned(), error })?,
        SCHEMA_VERSION => {
            // The quick check reads every page but does not compare indexes with tables: a start with 100,000 open jobs has 2 s.
            let finding: String = connection
                .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
                .map_err(|error| corrupt(error.to_string()))?;
            if finding != "ok" {
                return Err(corrupt(finding));
            }
        }
        found => return Err(LedgerError::Version { path: path.to_owned(), found }),
    }
    Ok(())
}

fn write_in_groups(
    connection: Connection,
    mut queue: mpsc::Receiver<Box<dyn Write>>,
    room: &watch::Sender<Result<(), String>>,
) {
    while let Some(first) = queue.blocking_recv() {
        let mut group = vec![first];
        while group.len() < GROUP {
            let Ok(write) = queue.try_recv() else { break };
            group.push(write);
        }
        while let Err(NoRoom(reason)) = commit(&connection, &mut group) {
            let _ = connection.execute_batch("ROLLBACK");
            if room.send_if_modified(|state| std::mem::replace(state, Err(reason.clone())).is_ok()) {
                error!(
                    reason,
                    "the ledger cannot be written and sources wait; make room on the disk of state.directory"
                );
            }
            thread::sleep(NO_ROOM_PAUSE);
        }
        if room.send_if_modified(|state| std::mem::replace(state, Ok(())).is_err()) {
            info!("the ledger can be written again");
        }
        group.into_iter().for_each(Write::answer);
    }
    if let Err(error) = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)") {
        warn!(%error, "the ledger's log was not folded in at the end; the next start does it");
    }
}

/// Runs a group in one transaction. A write that fails in itself is undone alone.
fn commit(connection: &Connection, group: &mut [Box<dyn Write>]) -> Result<(), NoRoom> {
    let run = |sql: &str| connection.prepare_cached(sql)?.execute([]).map(drop);
    // Whatever stops the frame around the writes (a full disk, a lost file) concerns the group as a whole, and waiting is all
    // that can be done about it without losing a write.
    let frame = |sql: &str| run(sql).map_err(|error: rusqlite::Error| NoRoom(error.to_string()));
    frame("BEGIN IMMEDIATE")?;
    for write in group {
        frame("SAVEPOINT one")?;
        if !write.run(connection)? {
            frame("ROLLBACK TO one")?;
        }
        frame("RELEASE one")?;
    }
    frame("COMMIT")
}

/// Errors that pass when the disk or the file system does again.
fn is_no_room(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::ReadOnly
                | ErrorCode::DatabaseBusy
                | ErrorCode::CannotOpen
        )
    )
}
