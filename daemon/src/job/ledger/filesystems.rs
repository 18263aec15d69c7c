//! The filesystems that were ever watched, and which of their files were there before the watch began.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rusqlite::{Connection, params};

use super::{LedgerError, sql};

/// A filesystem that a source has found at the path of its watched folder: the one of the folder itself, or one that is mounted below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filesystem {
    pub dev: u64,
    /// The folder's; 0: of a filesystem below it.
    pub inode: u64,
}

/// Stands for the folder of the config before the source has found any filesystem there.
const WANTED: Filesystem = Filesystem { dev: 0, inode: 0 };

/// Records since when a source wants to watch a folder: `now_ns`, unless it is recorded already. The folder need not exist.
///
/// # Errors
/// When the statement fails.
pub fn want(connection: &Connection, source: &str, path: &Path, now_ns: i64) -> Result<(), LedgerError> {
    enter(connection, source, path, WANTED, now_ns, false)
}

/// The state of a filesystem. `None`: the source has never found it. `Some(None)`: its first scan has ended. `Some(Some(since))`: its first scan has
/// not ended; files that are older than `since` are skipped.
///
/// # Errors
/// When the query fails.
pub fn find(
    connection: &Connection,
    source: &str,
    path: &Path,
    filesystem: Filesystem,
) -> Result<Option<Option<i64>>, LedgerError> {
    sql::first(
        connection,
        "SELECT since, scanned FROM source WHERE name = ?1 AND path = ?2 AND dev = ?3 AND inode = ?4",
        params![
            source,
            path.as_os_str().as_bytes(),
            filesystem.dev.cast_signed(),
            filesystem.inode.cast_signed()
        ],
        |row| {
            let (since, scanned): (i64, bool) = (row.get(0)?, row.get(1)?);
            Ok((!scanned).then_some(since))
        },
    )
}

/// Records a filesystem that the source finds for the first time. `is_known`: a known filesystem under other numbers, so it needs no first scan. Returns
/// the time of the wanted watch while the first scan is due.
///
/// # Errors
/// When a statement fails.
pub fn meet(
    connection: &Connection,
    source: &str,
    path: &Path,
    filesystem: Filesystem,
    is_known: bool,
) -> Result<Option<i64>, LedgerError> {
    let wanted = find(connection, source, path, WANTED)?.flatten().unwrap_or(0);
    enter(connection, source, path, filesystem, wanted, is_known)?;
    Ok((!is_known).then_some(wanted))
}

/// Records that the first scan of a filesystem has ended: the ledger has every older file of it.
///
/// # Errors
/// When the statement fails.
pub fn scanned(
    connection: &Connection,
    source: &str,
    path: &Path,
    filesystem: Filesystem,
) -> Result<(), LedgerError> {
    sql::run(
        connection,
        "UPDATE source SET scanned = 1 WHERE name = ?1 AND path = ?2 AND dev = ?3 AND inode = ?4",
        params![
            source,
            path.as_os_str().as_bytes(),
            filesystem.dev.cast_signed(),
            filesystem.inode.cast_signed()
        ],
    )
}

fn enter(
    connection: &Connection,
    source: &str,
    path: &Path,
    filesystem: Filesystem,
    since: i64,
    scanned: bool,
) -> Result<(), LedgerError> {
    let (path, dev, inode) =
        (path.as_os_str().as_bytes(), filesystem.dev.cast_signed(), filesystem.inode.cast_signed());
    sql::run(
        connection,
        "INSERT OR IGNORE INTO source (name, path, dev, inode, since, scanned) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![source, path, dev, inode, since, scanned],
    )
}
