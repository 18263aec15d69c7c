//! Opens a file that stands still, and reads it once for its hash. The file is taken in only if it did not change while it was read.

use std::fs::File;
use std::io::{self, Read};

use rustix::fs::fstat;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::context::Context;
use super::found::Stamp;
use super::standing_still::SettledFile;
use super::wav_header::is_short;
use crate::hex::hex;
use crate::os::{Lease, NotARecording, has_writers, open_recording};

/// Why a file that stands still was not read.
#[derive(Debug)]
pub(super) enum NotRead {
    /// A process has it open for writing, or it changed while the daemon read it.
    NotYet,
    /// Its own header says that more comes: it waits longer.
    Short,
    /// It is gone, or it is no regular file any more.
    Gone,
    /// The file cannot be read.
    Unreadable(NotARecording),
}

impl From<io::Error> for NotRead {
    fn from(error: io::Error) -> Self {
        NotRead::Unreadable(NotARecording::Unreadable(error))
    }
}

/// Large enough that hashing takes most of the time, and not the system calls.
const BUFFER: usize = 128 * 1024;

/// The hash of a file that has stood still, in hex. Blocking; memory is one buffer. A long read ends early, as [`NotRead::NotYet`], on
/// `stop`.
///
/// `is_network`: on a network filesystem a refused lease does not prove a writer, because the server may have refused it (NFS 4 grants no
/// lease without a delegation). As on a filesystem without leases, only the time that the file stood still decides.
///
/// # Errors
/// When the file is not ready, or cannot be read.
pub(super) fn read(
    context: &Context,
    ready: &SettledFile,
    is_network: bool,
    stop: &CancellationToken,
) -> Result<String, NotRead> {
    let SettledFile { file: found, long, .. } = ready;
    let below = found.path.strip_prefix(context.root()).map_err(|_| NotRead::Gone)?;
    let file = open_recording(context.root(), below).map_err(|error| match error {
        NotARecording::Forbidden | NotARecording::Unreadable(_) => NotRead::Unreadable(error),
        // Something other than a file has its path now; if that becomes a file again, a scan finds it.
        _ => NotRead::Gone,
    })?;
    let is_changed = || Ok::<_, io::Error>(Stamp::of(&fstat(&file)?) != found.stamp);
    let lease = has_writers(&file)?;
    let is_written = lease == Lease::Busy && !is_network;
    if is_written || is_changed()? {
        return Err(NotRead::NotYet);
    }
    if !long && is_short(&file, found.stamp.identity.size)? {
        return Err(NotRead::Short);
    }
    let hash = hash(&file, stop)?.ok_or(NotRead::NotYet)?;
    if is_changed()? {
        return Err(NotRead::NotYet);
    }
    if lease != Lease::Free && context.troubles.is_first("lease") {
        info!(
            source = context.source(),
            "the kernel does not say whether files are open for writing (they are another user's and CAP_LEASE is missing, or the filesystem has no leases); settle alone decides"
        );
    }
    Ok(hash)
}

/// The sha256 of an open file in hex; `None`: `stop` came first.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn hash(mut file: &File, stop: &CancellationToken) -> io::Result<Option<String>> {
    let mut hasher = Sha256::new();
    let size = usize::try_from(fstat(file)?.st_size).unwrap_or(BUFFER);
    let mut buffer = vec![0; size.clamp(1, BUFFER)];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(Some(hex(&hasher.finalize()))),
            Ok(read) => hasher.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if stop.is_cancelled() {
            return Ok(None);
        }
    }
}
