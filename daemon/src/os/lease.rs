//! Whether a process still has a file open for writing.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// What the kernel reports about writers of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    /// No process has the file open for writing, not even through a mapping.
    Free,
    /// A process has the file open for writing.
    Busy,
    /// The kernel gives no answer: the file belongs to another user and the daemon lacks CAP_LEASE, or the filesystem has no leases.
    Unsupported,
}

/// Takes a read lease, which the kernel refuses while any process has the file open for writing, and releases the lease at once.
///
/// `file` must be open for reading only. If a process opens the file for writing in the microseconds between, its `open` blocks until the
/// lease is released.
///
/// # Errors
/// When the file descriptor itself is not usable.
#[allow(unsafe_code)]
pub fn has_writers(file: &File) -> io::Result<Lease> {
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and F_SETLEASE takes an int and no pointer.
    let set = |lease: i32| unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, lease) };
    // If a writer breaks the lease while it is held, the kernel sends SIGIO, which would kill the daemon. SIGURG is sent instead: a process
    // ignores SIGURG unless it installs a handler. SAFETY: as above; F_SETSIG takes an int and no pointer.
    if unsafe { libc::fcntl(file.as_raw_fd(), F_SETSIG, libc::SIGURG) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if set(libc::F_RDLCK) == 0 {
        return if set(libc::F_UNLCK) == 0 { Ok(Lease::Free) } else { Err(io::Error::last_os_error()) };
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN) => Ok(Lease::Busy),
        Some(libc::EACCES | libc::EINVAL | libc::EPERM | libc::ENOLCK | libc::EOPNOTSUPP | libc::ENOSYS) => {
            Ok(Lease::Unsupported)
        }
        _ => Err(error),
    }
}

/// From `fcntl.h`, the same on every architecture; the libc crate lacks it.
const F_SETSIG: libc::c_int = 10;

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};

    use super::*;

    #[test]
    fn a_file_is_busy_while_it_is_open_for_writing_and_free_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("call.wav");
        let writer = File::create(&path).unwrap();
        let reader = File::open(&path).unwrap();
        assert_eq!(has_writers(&reader).unwrap(), Lease::Busy);
        drop(writer);
        assert_eq!(has_writers(&reader).unwrap(), Lease::Free);
        // The lease was released: a writer does not block.
        OpenOptions::new().write(true).open(&path).unwrap();
    }
}
