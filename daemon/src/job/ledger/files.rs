//! Files seen in watched folders, by path and identity, for as long as they are there.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::LedgerError;
use crate::job::FileIdentity;

/// A file as the ledger knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// Absolute path; bytes.
    pub path: PathBuf,
    /// As it was when it was hashed, or skipped.
    pub identity: FileIdentity,
    /// `None`: never hashed, because it was there before the first start; or see [`Known::was_missed`].
    pub sha256: Option<String>,
    /// `None`: it was there before the first start and stays unheard.
    pub job: Option<Uuid>,
}

impl Known {
    /// It was heard, and was not there when it was to be put away.
    pub fn was_missed(&self) -> bool {
        self.job.is_some() && self.sha256.is_none()
    }
}

/// Begins a source's first scan of a folder, or goes on with it. `None`: it was finished long ago; else when the folder was first
/// watched, in nanoseconds since the epoch, which is `now_ns` unless a crash came between.
///
/// # Errors
/// When a statement fails.
pub fn first_scan(
    connection: &Connection,
    source: &str,
    path: &Path,
    now_ns: i64,
) -> Result<Option<i64>, LedgerError> {
    let path = path.as_os_str().as_bytes();
    connection
        .prepare_cached("INSERT OR IGNORE INTO source (name, path, since) VALUES (?1, ?2, ?3)")?
        .execute(params![source, path, now_ns])?;
    Ok(connection
        .prepare_cached("SELECT since FROM source WHERE name = ?1 AND path = ?2 AND scanned = 0")?
        .query_row(params![source, path], |row| row.get(0))
        .optional()?)
}

/// Notes that the source has finished its first scan of a folder.
///
/// # Errors
/// When the statement fails.
pub fn first_scan_done(connection: &Connection, source: &str, path: &Path) -> Result<(), LedgerError> {
    connection
        .prepare_cached("UPDATE source SET scanned = 1 WHERE name = ?1 AND path = ?2")?
        .execute(params![source, path.as_os_str().as_bytes()])?;
    Ok(())
}

/// How many files of a source are known.
///
/// # Errors
/// When the query fails.
pub fn count(connection: &Connection, source: &str) -> Result<u64, LedgerError> {
    Ok(connection
        .prepare_cached("SELECT count(*) FROM file WHERE source = ?1")?
        .query_row([source], |row| row.get(0))?)
}

/// The file at a path.
///
/// # Errors
/// When the query fails.
pub fn at_path(connection: &Connection, source: &str, path: &Path) -> Result<Option<Known>, LedgerError> {
    Ok(connection
        .prepare_cached(
            "SELECT path, dev, inode, size, mtime_ns, sha256, job FROM file WHERE source = ?1 AND path = ?2",
        )?
        .query_row(params![source, path.as_os_str().as_bytes()], known)
        .optional()?)
}

/// Files of a source with these bytes, wherever they are, in order of path, at most `limit`.
///
/// # Errors
/// When the query fails.
pub fn with_sha256(
    connection: &Connection,
    source: &str,
    sha256: &str,
    limit: usize,
) -> Result<Vec<Known>, LedgerError> {
    // Left to itself, SQLite reads every row of the source: it thinks that the primary key, whose first column is equal, is as good.
    let mut statement = connection.prepare_cached(
        "SELECT path, dev, inode, size, mtime_ns, sha256, job FROM file INDEXED BY file_by_sha256 WHERE source = ?1 AND sha256 = ?2 ORDER BY path LIMIT ?3",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let found = statement.query_map(params![source, sha256, limit], known)?.collect::<Result<_, _>>()?;
    Ok(found)
}

/// Files of a source with this identity: the file's own row, and those of other names that it has or had.
///
/// # Errors
/// When the query fails.
pub fn with_identity(
    connection: &Connection,
    source: &str,
    identity: &FileIdentity,
) -> Result<Vec<Known>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT path, dev, inode, size, mtime_ns, sha256, job FROM file INDEXED BY file_by_inode WHERE source = ?1 AND inode = ?2",
    )?;
    let mut found: Vec<Known> = statement
        .query_map(params![source, identity.inode.cast_signed()], known)?
        .collect::<Result<_, _>>()?;
    found.retain(|file| file.identity == *identity);
    Ok(found)
}

/// Files of a source whose path comes after `after`, in order of path, at most `limit`.
///
/// # Errors
/// When the query fails.
pub fn page(
    connection: &Connection,
    source: &str,
    after: &Path,
    limit: usize,
) -> Result<Vec<Known>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT path, dev, inode, size, mtime_ns, sha256, job FROM file WHERE source = ?1 AND path > ?2 ORDER BY path LIMIT ?3",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let found = statement
        .query_map(params![source, after.as_os_str().as_bytes(), limit], known)?
        .collect::<Result<_, _>>()?;
    Ok(found)
}

/// Writes a file, over what was known of its path.
///
/// # Errors
/// When the statement fails.
pub fn put(connection: &Connection, source: &str, file: &Known) -> Result<(), LedgerError> {
    let FileIdentity { dev, inode, size, mtime_ns } = file.identity;
    // SQLite's integers are signed; dev and inode are only compared, so their bits may be read as such.
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO file (source, path, dev, inode, size, mtime_ns, sha256, job) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            source,
            file.path.as_os_str().as_bytes(),
            dev.cast_signed(),
            inode.cast_signed(),
            size.cast_signed(),
            mtime_ns,
            file.sha256,
            file.job
        ])?;
    Ok(())
}

/// Forgets the file at a path: it is gone.
///
/// # Errors
/// When the statement fails.
pub fn remove(connection: &Connection, source: &str, path: &Path) -> Result<(), LedgerError> {
    connection
        .prepare_cached("DELETE FROM file WHERE source = ?1 AND path = ?2")?
        .execute(params![source, path.as_os_str().as_bytes()])?;
    Ok(())
}

/// Forgets the file of a job that has never read it, under whatever name: found again, it is to be heard.
///
/// # Errors
/// When the statement fails.
pub(super) fn forget_unread(
    connection: &Connection,
    source: &str,
    identity: &FileIdentity,
    job: Uuid,
) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "DELETE FROM file INDEXED BY file_by_inode WHERE source = ?1 AND inode = ?2 AND job = ?3",
        )?
        .execute(params![source, identity.inode.cast_signed(), job])?;
    Ok(())
}

fn known(row: &Row<'_>) -> rusqlite::Result<Known> {
    let unsigned = |index| row.get::<_, i64>(index).map(i64::cast_unsigned);
    Ok(Known {
        path: PathBuf::from(OsString::from_vec(row.get(0)?)),
        identity: FileIdentity {
            dev: unsigned(1)?,
            inode: unsigned(2)?,
            size: unsigned(3)?,
            mtime_ns: row.get(4)?,
        },
        sha256: row.get(5)?,
        job: row.get(6)?,
    })
}
