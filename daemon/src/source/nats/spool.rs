//! Audio that came in messages, on disk until its job is over: one file a job, complete or absent.

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

/// Pause before audio is written again for which there was no room.
const NO_ROOM_PAUSE: Duration = Duration::from_secs(1);

/// Writes the bytes durably and returns their sha256 in hex. Where there is no room it waits, and the source with it, saying so through
/// `watching`.
///
/// # Errors
/// When the daemon ends meanwhile.
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
                "audio cannot be spooled at {} ({error}) and waits; make room on the disk of state.directory",
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
    // The last room is the ledger's: without it no job could end, and no file would ever leave the spool.
    if os::free_bytes(folder)? < bytes.len() as u64 + os::reserve_bytes(folder)? {
        return Err(std::io::ErrorKind::StorageFull.into());
    }
    let mut file = private::create_file(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a file takes the last room, and this daemon may end before it is whole.
        std::fs::remove_file(path)?;
    }
    written?;
    // The name is durable when its folder is.
    File::open(folder)?.sync_all()
}
