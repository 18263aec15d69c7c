//! Opens the ledger, complete and checked, or fails.
//!
//! A new ledger is made under another name and renamed when it is complete. So an empty file with the ledger's name, or a log without its
//! file, is not the rest of an interrupted start: data was lost, and the daemon reports that instead of making a new ledger.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tracing::{error, warn};

use super::error::{is_damage, is_no_room};
use super::retention::PLUGINS;
use super::writer::NO_ROOM_PAUSE;
use super::{LedgerError, wal};
use crate::job::audio::SPOOL;
use crate::os::{self, private};

/// The format of the file that this program reads; another one is refused, never guessed at.
pub(super) const SCHEMA_VERSION: i64 = 1;

/// The tables of that format.
pub(super) const SCHEMA: &str = include_str!("schema.sql");

/// The file's name in the state directory.
pub(super) const FILE: &str = "ledger.sqlite3";

/// How long one connection waits for another.
const BUSY: Duration = Duration::from_secs(10);

/// How long a checkpoint of the log waits for a reader; writes wait with it.
const A_MOMENT: Duration = Duration::from_millis(20);

/// Below this SQLite's own files (its log's index alone is 32 KiB) may be what has no room.
const LEAST_ROOM: u64 = 1 << 20;

/// A ledger up to this size is checked before anything is done with it: 100 MiB took 0.4 s on two cores. A start has 2 s, so a larger one
/// is checked beside the work.
pub(super) const CHECKED_AT_ONCE: u64 = 256 << 20;

/// The log is cut back to this after it was folded in: one huge transaction does not keep its room for ever.
const LONGEST_LOG: i64 = 16 << 20;

/// The log is folded into the file at this many pages: SQLite's own figure.
const LOG_PAGES: u64 = 1_000;

/// Bytes of a page, unless the file was made with another page size.
const PAGE: u64 = 4_096;

/// One file, two connections, and the lock that keeps other daemons out.
pub(super) struct Opened {
    pub writer: Connection,
    pub reader: Connection,
    pub lock: File,
    /// The file, if its pages were not checked yet.
    pub unchecked: Option<PathBuf>,
    /// When an earlier daemon on this ledger was last known to be alive.
    pub last_sign_of_life: Option<Timestamp>,
}

/// Opens the ledger of a state directory, its pages checked if they are not more than `checked_at_once` bytes; waits, saying so, while
/// its disk is full.
///
/// # Errors
/// Every failure that does not pass by waiting.
pub(super) fn when_there_is_room(directory: &Path, checked_at_once: u64) -> Result<Opened, LedgerError> {
    let (lock, last_sign_of_life) = patiently(directory, || lock(directory))?;
    let (writer, reader, unchecked) = patiently(directory, || open(directory, checked_at_once))?;
    Ok(Opened { writer, reader, lock, unchecked, last_sign_of_life })
}

/// Checks the pages of a ledger that is in use; `false`: it was interrupted. The connection is its own: `interrupt` is handed what ends
/// it early.
///
/// # Errors
/// [`LedgerError::Corrupt`], or why it cannot be read now.
pub(super) fn check_in_use(
    path: &Path,
    interrupt: impl FnOnce(rusqlite::InterruptHandle),
) -> Result<bool, LedgerError> {
    let connection = connect(path).map_err(|error| refusal(path, error))?;
    interrupt(connection.get_interrupt_handle());
    match check_pages(&connection, path) {
        Err(LedgerError::Open { error, .. })
            if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) =>
        {
            Ok(false)
        }
        outcome => outcome.map(|()| true),
    }
}

fn patiently<T>(directory: &Path, attempt: impl Fn() -> Result<T, LedgerError>) -> Result<T, LedgerError> {
    let mut said = false;
    loop {
        match attempt() {
            Err(error) if waits_for_room(&error, directory) => {
                if !std::mem::replace(&mut said, true) {
                    error!(%error, "the disk of state.directory is full and harkd waits; make room on it");
                }
                thread::sleep(NO_ROOM_PAUSE);
            }
            outcome => return outcome,
        }
    }
}

/// The writer's connection and the reader's, and the file where its pages are still to be checked.
fn open(
    directory: &Path,
    checked_at_once: u64,
) -> Result<(Connection, Connection, Option<PathBuf>), LedgerError> {
    let path = directory.join(FILE);
    let in_directory = |error| LedgerError::Directory { path: directory.to_owned(), error };
    if !path.try_exists().map_err(in_directory)? {
        make(&path, directory)?;
    }
    if let Some(finding) = wal::finding(&path).map_err(in_directory)? {
        return Err(corrupt(&path, &finding));
    }
    let connect = || connect(&path).map_err(|error| refusal(&path, error));
    let (writer, reader) = (connect()?, connect()?);
    check_version(&writer, &path)?;
    let is_small = std::fs::metadata(&path).map_err(in_directory)?.len() <= checked_at_once;
    if is_small {
        check_pages(&writer, &path)?;
    }
    for connection in [&writer, &reader] {
        prepare(connection, log_pages(directory)).map_err(|error| refusal(&path, error))?;
    }
    Ok((writer, reader, (!is_small).then_some(path)))
}

/// One more connection for readers, to a ledger that is open.
pub(super) fn reader(path: &Path) -> Result<Connection, LedgerError> {
    connect(path)
        .and_then(|connection| {
            prepare(&connection, LOG_PAGES)?;
            Ok(connection)
        })
        .map_err(|error| refusal(path, error))
}

/// Folds the log of a ledger that is in use into its file, over a connection of its own.
pub(super) fn fold_log(path: &Path) -> rusqlite::Result<()> {
    fold(&connect(path)?)
}

/// Folds the log into the file (a checkpoint) and truncates it, unless a reader uses it for longer than a moment.
pub(super) fn fold(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(A_MOMENT)?;
    let folded = fold_now(connection);
    connection.busy_timeout(BUSY)?;
    folded
}

fn fold_now(connection: &Connection) -> rusqlite::Result<()> {
    let is_busy: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    match is_busy {
        false => Ok(()),
        true => {
            Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY), None))
        }
    }
}

/// Makes the state directory, or closes it to other users if they may read it: it contains transcripts and audio.
fn make_private(directory: &Path) -> Result<(), LedgerError> {
    let in_directory = |error| LedgerError::Directory { path: directory.to_owned(), error };
    private::create_folder(directory).map_err(in_directory)?;
    let Some(mode) = private::open_to_others(directory).map_err(in_directory)? else { return Ok(()) };
    let exposed = |reason| LedgerError::Exposed { path: directory.to_owned(), mode, reason };
    // A mistake in state.directory (/var/lib, a home) must not close a folder that other programs need.
    if let Some(other) = other_things(directory).map_err(in_directory)? {
        return Err(exposed(format!("holds other things than harkd's, such as {other:?}")));
    }
    private::close(directory).map_err(|error| exposed(format!("cannot be closed: {error}")))?;
    let (path, mode) = (directory.display(), format!("{mode:04o}"));
    warn!(%path, mode, "the state directory was open to others; it has mode 0700 now");
    Ok(())
}

/// A file in a directory without a ledger that no daemon has put there, if there is one.
fn other_things(directory: &Path) -> std::io::Result<Option<String>> {
    const OURS: [&str; 4] = ["lock", PLUGINS, SPOOL, "lost+found"];
    let names: Vec<_> = directory
        .read_dir()?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<std::io::Result<_>>()?;
    let is_ours = |name: &String| OURS.contains(&name.as_str()) || name.starts_with(FILE);
    let has_ledger = names.iter().any(|name| name == FILE);
    Ok(names.into_iter().find(|name| !has_ledger && !is_ours(name)))
}

/// Locks the state directory for one daemon: two daemons would both pay. The kernel releases the lock when the process ends, however it
/// ends. The file's time is the last sign of life of the daemon that held the lock before.
fn lock(directory: &Path) -> Result<(File, Option<Timestamp>), LedgerError> {
    make_private(directory)?;
    let path = directory.join("lock");
    let last_sign = std::fs::metadata(&path).and_then(|lock| lock.modified()).ok();
    let last_sign = last_sign.and_then(|time| Timestamp::try_from(time).ok());
    let file = private::create_file(&path).map_err(|error| LedgerError::Directory { path, error })?;
    match file.try_lock() {
        Ok(()) => Ok((file, last_sign)),
        Err(std::fs::TryLockError::WouldBlock) => Err(LedgerError::InUse { path: directory.to_owned() }),
        Err(std::fs::TryLockError::Error(error)) => {
            Err(LedgerError::Directory { path: directory.to_owned(), error })
        }
    }
}

/// Makes an empty ledger. A crash meanwhile leaves a file of another name, which the next start makes anew.
fn make(path: &Path, directory: &Path) -> Result<(), LedgerError> {
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    if std::fs::metadata(beside("-wal")).is_ok_and(|log| log.len() > 0) {
        return Err(corrupt(path, "it is gone, and its log, ledger.sqlite3-wal, is there"));
    }
    let unfinished = beside(".new");
    let in_directory = |error| LedgerError::Directory { path: directory.to_owned(), error };
    for leftover in [beside(".new"), beside(".new-journal")] {
        match std::fs::remove_file(leftover) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(in_directory(error)),
            _ => {}
        }
    }
    // SQLite gives its log and the log's index the mode of this file.
    private::create_file(&unfinished).map_err(in_directory)?;
    Connection::open(&unfinished)
        .and_then(|connection| {
            make_tables(&connection)?;
            connection.close().map_err(|(_, error)| error)
        })
        .map_err(|error| refusal(path, error))?;
    std::fs::rename(unfinished, path).and_then(|()| File::open(directory)?.sync_all()).map_err(in_directory)
}

/// Opens a connection and changes nothing: until the file is checked, it may be evidence of damage.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    // Without this, SQLite folds the log into the file when the last connection closes.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(connection)
}

/// On a small disk the log is folded so early that twice what is in it fits into the room which is left free there: a log that took the
/// last page could not be folded any more, as the file has to grow for that.
fn log_pages(directory: &Path) -> u64 {
    os::reserve_bytes(directory).map_or(LOG_PAGES, |reserve| (reserve / 4 / PAGE).clamp(1, LOG_PAGES))
}

fn prepare(connection: &Connection, log_pages: u64) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // FULL: a commit is on the disk, not only in the operating system, before the caller gets its answer.
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Texts of ended jobs are erased, not left in free pages.
    connection.pragma_update(None, "secure_delete", "ON")?;
    connection.pragma_update(None, "journal_size_limit", LONGEST_LOG)?;
    connection.pragma_update(None, "wal_autocheckpoint", log_pages)?;
    // A statement is planned once. Without this, each value bound to a LIMIT has it parsed anew.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// Makes the tables, at once or not at all.
fn make_tables(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(&format!("BEGIN; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"))
}

/// The version of its format, if it is one that this daemon reads.
fn check_version(connection: &Connection, path: &Path) -> Result<(), LedgerError> {
    let found: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|error| refusal(path, error))?;
    match found {
        SCHEMA_VERSION => Ok(()),
        0 => Err(corrupt(path, "there is nothing in it")),
        found => Err(LedgerError::Version { path: path.to_owned(), found }),
    }
}

/// Reads every page, but does not compare indexes with tables.
fn check_pages(connection: &Connection, path: &Path) -> Result<(), LedgerError> {
    let finding: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| refusal(path, error))?;
    // Its first line only names the file.
    let finding = finding.lines().last().unwrap_or_default();
    if finding == "ok" { Ok(()) } else { Err(corrupt(path, finding)) }
}

fn corrupt(path: &Path, finding: &str) -> LedgerError {
    LedgerError::Corrupt { path: path.to_owned(), finding: finding.to_owned() }
}

fn refusal(path: &Path, error: rusqlite::Error) -> LedgerError {
    match is_damage(&error) {
        true => corrupt(path, &error.to_string()),
        false => LedgerError::Open { path: path.to_owned(), error },
    }
}

/// Whether to wait: for a full disk, yes. A disk that cannot be written at all is reported, because that does not pass by itself.
fn waits_for_room(error: &LedgerError, directory: &Path) -> bool {
    match error {
        LedgerError::Directory { error, .. } => {
            matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
        }
        LedgerError::Open { error, .. } if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => true,
        LedgerError::Open { error, .. } => {
            is_no_room(error) && os::free_bytes(directory).is_ok_and(|free| free < LEAST_ROOM)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    /// A ledger of some pages, closed, one of which is overwritten.
    fn damaged(directory: &Path) {
        drop(when_there_is_room(directory, CHECKED_AT_ONCE).unwrap());
        let path = directory.join("ledger.sqlite3");
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch(
                "CREATE TABLE filler (text TEXT); INSERT INTO filler VALUES (hex(zeroblob(200000)));",
            )
            .unwrap();
        let root: u64 = connection
            .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'filler'", [], |row| row.get(0))
            .unwrap();
        connection.close().unwrap();
        File::options().write(true).open(path).unwrap().write_all_at(&[0xff; 64], (root - 1) * 4096).unwrap();
    }

    #[test]
    fn a_large_ledger_is_opened_first_and_checked_beside_the_work() {
        let directory = tempfile::tempdir().unwrap();
        damaged(directory.path());
        let at_once = when_there_is_room(directory.path(), CHECKED_AT_ONCE).map(drop);
        assert!(matches!(at_once, Err(LedgerError::Corrupt { .. })), "{at_once:?}");

        let opened = when_there_is_room(directory.path(), 0).unwrap();
        let found = check_in_use(&opened.unchecked.unwrap(), |_| ());
        assert!(matches!(found, Err(LedgerError::Corrupt { .. })), "{found:?}");
    }

    #[test]
    fn a_check_that_is_interrupted_says_nothing_of_the_ledger() {
        let directory = tempfile::tempdir().unwrap();
        let opened = when_there_is_room(directory.path(), 0).unwrap();
        let path = opened.unchecked.unwrap();
        assert!(check_in_use(&path, |_| ()).unwrap());
        // One that comes before there is something to interrupt is not heard.
        check_in_use(&path, |handle| handle.interrupt()).unwrap();
    }
}
