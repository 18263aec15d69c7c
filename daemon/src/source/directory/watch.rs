//! Hints from the kernel, through the `notify` crate: which paths may have changed.
//!
//! A hint is only a path to look at; the scan finds out what is there. So hints may be merged, and if there are too many of them (here, or in
//! the kernel's queue), or the watcher has failed in any way, one hint replaces them: look everywhere.
//!
//! Each folder has a watch of its own. `notify` can watch a tree as well, but then misses most files that are put into new folders.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{ErrorKind, Event, RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::Mutex;
use tokio::sync::watch;

/// The most separate hints; more become "look everywhere", because a full scan is as quick.
const MOST_HINTS: usize = 4_096;

/// Why the kernel gives no hints. Rescans go on, so changes are found later, and not lost.
#[derive(Debug, thiserror::Error)]
pub(super) enum WatchError {
    /// `fs.inotify.max_user_watches`.
    #[error("the limit of watched folders is reached; raise fs.inotify.max_user_watches (sysctl)")]
    TooManyFolders,
    /// `fs.inotify.max_user_instances`.
    #[error(
        "no further inotify instance can be made ({0}); raise fs.inotify.max_user_instances (sysctl) or the limit of open files"
    )]
    TooManyInstances(notify::Error),
    /// Anything else, such as a folder without read permission.
    #[error("watching {0}: {1}; give harkd's user read and execute permission on the folder")]
    Folder(PathBuf, notify::Error),
}

/// What may have changed since the last look.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Hints {
    /// Files and folders that may have changed.
    pub paths: HashSet<PathBuf>,
    /// Any path may have changed.
    pub everything: bool,
}

/// The watched folders and their hints.
#[derive(Debug)]
pub(super) struct Watch {
    watcher: Mutex<RecommendedWatcher>,
    state: Arc<WatchState>,
}

/// State that is shared with the watcher's thread.
#[derive(Debug, Default)]
struct WatchState {
    hints: watch::Sender<Hints>,
    watched: Mutex<WatchedFolders>,
}

/// The folders that are watched: hash of the path to hash of device and inode. The watcher has the paths themselves, but a query to it takes
/// a hundred times longer than a look-up here, and each scan would make one for each folder.
type WatchedFolders = HashMap<u64, u64>;

impl Watch {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// When the user has too many inotify instances.
    pub fn new() -> Result<Watch, WatchError> {
        let state = Arc::new(WatchState::default());
        let listener = Arc::clone(&state);
        let watcher = notify::recommended_watcher(move |event| listener.note(event))
            .map_err(WatchError::TooManyInstances)?;
        Ok(Watch { watcher: Mutex::new(watcher), state })
    }

    /// Watches a folder without the folders below it. May be called again at little cost, and should be, because another folder may have its
    /// path by now. Blocking.
    ///
    /// # Errors
    /// When a limit is reached or the folder may not be read. A folder that is absent by now is no error.
    pub fn add(&self, folder: &Path, device: u64, inode: u64) -> Result<(), WatchError> {
        let (path, identity) = (hash(folder), hash((device, inode)));
        if self.state.watched.lock().get(&path) == Some(&identity) {
            return Ok(());
        }
        match self.watcher.lock().watch(folder, RecursiveMode::NonRecursive) {
            Ok(()) => {
                self.state.watched.lock().insert(path, identity);
                Ok(())
            }
            Err(error) => match &error.kind {
                ErrorKind::PathNotFound => Ok(()),
                ErrorKind::Io(error) if is_gone(error) => Ok(()),
                ErrorKind::MaxFilesWatch => Err(WatchError::TooManyFolders),
                _ => Err(WatchError::Folder(folder.to_owned(), error)),
            },
        }
    }

    /// Waits until there is a hint.
    pub async fn hinted(&self) {
        // The sender lives as long as this value: waiting cannot fail.
        let _ = self.state.hints.subscribe().wait_for(|hints| *hints != Hints::default()).await;
    }

    /// Takes the hints so far.
    pub fn take(&self) -> Hints {
        self.state.hints.send_replace(Hints::default())
    }
}

impl WatchState {
    fn note(&self, event: notify::Result<Event>) {
        let event = match event {
            Ok(event) if !event.need_rescan() => event,
            _ => return self.hint(None),
        };
        match event.kind {
            EventKind::Create(_) | EventKind::Access(AccessKind::Close(AccessMode::Write)) => {}
            EventKind::Modify(ModifyKind::Name(RenameMode::From)) => {
                let mut watched = self.watched.lock();
                // When a folder is moved, the watcher drops all watches below it.
                if event.paths.iter().any(|path| watched.contains_key(&hash(path))) {
                    watched.clear();
                }
            }
            EventKind::Modify(ModifyKind::Name(_)) => {}
            EventKind::Remove(_) => {
                let mut watched = self.watched.lock();
                for path in &event.paths {
                    watched.remove(&hash(path));
                }
            }
            // A written file raises an event when it is closed; reads are mostly the daemon's own.
            EventKind::Access(_) | EventKind::Modify(_) => return,
            EventKind::Any | EventKind::Other => return self.hint(None),
        }
        for path in event.paths {
            self.hint(Some(path));
        }
    }

    fn hint(&self, path: Option<PathBuf>) {
        self.hints.send_modify(|hints| match path {
            _ if hints.everything => {}
            Some(path) if hints.paths.len() < MOST_HINTS => {
                hints.paths.insert(path);
            }
            _ => *hints = Hints { paths: HashSet::new(), everything: true },
        });
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn hash(what: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, Flag, RemoveKind};

    use super::*;

    fn hints(events: Vec<notify::Result<Event>>) -> Hints {
        let state = WatchState::default();
        events.into_iter().for_each(|event| state.note(event));
        state.hints.send_replace(Hints::default())
    }

    fn at(kind: EventKind, path: &str) -> notify::Result<Event> {
        Ok(Event::new(kind).add_path(path.into()))
    }

    #[test]
    fn what_is_made_renamed_removed_or_written_is_a_hint_and_what_is_read_is_none() {
        let paths = hints(vec![
            at(EventKind::Create(CreateKind::Folder), "made"),
            at(EventKind::Remove(RemoveKind::File), "removed"),
            at(EventKind::Modify(ModifyKind::Name(RenameMode::To)), "renamed"),
            at(EventKind::Access(AccessKind::Close(AccessMode::Write)), "written"),
            at(EventKind::Access(AccessKind::Close(AccessMode::Read)), "read"),
            at(EventKind::Access(AccessKind::Open(AccessMode::Any)), "opened"),
        ]);
        let wanted = ["made", "removed", "renamed", "written"].map(PathBuf::from);
        assert_eq!(paths, Hints { paths: HashSet::from(wanted), everything: false });
    }

    #[test]
    fn an_overflow_an_error_and_too_many_hints_mean_look_everywhere() {
        let everything = Hints { paths: HashSet::new(), everything: true };
        let known = || at(EventKind::Create(CreateKind::File), "a");
        let overflow = Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan));
        assert_eq!(hints(vec![known(), overflow, known()]), everything);
        assert_eq!(hints(vec![known(), Err(notify::Error::generic("broken"))]), everything);
        let many = (0..=MOST_HINTS).map(|n| at(EventKind::Create(CreateKind::File), &n.to_string()));
        assert_eq!(hints(many.collect()), everything);
    }
}
