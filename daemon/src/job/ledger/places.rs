//! The places that were ever watched, and which of their files were there before the watch began.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};

use super::error::LedgerError;

/// What is met at the path of a watched folder: the folder itself, or a filesystem that is mounted below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub dev: u64,
    /// The folder's; 0: of a filesystem below it.
    pub inode: u64,
}

/// The folder of the config, whatever is found there.
const WANTED: Place = Place { dev: 0, inode: 0 };

/// Notes that a source wants to watch a folder, since `now_ns` unless it did so before. The folder need not be there.
///
/// # Errors
/// When the statement fails.
pub fn want(connection: &Connection, source: &str, path: &Path, now_ns: i64) -> Result<(), LedgerError> {
    enter(connection, source, path, WANTED, now_ns, false)
}

/// Whether a place was met before. `Some(None)`: it was, and all that was there before is known; else since when the folder was to be
/// watched: what is older was there before.
///
/// # Errors
/// When the query fails.
pub fn find(
    connection: &Connection,
    source: &str,
    path: &Path,
    place: Place,
) -> Result<Option<Option<i64>>, LedgerError> {
    Ok(connection
        .prepare_cached(
            "SELECT since, scanned FROM source WHERE name = ?1 AND path = ?2 AND dev = ?3 AND inode = ?4",
        )?
        .query_row(
            params![source, path.as_os_str().as_bytes(), place.dev.cast_signed(), place.inode.cast_signed()],
            |row| {
                let (since, scanned): (i64, bool) = (row.get(0)?, row.get(1)?);
                Ok((!scanned).then_some(since))
            },
        )
        .optional()?)
}

/// Notes a place that is met for the first time. `is_known`: it is one that was met before, under other numbers. As [`find`].
///
/// # Errors
/// When a statement fails.
pub fn meet(
    connection: &Connection,
    source: &str,
    path: &Path,
    place: Place,
    is_known: bool,
) -> Result<Option<i64>, LedgerError> {
    let wanted = find(connection, source, path, WANTED)?.flatten().unwrap_or(0);
    enter(connection, source, path, place, wanted, is_known)?;
    Ok((!is_known).then_some(wanted))
}

/// Notes that all that was in a place before is known.
///
/// # Errors
/// When the statement fails.
pub fn scanned(connection: &Connection, source: &str, path: &Path, place: Place) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "UPDATE source SET scanned = 1 WHERE name = ?1 AND path = ?2 AND dev = ?3 AND inode = ?4",
        )?
        .execute(params![
            source,
            path.as_os_str().as_bytes(),
            place.dev.cast_signed(),
            place.inode.cast_signed()
        ])?;
    Ok(())
}

fn enter(
    connection: &Connection,
    source: &str,
    path: &Path,
    place: Place,
    since: i64,
    scanned: bool,
) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO source (name, path, dev, inode, since, scanned) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            source,
            path.as_os_str().as_bytes(),
            place.dev.cast_signed(),
            place.inode.cast_signed(),
            since,
            scanned
        ])?;
    Ok(())
}
