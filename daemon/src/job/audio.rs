//! The bytes of a job's recording, opened so that what is read is what was hashed, or nothing.

use std::fs::File;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use hark_sdk::event::{Blame, Fault};

use super::{FileIdentity, Job, Origin};
use crate::os;

/// Below the state directory: audio that came in messages, one file a job.
pub const SPOOL: &str = "spool";

impl FileIdentity {
    /// Identity of an open file.
    pub fn of(metadata: &std::fs::Metadata) -> Self {
        FileIdentity {
            dev: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            mtime_ns: metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec(),
        }
    }
}

/// Path of a job's bytes on this machine; `None` where the service fetches them itself.
pub fn path(job: &Job, state_directory: &Path) -> Option<PathBuf> {
    match &job.origin {
        Origin::File { path, .. } => Some(path.clone()),
        Origin::Spool { file } => Some(state_directory.join(SPOOL).join(file)),
        Origin::Url { .. } | Origin::Nothing => None,
    }
}

/// Why a job's bytes are not open.
#[derive(Debug)]
pub enum Unopened {
    /// For the job's last event: not readable, not local.
    Fault(Fault),
    /// The file is not under its name, or another one is. It may have been moved: then its source will say where it is.
    Missing(Fault),
    /// The machine has no descriptor or memory for it now; the recording is none the worse.
    NotNow(std::io::Error),
}

impl From<Fault> for Unopened {
    fn from(fault: Fault) -> Self {
        Unopened::Fault(fault)
    }
}

/// The code of a recording that was removed.
pub const GONE: &str = "RecordingGone";

/// The code of a recording that is not what was hashed any more.
pub const CHANGED: &str = "RecordingChanged";

/// Whether a job that failed with this code has never read its file: what is found of it later is to be heard.
pub fn is_unread(code: &str) -> bool {
    code == GONE || code == CHANGED
}

/// Opens a job's bytes: a regular file, not through a link, never blocking on a FIFO, and by all appearance the one that was taken in.
/// Whoever sends them compares what was read with the hash: a touch and another number of the filesystem tell nothing of the bytes.
///
/// # Errors
/// See [`Unopened`].
pub fn open(job: &Job, state_directory: &Path) -> Result<File, Unopened> {
    let Some(path) = path(job, state_directory) else {
        let message = "this job's audio is not on this machine".into();
        return Err(fault("NoLocalAudio", Blame::Hark, message).into());
    };
    let file =
        File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&path).map_err(
            |error| match &job.origin {
                _ if os::is_shortage(&error) => Unopened::NotNow(error),
                Origin::File { .. } if is_elsewhere(&error) => Unopened::Missing(unreadable(&path, &error)),
                _ => unreadable(&path, &error).into(),
            },
        )?;
    if let Origin::File { path, identity } = &job.origin {
        let found = FileIdentity::of(&file.metadata().map_err(|error| unreadable(path, &error))?);
        // At the second look another inode may be a copy over it, or a filesystem that numbers its files anew: then the bytes decide.
        if found.size != identity.size || (found.inode != identity.inode && !job.missing) {
            return Err(Unopened::Missing(changed(path)));
        }
    }
    Ok(file)
}

/// Whether the whole folder of a job's file is away: not there, or not mounted, which leaves an empty folder of another filesystem. Then
/// the file is not gone. `watched`: the folders that its source has ever watched.
pub fn is_away(job: &Job, watched: &[PathBuf]) -> bool {
    let Origin::File { path, identity } = &job.origin else { return false };
    let mut roots = watched.iter().filter(|root| path.starts_with(root)).peekable();
    if roots.peek().is_some() && roots.all(|root| !root.is_dir()) {
        return true;
    }
    let nearest = path.ancestors().skip(1).find_map(|folder| Some((folder, folder.metadata().ok()?)));
    nearest.is_some_and(|(folder, metadata)| {
        metadata.dev() != identity.dev && folder.read_dir().is_ok_and(|mut entries| entries.next().is_none())
    })
}

fn is_elsewhere(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotConnected, NotFound, StaleNetworkFileHandle};
    matches!(error.kind(), NotFound | NotADirectory | NotConnected | StaleNetworkFileHandle)
}

fn changed(path: &Path) -> Fault {
    let message =
        format!("{} changed after it was taken in; its new content is a new recording", path.display());
    fault(CHANGED, Blame::Audio, message)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Fault {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    match error.kind() {
        NotFound | NotADirectory => {
            fault(GONE, Blame::Audio, format!("{} was removed before it could be recognized", path.display()))
        }
        _ => fault(
            "RecordingUnreadable",
            Blame::Hark,
            format!("reading {}: {error}; check its owner and mode", path.display()),
        ),
    }
}

fn fault(code: &str, blame: Blame, message: String) -> Fault {
    Fault { code: code.into(), blame, message, attempts: None }
}

#[cfg(test)]
mod tests {
    use hark_sdk::event::Recording;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_folder_is_away_when_it_is_not_there_or_not_mounted() {
        let disk = tempfile::tempdir().unwrap();
        let root = disk.path().join("calls");
        std::fs::create_dir(&root).unwrap();
        let here = std::fs::metadata(&root).unwrap().dev();
        let away = |dev: u64| {
            let identity = FileIdentity { dev, inode: 1, size: 1, mtime_ns: 0 };
            let origin = Origin::File { path: root.join("a.wav"), identity };
            let job = Job::new(
                Uuid::nil(),
                "calls",
                "default",
                origin,
                Recording::default(),
                serde_json::Map::new(),
            );
            is_away(&job, std::slice::from_ref(&root))
        };
        assert!(!away(here), "the file alone is gone");
        assert!(away(here + 1), "its filesystem is not mounted");
        std::fs::write(root.join("b.wav"), "b").unwrap();
        assert!(!away(here + 1), "its filesystem has another number since it was mounted again");
        std::fs::remove_dir_all(&root).unwrap();
        assert!(away(here));
    }
}
