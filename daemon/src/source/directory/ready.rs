//! Opens a file that stands still, and reads it once for its hash. The file is taken in only if it did not change while it was read.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::fstat;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::walk::{Found, stamp};
use super::wav_header::is_short;
use crate::hex::hex;
use crate::os::{Lease, NotARecording, has_writers, open_recording};

/// The outcome of reading a file.
#[derive(Debug)]
pub enum Reading {
    /// The file was read. `leased`: the kernel granted a lease, so no process had the file open for writing.
    Hashed { sha256: String, leased: bool },
    /// Not ready: a process has it open for writing, or it changed while the daemon read it.
    NotYet,
    /// Its own header says that more comes: it waits longer.
    Short,
    /// It is gone, or it is no regular file any more.
    Gone,
    /// The file cannot be read.
    Unreadable(NotARecording),
}

/// Large enough that hashing takes most of the time, and not the system calls.
const BUFFER: usize = 128 * 1024;

/// Reads a file that has stood still. Blocking; memory is one buffer. A long read ends early, as [`Reading::NotYet`], on `stop`.
///
/// `is_network`: on a network filesystem a refused lease does not prove a writer, because the server may have refused it (NFS 4 grants no
/// lease without a delegation). As on a filesystem without leases, only the time that the file stood still decides.
pub fn read(root: &Path, found: &Found, is_network: bool, stop: &CancellationToken) -> Reading {
    let Ok(below) = found.path.strip_prefix(root) else { return Reading::Gone };
    let file = match open_recording(root, below) {
        Ok(file) => file,
        // Something other than a file has its path now; if that becomes a file again, a scan finds it.
        Err(
            NotARecording::Gone
            | NotARecording::Link
            | NotARecording::Directory
            | NotARecording::Pipe
            | NotARecording::Socket
            | NotARecording::Device,
        ) => return Reading::Gone,
        Err(error) => return Reading::Unreadable(error),
    };
    hash(&file, found, is_network, stop)
        .unwrap_or_else(|error| Reading::Unreadable(NotARecording::Unreadable(error)))
}

fn hash(mut file: &File, found: &Found, is_network: bool, stop: &CancellationToken) -> io::Result<Reading> {
    let before = fstat(file)?;
    let lease = has_writers(file)?;
    let is_written = lease == Lease::Busy && !is_network;
    if is_written || stamp(&before) != found.stamp {
        return Ok(Reading::NotYet);
    }
    if !found.long && is_short(file, found.stamp.identity.size)? {
        return Ok(Reading::Short);
    }
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; BUFFER.min(usize::try_from(before.st_size).unwrap_or(BUFFER).max(1))];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => hasher.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if stop.is_cancelled() {
            return Ok(Reading::NotYet);
        }
    }
    if stamp(&fstat(file)?) != found.stamp {
        return Ok(Reading::NotYet);
    }
    Ok(Reading::Hashed { sha256: hex(&hasher.finalize()), leased: lease == Lease::Free })
}
