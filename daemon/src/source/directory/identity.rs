//! Which file of the ledger a file is that was found: the file with its inode, size and time, wherever that was; else the file with its path,
//! size and time, for copies, restores and some filesystems (FUSE, FAT) do not keep inodes. The same for files that were heard and for
//! files that were skipped.

use rusqlite::Connection;

use super::root::Root;
use super::walk::Found;
use crate::job::FileIdentity;
use crate::job::audio::is_absence;
use crate::job::ledger::LedgerError;
use crate::job::ledger::files::{self, Known};

/// What the ledger says of a file.
#[derive(Debug)]
pub struct Compared {
    /// The row of the file that it is, as it was.
    pub known: Option<i64>,
    /// Else the files that it may be, the likeliest first.
    pub candidates: Vec<Known>,
    /// It was heard, and has become longer.
    pub has_grown: bool,
    /// Files of its path that are seen in it: it is one of them, or has been written over it.
    pub met: u64,
}

/// What became of the candidates.
#[derive(Debug)]
pub enum Which {
    /// It is this one.
    Row(Known),
    /// It is a file that is under its other name as well.
    SecondName,
    /// It is new, or has changed.
    New,
}

/// Compares a file with the ledger.
///
/// # Errors
/// When a query fails.
pub fn compare(connection: &Connection, source: &str, found: &Found) -> Result<Compared, LedgerError> {
    let identity = found.stamp.identity;
    let mut at = files::at_path(connection, source, &found.path)?;
    let is_seen =
        |known: &Known| known.identity.inode == identity.inode || known.identity.is_unchanged(&identity);
    let met = at.iter().filter(|known| is_seen(known)).count() as u64;
    // Known as missed, it is back.
    let known = at.iter().find(|known| known.identity == identity && !known.was_missed());
    if let Some(known) = known {
        return Ok(Compared { known: Some(known.id), candidates: Vec::new(), has_grown: false, met });
    }
    let has_grown = at.iter().any(|known| {
        known.job.is_some() && known.identity.inode == identity.inode && known.identity.size < identity.size
    });
    let mut candidates = files::with_inode(connection, source, &identity)?;
    candidates.sort_by_key(|known| known.path != found.path);
    at.retain(|known| known.identity.is_unchanged(&identity) && known.identity.inode != identity.inode);
    candidates.extend(at);
    Ok(Compared { known: None, candidates, has_grown, met })
}

/// Looks at the places of the candidates. Blocking.
pub fn which(root: &Root, found: &Found, candidates: Vec<Known>) -> Which {
    let FileIdentity { dev, inode, .. } = found.stamp.identity;
    for known in candidates {
        if known.path == found.path {
            return Which::Row(known);
        }
        match root.status(&known.path) {
            Ok(status) if (status.st_dev, status.st_ino) == (dev, inode) => return Which::SecondName,
            // It is where it was; on another filesystem another file may have its numbers.
            Ok(status) if (status.st_dev, status.st_ino) == (known.identity.dev, inode) => {}
            // Another file is there by now.
            Ok(_) => return Which::Row(known),
            Err(error) if is_absence(&error) => return Which::Row(known),
            // A folder that may not be entered, a server that does not answer: nothing is known of its place.
            Err(_) => {}
        }
    }
    Which::New
}

/// Whether the bytes of a known file are not at its place any more; others may be. Blocking.
pub fn is_vacated(root: &Root, known: &Known) -> bool {
    match root.status(&known.path) {
        Ok(status) => !FileIdentity::of(&status).is_unchanged(&known.identity),
        Err(error) => is_absence(&error),
    }
}
