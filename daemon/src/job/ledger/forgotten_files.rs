//! Files that the ledger knows by their identity alone, without a name, so that the daemon does not recognize them again: files of forgotten
//! jobs, and further hard links of files that the daemon has moved or deleted.

use rusqlite::{Connection, params};

use super::files::{self, Known};
use super::{LedgerError, sql};
use crate::job::{FileIdentity, Job, Origin};

/// Replaces the row of a job's file by its identity. The file of a job whose recording was recognized again belongs to the later job and
/// keeps its row.
///
/// # Errors
/// When a statement fails.
pub(super) fn replace(connection: &Connection, job: &Job) -> Result<(), LedgerError> {
    let Origin::File { root, below, .. } = &job.origin else { return Ok(()) };
    let at = files::at_path(connection, &job.source, &root.join(below))?;
    for Known { id, identity, sha256, .. } in at.into_iter().filter(|known| known.job == Some(job.id)) {
        files::remove(connection, id)?;
        let sha256 = sha256.or_else(|| job.recording.sha256.clone());
        note(connection, &job.source, &identity, sha256.as_deref())?;
    }
    Ok(())
}

/// Enters a file.
///
/// # Errors
/// When the statement fails.
pub fn note(
    connection: &Connection,
    source: &str,
    identity: &FileIdentity,
    sha256: Option<&str>,
) -> Result<(), LedgerError> {
    let [dev, inode, size, mtime_ns] = files::numbers(identity);
    sql::run(
        connection,
        "INSERT INTO forgotten_file (source, dev, inode, size, mtime_ns, sha256) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![source, dev, inode, size, mtime_ns, sha256],
    )
}

/// The row of a file that is unchanged, under whatever name, on whatever device: a filesystem may have another number since it was mounted
/// again.
///
/// # Errors
/// When the query fails.
pub fn find(
    connection: &Connection,
    source: &str,
    identity: &FileIdentity,
) -> Result<Option<i64>, LedgerError> {
    sql::first(
        connection,
        "SELECT id FROM forgotten_file WHERE source = ?1 AND inode = ?2 AND size = ?3 AND mtime_ns = ?4",
        params![source, identity.inode.cast_signed(), identity.size.cast_signed(), identity.mtime_ns],
        |row| row.get(0),
    )
}

/// Judges a file that was read. `true`: it is a forgotten file that was only touched; its new time is recorded. If its bytes differ, another
/// file has taken the place of the forgotten file, whose row is deleted.
///
/// # Errors
/// When a statement fails.
pub fn is_touched(
    connection: &Connection,
    source: &str,
    identity: &FileIdentity,
    sha256: &str,
) -> Result<bool, LedgerError> {
    let (dev, inode) = (identity.dev.cast_signed(), identity.inode.cast_signed());
    let touched = connection
        .prepare_cached(
            "UPDATE forgotten_file SET mtime_ns = ?5 WHERE source = ?1 AND dev = ?2 AND inode = ?3 AND sha256 = ?4",
        )?
        .execute(params![source, dev, inode, sha256, identity.mtime_ns])?;
    if touched == 0 {
        sql::run(
            connection,
            "DELETE FROM forgotten_file WHERE source = ?1 AND dev = ?2 AND inode = ?3",
            params![source, dev, inode],
        )?;
    }
    Ok(touched > 0)
}

/// The files of a source on these devices, by row.
///
/// # Errors
/// When the query fails.
pub fn of_source(connection: &Connection, source: &str) -> Result<Vec<(i64, u64)>, LedgerError> {
    sql::all(connection, "SELECT id, dev FROM forgotten_file WHERE source = ?1", [source], |row| {
        Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned()))
    })
}

/// Forgets a file for good: it is gone.
///
/// # Errors
/// When the statement fails.
pub fn remove(connection: &Connection, id: i64) -> Result<(), LedgerError> {
    sql::run(connection, "DELETE FROM forgotten_file WHERE id = ?1", [id])
}
