//! Opens the ledger, complete and checked, or fails.
//!
//! A new ledger is made under another name and renamed when it is complete. So an empty file with the ledger's name, or a log without its
//! file, is not the rest of an interrupted start: data was lost, and the daemon reports that instead of making a new ledger.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tracing::error;

use super::checkpoint::BUSY;
use super::directory::{self, FILE};
use super::error::{LedgerError, NO_ROOM_PAUSE, SCHEMA_VERSION, is_damage, is_no_room};
use crate::os::{self, private};

/// The tables of the format [`SCHEMA_VERSION`].
pub(super) const SCHEMA: &str = include_str!("schema.sql");

/// Below this SQLite's own files (its log's index alone is 32 KiB) may be what has no room.
const LEAST_ROOM: u64 = 1 << 20;

/// The pages of a ledger up to this size are checked before anything is done with it: 100 MiB took 0.4 s on two cores, and a start has 2 s.
/// Damage of a larger one shows when the damaged page is read.
const CHECKED: u64 = 256 << 20;

/// After a checkpoint the log is truncated to this size, so that one huge transaction does not keep its space for ever.
const LONGEST_LOG: i64 = 16 << 20;

/// The log is folded into the file at this many pages: SQLite's own figure.
const LOG_PAGES: u64 = 1_000;

/// Bytes of a page, unless the file was made with another page size.
const PAGE: u64 = 4_096;

/// Opens the ledger of a state directory; waits, and logs that, while its disk is full. Returns the lock that keeps other daemons out, and
/// the writer's connection.
///
/// # Errors
/// Every failure that does not pass by waiting.
pub(super) fn when_there_is_room(directory: &Path) -> Result<(File, Connection), LedgerError> {
    let path = directory.join(FILE);
    let lock = patiently(directory, || directory::lock(directory))?;
    let writer = patiently(directory, || open(&path, directory).map_err(|error| of_file(&path, error)))?;
    Ok((lock, writer))
}

fn patiently<T>(directory: &Path, attempt: impl Fn() -> Result<T, LedgerError>) -> Result<T, LedgerError> {
    let mut is_logged = false;
    loop {
        match attempt() {
            Err(error) if waits_for_room(&error, directory) => {
                if !std::mem::replace(&mut is_logged, true) {
                    error!(%error, "the disk of state.directory is full and harkd waits; make room on it");
                }
                thread::sleep(NO_ROOM_PAUSE);
            }
            outcome => return outcome,
        }
    }
}

fn open(path: &Path, directory: &Path) -> Result<Connection, LedgerError> {
    let in_directory = |error| LedgerError::Directory { path: directory.to_owned(), error };
    if !path.try_exists().map_err(in_directory)? {
        make(path, directory)?;
    }
    let size = std::fs::metadata(path).map_err(in_directory)?.len();
    let connection = connect(path)?;
    check_version(&connection)?;
    if size <= CHECKED {
        check_pages(&connection)?;
    }
    prepare(&connection, log_pages(directory))?;
    Ok(connection)
}

/// One more connection for readers, to a ledger that is open.
pub(super) fn reader(path: &Path) -> Result<Connection, LedgerError> {
    let open = || {
        let connection = connect(path)?;
        prepare(&connection, LOG_PAGES)?;
        Ok(connection)
    };
    open().map_err(|error: rusqlite::Error| of_file(path, error.into()))
}

/// Makes an empty ledger. A crash meanwhile leaves a file of another name, which the next start makes anew.
fn make(path: &Path, directory: &Path) -> Result<(), LedgerError> {
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    if std::fs::metadata(beside("-wal")).is_ok_and(|log| log.len() > 0) {
        let finding = "it is gone, and its log, ledger.sqlite3-wal, is there".into();
        return Err(LedgerError::Corrupt { path: path.to_owned(), finding });
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
    let connection = Connection::open(&unfinished)?;
    connection.execute_batch(&format!("BEGIN; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"))?;
    connection.close().map_err(|(_, error)| error)?;
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

/// On a small disk the daemon makes a checkpoint so early that twice the size of the log fits into the space that it reserves. A checkpoint
/// makes the file grow, so a log that took the last page could never be emptied.
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

/// Whether the file's format is the one that this daemon reads.
fn check_version(connection: &Connection) -> Result<(), LedgerError> {
    match connection.pragma_query_value(None, "user_version", |row| row.get(0))? {
        SCHEMA_VERSION => Ok(()),
        0 => Err(LedgerError::damaged(connection, "there is nothing in it")),
        found => Err(LedgerError::Version { path: connection.path().unwrap_or_default().into(), found }),
    }
}

/// Reads every page, but does not compare indexes with tables.
fn check_pages(connection: &Connection) -> Result<(), LedgerError> {
    let finding: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    // Its first line only names the file.
    match finding.lines().last() {
        Some("ok") => Ok(()),
        finding => Err(LedgerError::damaged(connection, finding.unwrap_or_default())),
    }
}

/// What the failure of a statement means for the file that is being opened.
fn of_file(path: &Path, error: LedgerError) -> LedgerError {
    match error {
        LedgerError::Sqlite(error) if is_damage(&error) => {
            LedgerError::Corrupt { path: path.to_owned(), finding: error.to_string() }
        }
        LedgerError::Sqlite(error) => LedgerError::Open { path: path.to_owned(), error },
        error => error,
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
