//! Finds the ledger's row of a file that a scan met: the row with the same inode, size and mtime, at any path; else the row with the same
//! path, size and mtime, because copies, restores and some filesystems (FUSE, FAT) do not keep inodes. The rules are the same for files
//! that were recognized and for files that were skipped. A skipped file may also have been copied to another path before it went: its size
//! and mtime tell, where the hash tells that of a recognized one.

use std::sync::Arc;

use rusqlite::Connection;

use super::context::Context;
use super::found::Found;
use super::intake::{self, Moved};
use super::root::Root;
use crate::job::audio::is_absence;
use crate::job::ledger::LedgerError;
use crate::job::ledger::files::{self, Known};
use crate::job::ledger::forgotten_files;
use crate::job::{Duty, FileIdentity};

/// The most skipped files of one size and time of which a file may be a copy.
const MOST_COPIED: usize = 256;

/// What the ledger has on a file.
#[derive(Debug)]
pub(super) struct Compared {
    /// The row of the file, if it is unchanged at its path.
    pub known: Option<i64>,
    /// The row of the file, if it is an unchanged file of a forgotten job.
    pub forgotten: Option<i64>,
    /// Otherwise the rows of files that it may be, the likeliest first.
    pub candidates: Vec<Known>,
    /// The file was recognized, and has become longer.
    pub has_grown: bool,
    /// Number of rows with its path that this file accounts for: by the same inode, or by unchanged size and mtime.
    pub met: u64,
}

/// Which of the candidates a file is.
#[derive(Debug)]
enum Which {
    /// The file is this one.
    Row(Known),
    /// The file is a second hard link of a known file, which is still at its own path.
    SecondName,
    /// The file is new, or has changed.
    New,
}

/// Compares a file with the ledger.
///
/// # Errors
/// When a query fails.
pub(super) fn compare(connection: &Connection, source: &str, found: &Found) -> Result<Compared, LedgerError> {
    let identity = found.stamp.identity;
    let mut at = files::at_path(connection, source, &found.path)?;
    let is_seen =
        |known: &Known| known.identity.inode == identity.inode || known.identity.is_unchanged(&identity);
    let met = at.iter().filter(|known| is_seen(known)).count() as u64;
    // A row that was noted as missed is not taken here: the file is back, and [`follow`] has to note that.
    let known = at.iter().find(|known| known.identity == identity && !known.was_missed());
    if let Some(known) = known {
        let known = Some(known.id);
        return Ok(Compared { known, forgotten: None, candidates: Vec::new(), has_grown: false, met });
    }
    let forgotten = forgotten_files::find(connection, source, &identity)?;
    if forgotten.is_some() {
        return Ok(Compared { known: None, forgotten, candidates: Vec::new(), has_grown: false, met });
    }
    let has_grown = at.iter().any(|known| {
        known.job.is_some() && known.identity.inode == identity.inode && known.identity.size < identity.size
    });
    let mut candidates = files::with_inode(connection, source, &identity)?;
    candidates.sort_by_key(|known| known.path != found.path);
    at.retain(|known| known.identity.is_unchanged(&identity) && known.identity.inode != identity.inode);
    candidates.extend(at);
    if candidates.is_empty() {
        candidates = files::skipped_unread(connection, source, &identity, MOST_COPIED)?;
        candidates.sort_by_key(|known| known.path.file_name() != found.path.file_name());
    }
    Ok(Compared { known: None, forgotten: None, candidates, has_grown, met })
}

/// Decides which candidate a file is, by what is at the candidates' paths now. Blocking.
fn which(root: &Root, found: &Found, candidates: Vec<Known>) -> Which {
    let FileIdentity { dev, inode, .. } = found.stamp.identity;
    for known in candidates {
        if known.path == found.path {
            return Which::Row(known);
        }
        match root.status(&known.path) {
            Ok(status) if (status.st_dev, status.st_ino) == (dev, inode) => return Which::SecondName,
            // The candidate is at its path; the file is a copy of it, or, on another filesystem, has the same inode number by chance.
            Ok(status) if (status.st_dev, status.st_ino) == (known.identity.dev, known.identity.inode) => {}
            // Another file has the candidate's path by now.
            Ok(_) => return Which::Row(known),
            Err(error) if is_absence(&error) => return Which::Row(known),
            // The folder may not be entered, or a file server does not answer: whether the candidate is at its path is unknown.
            Err(_) => {}
        }
    }
    Which::New
}

/// Whether a known file is no longer at its path, or has changed there. Blocking.
pub(super) fn is_vacated(root: &Root, known: &Known) -> bool {
    match root.status(&known.path) {
        Ok(status) => !FileIdentity::of(&status).is_unchanged(&known.identity),
        Err(error) => is_absence(&error),
    }
}

/// Notes the new paths of moved files, all in one transaction: a folder that was renamed, or mounted again, may hold a hundred thousand
/// files. `moved`: files with the rows that they may be. Returns what became of each.
///
/// # Errors
/// When the ledger is closed or damaged.
pub(super) async fn note_moves(
    context: &Arc<Context>,
    moved: Vec<(Found, Vec<Known>)>,
) -> Result<Vec<(Found, Moved)>, LedgerError> {
    if moved.is_empty() {
        return Ok(Vec::new());
    }
    let files: Vec<Found> = moved.iter().map(|(found, _)| found.clone()).collect();
    let known = context.in_folder(move |root, _| {
        let which = |(found, candidates)| (which(&root, &found, candidates), found);
        moved.into_iter().map(which).collect::<Vec<_>>()
    });
    let Some(known) = known.await? else {
        return Ok(files.into_iter().map(|found| (found, Moved::Elsewhere)).collect());
    };
    let follow = move |connection: &Connection, context: &Context| {
        let follow = |(which, found): &(Which, Found)| match which {
            Which::Row(old) => intake::take_from(connection, context, old, found),
            Which::SecondName => Ok(Moved::SecondName),
            Which::New => Ok(Moved::Elsewhere),
        };
        known.iter().map(follow).collect::<Result<Vec<_>, LedgerError>>()
    };
    let followed = context.write(follow).await?;
    if context.puts_away() {
        // Some of these files may have been absent when they were to be put away.
        context.ledger.wake(Duty::Settle);
    }
    Ok(files.into_iter().zip(followed).collect())
}
