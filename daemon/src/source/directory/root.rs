//! The watched folder itself.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Stat, lstat};

use super::context::{Context, blocking};
use crate::job::ledger::LedgerError;
use crate::os::Folder;

/// Why a look at the folder failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScanError {
    /// The folder cannot be opened or listed.
    #[error("{path}: {error}; {}", remedy(.error))]
    Folder { path: PathBuf, error: io::Error },
    /// The ledger is closed or damaged, so no file can be taken in.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// The watched folder, open.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    folder: Folder,
}

impl Root {
    /// # Errors
    /// When the folder is absent, or a folder above it may not be searched.
    pub fn open(path: &Path) -> io::Result<Root> {
        Ok(Root { path: path.to_owned(), folder: Folder::open(path)? })
    }

    /// The status of a path that comes from the ledger or a hint.
    ///
    /// # Errors
    /// When the path is absent, or a folder on the way is a link or may not be searched.
    pub fn status(&self, path: &Path) -> io::Result<Stat> {
        match path.strip_prefix(&self.path) {
            Ok(below) => self.folder.status(below),
            // The file belongs to a folder that the source watched before. Only its status is read; it is never opened.
            Err(_) => Ok(lstat(path)?),
        }
    }

    /// Whether other machines may change the folder: their changes raise no events here, and have a ctime of another machine's clock.
    pub fn is_network(&self) -> bool {
        const NETWORK: [u32; 9] = [
            0x6969,      // NFS
            0x517b,      // SMB
            0xff53_4d42, // CIFS
            0xfe53_4d42, // SMB2
            0x6573_5546, // FUSE
            0x0102_1997, // 9p
            0x00c3_6400, // Ceph
            0x5346_414f, // AFS
            0x0bd0_0bd0, // Lustre
        ];
        // If the kind cannot be determined, the folder counts as local; rescans still find all changes.
        self.folder.filesystem().is_ok_and(|kind| NETWORK.contains(&kind))
    }

    /// Opens a folder below the watched one, or the watched one itself.
    ///
    /// # Errors
    /// When the folder is absent, or a folder on the way is a link or may not be searched.
    pub fn folder(&self, path: &Path) -> io::Result<Folder> {
        let below = path.strip_prefix(&self.path).map_err(|_| io::ErrorKind::NotFound)?;
        self.folder.below(below)
    }
}

/// Opens the folder and reads its first entry, as a scan does: a file server may report an error only with the first entry.
///
/// # Errors
/// When the folder is absent, or cannot be listed or its status not be read.
pub(super) async fn look_into(context: &Context) -> Result<(Root, Stat), ScanError> {
    let path = context.root().to_owned();
    let looked = blocking(move || {
        let root = Root::open(&path)?;
        root.folder.entries()?.next().transpose()?;
        let status = root.folder.status(Path::new(""))?;
        Ok((root, status))
    });
    looked.await?.map_err(|error| ScanError::Folder { path: context.root().to_owned(), error })
}

/// What the operator can do about a folder that cannot be opened or listed.
pub(super) fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "create it, or mend source.path",
        io::ErrorKind::NotADirectory => "put a folder there, or mend source.path",
        io::ErrorKind::PermissionDenied => {
            "give harkd's user read and execute permission on it, and execute permission on the folders above it"
        }
        io::ErrorKind::InvalidFilename => "it lies too deep, move it up",
        _ => "see to its filesystem",
    }
}
