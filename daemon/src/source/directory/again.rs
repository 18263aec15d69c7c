//! Finds the file of a job that has ended, so that it can be heard once more.

use std::path::Path;

use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::{put_away, ready};
use crate::config::{DirectorySource, WhenDone};
use crate::job::{FileIdentity, Job, Origin};
use crate::os::open_recording;

/// Where the file that a job heard lies now: at its place, or where the daemon has moved it. `None`: it is gone, or has other bytes by now.
/// `config`: of its source, if that is still configured.
pub async fn find_again(config: Option<&DirectorySource>, job: &Job) -> Option<Origin> {
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

/// The identity of the file at a place, if it is the one that was heard. The hash decides where the identity does not.
fn same_file(root: &Path, below: &Path, heard: &FileIdentity, sha256: &str) -> Option<FileIdentity> {
    let file = open_recording(root, below).ok()?;
    let found = FileIdentity::of_file(&file).ok()?;
    if found.size != heard.size {
        return None;
    }
    let is_same = found == *heard || {
        let hash = ready::hash(&file, &CancellationToken::new()).ok().flatten();
        hash.as_deref() == Some(sha256)
    };
    is_same.then_some(found)
}
