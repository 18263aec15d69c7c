//! The files that the daemon wrote for plugins, by folder and name: so that it replaces only its own, and moves them with their recordings.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use super::error::LedgerError;
use super::form;
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
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO written (folder, name, job, recording, identity, sha256, replaces) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            written.folder.as_os_str().as_bytes(),
            written.name.as_bytes(),
            written.job,
            written.recording,
            form::to_json(&written.identity)?,
            written.sha256,
            written.replaces.cast_signed()
        ])?;
    Ok(())
}

/// Forgets the file at a place.
///
/// # Errors
/// When the statement fails.
pub fn remove(connection: &Connection, folder: &Path, name: &OsString) -> Result<(), LedgerError> {
    connection
        .prepare_cached("DELETE FROM written WHERE folder = ?1 AND name = ?2")?
        .execute(params![folder.as_os_str().as_bytes(), name.as_bytes()])?;
    Ok(())
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
    let mut statement = connection.prepare_cached(
        "SELECT folder, name, job, recording, identity, sha256, replaces FROM written \
         WHERE recording = ?2 AND folder = ?1 ORDER BY name",
    )?;
    let rows = statement.query_map(params![folder.as_os_str().as_bytes(), recording], columns)?;
    rows.map(|row| read(row?)).collect()
}

/// The files that were written for a job.
///
/// # Errors
/// When a row cannot be read.
pub fn of_job(connection: &Connection, job: Uuid) -> Result<Vec<Written>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT folder, name, job, recording, identity, sha256, replaces FROM written WHERE job = ?1 ORDER BY folder, name",
    )?;
    let rows = statement.query_map([job], columns)?;
    rows.map(|row| read(row?)).collect()
}

/// Forgets the files of a job, which stay where they are.
///
/// # Errors
/// When the statement fails.
pub(super) fn forget(connection: &Connection, job: Uuid) -> Result<(), LedgerError> {
    connection.prepare_cached("DELETE FROM written WHERE job = ?1")?.execute([job])?;
    Ok(())
}

type Columns = (Vec<u8>, Vec<u8>, Uuid, String, String, String, i64);

fn columns(row: &Row<'_>) -> rusqlite::Result<Columns> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?))
}

fn read((folder, name, job, recording, identity, sha256, replaces): Columns) -> Result<Written, LedgerError> {
    Ok(Written {
        folder: OsString::from_vec(folder).into(),
        name: OsString::from_vec(name),
        job,
        recording,
        identity: form::from_json("written", &identity)?,
        sha256,
        replaces: replaces.cast_unsigned(),
    })
}
