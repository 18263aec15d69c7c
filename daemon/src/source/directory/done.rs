//! Decides what becomes of a file after its job's last event is stored, has it carried out, and notes the outcome in the ledger.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::{info, warn};

use super::context::{Context, blocking};
use super::put_away::{FileFate, HeardFile, NotPutAway, PutAway, carry_out};
use super::sidecar;
use crate::config::{DirectorySource, WhenDone};
use crate::job::ledger::files::{self, Known};
use crate::job::ledger::forgotten_files;
use crate::job::ledger::written::{self, Written};
use crate::job::{Job, Origin};

/// See [`super::Directory::settle`].
///
/// # Errors
/// When the file cannot be moved or deleted.
pub(super) async fn settle(context: &Arc<Context>, job: &Job, failed: bool) -> Result<bool, NotPutAway> {
    let Origin::File { root, below, identity } = &job.origin else { return Ok(false) };
    // A recording that was recognized again may lie there already.
    let fate =
        fate(&context.config, failed).filter(|fate| !matches!(fate, FileFate::Move(done) if done == root));
    let Some(fate) = fate else { return Ok(false) };
    let heard = HeardFile {
        job: job.id,
        identity: *identity,
        sha256: job.recording.sha256.clone().unwrap_or_default(),
        was_missed: job.missing,
    };
    let (path, root, below) = (root.join(below), root.clone(), below.clone());
    let outcome = blocking({
        let (fate, root, below) = (fate.clone(), root.clone(), below.clone());
        move || carry_out(&fate, &root, &below, &heard)
    });
    let outcome = outcome.await??;
    match outcome {
        PutAway::Absent => {
            info!(job = %job.id, "the file is not at its path; if the daemon finds it under another name, it moves or deletes it then")
        }
        PutAway::Gone { .. } if job.missing => {
            info!(job = %job.id, "the file was found again; the daemon has moved or deleted it")
        }
        PutAway::Gone { .. } => {}
        PutAway::Stays => {
            info!(job = %job.id, "the file was replaced after it was recognized; the new file stays")
        }
    }
    // Removes the row of a file that was moved or deleted; another file at its path has a row of its own. A file with further hard links may
    // still be in this folder, so it stays known without a path. The row of a file that was only absent stays, but without its hash: if the file
    // was moved, its identity finds it under its new name, and another file with the same bytes is not taken for it.
    let (id, sha256) = (job.id, job.recording.sha256.clone());
    let note = move |connection: &_, context: &Context| {
        let at = files::at_path(connection, context.source(), &path)?;
        match (at.into_iter().find(|known| known.job == Some(id)), outcome) {
            (None, _) | (_, PutAway::Stays) => Ok(()),
            (Some(known), PutAway::Absent) => files::update(connection, &Known { sha256: None, ..known }),
            (Some(known), PutAway::Gone { linked }) => {
                if let Some(identity) = linked {
                    forgotten_files::note(connection, context.source(), &identity, sha256.as_deref())?;
                }
                files::remove(connection, known.id)
            }
        }
    };
    context.write(note).await?;
    // A person may have moved an absent recording and be about to move its sidecar: the daemon does not delete that sidecar.
    let is_gone = matches!(outcome, PutAway::Gone { .. });
    let goes = is_gone || (outcome == PutAway::Absent && matches!(fate, FileFate::Move(_)));
    if let Some(sidecar) = job.sidecar.clone().filter(|_| goes) {
        let context = Arc::clone(context);
        let (fate, root, below) = (fate.clone(), root.clone(), below.clone());
        blocking(move || sidecar::put_away(&context, &fate, &root, &below, id, &sidecar)).await?;
    }
    if let (true, FileFate::Move(done)) = (goes, &fate) {
        move_written(context, job, &root, &below, done).await?;
    }
    // If another file is at the path, the file that was heard may have moved to another name as well.
    Ok(!is_gone)
}

/// Moves the files that the daemon wrote for plugins beside a recording after the recording. A file that cannot be moved stays, and the log
/// says so.
async fn move_written(
    context: &Arc<Context>,
    job: &Job,
    root: &Path,
    below: &Path,
    done: &Path,
) -> Result<(), NotPutAway> {
    let parent = below.parent().unwrap_or(Path::new(""));
    let (folder, recording) = (root.join(parent), job.recording.sha256.clone().unwrap_or_default());
    let written =
        context.read(move |connection, _| written::of_recording(connection, &folder, &recording)).await?;
    for file in written.into_iter().filter(|file| file.job == job.id) {
        let heard = HeardFile {
            job: job.id,
            identity: file.identity,
            sha256: file.sha256.clone(),
            was_missed: false,
        };
        let (fate, root, below) = (FileFate::Move(done.to_owned()), root.to_owned(), parent.join(&file.name));
        let path = root.join(&below);
        match blocking(move || carry_out(&fate, &root, &below, &heard)).await? {
            Ok(PutAway::Gone { .. }) => {
                let moved = Written { folder: done.join(parent), ..file.clone() };
                let note = move |connection: &_, _: &Context| {
                    written::remove(connection, &file.folder, &file.name)?;
                    written::note(connection, &moved)
                };
                context.write(note).await?;
            }
            Ok(PutAway::Absent | PutAway::Stays) => {}
            Err(error) => {
                warn!(job = %job.id, path = %path.display(), %error, "a file that was written for the recording stays behind it; move it by hand");
            }
        }
    }
    Ok(())
}

/// What to do with a file; `None`: it is kept. A recording whose job failed is never deleted, because it may be the only copy: it is moved
/// to `failed_directory` if that is configured, and else it stays.
fn fate(config: &DirectorySource, failed: bool) -> Option<FileFate> {
    let directory: &PathBuf = if failed { &config.failed_directory } else { &config.done_directory };
    match config.when_done {
        WhenDone::Keep => None,
        WhenDone::Delete if !failed => Some(FileFate::Delete),
        WhenDone::Move | WhenDone::Delete => {
            (!directory.as_os_str().is_empty()).then(|| FileFate::Move(directory.clone()))
        }
    }
}
