//! What folders take up of their disk.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file or folder takes up at least this much: its entry and its inode.
const LEAST: u64 = 4_096;

/// Something below a folder.
#[derive(Debug)]
pub struct Entry {
    pub path: PathBuf,
    pub is_folder: bool,
    /// What it takes up; a file with holes takes less.
    pub bytes: u64,
    /// When it was written last, renaming and attributes included: seconds and nanoseconds.
    pub changed: (i64, i64),
}

/// Everything below a folder, a folder before what lies in it. Links are not followed; what cannot be looked at is left out.
pub fn below(folder: &Path) -> impl Iterator<Item = Entry> {
    let mut folders = vec![folder.to_owned()];
    let mut entries = None;
    std::iter::from_fn(move || {
        loop {
            let Some(listing) = &mut entries else {
                entries = Some(std::fs::read_dir(folders.pop()?).into_iter().flatten().flatten());
                continue;
            };
            let Some(found) = listing.next() else {
                entries = None;
                continue;
            };
            let Ok(metadata) = found.metadata() else { continue };
            if metadata.is_dir() {
                folders.push(found.path());
            }
            return Some(Entry {
                path: found.path(),
                is_folder: metadata.is_dir(),
                bytes: metadata.len().max(LEAST),
                changed: (metadata.ctime(), metadata.ctime_nsec()),
            });
        }
    })
}
