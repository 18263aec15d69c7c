//! The state directory: for the daemon's user alone, and locked for one daemon.

use std::fs::{File, TryLockError};
use std::path::Path;

use tracing::warn;

use super::error::LedgerError;
use super::retention::PLUGINS;
use crate::job::spool::SPOOL;
use crate::os::private;

/// The name of the ledger's file in it.
pub(super) const FILE: &str = "ledger.sqlite3";

/// Makes the state directory, if it is missing, and locks it: two daemons would both pay. The kernel releases the lock when the process
/// ends, however it ends.
pub(super) fn lock(directory: &Path) -> Result<File, LedgerError> {
    make_private(directory)?;
    let path = directory.join("lock");
    let file = private::create_file(&path).map_err(|error| LedgerError::Directory { path, error })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LedgerError::InUse { path: directory.to_owned() }),
        Err(TryLockError::Error(error)) => Err(LedgerError::Directory { path: directory.to_owned(), error }),
    }
}

/// Makes the state directory, or closes it to other users if they may read it: it contains transcripts and audio.
fn make_private(directory: &Path) -> Result<(), LedgerError> {
    let in_directory = |error| LedgerError::Directory { path: directory.to_owned(), error };
    private::create_folder(directory).map_err(in_directory)?;
    let Some(mode) = private::open_to_others(directory).map_err(in_directory)? else { return Ok(()) };
    let exposed = |reason| LedgerError::Exposed { path: directory.to_owned(), mode, reason };
    // A mistake in state.directory (/var/lib, a home) must not close a folder that other programs need.
    if let Some(other) = other_things(directory).map_err(in_directory)? {
        return Err(exposed(format!("holds other things than harkd's, such as {other:?}")));
    }
    private::close(directory).map_err(|error| exposed(format!("cannot be closed: {error}")))?;
    let (path, mode) = (directory.display(), format!("{mode:04o}"));
    warn!(%path, mode, "the state directory was open to others; it has mode 0700 now");
    Ok(())
}

/// A file in a directory without a ledger that no daemon has put there, if there is one.
fn other_things(directory: &Path) -> std::io::Result<Option<String>> {
    const OURS: [&str; 4] = ["lock", PLUGINS, SPOOL, "lost+found"];
    let names: Vec<_> = directory
        .read_dir()?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<std::io::Result<_>>()?;
    let is_ours = |name: &String| OURS.contains(&name.as_str()) || name.starts_with(FILE);
    let has_ledger = names.iter().any(|name| name == FILE);
    Ok(names.into_iter().find(|name| !has_ledger && !is_ours(name)))
}
