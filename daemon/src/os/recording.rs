//! Opening what a watched folder holds, without falling for what else may lie there.

use std::fs::{File, FileType};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// Why a path cannot be opened as a recording.
#[derive(Debug, thiserror::Error)]
pub enum NotARecording {
    #[error("it is a symbolic link; links are not followed, put the file itself there")]
    Link,
    #[error("it is a directory, whatever its name says")]
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

/// Opens a regular file for reading. Never waits (a pipe without a writer), never follows a link in the last place.
///
/// # Errors
/// See [`NotARecording`].
pub fn open_recording(path: &Path) -> Result<File, NotARecording> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(descriptor) => File::from(descriptor),
        Err(rustix::io::Errno::LOOP) => return Err(NotARecording::Link),
        // What open() says of a socket, and of a device that has no driver.
        Err(rustix::io::Errno::NXIO) => return Err(NotARecording::Socket),
        Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => return Err(NotARecording::Forbidden),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Err(NotARecording::Gone),
        Err(error) => return Err(NotARecording::Unreadable(error.into())),
    };
    let kind = file.metadata().map_err(NotARecording::Unreadable)?.file_type();
    if kind.is_file() { Ok(file) } else { Err(NotARecording::of(kind)) }
}

impl NotARecording {
    fn of(kind: FileType) -> NotARecording {
        if kind.is_dir() {
            NotARecording::Directory
        } else if kind.is_fifo() {
            NotARecording::Pipe
        } else if kind.is_socket() {
            NotARecording::Socket
        } else {
            NotARecording::Device
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
        std::fs::write(at("call.wav"), b"RIFF").unwrap();
        std::fs::create_dir(at("folder.wav")).unwrap();
        std::os::unix::fs::symlink(at("call.wav"), at("link.wav")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe.wav"), rustix::fs::FileType::Fifo, Mode::RUSR, 0)
            .unwrap();
        let _listener = UnixListener::bind(at("socket.wav")).unwrap();

        assert!(open_recording(&at("call.wav")).is_ok());
        assert!(matches!(open_recording(&at("folder.wav")), Err(NotARecording::Directory)));
        assert!(matches!(open_recording(&at("link.wav")), Err(NotARecording::Link)));
        assert!(matches!(open_recording(&at("pipe.wav")), Err(NotARecording::Pipe)));
        assert!(matches!(open_recording(&at("socket.wav")), Err(NotARecording::Socket)));
        assert!(matches!(open_recording(Path::new("/dev/null")), Err(NotARecording::Device)));
        assert!(matches!(open_recording(&at("absent.wav")), Err(NotARecording::Gone)));
    }
}
