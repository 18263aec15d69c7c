//! Audio that came in messages, on disk until its job is over: one file a job, complete or absent.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tracing::warn;
use uuid::Uuid;

use crate::job::State;
use crate::job::audio::SPOOL;
use crate::job::ledger::{Ledger, LedgerError};

/// Writes the bytes durably and returns their sha256 in hex. Where there is no room it waits, and the source with it.
///
/// # Errors
/// When the spool folder cannot be made.
pub(super) async fn write(state_directory: &Path, job: Uuid, bytes: &[u8]) -> Result<String, LedgerError> {
    let folder = state_directory.join(SPOOL);
    let path = folder.join(job.to_string());
    // The payload is one allocation shared with the client; a blocking thread needs it for itself.
    let bytes = bytes.to_vec();
    let write = tokio::task::spawn_blocking(move || {
        std::fs::create_dir_all(&folder)
            .map_err(|error| LedgerError::Directory { path: folder.clone(), error })?;
        let mut said = false;
        while let Err(error) = write_durably(&folder, &path, &bytes) {
            if !said {
                warn!(path = %path.display(), %error, "audio cannot be spooled and its source waits; make room on the disk of state.directory");
                said = true;
            }
            std::thread::sleep(std::time::Duration::from_secs(1));
        }
        Ok(hex(&Sha256::digest(&bytes)))
    });
    write.await.unwrap_or(Err(LedgerError::Closed))
}

/// Removes a job's file, if it has one.
pub(super) async fn remove(state_directory: &Path, job: Uuid) {
    let path: PathBuf = state_directory.join(SPOOL).join(job.to_string());
    match tokio::fs::remove_file(&path).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            warn!(path = %path.display(), %error, "a spooled file stays behind; remove it by hand");
        }
        _ => {}
    }
}

/// Removes files of no open job: leftovers of a crash between the file and its job, or between the job's end and its removal.
///
/// # Errors
/// When the ledger is closed or damaged.
pub async fn sweep(state_directory: &Path, ledger: &Ledger) -> Result<(), LedgerError> {
    let Ok(mut entries) = tokio::fs::read_dir(state_directory.join(SPOOL)).await else { return Ok(()) };
    while let Ok(Some(entry)) = entries.next_entry().await {
        let Some(job) = entry.file_name().to_str().and_then(|name| Uuid::parse_str(name).ok()) else {
            continue;
        };
        let state = ledger.find(job).await?.map(|job| job.state);
        if matches!(state, None | Some(State::Settled { .. })) {
            remove(state_directory, job).await;
        }
    }
    Ok(())
}

fn write_durably(folder: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    // The name is durable when its folder is.
    File::open(folder)?.sync_all()
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
