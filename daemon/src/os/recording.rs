//! Opens recordings in a watched folder, and refuses everything that is not a regular file.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, OFlags, fstat};
use rustix::io::Errno;

use super::beneath::{Entry, Folder};

/// Why a path cannot be opened as a recording.
#[derive(Debug, thiserror::Error)]
pub enum NotARecording {
    #[error("it is a symbolic link; links are not followed, put the file itself there")]
    Link,
    #[error("it is a directory; only regular files are recordings")]
    Directory,
    #[error("it is a named pipe; only regular files are recordings")]
    Pipe,
    #[error("it is a socket; only regular files are recordings")]
    Socket,
    #[error("it is a device; only regular files are recordings")]
    Device,
    #[error("it may not be read; give the daemon's user the right to read it")]
    Forbidden,
    #[error("it is gone")]
    Gone,
    #[error("it cannot be opened: {0}")]
    Unreadable(#[source] io::Error),
}

const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC).union(OFlags::NOCTTY);

/// Opens a regular file below a folder for reading. Never blocks (as on a pipe without a writer), never follows a link below the folder.
///
/// # Errors
/// See [`NotARecording`].
pub fn open_recording(root: &Path, below: &Path) -> Result<File, NotARecording> {
    regular(Folder::open(root).and_then(|folder| folder.reach(below, FLAGS)))
}

impl Entry<'_> {
    /// As [`open_recording`].
    ///
    /// # Errors
    /// See [`NotARecording`].
    pub fn open(self) -> Result<File, NotARecording> {
        regular(self.reach(FLAGS))
    }
}

fn regular(opened: io::Result<OwnedFd>) -> Result<File, NotARecording> {
    let file = opened.map_err(NotARecording::why)?;
    let status = fstat(&file).map_err(|error| NotARecording::Unreadable(error.into()))?;
    match FileType::from_raw_mode(status.st_mode) {
        FileType::RegularFile => Ok(File::from(file)),
        FileType::Directory => Err(NotARecording::Directory),
        FileType::Fifo => Err(NotARecording::Pipe),
        FileType::Socket => Err(NotARecording::Socket),
        _ => Err(NotARecording::Device),
    }
}

impl NotARecording {
    fn why(error: io::Error) -> NotARecording {
        match Errno::from_io_error(&error) {
            Some(Errno::LOOP) => NotARecording::Link,
            // open() fails so for a socket, and for a device without a driver.
            Some(Errno::NXIO) => NotARecording::Socket,
            Some(Errno::ACCESS | Errno::PERM) => NotARecording::Forbidden,
            Some(Errno::NOENT | Errno::NOTDIR) => NotARecording::Gone,
            _ => NotARecording::Unreadable(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn each_kind_of_thing_that_is_not_a_file_has_its_own_sentence_and_none_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let open = |name: &str| open_recording(folder.path(), Path::new(name));
        std::fs::write(at("call.wav"), b"RIFF").unwrap();
        std::fs::create_dir(at("folder.wav")).unwrap();
        std::os::unix::fs::symlink(at("call.wav"), at("link.wav")).unwrap();
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe.wav"), FileType::Fifo, mode, 0).unwrap();
        let _listener = UnixListener::bind(at("socket.wav")).unwrap();

        assert!(open("call.wav").is_ok());
        assert!(matches!(open("folder.wav"), Err(NotARecording::Directory)));
        assert!(matches!(open("link.wav"), Err(NotARecording::Link)));
        assert!(matches!(open("pipe.wav"), Err(NotARecording::Pipe)));
        assert!(matches!(open("socket.wav"), Err(NotARecording::Socket)));
        assert!(matches!(open_recording(Path::new("/dev"), Path::new("null")), Err(NotARecording::Device)));
        assert!(matches!(open("absent.wav"), Err(NotARecording::Gone)));
    }
}
