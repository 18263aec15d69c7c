//! Lists a folder and everything below it, a piece at a time, with memory in proportion to the depth of the tree and not to its size.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Stat, statat};

use super::file_filter::{Entered, FileFilter};
use super::root::Root;
use super::settle::Stamp;
use super::watch::{Watch, WatchError};
use crate::job::FileIdentity;
use crate::job::audio::{is_absence, nanoseconds};

/// The most folders that are held open at once; below that depth a folder is listed completely before its entries are visited.
const OPEN_FOLDERS: usize = 48;

/// The most endings that are logged. If there are more, the names have no real endings.
const MOST_ENDINGS: usize = 32;

/// A regular file that may be a recording.
#[derive(Debug, Clone)]
pub struct Found {
    /// Absolute.
    pub path: PathBuf,
    /// From `lstat`.
    pub stamp: Stamp,
    /// The look in which it was first seen, once it has stood still; see [`super::settle::Stillness`].
    pub seen: u64,
    /// It has stood still for as long as a file waits that is not all there.
    pub long: bool,
}

impl Found {
    /// The file at a path; `None` if the path is absent or not a regular file, or a folder on the way is a link.
    pub fn at(root: &Root, path: PathBuf) -> Option<Found> {
        let status = root.status(&path).ok()?;
        Found::of(path, &status)
    }

    fn of(path: PathBuf, status: &Stat) -> Option<Found> {
        kind(status).is_file().then(|| Found { path, stamp: stamp(status), seen: 0, long: false })
    }
}

/// The part of a `stat` result that shows whether a file has changed.
pub fn stamp(status: &Stat) -> Stamp {
    let ctime_ns = nanoseconds(status.st_ctime, status.st_ctime_nsec);
    Stamp { identity: FileIdentity::of(status), ctime_ns }
}

/// The file type in a `stat` result.
pub fn kind(status: &Stat) -> FileType {
    FileType::from_raw_mode(status.st_mode)
}

/// A walk in progress. Its calls block, so a blocking thread has to make them.
pub struct Walk {
    root: Root,
    file_filter: Arc<FileFilter>,
    watch: Option<Arc<Watch>>,
    levels: Vec<Level>,
    troubles: Vec<Trouble>,
    /// Endings of files that `include` does not take.
    passed_over: HashSet<OsString>,
    links: bool,
}

/// What the operator may have to know: mostly that a part of the tree could not be listed.
#[derive(Debug)]
pub enum Trouble {
    /// A folder is not watched, so its changes raise no hints.
    Watch(WatchError),
    /// A folder cannot be listed.
    List(PathBuf, io::Error),
    /// The first file with an ending that `include` does not take.
    PassedOver(PathBuf),
    /// A folder that a NAS system, a desktop or a filesystem uses for itself.
    Apart(PathBuf),
    /// The first symbolic link.
    Link(PathBuf),
}

enum Level {
    Open(PathBuf, Dir),
    Listed(std::vec::IntoIter<(PathBuf, FileType)>),
}

impl Walk {
    /// Begins at a folder. Each folder is watched first and listed then, so that a file that appears in between is seen by one of the two.
    pub fn of(root: Root, folder: &Path, file_filter: Arc<FileFilter>, watch: Option<Arc<Watch>>) -> Walk {
        let mut walk = Walk {
            root,
            file_filter,
            watch,
            levels: Vec::new(),
            troubles: Vec::new(),
            passed_over: HashSet::new(),
            links: false,
        };
        walk.enter(folder);
        walk
    }

    /// The next files, at most `limit`; empty when the walk is over.
    pub fn next(&mut self, limit: usize) -> Vec<Found> {
        let mut found = Vec::new();
        while found.len() < limit {
            let Some(level) = self.levels.last_mut() else { break };
            let Some((path, kind)) = level.next(&mut self.troubles) else {
                self.levels.pop();
                continue;
            };
            if kind.is_dir() {
                match self.file_filter.enters(&path) {
                    Entered::Yes => self.enter(&path),
                    Entered::Apart => self.troubles.push(Trouble::Apart(path)),
                    Entered::No => {}
                }
            } else if kind.is_file() && self.file_filter.wants(&path) {
                found.extend(level.status(&self.root, &path).and_then(|status| Found::of(path, &status)));
            } else if kind.is_file() && self.file_filter.eligible(&path).is_some() {
                self.pass_over(path);
            } else if kind.is_symlink() && !self.links && self.file_filter.eligible(&path).is_some() {
                self.links = true;
                self.troubles.push(Trouble::Link(path));
            }
        }
        found
    }

    /// The troubles since the last call.
    pub fn take_troubles(&mut self) -> Vec<Trouble> {
        std::mem::take(&mut self.troubles)
    }

    fn pass_over(&mut self, path: PathBuf) {
        let ending = path.extension().unwrap_or_default();
        if self.passed_over.len() < MOST_ENDINGS && self.passed_over.insert(ending.to_owned()) {
            self.troubles.push(Trouble::PassedOver(path));
        }
    }

    fn enter(&mut self, folder: &Path) {
        let entries = self.root.folder(folder).and_then(|open| {
            let status = open.status(Path::new(""))?;
            let entries = open.entries()?;
            // Watched only if it can be listed: without a listing, missing hints do not matter.
            if let Some(watch) = &self.watch
                && let Err(error) = watch.add(folder, status.st_dev, status.st_ino)
            {
                self.troubles.push(Trouble::Watch(error));
            }
            Ok(entries)
        });
        let open = |entries| Level::Open(folder.to_owned(), entries);
        match entries {
            Ok(entries) if self.levels.len() < OPEN_FOLDERS => self.levels.push(open(entries)),
            Ok(entries) => {
                let mut open = open(entries);
                let mut listed = Vec::new();
                while let Some(entry) = open.next(&mut self.troubles) {
                    listed.push(entry);
                }
                self.levels.push(Level::Listed(listed.into_iter()));
            }
            // The folder was removed or replaced after its parent was listed.
            Err(error) if is_absence(&error) => {}
            Err(error) => self.troubles.push(Trouble::List(folder.to_owned(), error)),
        }
    }
}

impl Level {
    fn next(&mut self, troubles: &mut Vec<Trouble>) -> Option<(PathBuf, FileType)> {
        let (folder, entries) = match self {
            Level::Listed(entries) => return entries.next(),
            Level::Open(folder, entries) => (folder, entries),
        };
        loop {
            match entries.next()? {
                Ok(entry) => {
                    let name = entry.file_name().to_bytes();
                    if name == b"." || name == b".." {
                        continue;
                    }
                    let path = folder.join(OsStr::from_bytes(name));
                    match entry.file_type() {
                        // Some filesystems do not report the type in a listing. If `stat` fails too, the entry is absent by now.
                        FileType::Unknown => match look(entries, &path) {
                            Some(status) => return Some((path, kind(&status))),
                            None => continue,
                        },
                        kind => return Some((path, kind)),
                    }
                }
                Err(error) => {
                    troubles.push(Trouble::List(folder.clone(), error.into()));
                    return None;
                }
            }
        }
    }

    /// The status of a path that this level has just returned.
    fn status(&self, root: &Root, path: &Path) -> Option<Stat> {
        match self {
            Level::Open(_, entries) => look(entries, path),
            Level::Listed(_) => root.status(path).ok(),
        }
    }
}

/// The status of the entry of an open folder that has the last name of a path.
fn look(entries: &Dir, path: &Path) -> Option<Stat> {
    statat(entries.fd().ok()?, path.file_name()?, AtFlags::SYMLINK_NOFOLLOW).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ending_that_is_not_included_is_told_once_a_walk() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("below")).unwrap();
        for name in ["a.WAV", "b.aac", "below/c.aac", "d.json", ".e.txt", "f.txt.part", "g"] {
            std::fs::write(root.path().join(name), "x").unwrap();
        }
        let file_filter = FileFilter::new(root.path().to_owned(), &["**/*.wav".into()], &[], true).unwrap();
        let mut walk = Walk::of(Root::open(root.path()).unwrap(), root.path(), Arc::new(file_filter), None);
        assert_eq!(walk.next(100).len(), 1);
        let mut endings: Vec<_> = walk
            .take_troubles()
            .into_iter()
            .map(|trouble| match trouble {
                Trouble::PassedOver(path) => path.extension().unwrap_or_default().to_owned(),
                other => panic!("{other:?}"),
            })
            .collect();
        endings.sort();
        assert_eq!(endings, ["", "aac", "json"]);
    }
}
