//! What becomes of a file after its job's last event is stored: kept, moved or deleted, and only if it still is what was heard.

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
    /// Into this folder, the tree below it as below the watched one: so equal names from two folders do not meet.
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
    let heard = Heard {
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
            info!(job = %job.id, "the file is not where it was; should it be found under another name, it is put away then")
        }
        Outcome::Gone if job.missing => info!(job = %job.id, "the file was found again and is put away"),
        Outcome::Gone | Outcome::Stays => {}
    }
    if outcome != Outcome::Stays {
        forget(ledger, config.name.clone(), path, job.id, outcome).await?;
    }
    // Where something else is, the file may have another name as well.
    Ok(outcome != Outcome::Gone)
}

/// What was heard: the file that may go, and no other.
struct Heard {
    job: Uuid,
    identity: FileIdentity,
    sha256: String,
    /// It was not where it was when it was to go first.
    was_missed: bool,
}

/// What became of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It has left the folder.
    Gone,
    /// It was not there: it left before a crash, or somebody has moved it.
    Absent,
    /// What is there is something else.
    Stays,
}

/// A recording that failed is never deleted: it may be the only copy of what could not be heard. It goes to `failed_directory` if there
/// is one, else it stays.
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

fn carry_out(fate: &Fate, root: &Path, below: &Path, heard: &Heard) -> Result<Outcome, SettleError> {
    let job = heard.job;
    let path = root.join(below);
    let refused = |error| SettleError::Delete { path: path.clone(), error };
    let name = below.file_name().unwrap_or_default();
    let parent = below.parent().unwrap_or(Path::new(""));
    // From here on the folder is the one that is open, whatever takes its place.
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
    // Touched, or on a filesystem that was mounted again, or another that was given its inode while it was away: then its bytes tell.
    let is_doubtful = found != heard.identity || heard.was_missed;
    if is_doubtful && !(is_same(found) && hash(from).map_err(refused)? == heard.sha256) {
        return Ok(stays(job));
    }
    // What is removed after that is this very file, as it was just now.
    let heard = Heard { identity: found, sha256: heard.sha256.clone(), ..*heard };
    match fate {
        Fate::Keep => Ok(Outcome::Stays),
        Fate::Delete => remove(&folder, from, &heard).map_err(refused),
        Fate::Move(done) => move_file(&folder, from, done, below, &heard)
            .map_err(|error| SettleError::of_move(path.clone(), done, below, error)),
    }
}

fn stays(job: Uuid) -> Outcome {
    info!(%job, "the file was replaced since it was heard; what is there now stays");
    Outcome::Stays
}

/// Moves without overwriting: where the name is taken, the job's id is added to it, which is the same on every try.
fn move_file(
    folder: &Folder,
    from: Entry<'_>,
    done: &Path,
    below: &Path,
    heard: &Heard,
) -> io::Result<Outcome> {
    // The operator's path; what is below it may be written by others again.
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

/// Looks at what was renamed: another file may have come under the name after the last look at it. It goes back.
fn confirm(from: Entry<'_>, to: Entry<'_>, heard: &Heard) -> io::Result<Outcome> {
    if look_again(to, heard)? != Some(Outcome::Stays) {
        return Ok(Outcome::Gone);
    }
    to.rename_new(from).map_err(|error| {
        let words = "a file that was not heard came under the name and was moved instead; moving it back";
        io::Error::new(error.kind(), format!("{words}: {error}"))
    })?;
    Ok(Outcome::Stays)
}

/// To another filesystem: a copy under a hidden name, on the disk before it gets its own, and only then the original may go. `None`: it is
/// copied.
fn copy_file(
    from: Entry<'_>,
    to: Entry<'_>,
    other: Entry<'_>,
    target: &Folder,
    heard: &Heard,
) -> io::Result<Option<Outcome>> {
    // A crash may have come between the copy and the removal of the original. Only the name with the job's id says whose copy it is: an
    // equal file under the plain name may be another job's.
    if hash(other).is_ok_and(|it| it == heard.sha256) {
        return Ok(None);
    }
    let unfinished = OsString::from(format!(".{}.part", heard.job));
    let unfinished = target.entry(&unfinished);
    if let Err(error) = copy_bytes(from, unfinished) {
        // Half a copy takes the last room of a full disk; what there is to say of its removal is said by the copy's own error.
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
        // Of a try that a crash ended.
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
    // A name near the limit of 255 bytes has no room for the id: then the id alone is the name.
    if other.as_bytes().len() > 255 { job.to_string().into() } else { other }
}

fn remove(folder: &Folder, file: Entry<'_>, heard: &Heard) -> io::Result<Outcome> {
    if let Some(outcome) = look_again(file, heard)? {
        return Ok(outcome);
    }
    file.remove()?;
    folder.sync()?;
    Ok(Outcome::Gone)
}

/// Looks once more before a file goes: to hash or copy hours of audio takes its time, and what came under the name meanwhile was not
/// heard. `None`: it is what was heard.
fn look_again(file: Entry<'_>, heard: &Heard) -> io::Result<Option<Outcome>> {
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

/// Forgets a file that has left the folder; what is there by now, if anything, is another one's row. Of one that was only absent its
/// identity is kept: if somebody has moved it, it is found by that under its next name, and another file with the same bytes is not
/// taken for it.
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

    /// A folder with a file `a.wav` that was heard, in whose place another one is by now.
    fn replaced() -> (tempfile::TempDir, Folder, Heard) {
        let disk = tempfile::tempdir().unwrap();
        let path = disk.path().join("a.wav");
        fs::write(&path, "heard").unwrap();
        let folder = Folder::open(disk.path()).unwrap();
        let identity = FileIdentity::of(&folder.status(Path::new("a.wav")).unwrap());
        let heard = Heard { job: Uuid::now_v7(), identity, sha256: String::new(), was_missed: false };
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
        let heard = Heard { job: Uuid::now_v7(), identity, sha256: String::new(), was_missed: false };
        for fate in [Fate::Delete, Fate::Move(done.clone())] {
            let outcome = carry_out(&fate, &root, Path::new("deep/a.wav"), &heard).unwrap();
            assert_eq!(outcome, Outcome::Absent);
        }
        // Nor is anything put behind one.
        fs::remove_file(root.join("deep")).unwrap();
        fs::rename(&outside, root.join("deep")).unwrap();
        fs::create_dir(&outside).unwrap();
        std::os::unix::fs::symlink(&outside, done.join("deep")).unwrap();
        carry_out(&Fate::Move(done), &root, Path::new("deep/a.wav"), &heard).unwrap_err();
        assert!(root.join("deep/a.wav").exists());
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }
}
