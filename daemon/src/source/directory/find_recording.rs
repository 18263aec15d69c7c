//! Finds the file of a job that has ended, so that it can be recognized again: by the daemon, or by a person.

use std::fs::File;
use std::io;
use std::path::Path;

use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::{put_away, ready};
use crate::config::{DirectorySource, WhenDone};
use crate::job::{FileIdentity, Job, Origin};
use crate::os::open_recording;

/// The present place of the file that a job has recognized: where it was, or where the daemon has moved it. `None`: the file is gone, or its
/// bytes have changed. `config`: of the file's source, if the config still has it.
pub async fn find_recording(config: Option<&DirectorySource>, job: &Job) -> Option<Origin> {
    let Origin::File { root, below, identity } = job.origin.clone() else { return None };
    let sha256 = job.recording.sha256.clone()?;
    let (name, parent) = (below.file_name()?.to_owned(), below.parent().unwrap_or(Path::new("")).to_owned());
    let mut places = vec![(root, below.clone())];
    if let Some(config) = config.filter(|config| config.when_done != WhenDone::Keep) {
        let folders = [&config.done_directory, &config.failed_directory];
        for folder in folders.into_iter().filter(|folder| !folder.as_os_str().is_empty()) {
            // The second name is the one that a file has if the first was taken.
            places.push((folder.clone(), parent.join(put_away::with_suffix(&name, job.id))));
            places.push((folder.clone(), below.clone()));
        }
    }
    let find = move || {
        places.into_iter().find_map(|(root, below)| {
            let identity = same_file(&root, &below, &identity, &sha256)?;
            Some(Origin::File { root, below, identity })
        })
    };
    // A panic of the look is a file that is not found.
    spawn_blocking(find).await.ok().flatten()
}

/// The identity of the file at a place, if it is the one that was heard.
fn same_file(root: &Path, below: &Path, heard: &FileIdentity, sha256: &str) -> Option<FileIdentity> {
    let file = open_recording(root, below).ok()?;
    let is_same = is_heard(&file, heard, sha256).ok()?;
    is_same.then(|| FileIdentity::of_file(&file).ok()).flatten()
}

/// Whether an open file is the one that was heard. Where its identity is another one (it was touched, copied, or its filesystem mounted anew),
/// the hash of its bytes decides; then it is read to its end. Blocking.
///
/// # Errors
/// When the file cannot be read.
pub fn is_heard(file: &File, heard: &FileIdentity, sha256: &str) -> io::Result<bool> {
    let found = FileIdentity::of_file(file)?;
    if found == *heard || found.size != heard.size {
        return Ok(found == *heard);
    }
    Ok(ready::hash(file, &CancellationToken::new())?.as_deref() == Some(sha256))
}
