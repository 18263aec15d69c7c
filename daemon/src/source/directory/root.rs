//! The watched folder itself: without it nothing of its source is seen.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Stat, lstat};

use super::scan::{ScanError, blocking};
use crate::os::Folder;

/// The watched folder, open for as long as one piece of work takes: its path is the operator's, who may unmount or replace it in between.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    folder: Folder,
}

impl Root {
    /// # Errors
    /// When it is not there, or a folder above it may not be searched.
    pub fn open(path: &Path) -> io::Result<Root> {
        Ok(Root { path: path.to_owned(), folder: Folder::open(path)? })
    }

    /// What lies at a path of the ledger or of a hint.
    ///
    /// # Errors
    /// When nothing does, or a folder on the way is a link or may not be searched.
    pub fn status(&self, path: &Path) -> io::Result<Stat> {
        match path.strip_prefix(&self.path) {
            Ok(below) => self.folder.status(below),
            // A file of a folder that the source has watched before. It is looked at, and never opened.
            Err(_) => Ok(lstat(path)?),
        }
    }

    /// Whether changes may be made by other machines: they raise no events here, and carry another clock's ctime.
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
        // Where it cannot be told, the local rules hold, and the rescans are there.
        self.folder.filesystem().is_ok_and(|kind| NETWORK.contains(&kind))
    }

    /// A folder below this one, or this one.
    ///
    /// # Errors
    /// When it is not there, or a folder on the way is a link or may not be searched.
    pub fn folder(&self, path: &Path) -> io::Result<Folder> {
        let below = path.strip_prefix(&self.path).map_err(|_| io::ErrorKind::NotFound)?;
        self.folder.below(below)
    }
}

/// Looks into the folder, as every scan is about to; what a file server says of it may come with the first entry only.
///
/// # Errors
/// When it is not there, or what is in it cannot be listed and looked at.
pub async fn look_into(root: &Path) -> Result<(Root, Stat), ScanError> {
    let path = root.to_owned();
    let looked = blocking(move || {
        let root = Root::open(&path)?;
        root.folder.entries()?.next().transpose()?;
        let status = root.folder.status(Path::new(""))?;
        Ok((root, status))
    });
    looked.await?.map_err(|error| ScanError::Folder { path: root.to_owned(), error })
}

/// What to do about a folder that cannot be looked into.
pub fn remedy(error: &io::Error) -> &'static str {
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
