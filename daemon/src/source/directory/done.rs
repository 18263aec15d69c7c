//! What becomes of a file after its job's last event is stored: kept, moved or deleted, and only if it still is what was heard.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;
use tracing::{info, warn};
use uuid::Uuid;

use super::intake::is_absence;
use super::ready::hex;
use crate::config::{DirectorySource, WhenDone};
use crate::job::ledger::files;
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
) -> Result<(), SettleError> {
    let Origin::File { path, identity } = &job.origin else { return Ok(()) };
    let fate = fate(config, root, path, failed);
    if matches!(fate, Fate::Keep) {
        return Ok(());
    }
    let (from, identity, id) = (path.clone(), *identity, job.id);
    let sha256 = job.recording.sha256.clone().unwrap_or_default();
    spawn_blocking(move || carry_out(&fate, &from, identity, id, &sha256))
        .await
        .map_err(|_| LedgerError::Closed)??;
    forget(ledger, config.name.clone(), path.clone(), id).await
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

fn carry_out(
    fate: &Fate,
    path: &Path,
    identity: FileIdentity,
    job: Uuid,
    sha256: &str,
) -> Result<(), SettleError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() && FileIdentity::of(&metadata) == identity => {}
        Ok(_) => {
            info!(%job, "the file was replaced since it was heard; what is there now stays");
            return Ok(());
        }
        // Settled before a crash, or moved by somebody else.
        Err(error) if is_absence(&error) => return Ok(()),
        Err(error) => return Err(SettleError::Delete { path: path.to_owned(), error }),
    }
    match fate {
        Fate::Keep => Ok(()),
        Fate::Delete => remove(path).map_err(|error| SettleError::Delete { path: path.to_owned(), error }),
        Fate::Move(to) => move_file(path, to, job, sha256).map_err(|error| SettleError::Move {
            from: path.to_owned(),
            to: to.clone(),
            error,
        }),
    }
}

/// Moves without overwriting: where the name is taken, the job's id is added to it, which is the same on every try.
fn move_file(from: &Path, to: &Path, job: Uuid, sha256: &str) -> io::Result<()> {
    let folder = to.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(folder)?;
    let other = with_suffix(to, job);
    for to in [to, other.as_path()] {
        match rename_new(from, to) {
            Ok(()) => return sync(folder).and_then(|()| sync_parent(from)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                return copy_file(from, to, &other, folder, job, sha256);
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// To another filesystem: a copy under a hidden name, on the disk before it gets its own, and only then the original goes.
fn copy_file(from: &Path, to: &Path, other: &Path, folder: &Path, job: Uuid, sha256: &str) -> io::Result<()> {
    // A crash may have come between the copy and the removal of the original.
    let copied = |to: &Path| {
        fs::symlink_metadata(to).is_ok_and(|found| found.is_file()) && hash(to).is_ok_and(|it| it == sha256)
    };
    if !copied(to) && !copied(other) {
        let unfinished = folder.join(format!(".{job}.part"));
        if let Err(error) = copy_bytes(from, &unfinished) {
            // Half a copy takes the last room of a full disk; what there is to say of its removal is said by the copy's own error.
            let _ = fs::remove_file(&unfinished);
            return Err(error);
        }
        if hash(&unfinished)? != sha256 {
            fs::remove_file(&unfinished)?;
            warn!(%job, "the file changed while it was moved; it stays");
            return Ok(());
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
    remove(from)
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

fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    sync_parent(path)
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

/// The file has left the folder; what is there by now, if anything, is another one's row.
async fn forget(ledger: &Ledger, source: String, path: PathBuf, job: Uuid) -> Result<(), SettleError> {
    let forget = ledger.write(move |connection| {
        let known = files::at_path(connection, &source, &path)?;
        if known.is_some_and(|known| known.job == Some(job)) {
            files::remove(connection, &source, &path)?;
        }
        Ok(())
    });
    Ok(forget.await?)
}
