//! The process's own limits, and the disk's.

use std::io;
use std::path::Path;

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// Raises the number of descriptors we may open to the most that we are allowed, and returns it (`None`: no limit).
///
/// Shells and systemd give 1,024, with a hard limit far above it for those who ask.
///
/// # Errors
/// When the kernel refuses, which it has no reason to.
pub fn raise_nofile_limit() -> io::Result<Option<u64>> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    }
    Ok(maximum)
}

/// Whether a call failed for something that the machine has not now (descriptors, processes, memory) and may have soon. It says nothing
/// about what the call was for.
pub fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN, Errno::NOBUFS];
    Errno::from_io_error(error).is_some_and(|error| shortages.contains(&error))
}

/// Bytes that we may still write to the filesystem of this path.
///
/// # Errors
/// When the path does not exist or cannot be reached.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let status = rustix::fs::statvfs(path)?;
    Ok(status.f_bavail.saturating_mul(status.f_frsize))
}

/// What is left free for those who cannot wait for room, of a filesystem of which `free_bytes` are free: an eighth of a small one,
/// 64 MiB of a large one.
///
/// # Errors
/// When the path cannot be looked at.
pub fn reserve_bytes(path: &Path) -> io::Result<u64> {
    const MOST: u64 = 64 << 20;
    let status = rustix::fs::statvfs(path)?;
    Ok((status.f_blocks.saturating_mul(status.f_frsize) / 8).min(MOST))
}

/// No core dump of ours, and no other process of this user may read our memory or environment: there are keys in them.
///
/// # Errors
/// When the kernel refuses, which it has no reason to.
pub fn keep_memory_private() -> io::Result<()> {
    let maximum = getrlimit(Resource::Core).maximum;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum })?;
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Has memory of a mebibyte and more go back to the system when it is freed.
///
/// glibc begins with 128 KiB for it, but takes the first larger one that is freed for the new bound, up to 32 MiB; what lies below it stays
/// with the thread that had it. So each thread would keep the longest transcript that ever passed through it.
///
/// And it gives threads up to eight heaps a core, of which each keeps what was freed in it: with one a core, 100,000 watched folders take
/// 37 MB instead of 48, as quickly.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
pub fn return_large_memory() {
    const LARGE: libc::c_int = 1 << 20;
    let cores = std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2));
    // SAFETY: all take two numbers and set a variable of the allocator, under its lock.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, libc::c_int::try_from(cores).unwrap_or(2));
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        // With a bound that is set glibc stays at 128 KiB for what a thread keeps at its end of memory, instead of twice the bound:
        // each recording's buffers would go back and be faulted in anew, a tenth of what a file of 10 s costs.
        libc::mallopt(libc::M_TRIM_THRESHOLD, 2 * LARGE);
    }
}

/// Only glibc keeps it.
#[cfg(not(target_env = "gnu"))]
pub fn return_large_memory() {}
