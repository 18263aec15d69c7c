//! Opens a job's recording. The file opened is the one that was hashed, as far as its metadata shows; otherwise the open fails.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use hark_sdk::event::{Blame, Fault};
use rustix::fs::{Stat, fstat};
use rustix::io::Errno;

use super::{FileIdentity, Job, Origin, fault, spool};
use crate::os::{self, Folder, NotARecording};

impl FileIdentity {
    /// The identity in a `stat` result.
    pub fn of(status: &Stat) -> Self {
        FileIdentity {
            dev: status.st_dev,
            inode: status.st_ino,
            size: u64::try_from(status.st_size).unwrap_or(0),
            mtime_ns: nanoseconds(status.st_mtime, status.st_mtime_nsec),
        }
    }

    /// Identity of an open file.
    ///
    /// # Errors
    /// When `fstat` fails.
    pub fn of_file(file: &File) -> io::Result<Self> {
        Ok(FileIdentity::of(&fstat(file)?))
    }
}

/// A time of `stat`, in nanoseconds since the epoch.
pub fn nanoseconds(seconds: i64, nanoseconds: u64) -> i64 {
    // `nanoseconds` is below a thousand million, so the cast loses nothing.
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds as i64)
}

/// Path of a job's recording on this machine; `None` if the service fetches it, or there is none.
pub fn path(job: &Job, state_directory: &Path) -> Option<PathBuf> {
    match &job.origin {
        Origin::File { root, below, .. } => Some(root.join(below)),
        Origin::Spool { file } => Some(spool::folder(state_directory).join(file)),
        Origin::Url { .. } | Origin::Object | Origin::Nothing => None,
    }
}

/// Why a job's recording could not be opened.
#[derive(Debug)]
pub enum Unopened {
    /// The recording is unreadable or not on this machine; the fault is for the job's last event.
    Fault(Fault),
    /// There is no file at the path, or another file. The recording may have been moved; then its source finds the new path.
    Missing(Fault),
    /// The machine has no file descriptor or memory for it now, or its files do not answer; the recording itself is not at fault.
    NotNow(io::Error),
}

impl From<Fault> for Unopened {
    fn from(fault: Fault) -> Self {
        Unopened::Fault(fault)
    }
}

/// The code of a recording that was removed.
pub const GONE: &str = "RecordingGone";

/// The code of a recording whose content is no longer what was hashed.
pub const CHANGED: &str = "RecordingChanged";

/// Whether a job that failed with this code has never read its file: a file that is found later is then recognized as a new recording.
pub fn is_unread(code: &str) -> bool {
    code == GONE || code == CHANGED
}

/// Opens a job's recording: a regular file, not through a link that the operator has not configured, never blocking on a FIFO. Its size
/// and inode are those of the file that was hashed. A changed mtime or device number is no reason to refuse it, because neither tells
/// anything about the bytes: the recognizer that sends the bytes compares them with the hash.
///
/// # Errors
/// See [`Unopened`].
pub fn open(job: &Job, state_directory: &Path) -> Result<File, Unopened> {
    let Some(path) = path(job, state_directory) else {
        let message = "this job's audio is not on this machine".into();
        return Err(fault("NoLocalAudio", Blame::Hark, message).into());
    };
    let Origin::File { root, below, identity } = &job.origin else {
        let opened = File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&path);
        return opened.map_err(|error| match error {
            error if os::is_shortage(&error) => Unopened::NotNow(error),
            error => unreadable(&path, &error).into(),
        });
    };
    let file = open_below(root, below)?;
    let found = FileIdentity::of_file(&file).map_err(|error| unreadable(&path, &error))?;
    // On the second look (`missing`) another inode is accepted: it may be a copy at the same path, or a filesystem that numbers its files
    // anew. Then the comparison of the bytes with the hash decides.
    if found.size != identity.size || (found.inode != identity.inode && !job.missing) {
        return Err(Unopened::Missing(changed(&path)));
    }
    Ok(file)
}

/// Opens the regular file at a place below a folder, whichever it is.
///
/// # Errors
/// See [`Unopened`].
pub fn open_below(root: &Path, below: &Path) -> Result<File, Unopened> {
    let path = root.join(below);
    os::open_recording(root, below).map_err(|error| match error {
        NotARecording::Unreadable(error) if os::is_shortage(&error) => Unopened::NotNow(error),
        NotARecording::Unreadable(error) if is_unreachable(&error) => {
            Unopened::Missing(unreadable(&path, &error))
        }
        NotARecording::Unreadable(error) => unreadable(&path, &error).into(),
        NotARecording::Forbidden => unreadable(&path, &ErrorKind::PermissionDenied.into()).into(),
        NotARecording::Gone | NotARecording::Link => Unopened::Missing(gone(&path)),
        // Something other than the recording is at its path.
        _ => Unopened::Missing(changed(&path)),
    })
}

/// Whether the whole folder of a job's file is unreachable: it does not exist, or its filesystem is not mounted, which leaves an empty
/// folder of another filesystem. Then the file does not count as removed.
pub fn is_away(job: &Job) -> bool {
    let Origin::File { root, below, identity } = &job.origin else { return false };
    let Ok(root) = Folder::open(root) else { return true };
    let nearest = below.ancestors().skip(1).find_map(|folder| root.below(folder).ok());
    nearest.is_some_and(|folder| {
        let is_other = folder.status(Path::new("")).is_ok_and(|status| status.st_dev != identity.dev);
        is_other && folder.is_empty()
    })
}

fn is_unreachable(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotConnected | ErrorKind::StaleNetworkFileHandle)
}

/// Whether an error means that there is no such file below its folder. A path with a NUL cannot name a file, and a file behind a link is
/// not a recording.
pub fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidInput)
        || Errno::from_io_error(error) == Some(Errno::LOOP)
}

fn gone(path: &Path) -> Fault {
    fault(GONE, Blame::Audio, format!("{} was removed before it could be recognized", path.display()))
}

fn changed(path: &Path) -> Fault {
    let message =
        format!("{} changed after it was taken in; its new content is a new recording", path.display());
    fault(CHANGED, Blame::Audio, message)
}

fn unreadable(path: &Path, error: &io::Error) -> Fault {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => gone(path),
        _ => fault(
            "RecordingUnreadable",
            Blame::Hark,
            format!("reading {}: {error}; check its owner and mode", path.display()),
        ),
    }
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
        let here = rustix::fs::stat(&root).unwrap().st_dev;
        let away = |dev: u64| {
            let identity = FileIdentity { dev, inode: 1, size: 1, mtime_ns: 0 };
            let origin = Origin::File { root: root.clone(), below: "a.wav".into(), identity };
            let job = Job::new(
                Uuid::nil(),
                "calls",
                "default",
                origin,
                Recording::default(),
                serde_json::Map::new(),
            );
            is_away(&job)
        };
        assert!(!away(here), "the file alone is gone");
        assert!(away(here + 1), "its filesystem is not mounted");
        std::fs::write(root.join("b.wav"), "b").unwrap();
        assert!(!away(here + 1), "its filesystem has another number since it was mounted again");
        std::fs::remove_dir_all(&root).unwrap();
        assert!(away(here));
    }
}
