//! Whether anyone still has a file open for writing.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// What the kernel says about writers of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    /// Nobody has it open for writing, not even through a mapping.
    Free,
    /// Somebody has.
    Busy,
    /// It does not tell: the file is another user's and we lack CAP_LEASE, or the filesystem has no leases.
    Unsupported,
}

/// Asks with a read lease, which the kernel refuses while the file is open for writing anywhere, and gives it back at once.
///
/// `file` must be open for reading only. A writer that comes in the microseconds between is told to wait by the
/// kernel and never notices.
///
/// # Errors
/// When the file descriptor itself is not usable.
#[allow(unsafe_code)]
pub fn has_writers(file: &File) -> io::Result<Lease> {
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and F_SETLEASE takes an int and no pointer.
    let set = |lease: i32| unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, lease) };
    // A lease that a writer breaks is signalled by SIGIO, which would kill us; but that needs the lease to be held when the
    // writer comes. SIGURG is ignored unless somebody asks for it.
    // SAFETY: as above; F_SETSIG takes an int and no pointer.
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
    fn a_file_is_busy_while_someone_writes_and_free_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("call.wav");
        let writer = File::create(&path).unwrap();
        let reader = File::open(&path).unwrap();
        assert_eq!(has_writers(&reader).unwrap(), Lease::Busy);
        drop(writer);
        assert_eq!(has_writers(&reader).unwrap(), Lease::Free);
        // And the lease was given back: a writer is not held up.
        OpenOptions::new().write(true).open(&path).unwrap();
    }
}
