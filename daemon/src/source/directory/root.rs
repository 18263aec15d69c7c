//! The watched folder itself: without it nothing of its source is seen.

use std::fs::{self, Metadata};
use std::io;
use std::path::Path;

use super::scan::{ScanError, blocking};
use super::walk;

/// Looks into the folder, as every scan is about to; what a file server says of it may come with the first entry only.
///
/// # Errors
/// When it is not there, or what is in it cannot be listed and looked at.
pub async fn look_into(root: &Path) -> Result<Metadata, ScanError> {
    let path = root.to_owned();
    let looked = blocking(move || {
        walk::open(&path)?.next().transpose()?;
        fs::metadata(&path)
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
        _ => "see to its filesystem",
    }
}
