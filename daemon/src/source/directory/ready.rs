//! Opening a file that stands still, and reading it once for its hash: what is taken in is what was read, or nothing.

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

/// What came of reading a file.
#[derive(Debug)]
pub enum Reading {
    /// These are its bytes. `leased`: the kernel itself said that nobody is writing.
    Hashed { sha256: String, leased: bool },
    /// Somebody has it open for writing, or it changed while it was read: not yet.
    NotYet,
    /// Its own header says that more comes: it waits longer.
    Short,
    /// It is gone, or it is no regular file any more.
    Gone,
    /// It cannot be read.
    Unreadable(NotARecording),
}

/// Large enough that the hash is the cost and not the calls.
const BUFFER: usize = 128 * 1024;

/// Reads a file that has stood still. Blocking; memory is one buffer. A long read ends early, as [`Reading::NotYet`], on `stop`.
///
/// `is_network`: on a network filesystem a refused lease says nothing of writers, for its server may have refused it (NFS 4 grants none
/// without a delegation): as on one without leases, the time that the file stood still decides.
pub fn read(root: &Path, found: &Found, is_network: bool, stop: &CancellationToken) -> Reading {
    let Ok(below) = found.path.strip_prefix(root) else { return Reading::Gone };
    let file = match open_recording(root, below) {
        Ok(file) => file,
        // Another thing took its place; if it is a file again, a scan finds it.
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
