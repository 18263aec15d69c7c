//! Moves or deletes a file after its job's last event is stored, only if it is still the file that was heard.

#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::found::kind;
use super::ready;
use crate::job::FileIdentity;
use crate::job::audio::is_absence;
use crate::job::ledger::LedgerError;
use crate::os::{Entry, Folder};

#[derive(Debug, Clone)]
pub(super) enum FileFate {
    /// Into this folder, with the same path below it as below the watched folder: so equal names from two folders do not collide.
    Move(PathBuf),
    Delete,
}

/// Why a file was not moved or deleted. The file is where it was.
#[derive(Debug, thiserror::Error)]
pub enum NotPutAway {
    /// What failed, why, and what to do about it.
    #[error("{0}")]
    Failed(String),
    /// Too many other recordings of the folder are being put away.
    #[error(
        "other recordings of this folder are still being moved or deleted; check its filesystem and that of done_directory"
    )]
    Waits,
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl NotPutAway {
    fn deleting(path: &Path, error: &io::Error) -> NotPutAway {
        NotPutAway::Failed(format!("deleting {}: {error}; {}", path.display(), remedy(error)))
    }

    /// Names the first component of the target path from `done` on that is not a folder, else the system's error.
    fn moving(from: &Path, done: &Path, below: &Path, error: &io::Error) -> NotPutAway {
        let to = done.join(below);
        // The operator's path itself may be a link; folders below it may not.
        let status =
            |folder: &Path| if folder == done { fs::metadata(folder) } else { fs::symlink_metadata(folder) };
        let in_the_way = |folder: &Path| {
            let status = status(folder).ok().filter(|status| !status.is_dir())?;
            let kind = if status.is_symlink() { "a symbolic link" } else { "a file" };
            Some(format!("{} is {kind}, and would have to be a folder; move it away", folder.display()))
        };
        let folders = to.ancestors().skip(1).take_while(|folder| folder.starts_with(done));
        let why = folders.filter_map(in_the_way).last();
        let why = why.unwrap_or_else(|| format!("{error}; {}", remedy(error)));
        NotPutAway::Failed(format!("moving {} to {}: {why}", from.display(), to.display()))
    }
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on its disk",
        io::ErrorKind::PermissionDenied => {
            "give harkd's user read, write and execute permission on the folder of each"
        }
        _ => "see to the filesystems of both",
    }
}

/// The file that was heard: only this file may be moved or deleted.
pub(super) struct HeardFile {
    pub job: Uuid,
    pub identity: FileIdentity,
    pub sha256: String,
    /// The file was absent at an earlier attempt to move or delete it.
    pub was_missed: bool,
}

/// What became of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutAway {
    /// The daemon has moved or deleted the file.
    Gone {
        /// The file, if it has further names (hard links), which stay.
        linked: Option<FileIdentity>,
    },
    /// The file was not at its path: the daemon moved or deleted it before a crash, or another program has moved it.
    Absent,
    /// Another file is at the path, and stays.
    Stays,
}

/// Why a file is left where it is.
#[derive(Debug)]
enum Left {
    Absent,
    Stays,
    Failed(io::Error),
}

impl From<io::Error> for Left {
    fn from(error: io::Error) -> Left {
        Left::Failed(error)
    }
}

/// Moves or deletes a file. Blocking.
///
/// # Errors
/// When the file cannot be moved or deleted.
pub(super) fn carry_out(
    fate: &FileFate,
    root: &Path,
    below: &Path,
    heard: &HeardFile,
) -> Result<PutAway, NotPutAway> {
    match put_away(fate, root, below, heard) {
        Ok(linked) => Ok(PutAway::Gone { linked }),
        Err(Left::Absent) => Ok(PutAway::Absent),
        Err(Left::Stays) => Ok(PutAway::Stays),
        Err(Left::Failed(error)) => Err(match fate {
            FileFate::Delete => NotPutAway::deleting(&root.join(below), &error),
            FileFate::Move(done) => NotPutAway::moving(&root.join(below), done, below, &error),
        }),
    }
}

/// Returns the file, if it has further names.
fn put_away(
    fate: &FileFate,
    root: &Path,
    below: &Path,
    heard: &HeardFile,
) -> Result<Option<FileIdentity>, Left> {
    let parent = below.parent().unwrap_or(Path::new(""));
    // The open descriptor names this folder from here on, even if another folder replaces it at its path.
    let folder = Folder::open(root).and_then(|root| root.below(parent)).map_err(absent_or_failed)?;
    let from = folder.entry(below.file_name().unwrap_or_default());
    let status = from.status().map_err(absent_or_failed)?;
    let found = FileIdentity::of(&status);
    let is_same = (found.inode, found.size) == (heard.identity.inode, heard.identity.size);
    // The file was touched, or its filesystem was mounted again, or another file was given its inode number while it was absent: then its
    // hash decides.
    let is_doubtful = found != heard.identity || heard.was_missed;
    if !is_same || !kind(&status).is_file() || (is_doubtful && hash(from)? != heard.sha256) {
        return Err(Left::Stays);
    }
    // From here on only the file with the identity just read may be removed.
    let heard = HeardFile { identity: found, sha256: heard.sha256.clone(), ..*heard };
    match fate {
        FileFate::Delete => remove(&folder, from, &heard)?,
        FileFate::Move(done) => move_file(&folder, from, done, below, &heard)?,
    }
    Ok((status.st_nlink > 1).then_some(found))
}

/// Moves without overwriting: if the name is taken, the job's id is added to it, so every retry uses the same second name.
fn move_file(
    folder: &Folder,
    from: Entry<'_>,
    done: &Path,
    below: &Path,
    heard: &HeardFile,
) -> Result<(), Left> {
    // The operator chose this path; below it other users may write, so the rest goes through descriptors.
    fs::create_dir_all(done)?;
    let target = Folder::open(done)?.make(below.parent().unwrap_or(Path::new("")))?;
    let name = below.file_name().unwrap_or_default();
    let other = with_suffix(name, heard.job);
    let names = [target.entry(name), target.entry(&other)];
    look_again(from, heard)?;
    match rename(from, names) {
        Ok(to) => {
            let confirmed = confirm(from, to, heard);
            target.sync()?;
            folder.sync()?;
            confirmed
        }
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            copy_file(from, names, &target, heard)?;
            remove(folder, from, heard)
        }
        Err(error) => Err(error.into()),
    }
}

/// Renames to the first of two names that is free; returns it.
fn rename<'f>(from: Entry<'_>, [name, other]: [Entry<'f>; 2]) -> io::Result<Entry<'f>> {
    match from.rename_new(name) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => from.rename_new(other).map(|()| other),
        renamed => renamed.map(|()| name),
    }
}

/// Checks the file that was renamed: another file may have taken the name after the last check. Such a file is renamed back.
fn confirm(from: Entry<'_>, to: Entry<'_>, heard: &HeardFile) -> Result<(), Left> {
    let Err(Left::Stays) = look_again(to, heard) else { return Ok(()) };
    to.rename_new(from).map_err(|error| {
        let words = "another file appeared at the path and was moved instead; moving it back";
        io::Error::new(error.kind(), format!("{words}: {error}"))
    })?;
    Err(Left::Stays)
}

/// Copies to another filesystem: under a hidden name, synced to disk, then renamed to its own name; only after that may the original be
/// removed.
fn copy_file(from: Entry<'_>, names: [Entry<'_>; 2], target: &Folder, heard: &HeardFile) -> Result<(), Left> {
    // The daemon may have crashed between the copy and the removal of the original. A file with the job's id in its name and the same bytes is
    // this job's copy. So is one under the plain name that has the same time of change too: the copy was given the original's.
    let is_copy = |name: Entry<'_>| hash(name).is_ok_and(|copied| copied == heard.sha256);
    if is_copy(names[1]) || has_time_of(names[0], heard) && is_copy(names[0]) {
        return Ok(());
    }
    let unfinished = OsString::from(format!(".{}.part", heard.job));
    let unfinished = target.entry(&unfinished);
    let copied = copy_bytes(from, unfinished).map_err(Left::from).and_then(|()| {
        let is_same = hash(unfinished)? == heard.sha256;
        if is_same { Ok(rename(unfinished, names).map(drop)?) } else { Err(Left::Stays) }
    });
    if copied.is_err() {
        // An incomplete copy takes up the last space of a full disk. An error of its removal is ignored: the copy's own error is reported.
        let _ = unfinished.remove();
    }
    copied?;
    Ok(target.sync()?)
}

fn has_time_of(name: Entry<'_>, heard: &HeardFile) -> bool {
    name.status().is_ok_and(|status| FileIdentity::of(&status).mtime_ns == heard.identity.mtime_ns)
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

pub(super) fn with_suffix(name: &OsStr, job: Uuid) -> OsString {
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

fn remove(folder: &Folder, file: Entry<'_>, heard: &HeardFile) -> Result<(), Left> {
    look_again(file, heard)?;
    file.remove()?;
    Ok(folder.sync()?)
}

/// Checks once more that a file is the one that was heard before it is moved or deleted: hashing or copying hours of audio takes time, and
/// another file may have taken the name meanwhile.
fn look_again(file: Entry<'_>, heard: &HeardFile) -> Result<(), Left> {
    let status = file.status().map_err(absent_or_failed)?;
    if FileIdentity::of(&status) == heard.identity { Ok(()) } else { Err(Left::Stays) }
}

/// The error of a look at the file that is to be moved or deleted.
fn absent_or_failed(error: io::Error) -> Left {
    if is_absence(&error) { Left::Absent } else { Left::Failed(error) }
}

fn hash(file: Entry<'_>) -> io::Result<String> {
    let file = file.open().map_err(io::Error::other)?;
    Ok(ready::hash(&file, &CancellationToken::new())?.unwrap_or_default())
}
