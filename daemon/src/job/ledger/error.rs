//! What can be wrong with the ledger, and what SQLite's errors mean.

use std::path::PathBuf;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

/// The format of the file that this program reads; another one is refused, never guessed at.
pub(super) const SCHEMA_VERSION: i64 = 1;

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
    /// Other users may look into the directory, and the daemon may not change that.
    #[error(
        "the state directory {path} is open to others (mode {mode:04o}), and texts and audio lie in it, but it {reason}; \
         set state.directory to a folder of harkd's own, which it makes if it is missing, or close this one: chmod 700 {path}"
    )]
    Exposed { path: PathBuf, mode: u32, reason: String },
    /// The file is damaged. Nothing in it is trusted.
    #[error(
        "the ledger {path} is damaged ({finding}); stop harkd, move the file and those beside it (-wal, -shm) away and restore a copy, \
         or start with an empty one: then files that are still in watched folders are treated as if they had never been seen"
    )]
    Corrupt { path: PathBuf, finding: String },
    /// Another version wrote it.
    #[error(
        "the ledger {path} has format {found}, this harkd reads {SCHEMA_VERSION}; use the harkd that wrote it, or a newer one"
    )]
    Version { path: PathBuf, found: i64 },
    /// A row of a newer version: it is left alone.
    #[error(
        "a row of the table {table} has version {found}: a newer harkd wrote it; start that harkd to resume it"
    )]
    Newer { table: &'static str, found: u64 },
    /// Another daemon has it.
    #[error(
        "the state directory {path} is in use by another harkd; give each daemon its own state.directory"
    )]
    InUse { path: PathBuf },
    /// The file has so many pages that pages of trees cannot be told from other pages.
    #[error("the ledger has {0} pages, too many to tell which of them have rows")]
    TooLarge(u32),
    /// A statement failed: our bug.
    #[error("ledger: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The writer has ended.
    #[error("the ledger is closed")]
    Closed,
}

impl LedgerError {
    /// The file of a connection is damaged.
    pub(super) fn damaged(connection: &Connection, finding: &str) -> LedgerError {
        let path = connection.path().unwrap_or_default().into();
        LedgerError::Corrupt { path, finding: finding.to_owned() }
    }

    /// Names the file where the failure of a statement means that it is damaged: its pages contradict each other, or what the daemon wrote
    /// into it reads as something else.
    pub(super) fn of(connection: &Connection, error: LedgerError) -> LedgerError {
        match error {
            LedgerError::Sqlite(error) if is_damage(&error) => {
                LedgerError::damaged(connection, &error.to_string())
            }
            error => error,
        }
    }
}

/// Pause before what found no room is tried again: a goal is to resume within 5 s of space.
pub(super) const NO_ROOM_PAUSE: Duration = Duration::from_secs(1);

/// Errors that pass when the disk or the file system does again.
pub(super) fn is_no_room(error: &rusqlite::Error) -> bool {
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

/// Errors that say that the file does not hold what was written.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error};
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
        || matches!(
            error,
            FromSqlConversionFailure(..)
                | IntegralValueOutOfRange(..)
                | InvalidColumnType(..)
                | Utf8Error(..)
        )
}
