//! Lists what a source would take in, without taking it in.

use std::io;
use std::path::{Path, PathBuf};

use super::file_filter::{Entered, FileFilter};
use crate::config::DirectorySource;

/// The recordings that a source would take below a folder of its own, or below its root, by their names. Blocking; symbolic links are passed
/// over.
///
/// # Errors
/// A folder that cannot be read, or a glob that is none.
pub fn recordings_in(source: &DirectorySource, folder: &Path) -> io::Result<Vec<PathBuf>> {
    let filter = FileFilter::new(source.path.clone(), &source.include, &source.exclude, source.recursive)
        .map_err(io::Error::other)?;
    let (mut folders, mut found) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let (entry, path) = entry.map(|entry| (entry.file_type(), entry.path()))?;
            match entry? {
                kind if kind.is_dir() && filter.enters(&path) == Entered::Yes => folders.push(path),
                kind if kind.is_file() && filter.wants(&path) => found.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    Ok(found)
}
