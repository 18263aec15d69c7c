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

/// Opens a job's bytes: a regular file, not through a link, never blocking on a FIFO, and still the one that was taken in.
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
                Origin::File { .. } if error.kind() == std::io::ErrorKind::NotFound => {
                    Unopened::Missing(unreadable(&path, &error))
                }
                _ => unreadable(&path, &error).into(),
            },
        )?;
    still_the_same(job, &file).map_err(Unopened::Missing)?;
    Ok(file)
}

/// Whether an open file is still what the job took in. Asked again after the last byte was read.
///
/// # Errors
/// A fault for the job's last event: the content that is there now is a new recording, with a job of its own.
pub fn still_the_same(job: &Job, file: &File) -> Result<(), Fault> {
    let Origin::File { path, identity } = &job.origin else { return Ok(()) };
    let metadata = file.metadata().map_err(|error| unreadable(path, &error))?;
    if FileIdentity::of(&metadata) == *identity { Ok(()) } else { Err(changed(path)) }
}

/// The file is not what was hashed any more.
pub fn changed(path: &Path) -> Fault {
    let message =
        format!("{} changed after it was taken in; its new content is a new recording", path.display());
    fault("RecordingChanged", Blame::Audio, message)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Fault {
    match error.kind() {
        std::io::ErrorKind::NotFound => fault(
            "RecordingGone",
            Blame::Audio,
            format!("{} was removed before it could be recognized", path.display()),
        ),
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
