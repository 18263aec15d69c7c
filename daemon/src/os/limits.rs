//! Limits of the process itself, and free space of a disk.

use std::io;
use std::path::Path;

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// Raises the soft limit on open descriptors to the hard limit, and returns that (`None`: no limit).
///
/// Shells and systemd set a soft limit of 1,024 with a hard limit far above it.
///
/// # Errors
/// When the kernel refuses; no reason for that is known.
pub fn raise_nofile_limit() -> io::Result<Option<u64>> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    }
    Ok(maximum)
}

/// Whether a call failed because the machine is out of descriptors, processes or memory, which may pass. Such an error gives no information
/// about the file or process that the call was for.
pub fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN, Errno::NOBUFS];
    Errno::from_io_error(error).is_some_and(|error| shortages.contains(&error))
}

/// Bytes that the daemon may still write to the filesystem of this path.
///
/// # Errors
/// When the path does not exist or cannot be reached.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let status = rustix::fs::statvfs(path)?;
    Ok(status.f_bavail.saturating_mul(status.f_frsize))
}

/// Bytes of the filesystem of this path to keep free (see [`free_bytes`]) for writes that cannot wait for space: an eighth of a small
/// filesystem, 64 MiB of a large one.
///
/// # Errors
/// When the filesystem of the path cannot be queried.
pub fn reserve_bytes(path: &Path) -> io::Result<u64> {
    const MOST: u64 = 64 << 20;
    Ok(eighth_of_disk(path)?.min(MOST))
}

/// Bytes of an eighth of the filesystem of this path.
///
/// # Errors
/// When the filesystem of the path cannot be queried.
pub fn eighth_of_disk(path: &Path) -> io::Result<u64> {
    let status = rustix::fs::statvfs(path)?;
    Ok(status.f_blocks.saturating_mul(status.f_frsize) / 8)
}

/// Disables core dumps of the daemon, and keeps other processes of its user from reading its memory and environment, which contain keys.
///
/// # Errors
/// When the kernel refuses; no reason for that is known.
pub fn keep_memory_private() -> io::Result<()> {
    let maximum = getrlimit(Resource::Core).maximum;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum })?;
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Makes glibc return an allocation of 1 MiB or more to the system when it is freed.
///
/// glibc's threshold for this starts at 128 KiB, but rises to the size of each larger block that is freed, up to 32 MiB; freed memory below
/// the threshold stays with its thread. So each thread would keep the memory of the longest transcript that it ever handled.
///
/// Also limits glibc to one heap a core, two at least. By default threads get up to eight heaps a core, and each heap keeps what was freed in
/// it: with one a core, 100,000 watched folders take 37 MB instead of 48 MB, in the same time (`directory_burst`).
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
pub fn return_large_memory() {
    const LARGE: libc::c_int = 1 << 20;
    let cores = std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2));
    // SAFETY: each call takes two numbers and sets a variable of the allocator, under the allocator's lock.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, libc::c_int::try_from(cores).unwrap_or(2));
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        // Once the first threshold is set, glibc fixes the trim threshold at 128 KiB instead of twice the first: it would return the
        // buffers of each recording and fault them in again, a tenth of the CPU time of a 10 s file.
        libc::mallopt(libc::M_TRIM_THRESHOLD, 2 * LARGE);
    }
}

/// Only glibc keeps such memory.
#[cfg(not(target_env = "gnu"))]
pub fn return_large_memory() {}
