//! Keeps, moves or deletes a file after its job's last event is stored. A file is moved or deleted only if it is still the file that was
//! heard.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;
use tracing::info;
use uuid::Uuid;

use super::not_put_away::SettleError;
use super::walk::kind;
use crate::config::{DirectorySource, WhenDone};
use crate::hex::hex;
use crate::job::audio::is_absence;
use crate::job::ledger::files::{self, Known};
use crate::job::ledger::{Ledger, LedgerError};
use crate::job::{FileIdentity, Job, Origin};
use crate::os::{Entry, Folder};

enum Fate {
    Keep,
    /// Into this folder, with the same path below it as below the watched folder: so equal names from two folders do not collide.
    Move(PathBuf),
    Delete,
}

/// See [`super::Directory::settle`].
///
/// # Errors
/// When the file cannot be moved or deleted.
pub async fn settle(
    config: &DirectorySource,
    ledger: &Ledger,
    job: &Job,
    failed: bool,
) -> Result<bool, SettleError> {
    let Origin::File { root, below, identity } = &job.origin else { return Ok(false) };
    let fate = fate(config, failed);
    if matches!(fate, Fate::Keep) {
        return Ok(false);
    }
    let heard = HeardFile {
        job: job.id,
        identity: *identity,
        sha256: job.recording.sha256.clone().unwrap_or_default(),
        was_missed: job.missing,
    };
    let (path, from, below) = (root.join(below), root.clone(), below.clone());
    let outcome = spawn_blocking(move || carry_out(&fate, &from, &below, &heard))
        .await
        .map_err(|_| LedgerError::Closed)??;
    match outcome {
        Outcome::Absent => {
            info!(job = %job.id, "the file is not at its path; if the daemon finds it under another name, it moves or deletes it then")
        }
        Outcome::Gone if job.missing => {
            info!(job = %job.id, "the file was found again; the daemon has moved or deleted it")
        }
        Outcome::Gone | Outcome::Stays => {}
    }
    if outcome != Outcome::Stays {
        forget(ledger, config.name.clone(), path, job.id, outcome).await?;
    }
    // If another file is at the path, the file that was heard may have moved to another name as well.
    Ok(outcome != Outcome::Gone)
}

/// The file that was heard: only this file may be moved or deleted.
struct HeardFile {
    job: Uuid,
    identity: FileIdentity,
    sha256: String,
    /// The file was absent at an earlier attempt to move or delete it.
    was_missed: bool,
}

/// What became of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The daemon has moved or deleted the file.
    Gone,
    /// The file was not at its path: the daemon moved or deleted it before a crash, or another program has moved it.
    Absent,
    /// Another file is at the path, and stays; or the file is to be kept.
    Stays,
}

/// What to do with a file. A recording whose job failed is never deleted, because it may be the only copy: it is moved to
/// `failed_directory` if that is configured, and else it stays.
fn fate(config: &DirectorySource, failed: bool) -> Fate {
    let directory = if failed { &config.failed_directory } else { &config.done_directory };
    match config.when_done {
        WhenDone::Keep => Fate::Keep,
        WhenDone::Delete if !failed => Fate::Delete,
        WhenDone::Move | WhenDone::Delete if !directory.as_os_str().is_empty() => {
            Fate::Move(directory.clone())
        }
        WhenDone::Move | WhenDone::Delete => Fate::Keep,
    }
}

fn carry_out(fate: &Fate, root: &Path, below: &Path, heard: &HeardFile) -> Result<Outcome, SettleError> {
    let job = heard.job;
    let path = root.join(below);
    let refused = |error| SettleError::Delete { path: path.clone(), error };
    let name = below.file_name().unwrap_or_default();
    let parent = below.parent().unwrap_or(Path::new(""));
    // The open descriptor names this folder from here on, even if another folder replaces it at its path.
    let folder = match Folder::open(root).and_then(|root| root.below(parent)) {
        Ok(folder) => folder,
        Err(error) if is_absence(&error) => return Ok(Outcome::Absent),
        Err(error) => return Err(refused(error)),
    };
    let from = folder.entry(name);
    let found = match from.status() {
        Ok(status) if kind(&status).is_file() => FileIdentity::of(&status),
        Ok(_) => return Ok(stays(job)),
        Err(error) if is_absence(&error) => return Ok(Outcome::Absent),
        Err(error) => return Err(refused(error)),
    };
    let is_same =
        |found: FileIdentity| (found.inode, found.size) == (heard.identity.inode, heard.identity.size);
    // The file was touched, or its filesystem was mounted again, or another file was given its inode number while it was absent: then its
    // hash decides.
    let is_doubtful = found != heard.identity || heard.was_missed;
    if is_doubtful && !(is_same(found) && hash(from).map_err(refused)? == heard.sha256) {
        return Ok(stays(job));
    }
    // From here on only the file with the identity just read may be removed.
    let heard = HeardFile { identity: found, sha256: heard.sha256.clone(), ..*heard };
    match fate {
        Fate::Keep => Ok(Outcome::Stays),
        Fate::Delete => remove(&folder, from, &heard).map_err(refused),
        Fate::Move(done) => move_file(&folder, from, done, below, &heard)
            .map_err(|error| SettleError::of_move(path.clone(), done, below, error)),
    }
}

fn stays(job: Uuid) -> Outcome {
    info!(%job, "the file was replaced after it was recognized; the new file stays");
    Outcome::Stays
}

/// Moves without overwriting: if the name is taken, the job's id is added to it, so every retry uses the same second name.
fn move_file(
    folder: &Folder,
    from: Entry<'_>,
    done: &Path,
    below: &Path,
    heard: &HeardFile,
) -> io::Result<Outcome> {
    // The operator chose this path; below it other users may write, so the rest goes through descriptors.
    fs::create_dir_all(done)?;
    let target = Folder::open(done)?.make(below.parent().unwrap_or(Path::new("")))?;
    let name = below.file_name().unwrap_or_default();
    let other = with_suffix(name, heard.job);
    let (to, other) = (target.entry(name), target.entry(&other));
    for to in [to, other] {
        if let Some(outcome) = look_again(from, heard)? {
            return Ok(outcome);
        }
        match from.rename_new(to) {
            Ok(()) => {
                let outcome = confirm(from, to, heard)?;
                target.sync()?;
                folder.sync()?;
                return Ok(outcome);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                if let Some(outcome) = copy_file(from, to, other, &target, heard)? {
                    return Ok(outcome);
                }
                return remove(folder, from, heard);
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Checks the file that was renamed: another file may have taken the name after the last check. Such a file is renamed back.
fn confirm(from: Entry<'_>, to: Entry<'_>, heard: &HeardFile) -> io::Result<Outcome> {
    if look_again(to, heard)? != Some(Outcome::Stays) {
        return Ok(Outcome::Gone);
    }
    to.rename_new(from).map_err(|error| {
        let words = "another file appeared at the path and was moved instead; moving it back";
        io::Error::new(error.kind(), format!("{words}: {error}"))
    })?;
    Ok(Outcome::Stays)
}

/// Copies to another filesystem: under a hidden name, synced to disk, then renamed to its own name; only after that may the original be
/// removed. `None`: the file is copied.
fn copy_file(
    from: Entry<'_>,
    to: Entry<'_>,
    other: Entry<'_>,
    target: &Folder,
    heard: &HeardFile,
) -> io::Result<Option<Outcome>> {
    // The daemon may have crashed between the copy and the removal of the original. Only the name with the job's id proves that a copy is
    // this job's: an equal file under the plain name may be another job's.
    if hash(other).is_ok_and(|it| it == heard.sha256) {
        return Ok(None);
    }
    let unfinished = OsString::from(format!(".{}.part", heard.job));
    let unfinished = target.entry(&unfinished);
    if let Err(error) = copy_bytes(from, unfinished) {
        // An incomplete copy takes up the last space of a full disk. An error of its removal is ignored: the copy's own error is reported.
        let _ = unfinished.remove();
        return Err(error);
    }
    if hash(unfinished)? != heard.sha256 {
        unfinished.remove()?;
        return Ok(Some(stays(heard.job)));
    }
    let named = unfinished.rename_new(to).or_else(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => unfinished.rename_new(other),
        _ => Err(error),
    });
    if let Err(error) = named {
        unfinished.remove()?;
        return Err(error);
    }
    target.sync()?;
    Ok(None)
}

fn copy_bytes(from: Entry<'_>, to: Entry<'_>) -> io::Result<()> {
    let mut source = from.open().map_err(io::Error::other)?;
    let mut target = match to.create() {
        // Left by an attempt that a crash ended.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            to.remove()?;
            to.create()?
        }
        created => created?,
    };
    io::copy(&mut source, &mut target)?;
    let times = source.metadata()?;
    target.set_permissions(times.permissions())?;
    target.set_times(fs::FileTimes::new().set_modified(times.modified()?))?;
    target.sync_all()
}

fn with_suffix(name: &OsStr, job: Uuid) -> OsString {
    let path = Path::new(name);
    let mut other = path.file_stem().unwrap_or_default().to_owned();
    other.push(format!("-{job}"));
    if let Some(extension) = path.extension() {
        other.push(".");
        other.push(extension);
    }
    // If the name with the id would exceed the limit of 255 bytes, the id alone is the name.
    if other.as_bytes().len() > 255 { job.to_string().into() } else { other }
}

fn remove(folder: &Folder, file: Entry<'_>, heard: &HeardFile) -> io::Result<Outcome> {
    if let Some(outcome) = look_again(file, heard)? {
        return Ok(outcome);
    }
    file.remove()?;
    folder.sync()?;
    Ok(Outcome::Gone)
}

/// Checks a file once more before it is moved or deleted: hashing or copying hours of audio takes time, and a file that has taken the name
/// meanwhile was not heard. `None`: the file is the one that was heard.
fn look_again(file: Entry<'_>, heard: &HeardFile) -> io::Result<Option<Outcome>> {
    match file.status() {
        Ok(status) if FileIdentity::of(&status) == heard.identity => Ok(None),
        Ok(_) => Ok(Some(stays(heard.job))),
        Err(error) if is_absence(&error) => Ok(Some(Outcome::Absent)),
        Err(error) => Err(error),
    }
}

fn hash(file: Entry<'_>) -> io::Result<String> {
    let mut file: File = file.open().map_err(io::Error::other)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match io::Read::read(&mut file, &mut buffer)? {
            0 => return Ok(hex(&hasher.finalize())),
            read => hasher.update(&buffer[..read]),
        }
    }
}

/// Removes the row of a file that was moved or deleted; a file that has its path by now has a row of its own. The row of a file that was
/// only absent stays without its hash: if the file was moved, its identity finds it under its new name, and another file with the same
/// bytes is not taken for it.
async fn forget(
    ledger: &Ledger,
    source: String,
    path: PathBuf,
    job: Uuid,
    outcome: Outcome,
) -> Result<(), SettleError> {
    let forget = ledger.write(move |connection| {
        let at = files::at_path(connection, &source, &path)?;
        let Some(known) = at.into_iter().find(|known| known.job == Some(job)) else { return Ok(()) };
        match outcome {
            Outcome::Absent => files::update(connection, &Known { sha256: None, ..known }),
            _ => files::remove(connection, known.id),
        }
    });
    Ok(forget.await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with a file `a.wav` that was heard, and that another file has replaced.
    fn replaced() -> (tempfile::TempDir, Folder, HeardFile) {
        let disk = tempfile::tempdir().unwrap();
        let path = disk.path().join("a.wav");
        fs::write(&path, "heard").unwrap();
        let folder = Folder::open(disk.path()).unwrap();
        let identity = FileIdentity::of(&folder.status(Path::new("a.wav")).unwrap());
        let heard = HeardFile { job: Uuid::now_v7(), identity, sha256: String::new(), was_missed: false };
        fs::write(disk.path().join("new"), "not heard").unwrap();
        fs::rename(disk.path().join("new"), &path).unwrap();
        (disk, folder, heard)
    }

    fn text(disk: &tempfile::TempDir) -> String {
        fs::read_to_string(disk.path().join("a.wav")).unwrap()
    }

    #[test]
    fn what_came_under_the_name_while_the_copy_was_made_stays() {
        let (disk, folder, heard) = replaced();
        let file = folder.entry(OsStr::new("a.wav"));
        assert_eq!(remove(&folder, file, &heard).unwrap(), Outcome::Stays);
        assert_eq!(text(&disk), "not heard");
        file.remove().unwrap();
        assert_eq!(remove(&folder, file, &heard).unwrap(), Outcome::Absent);
    }

    #[test]
    fn what_came_under_the_name_while_the_hash_was_made_is_not_moved() {
        let (disk, folder, heard) = replaced();
        let done = disk.path().join("done");
        let moved = move_file(&folder, folder.entry(OsStr::new("a.wav")), &done, Path::new("a.wav"), &heard);
        assert_eq!(moved.unwrap(), Outcome::Stays);
        assert_eq!(text(&disk), "not heard");
        assert!(!done.join("a.wav").exists());
    }

    #[test]
    fn what_came_under_the_name_just_before_the_move_goes_back() {
        let (disk, folder, heard) = replaced();
        let [from, to] = ["a.wav", "done.wav"].map(|name| folder.entry(OsStr::new(name)));
        from.rename_new(to).unwrap();
        assert_eq!(confirm(from, to, &heard).unwrap(), Outcome::Stays);
        assert_eq!(text(&disk), "not heard");
        assert!(to.status().is_err());
    }

    #[test]
    fn what_lies_behind_a_link_in_the_place_of_a_folder_is_neither_moved_nor_deleted() {
        let disk = tempfile::tempdir().unwrap();
        let (root, outside, done) =
            (disk.path().join("calls"), disk.path().join("outside"), disk.path().join("done"));
        for folder in [&root, &outside, &done] {
            fs::create_dir(folder).unwrap();
        }
        fs::write(outside.join("a.wav"), "outside").unwrap();
        std::os::unix::fs::symlink(&outside, root.join("deep")).unwrap();
        let identity = FileIdentity::of(&rustix::fs::lstat(outside.join("a.wav")).unwrap());
        let heard = HeardFile { job: Uuid::now_v7(), identity, sha256: String::new(), was_missed: false };
        for fate in [Fate::Delete, Fate::Move(done.clone())] {
            let outcome = carry_out(&fate, &root, Path::new("deep/a.wav"), &heard).unwrap();
            assert_eq!(outcome, Outcome::Absent);
        }
        // Nor is a file moved to a folder behind a link.
        fs::remove_file(root.join("deep")).unwrap();
        fs::rename(&outside, root.join("deep")).unwrap();
        fs::create_dir(&outside).unwrap();
        std::os::unix::fs::symlink(&outside, done.join("deep")).unwrap();
        carry_out(&Fate::Move(done), &root, Path::new("deep/a.wav"), &heard).unwrap_err();
        assert!(root.join("deep/a.wav").exists());
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }
}
