//! Disk space that folders take up.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Bytes that a file or folder takes up at least, for its entry and its inode.
const LEAST: u64 = 4_096;
/// Bytes of the longest path of a folder that is listed: the kernel takes paths of less than 4,096, and a name in the folder has up to 255.
const LONGEST: usize = 4_095 - 256;

/// A file or folder below a folder.
#[derive(Debug)]
pub struct Entry {
    pub path: PathBuf,
    pub is_folder: bool,
    /// A folder whose path is so long that its content is left out.
    pub is_too_deep: bool,
    /// Its length, at least 4 KiB; a sparse file takes up less on the disk.
    pub bytes: u64,
    /// Time of its last change (ctime: content, name or attributes): seconds and nanoseconds.
    pub changed: (i64, i64),
}

/// Everything below a folder, each folder before its content. Links are not followed; entries whose metadata cannot be read are left out.
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
            let path = found.path();
            let is_too_deep = metadata.is_dir() && path.as_os_str().len() > LONGEST;
            if metadata.is_dir() && !is_too_deep {
                folders.push(path.clone());
            }
            return Some(Entry {
                path,
                is_folder: metadata.is_dir(),
                is_too_deep,
                bytes: metadata.len().max(LEAST),
                changed: (metadata.ctime(), metadata.ctime_nsec()),
            });
        }
    })
}
