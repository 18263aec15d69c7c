//! Deletes a file that the daemon wrote for a plugin, when its job is forgotten.

use std::path::Path;

use super::context::blocking;
use super::put_away::{FileFate, HeardFile, NotPutAway, PutAway, carry_out};
use crate::job::ledger::written::Written;
use crate::job::{Job, Origin};

/// Deletes a file that was written for a job, if it is still as it was written.
///
/// # Errors
/// When the file cannot be deleted.
pub async fn delete_written(job: &Job, file: Written) -> Result<PutAway, NotPutAway> {
    // Below the watched folder other users may write: from there on the path goes through descriptors.
    let root = match &job.origin {
        Origin::File { root, .. } if file.folder.starts_with(root) => root.clone(),
        _ => file.folder.clone(),
    };
    let below = file.folder.strip_prefix(&root).unwrap_or(Path::new("")).join(&file.name);
    let heard = HeardFile { job: file.job, identity: file.identity, sha256: file.sha256, was_missed: false };
    blocking(move || carry_out(&FileFate::Delete, &root, &below, &heard)).await?
}
