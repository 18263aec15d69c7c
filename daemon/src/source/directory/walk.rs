//! Listing a folder and what is below it, a piece at a time, with memory for the depth of the tree and not for its size.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, FileType, ReadDir};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::settle::Stamp;
use super::watch::{Watch, WatchError};
use crate::config::UNFINISHED_ENDINGS;
use crate::job::FileIdentity;

/// Folders that are held open at once; below that depth a folder is read to its end before it is entered.
const OPEN_FOLDERS: usize = 48;

/// Endings that are mentioned; where there are more, they are no endings.
const MOST_ENDINGS: usize = 32;

/// Which names below a folder are recordings.
#[derive(Debug)]
pub struct Choice {
    /// The watched folder, absolute.
    pub root: PathBuf,
    include: GlobSet,
    recursive: bool,
}

impl Choice {
    /// # Errors
    /// A glob that cannot be read.
    pub fn new(root: PathBuf, include: &[String], recursive: bool) -> Result<Choice, globset::Error> {
        let mut globs = GlobSetBuilder::new();
        for glob in include {
            // Recorders write CALL.WAV as well; `*` stays within a folder.
            globs.add(GlobBuilder::new(glob).case_insensitive(true).literal_separator(true).build()?);
        }
        Ok(Choice { root, include: globs.build()?, recursive })
    }

    /// Whether a path below the root may be a recording, by its name alone.
    pub fn wants(&self, path: &Path) -> bool {
        self.eligible(path).is_some_and(|relative| self.include.is_match(relative))
    }

    /// The path from the root, if nothing but `include` can speak against it.
    fn eligible<'p>(&self, path: &'p Path) -> Option<&'p Path> {
        let relative = path.strip_prefix(&self.root).ok()?;
        let name = path.file_name()?.as_bytes();
        let is_eligible = !relative.iter().any(|part| part.as_bytes().starts_with(b"."))
            && !UNFINISHED_ENDINGS.iter().any(|ending| ends_with(name, ending.as_bytes()))
            && (self.recursive || relative.components().nth(1).is_none());
        is_eligible.then_some(relative)
    }

    /// Whether a path leads to its place through folders alone: a link among them may lead anywhere.
    pub fn is_below(&self, path: &Path) -> bool {
        let folders = path.ancestors().skip(1).take_while(|folder| *folder != self.root);
        path.starts_with(&self.root)
            && folders.map(fs::symlink_metadata).all(|folder| folder.is_ok_and(|folder| folder.is_dir()))
    }

    /// Whether a folder below the root is entered. Hidden ones are not: they hold what tools put aside.
    pub fn enters(&self, folder: &Path) -> bool {
        let Ok(relative) = folder.strip_prefix(&self.root) else { return false };
        self.recursive && !relative.iter().any(|part| part.as_bytes().starts_with(b"."))
    }
}

/// A regular file that may be a recording.
#[derive(Debug, Clone)]
pub struct Found {
    /// Absolute.
    pub path: PathBuf,
    /// As `lstat` told.
    pub stamp: Stamp,
}

impl Found {
    /// The file at a path; `None` where there is none, or something that is no regular file. Links are not followed.
    pub fn at(path: PathBuf) -> Option<Found> {
        let metadata = fs::symlink_metadata(&path).ok()?;
        metadata.is_file().then(|| Found { stamp: stamp(&metadata), path })
    }
}

/// Opens a folder to be listed. What is listed has to be looked at, too: without the right to search the folder each of its files would
/// seem to be gone.
///
/// # Errors
/// When either cannot be done.
pub fn open(folder: &Path) -> io::Result<ReadDir> {
    fs::metadata(folder.join("."))?;
    fs::read_dir(folder)
}

/// What `stat` told, as far as it matters here.
pub fn stamp(metadata: &fs::Metadata) -> Stamp {
    Stamp {
        identity: FileIdentity::of(metadata),
        ctime_ns: metadata.ctime() * 1_000_000_000 + metadata.ctime_nsec(),
    }
}

/// A walk under way. Blocking: driven from a blocking thread.
pub struct Walk {
    choice: Arc<Choice>,
    watch: Option<Arc<Watch>>,
    levels: Vec<Level>,
    troubles: Vec<Trouble>,
    /// Endings of files that `include` does not take.
    passed_over: HashSet<OsString>,
}

/// What the operator may have to hear of: mostly a part of the tree that could not be looked at.
#[derive(Debug)]
pub enum Trouble {
    /// No hints from there.
    Watch(WatchError),
    /// It cannot be listed.
    List(PathBuf, io::Error),
    /// The first file with an ending that `include` does not take.
    PassedOver(PathBuf),
}

enum Level {
    Open(PathBuf, ReadDir),
    Listed(std::vec::IntoIter<(PathBuf, FileType)>),
}

impl Walk {
    /// Begins at a folder: watch it, then list it, so that what comes in between is seen by one of the two.
    pub fn of(folder: &Path, choice: Arc<Choice>, watch: Option<Arc<Watch>>) -> Walk {
        let mut walk =
            Walk { choice, watch, levels: Vec::new(), troubles: Vec::new(), passed_over: HashSet::new() };
        walk.enter(folder);
        walk
    }

    /// The next files, at most `limit`; none when the walk is over.
    pub fn next(&mut self, limit: usize) -> Vec<Found> {
        let mut found = Vec::new();
        while found.len() < limit {
            let Some(level) = self.levels.last_mut() else { break };
            let Some((path, kind)) = level.next(&mut self.troubles) else {
                self.levels.pop();
                continue;
            };
            if kind.is_dir() {
                if self.choice.enters(&path) {
                    self.enter(&path);
                }
            } else if kind.is_file() && self.choice.wants(&path) {
                found.extend(Found::at(path));
            } else if kind.is_file() && self.choice.eligible(&path).is_some() {
                self.pass_over(path);
            }
        }
        found
    }

    /// What could not be looked at since the last call.
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
        let watched = match &self.watch {
            Some(watch) => watch.add(folder, *folder == *self.choice.root),
            None => Ok(()),
        };
        let entries = open(folder);
        // Where nothing can be listed, it matters little that there are no hints either.
        if let (Err(error), Ok(_)) = (watched, &entries) {
            self.troubles.push(Trouble::Watch(error));
        }
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
            // Removed or replaced since it was listed.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
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
                // An entry whose type cannot be told is gone by now.
                Ok(entry) => match entry.file_type() {
                    Ok(kind) => return Some((entry.path(), kind)),
                    Err(_) => continue,
                },
                Err(error) => {
                    troubles.push(Trouble::List(folder.clone(), error));
                    return None;
                }
            }
        }
    }
}

fn ends_with(name: &[u8], ending: &[u8]) -> bool {
    name.len() >= ending.len() && name[name.len() - ending.len()..].eq_ignore_ascii_case(ending)
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
        let choice = Choice::new(root.path().to_owned(), &["**/*.wav".into()], true).unwrap();
        let mut walk = Walk::of(root.path(), Arc::new(choice), None);
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
