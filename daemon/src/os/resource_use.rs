//! Measures what this process uses: memory, descriptors and threads.

use std::io;

use rustix::process::{Resource, getrlimit};
use serde::{Deserialize, Serialize};

/// Memory, descriptors and threads of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceUse {
    /// Bytes of memory of its own, in RAM and swapped out: anonymous and shared memory, without mapped files.
    pub memory: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Threads.
    pub threads: u64,
}

/// What this process uses now.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn resource_use() -> io::Result<ResourceUse> {
    // The descriptor of the listing itself is in it.
    let descriptors = match std::fs::read_dir("/proc/self/fd") {
        Ok(listing) => listing.count() as u64 - 1,
        Err(error) if error.raw_os_error() == Some(libc::EMFILE) => {
            // All are in use, so that `status` cannot be opened either.
            let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
            return Ok(ResourceUse { descriptors, ..ResourceUse::default() });
        }
        Err(error) => return Err(error),
    };
    let status = std::fs::read_to_string("/proc/self/status")?;
    let number = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default()
    };
    let memory = ["RssAnon", "RssShmem", "VmSwap"].map(number).iter().sum::<u64>() << 10;
    Ok(ResourceUse { memory, descriptors, threads: number("Threads") })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Other tests of this process close files and free memory at the same time, so that one look may miss what this test holds.
    #[test]
    fn what_is_held_is_counted() {
        let seen = (0..100).any(|_| {
            let before = resource_use().unwrap();
            let files: Vec<_> = (0..20).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
            let memory = vec![1_u8; 32 << 20];
            let (stop, stopped) = std::sync::mpsc::channel::<()>();
            let thread = std::thread::spawn(move || stopped.recv());
            let after = resource_use().unwrap();
            drop(stop);
            assert!(thread.join().unwrap().is_err());
            after.descriptors >= before.descriptors + files.len() as u64
                && after.memory >= before.memory + memory.len() as u64 / 2
                && after.threads > 1
        });
        assert!(seen, "what is held was never counted");
    }
}
