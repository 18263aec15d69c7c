//! Why a file could not be moved or deleted, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat, stat};

use super::walk::kind;
use crate::job::ledger::LedgerError;
use crate::os::Folder;

/// Why a file could not be settled. The file is where it was.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// Moving it failed.
    #[error("moving {from} to {to}: {error}; {}", remedy(.error))]
    Move { from: PathBuf, to: PathBuf, error: io::Error },
    /// A folder of the target path exists as something other than a folder.
    #[error("moving {from} to {to}: {taken} is {kind}, and would have to be a folder; move it away")]
    InTheWay { from: PathBuf, to: PathBuf, taken: PathBuf, kind: &'static str },
    /// Deleting it failed.
    #[error("deleting {path}: {error}; {}", remedy(.error))]
    Delete { path: PathBuf, error: io::Error },
    /// Too many other recordings of the folder are being put away.
    #[error(
        "other recordings of this folder are still being moved or deleted; check its filesystem and that of done_directory"
    )]
    Waits,
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl SettleError {
    /// Why a file cannot be moved: the first component of the target path from `done` on that is not a folder, else the system's error.
    pub fn of_move(from: PathBuf, done: &Path, below: &Path, error: io::Error) -> SettleError {
        let to = done.join(below);
        let is_taken = |folder: PathBuf, status: Stat| {
            let kind = kind(&status);
            (kind != FileType::Directory).then_some((folder, kind))
        };
        // The operator's path itself may be a link; folders below it may not.
        let taken = match Folder::open(done) {
            Err(_) => stat(done).ok().and_then(|status| is_taken(done.to_owned(), status)),
            Ok(root) => {
                let folders: Vec<&Path> = below.ancestors().skip(1).collect();
                folders
                    .into_iter()
                    .rev()
                    .find_map(|folder| is_taken(done.join(folder), root.status(folder).ok()?))
            }
        };
        match taken {
            Some((taken, kind)) => SettleError::InTheWay { from, to, taken, kind: name(kind) },
            None => SettleError::Move { from, to, error },
        }
    }
}

fn name(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a file",
        FileType::Symlink => "a symbolic link",
        _ => "no folder",
    }
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on its disk",
        io::ErrorKind::PermissionDenied => {
            "give harkd's user read, write and execute permission on the folder of each"
        }
        io::ErrorKind::ReadOnlyFilesystem => "mount its filesystem writable",
        io::ErrorKind::AlreadyExists => "move away what has these names",
        io::ErrorKind::InvalidFilename => "its path is too long; shorten done_directory or failed_directory",
        _ => "see to the filesystems of both",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_thing_in_the_way_is_named_and_else_the_error_has_its_remedy() {
        let disk = tempfile::tempdir().unwrap();
        let done = disk.path().join("done");
        let why = |error: io::ErrorKind| {
            SettleError::of_move("/calls/a/b.wav".into(), &done, Path::new("a/b.wav"), error.into())
                .to_string()
        };
        std::fs::write(&done, "a file").unwrap();
        assert!(
            why(io::ErrorKind::AlreadyExists)
                .ends_with("/done is a file, and would have to be a folder; move it away")
        );
        std::fs::remove_file(&done).unwrap();
        std::fs::create_dir(&done).unwrap();
        std::os::unix::fs::symlink(disk.path(), done.join("a")).unwrap();
        assert!(why(io::ErrorKind::NotADirectory).contains("/done/a is a symbolic link"));
        std::fs::remove_file(done.join("a")).unwrap();
        assert!(why(io::ErrorKind::StorageFull).ends_with("; make room on its disk"));
        assert!(why(io::ErrorKind::PermissionDenied).ends_with("permission on the folder of each"));
    }
}
