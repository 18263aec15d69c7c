//! What becomes of a file after its job's last event is stored: kept, moved or deleted, and only if it still is what was heard.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;
use tracing::info;
use uuid::Uuid;

use super::intake::is_absence;
use crate::config::{DirectorySource, WhenDone};
use crate::hex::hex;
use crate::job::ledger::files::{self, Known};
use crate::job::ledger::{Ledger, LedgerError};
use crate::job::{FileIdentity, Job, Origin};

/// Why a file could not be settled. It is where it was.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// Moving it failed.
    #[error(
        "moving {from} to {to}: {error}; its disk must have room and the folder be writable by harkd's user"
    )]
    Move { from: PathBuf, to: PathBuf, error: io::Error },
    /// Deleting it failed.
    #[error("deleting {path}: {error}; its folder must be writable by harkd's user")]
    Delete { path: PathBuf, error: io::Error },
    /// Others of the folder come first.
    #[error(
        "other recordings of this folder are being put away and take their time; see its filesystem and done_directory's"
    )]
    Waits,
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

enum Fate {
    Keep,
    Move(PathBuf),
    Delete,
}

/// See [`super::Directory::settle`].
///
/// # Errors
/// When the file cannot be moved or deleted.
pub async fn settle(
    config: &DirectorySource,
    root: &Path,
    ledger: &Ledger,
    job: &Job,
    failed: bool,
) -> Result<bool, SettleError> {
    let Origin::File { path, identity } = &job.origin else { return Ok(false) };
    let fate = fate(config, root, path, failed);
    if matches!(fate, Fate::Keep) {
        return Ok(false);
    }
    let heard = Heard {
        job: job.id,
        identity: *identity,
        sha256: job.recording.sha256.clone().unwrap_or_default(),
        was_missed: job.missing,
    };
    let from = path.clone();
    let outcome =
        spawn_blocking(move || carry_out(&fate, &from, &heard)).await.map_err(|_| LedgerError::Closed)??;
    match outcome {
        Outcome::Absent => {
            info!(job = %job.id, "the file is not where it was; should it be found under another name, it is put away then")
        }
        Outcome::Gone if job.missing => info!(job = %job.id, "the file was found again and is put away"),
        Outcome::Gone | Outcome::Stays => {}
    }
    if outcome != Outcome::Stays {
        forget(ledger, config.name.clone(), path.clone(), job.id, outcome).await?;
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
fn fate(config: &DirectorySource, root: &Path, path: &Path, failed: bool) -> Fate {
    let directory = if failed { &config.failed_directory } else { &config.done_directory };
    match config.when_done {
        WhenDone::Keep => Fate::Keep,
        WhenDone::Delete if !failed => Fate::Delete,
        WhenDone::Move | WhenDone::Delete if !directory.as_os_str().is_empty() => {
            // The tree below the source is kept, so equal names from two folders do not meet.
            let name = path.strip_prefix(root).ok().or(path.file_name().map(Path::new));
            name.map_or(Fate::Keep, |name| Fate::Move(directory.join(name)))
        }
        WhenDone::Move | WhenDone::Delete => Fate::Keep,
    }
}

fn carry_out(fate: &Fate, path: &Path, heard: &Heard) -> Result<Outcome, SettleError> {
    let job = heard.job;
    let refused = |error| SettleError::Delete { path: path.to_owned(), error };
    let found = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => FileIdentity::of(&metadata),
        Ok(_) => return Ok(stays(job)),
        Err(error) if is_absence(&error) => return Ok(Outcome::Absent),
        Err(error) => return Err(refused(error)),
    };
    let is_same =
        |found: FileIdentity| (found.inode, found.size) == (heard.identity.inode, heard.identity.size);
    // Touched, or on a filesystem that was mounted again, or another that was given its inode while it was away: then its bytes tell.
    let is_doubtful = found != heard.identity || heard.was_missed;
    if is_doubtful && !(is_same(found) && hash(path).map_err(refused)? == heard.sha256) {
        return Ok(stays(job));
    }
    // What is removed after that is this very file, as it was just now.
    let heard = Heard { identity: found, sha256: heard.sha256.clone(), ..*heard };
    match fate {
        Fate::Keep => Ok(Outcome::Stays),
        Fate::Delete => remove(path, &heard).map_err(refused),
        Fate::Move(to) => move_file(path, to, &heard).map_err(|error| SettleError::Move {
            from: path.to_owned(),
            to: to.clone(),
            error,
        }),
    }
}

fn stays(job: Uuid) -> Outcome {
    info!(%job, "the file was replaced since it was heard; what is there now stays");
    Outcome::Stays
}

/// Moves without overwriting: where the name is taken, the job's id is added to it, which is the same on every try.
fn move_file(from: &Path, to: &Path, heard: &Heard) -> io::Result<Outcome> {
    let folder = to.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(folder)?;
    let other = with_suffix(to, heard.job);
    for to in [to, other.as_path()] {
        if let Some(outcome) = look_again(from, heard)? {
            return Ok(outcome);
        }
        match rename_new(from, to) {
            Ok(()) => {
                let outcome = confirm(from, to, heard)?;
                sync(folder)?;
                sync_parent(from)?;
                return Ok(outcome);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                return copy_file(from, to, &other, folder, heard);
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Looks at what was renamed: another file may have come under the name after the last look at it. It goes back.
fn confirm(from: &Path, to: &Path, heard: &Heard) -> io::Result<Outcome> {
    if look_again(to, heard)? != Some(Outcome::Stays) {
        return Ok(Outcome::Gone);
    }
    rename_new(to, from).map_err(|error| {
        let words = "a file that nobody has heard came under the name and was moved instead; moving it back";
        io::Error::new(error.kind(), format!("{words}: {error}"))
    })?;
    Ok(Outcome::Stays)
}

/// To another filesystem: a copy under a hidden name, on the disk before it gets its own, and only then the original goes.
fn copy_file(from: &Path, to: &Path, other: &Path, folder: &Path, heard: &Heard) -> io::Result<Outcome> {
    // A crash may have come between the copy and the removal of the original. Only the name with the job's id says whose copy it is: an
    // equal file under the plain name may be another job's.
    let is_copied = fs::symlink_metadata(other).is_ok_and(|found| found.is_file())
        && hash(other).is_ok_and(|it| it == heard.sha256);
    if !is_copied {
        let unfinished = folder.join(format!(".{}.part", heard.job));
        if let Err(error) = copy_bytes(from, &unfinished) {
            // Half a copy takes the last room of a full disk; what there is to say of its removal is said by the copy's own error.
            let _ = fs::remove_file(&unfinished);
            return Err(error);
        }
        if hash(&unfinished)? != heard.sha256 {
            fs::remove_file(&unfinished)?;
            return Ok(stays(heard.job));
        }
        let named = rename_new(&unfinished, to).or_else(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => rename_new(&unfinished, other),
            _ => Err(error),
        });
        if let Err(error) = named {
            fs::remove_file(&unfinished)?;
            return Err(error);
        }
        sync(folder)?;
    }
    remove(from, heard)
}

fn copy_bytes(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = crate::os::open_recording(from).map_err(io::Error::other)?;
    let mut target = File::create(to)?;
    io::copy(&mut source, &mut target)?;
    let times = source.metadata()?;
    target.set_permissions(times.permissions())?;
    target.set_times(fs::FileTimes::new().set_modified(times.modified()?))?;
    target.sync_all()
}

/// Renames, unless the new name is taken.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Filesystems without that flag have hard links, or neither: then the look before is all there is.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => match fs::hard_link(from, to) {
            Ok(()) => fs::remove_file(from),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            Err(_) if fs::symlink_metadata(to).is_ok() => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => fs::rename(from, to),
        },
        outcome => outcome.map_err(io::Error::from),
    }
}

fn with_suffix(path: &Path, job: Uuid) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{job}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    // A name near the limit of 255 bytes has no room for the id: then the id alone is the name.
    if name.as_bytes().len() > 255 {
        return path.with_file_name(job.to_string());
    }
    path.with_file_name(name)
}

fn remove(path: &Path, heard: &Heard) -> io::Result<Outcome> {
    if let Some(outcome) = look_again(path, heard)? {
        return Ok(outcome);
    }
    fs::remove_file(path)?;
    sync_parent(path)?;
    Ok(Outcome::Gone)
}

/// Looks once more before a file goes: to hash or copy hours of audio takes its time, and what came under the name meanwhile was not
/// heard. `None`: it is what was heard.
fn look_again(path: &Path, heard: &Heard) -> io::Result<Option<Outcome>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if FileIdentity::of(&metadata) == heard.identity => Ok(None),
        Ok(_) => Ok(Some(stays(heard.job))),
        Err(error) if is_absence(&error) => Ok(Some(Outcome::Absent)),
        Err(error) => Err(error),
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), sync)
}

/// A rename or removal is in the folder; some filesystems cannot sync one, and need not.
fn sync(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        outcome => outcome,
    }
}

fn hash(path: &Path) -> io::Result<String> {
    let mut file = crate::os::open_recording(path).map_err(io::Error::other)?;
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
        let Some(known) = files::at_path(connection, &source, &path)?.filter(|known| known.job == Some(job))
        else {
            return Ok(());
        };
        match outcome {
            Outcome::Absent => files::put(connection, &source, &Known { sha256: None, ..known }),
            _ => files::remove(connection, &source, &path),
        }
    });
    Ok(forget.await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with a file `a.wav` that was heard, in whose place another one is by now.
    fn replaced() -> (tempfile::TempDir, PathBuf, Heard) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wav");
        fs::write(&path, "heard").unwrap();
        let identity = FileIdentity::of(&fs::symlink_metadata(&path).unwrap());
        let heard = Heard { job: Uuid::now_v7(), identity, sha256: String::new(), was_missed: false };
        fs::write(folder.path().join("new"), "not heard").unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        (folder, path, heard)
    }

    #[test]
    fn what_came_under_the_name_while_the_copy_was_made_stays() {
        let (_folder, path, heard) = replaced();
        assert_eq!(remove(&path, &heard).unwrap(), Outcome::Stays);
        assert_eq!(fs::read_to_string(&path).unwrap(), "not heard");
        fs::remove_file(&path).unwrap();
        assert_eq!(remove(&path, &heard).unwrap(), Outcome::Absent);
    }

    #[test]
    fn what_came_under_the_name_while_the_hash_was_made_is_not_moved() {
        let (folder, path, heard) = replaced();
        let done = folder.path().join("done/a.wav");
        assert_eq!(move_file(&path, &done, &heard).unwrap(), Outcome::Stays);
        assert_eq!(fs::read_to_string(&path).unwrap(), "not heard");
        assert!(!done.exists());
    }

    #[test]
    fn what_came_under_the_name_just_before_the_move_goes_back() {
        let (folder, path, heard) = replaced();
        let done = folder.path().join("done.wav");
        fs::rename(&path, &done).unwrap();
        assert_eq!(confirm(&path, &done, &heard).unwrap(), Outcome::Stays);
        assert_eq!(fs::read_to_string(&path).unwrap(), "not heard");
        assert!(!done.exists());
    }
}
