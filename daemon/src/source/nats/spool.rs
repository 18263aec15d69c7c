//! Writes the audio of messages to disk, where it stays until the job is over: one file per job, complete or absent.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;
use uuid::Uuid;

use crate::broker::stream::until_it_works;
use crate::hex::hex;
use crate::job::ledger::LedgerError;
use crate::job::spool;
use crate::os::{self, private};
use crate::source::{Watching, set_state};

/// Writes the bytes durably and returns their sha256 in hex. If a write fails, mostly for lack of disk space, the function retries without
/// limit; the source waits with it and reports that through `watching`.
///
/// # Errors
/// When the daemon ends before the bytes are written.
pub(super) async fn write(
    state_directory: &Path,
    job: Uuid,
    bytes: &Bytes,
    watching: &Watching,
) -> Result<String, LedgerError> {
    let (folder, file) = (spool::folder(state_directory), spool::file(state_directory, job));
    let write = || async {
        let (into, path, bytes) = (folder.clone(), file.clone(), bytes.clone());
        let write = spawn_blocking(move || {
            write_durably(&into, &path, &bytes)?;
            Ok(hex(&Sha256::digest(&bytes)))
        });
        match write.await {
            Err(_) => Ok(Err(LedgerError::Closed)),
            Ok(Ok(sha256)) => Ok(Ok(sha256)),
            Ok(Err(error)) => Err(no_room(&folder, &error)),
        }
    };
    let report = |state: Result<(), String>| {
        if state.is_err() {
            set_state(watching, state);
        }
    };
    until_it_works("spooling audio", report, write).await
}

fn no_room(folder: &Path, error: &io::Error) -> String {
    let folder = folder.display();
    format!(
        "audio cannot be spooled at {folder} ({error}), so the source waits; make room on the disk of state.directory"
    )
}

fn write_durably(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    private::create_folder(folder)?;
    // The last disk space is reserved for the ledger: without it no job could end, and no file would ever leave the spool.
    if os::free_bytes(folder)? < bytes.len() as u64 + os::reserve_bytes(folder)? {
        return Err(io::ErrorKind::StorageFull.into());
    }
    let mut file = private::create_file(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        // An incomplete file takes up the last space, and the daemon may end before the file is complete.
        std::fs::remove_file(path)?;
    }
    written?;
    // The file's name is durable only after its folder is synced.
    File::open(folder)?.sync_all()
}
