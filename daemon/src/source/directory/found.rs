//! A file as a look at the folder finds it.

use std::path::PathBuf;

use rustix::fs::{FileType, Stat};

use crate::job::FileIdentity;
use crate::job::audio::nanoseconds;

/// What must stay the same while a file stands still: any write changes at least one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Device, inode, size and mtime.
    pub identity: FileIdentity,
    /// Nanoseconds since the epoch. Unlike mtime, programs cannot set it.
    pub ctime_ns: i64,
}

impl Stamp {
    pub fn of(status: &Stat) -> Stamp {
        let ctime_ns = nanoseconds(status.st_ctime, status.st_ctime_nsec);
        Stamp { identity: FileIdentity::of(status), ctime_ns }
    }
}

/// A regular file that may be a recording.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// Absolute.
    pub path: PathBuf,
    pub stamp: Stamp,
}

impl Found {
    /// `None`: it is not a regular file.
    pub fn of(path: PathBuf, status: &Stat) -> Option<Found> {
        kind(status).is_file().then(|| Found { path, stamp: Stamp::of(status) })
    }

    /// The key of the file in its present state: after a change the file may be logged again.
    pub fn key(&self) -> String {
        format!("{self:?}")
    }
}

/// The file type in a `stat` result.
pub(super) fn kind(status: &Stat) -> FileType {
    FileType::from_raw_mode(status.st_mode)
}
