//! Hints from the kernel: which paths may have changed.
//!
//! A hint only says where to look; what is there, the scan says (RELIABILITY 2). So hints may be merged, and when there are too many
//! of them (here, or in the kernel's queue) they become one: look everywhere.
//!
//! This speaks inotify itself, through rustix: with 100,000 folders one table of paths is what the memory allows, only three of the
//! kinds of event matter, and asking again for a folder that is watched already is how a replaced folder is noticed.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

/// Hints kept apart before they become "look everywhere": beyond this a full scan is as quick.
const MOST_HINTS: usize = 4_096;

/// Room for some hundred events a read.
const BUFFER: usize = 16 * 1024;

/// Why the kernel gives no hints; rescans go on, so it is a delay and no loss.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// `fs.inotify.max_user_watches`.
    #[error("the limit of watched folders is reached at {0}; raise fs.inotify.max_user_watches (sysctl)")]
    TooManyFolders(PathBuf),
    /// `fs.inotify.max_user_instances`.
    #[error(
        "no further inotify instance can be made ({0}); raise fs.inotify.max_user_instances (sysctl) or the limit of open files"
    )]
    TooManyInstances(Errno),
    /// Anything else, such as a folder without read permission.
    #[error("watching {0}: {1}; give harkd's user read and execute permission on the folder")]
    Folder(PathBuf, Errno),
}

impl WatchError {
    /// Equal for what one remedy mends: a limit is reached at every further folder.
    pub fn key(&self) -> String {
        match self {
            WatchError::TooManyFolders(_) => "max_user_watches".into(),
            WatchError::TooManyInstances(_) => "max_user_instances".into(),
            WatchError::Folder(folder, _) => folder.display().to_string(),
        }
    }
}

/// What may have changed since the last look.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// Files and folders.
    pub paths: HashSet<PathBuf>,
    /// Anything, anywhere.
    pub everything: bool,
}

/// The watched folders and the hints that came of them.
#[derive(Debug)]
pub struct Watch {
    inotify: AsyncFd<OwnedFd>,
    folders: Mutex<HashMap<i32, Box<Path>>>,
    hints: Mutex<Hints>,
    changed: Notify,
}

impl Watch {
    /// Watches nothing yet. Called on a runtime.
    ///
    /// # Errors
    /// When the user has too many inotify instances.
    pub fn new() -> Result<Watch, WatchError> {
        let descriptor = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .map_err(WatchError::TooManyInstances)?;
        #[allow(
            deprecated,
            reason = "unsound only for types whose descriptor may change or close under it; an OwnedFd's does not"
        )]
        let inotify = AsyncFd::new(descriptor).map_err(|_| WatchError::TooManyInstances(Errno::MFILE))?;
        Ok(Watch { inotify, folders: Mutex::default(), hints: Mutex::default(), changed: Notify::new() })
    }

    /// Watches a folder, not what is below it. Cheap, and right, to be called again.
    ///
    /// # Errors
    /// When a limit is reached or the folder may not be read; one that is gone by now is no error.
    pub fn add(&self, folder: &Path, follow_link: bool) -> Result<(), WatchError> {
        let mut flags =
            WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::CLOSE_WRITE | WatchFlags::ONLYDIR;
        if !follow_link {
            flags |= WatchFlags::DONT_FOLLOW;
        }
        // Held over the call: the first event of a watch may be read before its folder is in the table.
        let mut folders = lock(&self.folders);
        match inotify::add_watch(self.inotify.get_ref(), folder, flags) {
            Ok(watch) => {
                if folders.get(&watch).is_none_or(|known| &**known != folder) {
                    folders.insert(watch, folder.into());
                }
                Ok(())
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
            Err(Errno::NOSPC) => Err(WatchError::TooManyFolders(folder.to_owned())),
            Err(error) => Err(WatchError::Folder(folder.to_owned(), error)),
        }
    }

    /// Turns events into hints, for ever. Must be polled beside whatever looks: the kernel's queue is finite.
    pub async fn follow(&self) -> std::io::Error {
        loop {
            match self.inotify.readable().await {
                Ok(mut ready) => {
                    if let Err(error) = self.read() {
                        return error.into();
                    }
                    ready.clear_ready();
                }
                Err(error) => return error,
            }
        }
    }

    /// Waits until there is a hint.
    pub async fn hinted(&self) {
        loop {
            let changed = self.changed.notified();
            {
                let hints = lock(&self.hints);
                if hints.everything || !hints.paths.is_empty() {
                    return;
                }
            }
            changed.await;
        }
    }

    /// Takes the hints that have come.
    pub fn take(&self) -> Hints {
        std::mem::take(&mut *lock(&self.hints))
    }

    fn read(&self) -> Result<(), Errno> {
        let mut buffer = [MaybeUninit::<u8>::uninit(); BUFFER];
        let mut reader = Reader::new(self.inotify.get_ref(), &mut buffer);
        let mut folders = lock(&self.folders);
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error),
            };
            let kind = event.events();
            if kind.contains(ReadFlags::QUEUE_OVERFLOW) {
                self.hint(None);
            } else if kind.contains(ReadFlags::IGNORED) {
                folders.remove(&event.wd());
            } else if let (Some(folder), Some(name)) = (folders.get(&event.wd()), event.file_name()) {
                self.hint(Some(folder.join(OsStr::from_bytes(name.to_bytes()))));
            }
        }
    }

    fn hint(&self, path: Option<PathBuf>) {
        let mut hints = lock(&self.hints);
        match path {
            _ if hints.everything => return,
            Some(path) if hints.paths.len() < MOST_HINTS => {
                hints.paths.insert(path);
            }
            _ => *hints = Hints { paths: HashSet::new(), everything: true },
        }
        drop(hints);
        self.changed.notify_waiters();
    }
}

/// A panic elsewhere leaves both tables whole: every change to them is one call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
