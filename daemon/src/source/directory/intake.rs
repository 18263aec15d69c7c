//! Writes what a scan found into the ledger: new recordings as jobs; for files that have only moved or were only touched, their new path
//! and identity.
//!
//! A job and its file are written in one transaction, which compares with the ledger once more: so a file becomes one job even if two
//! looks find it at the same time.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hark_sdk::event::Recording;
use rusqlite::Connection;
use url::Url;
use uuid::Uuid;

use super::absent::Absences;
use super::context::Context;
use super::found::Found;
use super::not_recognized::Reason;
use super::sidecar::RecordingMetadata;
use super::standing_still::SettledFile;
use crate::job::ledger::files::{self, Known};
use crate::job::ledger::{LedgerError, forgotten_files, jobs};
use crate::job::{FileIdentity, Job, Origin, Stage};

/// A file whose bytes are known.
#[derive(Debug, Clone)]
pub(super) struct Hashed {
    /// The file as it was before and after the reading.
    pub ready: SettledFile,
    /// Lower-case hex of its bytes.
    pub sha256: String,
    /// What its name and its sidecar tell.
    pub recording_metadata: RecordingMetadata,
    /// Known files with the same bytes that are no longer at their paths: the file may be one of these, moved.
    pub vacated: Vec<Known>,
}

/// What a file turned out to be after it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadOutcome {
    /// A new recording.
    Job(Uuid),
    /// A known file.
    NotRecognized(Reason),
    /// The file is in the ledger already: another look has written it, or it has been read under another of its names.
    Raced,
}

/// Takes a read file in.
///
/// # Errors
/// When a statement fails.
pub(super) fn take_in(
    connection: &Connection,
    context: &Context,
    file: &Hashed,
    absences: &Absences,
) -> Result<ReadOutcome, LedgerError> {
    let Hashed { ready: SettledFile { file: found, seen, .. }, sha256, recording_metadata, vacated } = file;
    let identity = found.stamp.identity;
    let at = files::at_path(connection, context.source(), &found.path)?;
    if at.iter().any(|known| known.identity == identity) {
        return Ok(ReadOutcome::Raced);
    }
    for known in at.iter().filter(|known| !absences.is_before(known.id, *seen)) {
        if known.sha256.as_ref() == Some(sha256) {
            // The file was touched, or replaced by a copy of itself: the same bytes at the same path are paid for once.
            if known.identity.inode == identity.inode || !is_being_put_away(connection, context, known)? {
                place(connection, context, known, &found.path, identity)?;
                let is_heard = known.job.is_some();
                return Ok(ReadOutcome::NotRecognized(if is_heard { Reason::Same } else { Reason::Skipped }));
            }
        } else if known.was_skipped_unread() && known.identity.size == identity.size {
            // The file was touched, as far as its size shows: its former bytes were never read. From now on its hash can be compared.
            let known = Known { identity, sha256: Some(sha256.clone()), ..known.clone() };
            files::update(connection, &known)?;
            return Ok(ReadOutcome::NotRecognized(Reason::Skipped));
        }
    }
    for old in vacated {
        let is_elsewhere = old.path != found.path;
        if is_elsewhere && matches!(take_from(connection, context, old, found)?, Moved::Here { .. }) {
            return Ok(ReadOutcome::NotRecognized(Reason::Same));
        }
    }
    // Two names of a new file (hard links) may be read together; the next look finds that this is the second one.
    if files::with_inode(connection, context.source(), &identity)?
        .iter()
        .any(|known| known.identity == identity)
    {
        return Ok(ReadOutcome::Raced);
    }
    if forgotten_files::is_touched(connection, context.source(), &identity, sha256)? {
        return Ok(ReadOutcome::NotRecognized(Reason::Same));
    }
    let mut job = job(context, found, sha256, recording_metadata);
    jobs::insert(connection, &mut job, recording_metadata.warnings.clone())?;
    let id = job.id;
    let (sha256, job) = (Some(sha256.clone()), Some(id));
    let is_same_file =
        |known: &&Known| (known.identity.dev, known.identity.inode) == (identity.dev, identity.inode);
    match at.iter().find(is_same_file) {
        // The known file was overwritten, so its former bytes no longer exist and its row is reused.
        Some(known) => files::update(connection, &Known { identity, sha256, job, ..known.clone() })?,
        None => {
            files::insert(connection, context.source(), &found.path, identity, sha256.as_deref(), job)?;
        }
    }
    Ok(ReadOutcome::Job(id))
}

/// Whether a file that was found at a new path is a known file that was moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    /// The file of this row was moved to the found path, and the ledger has that.
    Here { row: i64 },
    /// The found file is a second hard link of a known file, which is still at its own path.
    SecondName,
    /// The known file may be absent because the daemon is moving or deleting it now. Once its job is settled, its row is removed, or marked
    /// as missed.
    PerhapsHere,
    /// Another look or job has changed the row meanwhile.
    Elsewhere,
}

/// Notes that the file known as `old` is where `found` is.
///
/// # Errors
/// When a statement fails.
pub(super) fn take_from(
    connection: &Connection,
    context: &Context,
    old: &Known,
    found: &Found,
) -> Result<Moved, LedgerError> {
    if files::by_id(connection, old.id)?.as_ref() != Some(old) {
        return Ok(Moved::Elsewhere);
    }
    if is_being_put_away(connection, context, old)? {
        return Ok(Moved::PerhapsHere);
    }
    place(connection, context, &with_hash(connection, old)?, &found.path, found.stamp.identity)?;
    Ok(Moved::Here { row: old.id })
}

/// Restores the hash of a row that lost it because the file was absent when its job was settled: the job still has the hash. If the ledger
/// no longer has the job, no settling is due, and the file stays where it is.
fn with_hash(connection: &Connection, known: &Known) -> Result<Known, LedgerError> {
    let Some(id) = known.job.filter(|_| known.was_missed()) else { return Ok(known.clone()) };
    let job = jobs::find(connection, id)?;
    let sha256 = job.as_ref().and_then(|job| job.recording.sha256.clone());
    Ok(Known { sha256, job: job.map(|job| job.id), ..known.clone() })
}

/// Whether the daemon is moving or deleting this file now, or has just done so: then an equal file is not this one, moved, but another
/// recording that was not heard. The row of such a file is removed before its job counts as settled, so the job's state decides for as long
/// as the row exists.
fn is_being_put_away(connection: &Connection, context: &Context, known: &Known) -> Result<bool, LedgerError> {
    let Some(job) = known.job.filter(|_| context.puts_away()) else { return Ok(false) };
    Ok(jobs::find(connection, job)?.is_some_and(|job| matches!(job.stage, Stage::Stored { .. })))
}

/// Notes a file that is older than the first start: it is neither read nor heard.
///
/// # Errors
/// When the statement fails.
pub(super) fn skip(connection: &Connection, source: &str, found: &Found) -> Result<(), LedgerError> {
    files::insert(connection, source, &found.path, found.stamp.identity, None, None)
}

/// Writes the new path and identity of a known file into its row and its job.
fn place(
    connection: &Connection,
    context: &Context,
    known: &Known,
    path: &Path,
    identity: FileIdentity,
) -> Result<(), LedgerError> {
    files::update(connection, &Known { path: path.to_owned(), identity, ..known.clone() })?;
    if let Some(job) = known.job {
        jobs::relocate(connection, job, origin(context, path, identity), context.puts_away())?;
    }
    Ok(())
}

fn job(context: &Context, found: &Found, sha256: &str, recording_metadata: &RecordingMetadata) -> Job {
    let path = &found.path;
    let recording = Recording {
        name: path.file_name().map(|name| name.to_string_lossy().into_owned()),
        sha256: Some(sha256.to_owned()),
        bytes: Some(found.stamp.identity.size),
        ..Recording::default()
    };
    let recording = placed(recording, path);
    let origin = origin(context, path, found.stamp.identity);
    let (route, metadata) = (&context.config.route, recording_metadata.metadata.clone());
    let job = Job::new(Uuid::now_v7(), context.source(), route, origin, recording, metadata);
    Job { owes_source: context.puts_away(), sidecar: recording_metadata.sidecar.clone(), ..job }
}

/// The origin of a file of the watched folder. Every path that a scan finds is below that folder.
fn origin(context: &Context, path: &Path, identity: FileIdentity) -> Origin {
    let below = path.strip_prefix(context.root()).unwrap_or(path).to_owned();
    Origin::File { root: context.root().to_owned(), below, identity }
}

/// A recording that lies at this path by now.
pub fn placed(recording: Recording, path: &Path) -> Recording {
    let path_b64 = path.to_str().is_none().then(|| STANDARD.encode(path.as_os_str().as_bytes()));
    Recording { uri: uri(path), path_b64, ..recording }
}

/// `file:///…`, its bytes percent-encoded.
fn uri(path: &Path) -> String {
    // Fails only for a relative path; the root was made absolute.
    Url::from_file_path(path).map_or_else(|()| format!("file://{}", path.display()), String::from)
}
