//! The spool: audio that came in messages, one file per job, kept until the job is over. `source::nats` writes it.

use std::path::{Path, PathBuf};

use tracing::warn;
use uuid::Uuid;

use super::audio::SPOOL;
use super::ledger::{Ledger, LedgerError};

/// Removes a job's file from the spool, if it has one. A failure is logged.
pub async fn remove(state_directory: &Path, job: Uuid) {
    let path: PathBuf = state_directory.join(SPOOL).join(job.to_string());
    match tokio::fs::remove_file(&path).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            warn!(path = %path.display(), %error, "a spooled file stays behind; remove it by hand");
        }
        _ => {}
    }
}

/// Removes the files that belong to no open job: leftovers of a crash after a file was written and before its job was, or after a job ended
/// and before its file was removed.
///
/// # Errors
/// When the ledger is closed or damaged.
pub async fn sweep(state_directory: &Path, ledger: &Ledger) -> Result<(), LedgerError> {
    let Ok(mut entries) = tokio::fs::read_dir(state_directory.join(SPOOL)).await else { return Ok(()) };
    while let Ok(Some(entry)) = entries.next_entry().await {
        let Some(job) = entry.file_name().to_str().and_then(|name| Uuid::parse_str(name).ok()) else {
            continue;
        };
        match ledger.find(job).await {
            Ok(None) => remove(state_directory, job).await,
            Ok(Some(found)) if found.stage.is_settled() => {
                remove(state_directory, job).await;
            }
            // A job of a newer daemon keeps its audio.
            Ok(Some(_)) | Err(LedgerError::Newer { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
