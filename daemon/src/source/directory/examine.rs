//! What a folder and its filesystem offer, for `harkd doctor`. Writes nothing into the folder.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, FileType, OFlags, access};

use super::root::Root;
use super::watch::Watch;
use crate::config::{DirectorySource, WhenDone};
use crate::os::lease::{Lease, has_writers};

/// A folder with more entries than this is not searched further for a file to try the lease on.
const MOST_ENTRIES: usize = 1_000;

/// What a watched folder offers.
#[derive(Debug)]
pub struct Examined {
    /// Other machines may change it without an event here.
    pub is_network: bool,
    /// Why the kernel gives no hints.
    pub no_hints: Option<String>,
    /// What the kernel says of writers of its files; `None`: there is no file to ask about.
    pub lease: Option<Lease>,
    /// Folders that the daemon has to write to for `when_done` and may not, or that cannot be made.
    pub not_writable: Vec<PathBuf>,
}

/// Looks at the folder of a source, as the daemon would. Blocking.
///
/// # Errors
/// It is absent, no folder, or cannot be listed.
pub fn examine(source: &DirectorySource) -> io::Result<Examined> {
    let root = Root::open(&source.path)?;
    let status = root.status(&source.path)?;
    // A file server may report an error only with the first entry.
    if let Some(first) = root.folder(&source.path)?.entries()?.next() {
        first?;
    }
    let watch = Watch::new().and_then(|watch| watch.add(&source.path, status.st_dev, status.st_ino));
    let folders: &[&PathBuf] = match source.when_done {
        WhenDone::Keep => &[],
        WhenDone::Delete => &[&source.path, &source.failed_directory],
        WhenDone::Move => &[&source.path, &source.done_directory, &source.failed_directory],
    };
    let named = folders.iter().filter(|folder| !folder.as_os_str().is_empty());
    Ok(Examined {
        is_network: root.is_network(),
        no_hints: watch.err().map(|error| error.to_string()),
        lease: lease(&root, &source.path)?,
        not_writable: named.filter(|folder| !is_writable(folder)).map(|folder| (*folder).clone()).collect(),
    })
}

/// Whether the folder, or the closest one above it that exists, may be written to.
fn is_writable(folder: &Path) -> bool {
    let existing = folder.ancestors().find(|folder| folder.exists());
    existing.is_some_and(|folder| access(folder, Access::WRITE_OK | Access::EXEC_OK).is_ok())
}

/// Asks about the first file of the folder.
fn lease(root: &Root, path: &Path) -> io::Result<Option<Lease>> {
    let folder = root.folder(path)?;
    for entry in folder.entries()?.take(MOST_ENTRIES) {
        let entry = entry?;
        let name: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(entry.file_name().to_bytes());
        if entry.file_type() != FileType::RegularFile {
            continue;
        }
        // A file that may not be read is a matter of its own, which the daemon logs.
        let Ok(file) = folder.reach(Path::new(name), OFlags::RDONLY | OFlags::NONBLOCK) else { continue };
        return has_writers(&File::from(file)).map(Some);
    }
    Ok(None)
}
