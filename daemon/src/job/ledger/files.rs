//! Files seen in watched folders, by identity and path, for as long as they are there.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, Row, ToSql, params};
use uuid::Uuid;

use super::{LedgerError, sql};
use crate::job::FileIdentity;

/// A file as the ledger knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// The row's id.
    pub id: i64,
    /// Absolute path; bytes.
    pub path: PathBuf,
    /// As it was when it was hashed, or skipped.
    pub identity: FileIdentity,
    /// `None`: never hashed, because it was there before the first start; or see [`Known::was_missed`].
    pub sha256: Option<String>,
    /// `None`: it was there before the first start and is not recognized.
    pub job: Option<Uuid>,
}

impl Known {
    /// Whether it was recognized and was not there when it was to be moved or deleted.
    pub fn was_missed(&self) -> bool {
        self.job.is_some() && self.sha256.is_none()
    }

    /// Whether it was there before the first start and was never hashed.
    pub fn was_skipped_unread(&self) -> bool {
        self.job.is_none() && self.sha256.is_none()
    }
}

const COLUMNS: &str = "id, path, dev, inode, size, mtime_ns, sha256, job";

/// How many files of a source are known.
///
/// # Errors
/// When the query fails.
pub fn count(connection: &Connection, source: &str) -> Result<u64, LedgerError> {
    sql::one(connection, "SELECT count(*) FROM file WHERE source = ?1", [source], |row| row.get(0))
}

/// A file by its row.
///
/// # Errors
/// When the query fails.
pub fn by_id(connection: &Connection, id: i64) -> Result<Option<Known>, LedgerError> {
    Ok(select(connection, "WHERE id = ?1", params![id])?.pop())
}

/// The files of a path: the file that is there, and those that were there before it and are not found elsewhere yet.
///
/// # Errors
/// When the query fails.
pub fn at_path(connection: &Connection, source: &str, path: &Path) -> Result<Vec<Known>, LedgerError> {
    let path = path.as_os_str().as_bytes();
    select(connection, "INDEXED BY file_by_path WHERE source = ?1 AND path = ?2", params![source, path])
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
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    select(
        connection,
        "INDEXED BY file_by_sha256 WHERE source = ?1 AND sha256 = ?2 ORDER BY path LIMIT ?3",
        params![source, sha256, limit],
    )
}

/// Files of a source with this inode, size and time, on whatever device: a filesystem may have another number since it was mounted again.
///
/// # Errors
/// When the query fails.
pub fn with_inode(
    connection: &Connection,
    source: &str,
    identity: &FileIdentity,
) -> Result<Vec<Known>, LedgerError> {
    let mut found = select(
        connection,
        "INDEXED BY file_by_inode WHERE source = ?1 AND inode = ?2",
        params![source, identity.inode.cast_signed()],
    )?;
    found.retain(|file| file.identity.is_unchanged(identity));
    Ok(found)
}

/// Files of a source that were skipped unread and have this size and time, at most `limit`: nothing else tells that another file is a copy
/// of one.
///
/// # Errors
/// When the query fails.
pub fn skipped_unread(
    connection: &Connection,
    source: &str,
    identity: &FileIdentity,
    limit: usize,
) -> Result<Vec<Known>, LedgerError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    select(
        connection,
        "INDEXED BY file_unread WHERE source = ?1 AND size = ?2 AND mtime_ns = ?3 AND job IS NULL AND sha256 IS NULL LIMIT ?4",
        params![source, identity.size.cast_signed(), identity.mtime_ns, limit],
    )
}

/// Files of a source that come after another one, in order of path, at most `limit`.
///
/// # Errors
/// When the query fails.
pub fn page(
    connection: &Connection,
    source: &str,
    after: Option<&Known>,
    limit: usize,
) -> Result<Vec<Known>, LedgerError> {
    let (path, id) = after.map_or((&[][..], 0), |after| (after.path.as_os_str().as_bytes(), after.id));
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    select(
        connection,
        "WHERE source = ?1 AND (path, id) > (?2, ?3) ORDER BY path, id LIMIT ?4",
        params![source, path, id, limit],
    )
}

/// Enters a file.
///
/// # Errors
/// When the statement fails.
pub fn insert(
    connection: &Connection,
    source: &str,
    path: &Path,
    identity: FileIdentity,
    sha256: Option<&str>,
    job: Option<Uuid>,
) -> Result<(), LedgerError> {
    let [dev, inode, size, mtime_ns] = numbers(&identity);
    sql::run(
        connection,
        "INSERT INTO file (source, path, dev, inode, size, mtime_ns, sha256, job) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![source, path.as_os_str().as_bytes(), dev, inode, size, mtime_ns, sha256, job],
    )
}

/// Writes what is known of a file by now over its row.
///
/// # Errors
/// When the statement fails.
pub fn update(connection: &Connection, file: &Known) -> Result<(), LedgerError> {
    let [dev, inode, size, mtime_ns] = numbers(&file.identity);
    let path = file.path.as_os_str().as_bytes();
    sql::run(
        connection,
        "UPDATE file SET path = ?2, dev = ?3, inode = ?4, size = ?5, mtime_ns = ?6, sha256 = ?7, job = ?8 WHERE id = ?1",
        params![file.id, path, dev, inode, size, mtime_ns, file.sha256, file.job],
    )
}

/// The file of a job belongs to another one from now on: its recording is recognized again.
///
/// # Errors
/// When the statement fails.
pub fn hand_on(
    connection: &Connection,
    source: &str,
    path: &Path,
    from: Uuid,
    to: Uuid,
) -> Result<(), LedgerError> {
    sql::run(
        connection,
        "UPDATE file INDEXED BY file_by_path SET job = ?4 WHERE source = ?1 AND path = ?2 AND job = ?3",
        params![source, path.as_os_str().as_bytes(), from, to],
    )
}

/// Forgets a file: it is gone.
///
/// # Errors
/// When the statement fails.
pub fn remove(connection: &Connection, id: i64) -> Result<(), LedgerError> {
    sql::run(connection, "DELETE FROM file WHERE id = ?1", [id])
}

/// Deletes the row of a file whose job has never read it, whatever its path is now: when the file is found again, it is recognized.
///
/// # Errors
/// When the statement fails.
pub(super) fn forget_unread(
    connection: &Connection,
    source: &str,
    identity: &FileIdentity,
    job: Uuid,
) -> Result<(), LedgerError> {
    sql::run(
        connection,
        "DELETE FROM file INDEXED BY file_by_inode WHERE source = ?1 AND inode = ?2 AND job = ?3",
        params![source, identity.inode.cast_signed(), job],
    )
}

/// The columns of an identity. SQLite's integers are signed; dev and inode are only compared, so their bits may be read as such.
pub(super) fn numbers(identity: &FileIdentity) -> [i64; 4] {
    let FileIdentity { dev, inode, size, mtime_ns } = *identity;
    [dev.cast_signed(), inode.cast_signed(), size.cast_signed(), mtime_ns]
}

/// `rest`: the index to use, where SQLite by itself would read every row of the source; the condition; the order.
fn select(connection: &Connection, rest: &str, values: &[&dyn ToSql]) -> Result<Vec<Known>, LedgerError> {
    sql::all(connection, &format!("SELECT {COLUMNS} FROM file {rest}"), values, known)
}

fn known(row: &Row<'_>) -> rusqlite::Result<Known> {
    let unsigned = |index| row.get::<_, i64>(index).map(i64::cast_unsigned);
    Ok(Known {
        id: row.get(0)?,
        path: PathBuf::from(OsString::from_vec(row.get(1)?)),
        identity: FileIdentity {
            dev: unsigned(2)?,
            inode: unsigned(3)?,
            size: unsigned(4)?,
            mtime_ns: row.get(5)?,
        },
        sha256: row.get(6)?,
        job: row.get(7)?,
    })
}
