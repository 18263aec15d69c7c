//! The files that the daemon wrote for plugins, by folder and name: so that it replaces only its own, and moves them with their recordings.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, Row, ToSql, params};
use uuid::Uuid;

use super::{LedgerError, form, sql};
use crate::job::FileIdentity;

/// A file that the daemon wrote.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// Where it is.
    pub folder: PathBuf,
    /// Its name in the folder.
    pub name: OsString,
    /// The job that it was written for.
    pub job: Uuid,
    /// Hex digest of the recording that it was written for.
    pub recording: String,
    /// The file, as it was written.
    pub identity: FileIdentity,
    /// Hex digest of its bytes.
    pub sha256: String,
    /// Inode of the file that it replaces; 0: none. A crash may come before the replacement.
    pub replaces: u64,
}

impl Written {
    /// Whether the file with this inode at its place is the daemon's own.
    pub fn is_own(&self, inode: u64) -> bool {
        self.identity.inode == inode || (self.replaces == inode && inode != 0)
    }
}

/// Notes a file before it gets its name, or where it is by now.
///
/// # Errors
/// When the statement fails.
pub fn note(connection: &Connection, written: &Written) -> Result<(), LedgerError> {
    sql::run(
        connection,
        "INSERT OR REPLACE INTO written (folder, name, job, recording, identity, sha256, replaces) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            written.folder.as_os_str().as_bytes(),
            written.name.as_bytes(),
            written.job,
            written.recording,
            form::to_json(&written.identity)?,
            written.sha256,
            written.replaces.cast_signed()
        ],
    )
}

/// Forgets the file at a place.
///
/// # Errors
/// When the statement fails.
pub fn remove(connection: &Connection, folder: &Path, name: &OsString) -> Result<(), LedgerError> {
    sql::run(
        connection,
        "DELETE FROM written WHERE folder = ?1 AND name = ?2",
        params![folder.as_os_str().as_bytes(), name.as_bytes()],
    )
}

/// The files in a folder that were written for a recording.
///
/// # Errors
/// When a row cannot be read.
pub fn of_recording(
    connection: &Connection,
    folder: &Path,
    recording: &str,
) -> Result<Vec<Written>, LedgerError> {
    let folder = folder.as_os_str().as_bytes();
    select(connection, "WHERE recording = ?2 AND folder = ?1 ORDER BY name", params![folder, recording])
}

/// The files that were written for a job.
///
/// # Errors
/// When a row cannot be read.
pub fn of_job(connection: &Connection, job: Uuid) -> Result<Vec<Written>, LedgerError> {
    select(connection, "WHERE job = ?1 ORDER BY folder, name", params![job])
}

/// Forgets the files of a job, which stay where they are.
///
/// # Errors
/// When the statement fails.
pub(super) fn forget(connection: &Connection, job: Uuid) -> Result<(), LedgerError> {
    sql::run(connection, "DELETE FROM written WHERE job = ?1", [job])
}

/// `rest`: the condition and the order.
fn select(connection: &Connection, rest: &str, values: &[&dyn ToSql]) -> Result<Vec<Written>, LedgerError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT folder, name, job, recording, identity, sha256, replaces FROM written {rest}"
    ))?;
    let written = |row: &Row<'_>| {
        Ok(Written {
            folder: OsString::from_vec(row.get(0)?).into(),
            name: OsString::from_vec(row.get(1)?),
            job: row.get(2)?,
            recording: row.get(3)?,
            identity: form::from_json("written", &row.get::<_, String>(4)?)?,
            sha256: row.get(5)?,
            replaces: row.get::<_, i64>(6)?.cast_unsigned(),
        })
    };
    statement.query_and_then(values, written)?.collect()
}
