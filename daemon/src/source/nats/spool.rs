//! Writes the audio of messages to disk, where it stays until the job is over: one file per job, complete or absent.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tracing::warn;
use uuid::Uuid;

use crate::hex::hex;
use crate::job::audio::SPOOL;
use crate::job::ledger::LedgerError;
use crate::os::{self, private};

/// Pause before a write that failed, mostly for lack of disk space, is retried.
const NO_ROOM_PAUSE: Duration = Duration::from_secs(1);

/// Writes the bytes durably and returns their sha256 in hex. If a write fails, the function retries without limit; the source waits with
/// it and reports that through `watching`.
///
/// # Errors
/// When the daemon ends before the bytes are written.
pub(super) async fn write(
    state_directory: &Path,
    job: Uuid,
    bytes: &Bytes,
    watching: &watch::Sender<Result<(), String>>,
) -> Result<String, LedgerError> {
    let folder = state_directory.join(SPOOL);
    let path = folder.join(job.to_string());
    let mut waits = false;
    loop {
        let (into, path, bytes) = (folder.clone(), path.clone(), bytes.clone());
        let write = tokio::task::spawn_blocking(move || {
            write_durably(&into, &path, &bytes)?;
            Ok(hex(&Sha256::digest(&bytes)))
        });
        let error: std::io::Error = match write.await.map_err(|_| LedgerError::Closed)? {
            Ok(sha256) => {
                if waits {
                    watching.send_modify(|state| *state = Ok(()));
                }
                return Ok(sha256);
            }
            Err(error) => error,
        };
        if !std::mem::replace(&mut waits, true) {
            let said = format!(
                "audio cannot be spooled at {} ({error}), so the source waits; make room on the disk of state.directory",
                folder.display()
            );
            warn!("{said}");
            watching.send_modify(|state| *state = Err(said));
        }
        tokio::time::sleep(NO_ROOM_PAUSE).await;
    }
}

fn write_durably(folder: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    private::create_folder(folder)?;
    // The last disk space is reserved for the ledger: without it no job could end, and no file would ever leave the spool.
    if os::free_bytes(folder)? < bytes.len() as u64 + os::reserve_bytes(folder)? {
        return Err(std::io::ErrorKind::StorageFull.into());
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
