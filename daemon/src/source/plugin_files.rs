//! Writes the files that plugins hand over: beside the recording, or into the folder `files` of the plugin. A file appears at once or not
//! at all, and never in the place of one that the daemon did not write for the same recording.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hark_sdk::emission::File;
use rustix::fs::fstat;
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;
use tracing::warn;

use super::directory::FileFilter;
use super::directory::sidecar;
use crate::config::{Config, Source};
use crate::hex::hex;
use crate::job::ledger::written::{self, Written};
use crate::job::ledger::{Ledger, LedgerError};
use crate::job::{FileIdentity, Job, Origin};
use crate::os::Folder;

/// The most names that are tried: `call.srt`, `call.2.srt`, …
const MOST_NAMES: u32 = 1_000;

/// Where the files of plugins go.
#[derive(Debug)]
pub struct PluginFiles {
    ledger: Ledger,
    /// By the source's name.
    sources: HashMap<String, FileFilter>,
    /// `files`, by the plugin's name.
    folders: HashMap<String, PathBuf>,
}

/// Why a file is not written.
#[derive(Debug, thiserror::Error)]
pub enum NotWritten {
    /// A sentence for the operator and the plugin's author.
    #[error("{0}")]
    Refused(String),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Where the files of a recording go.
struct Destination {
    /// Absolute, and the path below it.
    root: PathBuf,
    below: PathBuf,
    /// The recording's name without its extension.
    base: OsString,
}

impl Destination {
    fn folder(&self) -> PathBuf {
        self.root.join(&self.below)
    }

    fn open(&self) -> io::Result<Folder> {
        Folder::open(&self.root)?.below(&self.below)
    }

    fn name(&self, number: u32, suffix: &str) -> OsString {
        let mut name = self.base.clone();
        match number {
            1 => name.push(suffix),
            more => name.push(format!(".{more}{suffix}")),
        }
        name
    }
}

impl PluginFiles {
    /// # Errors
    /// A glob of a source that cannot be read, or a path that cannot be made absolute.
    pub fn new(config: &Config, ledger: &Ledger) -> Result<PluginFiles, String> {
        let mut sources = HashMap::new();
        for source in &config.source {
            let Source::Directory(source) = source else { continue };
            let root = std::path::absolute(&source.path).map_err(|error| error.to_string())?;
            let filter = FileFilter::new(root, &source.include, &source.exclude, source.recursive);
            sources.insert(source.name.clone(), filter.map_err(|error| error.to_string())?);
        }
        let mut folders = HashMap::new();
        for plugin in config.plugin.iter().filter(|plugin| !plugin.files.as_os_str().is_empty()) {
            let folder = std::path::absolute(&plugin.files).map_err(|error| error.to_string())?;
            folders.insert(plugin.name.clone(), folder);
        }
        Ok(PluginFiles { ledger: ledger.clone(), sources, folders })
    }

    /// Writes a file that a plugin handed over for a job; returns its path. `None`: the recording has no folder, and the plugin no `files`.
    ///
    /// # Errors
    /// When the file may not be written there, or cannot be.
    pub async fn write(&self, job: &Job, plugin: &str, file: File) -> Result<Option<PathBuf>, NotWritten> {
        let Some(place) = self.place(job, plugin)? else {
            warn!(job = %job.id, plugin, suffix = file.suffix, "a file of a recording that has no folder is not written; set `files` of the plugin");
            return Ok(None);
        };
        if let Origin::File { root, .. } = &job.origin
            && *root == place.root
        {
            self.refuse_what_the_source_reads(job, &place, &file.suffix)?;
        }
        let path = self.write_at(place, job, file).await?;
        Ok(Some(path))
    }

    fn place(&self, job: &Job, plugin: &str) -> Result<Option<Destination>, NotWritten> {
        let name = match &job.origin {
            Origin::File { below, .. } => below.file_name().map(OsStr::to_owned),
            _ => job.recording.name.as_deref().map(|name| OsString::from(plain_name(name))),
        };
        let base = name.as_deref().and_then(|name| Path::new(name).file_stem()).map(OsStr::to_owned);
        let base = base.unwrap_or_else(|| job.id.to_string().into());
        if let Some(folder) = self.folders.get(plugin) {
            std::fs::create_dir_all(folder).map_err(|error| not_written(folder, &error))?;
            return Ok(Some(Destination { root: folder.clone(), below: PathBuf::new(), base }));
        }
        let Origin::File { root, below, .. } = &job.origin else { return Ok(None) };
        let below = below.parent().unwrap_or(Path::new("")).to_owned();
        Ok(Some(Destination { root: root.clone(), below, base }))
    }

    /// A file that the source would take for a recording, or for a sidecar, is not written.
    fn refuse_what_the_source_reads(
        &self,
        job: &Job,
        place: &Destination,
        suffix: &str,
    ) -> Result<(), NotWritten> {
        let name = place.name(1, suffix);
        let refused = |what: &str| {
            NotWritten::Refused(format!(
                "a file with the suffix {suffix:?} would be taken for {what}; use another suffix, or set `files` of the plugin"
            ))
        };
        let filter = self.sources.get(&job.source);
        if filter.is_some_and(|filter| filter.wants(&place.folder().join(&name))) {
            return Err(refused("a recording"));
        }
        if suffix.strip_prefix('.') == Some(sidecar::ENDING) {
            return Err(refused("the recording's metadata"));
        }
        Ok(())
    }

    async fn write_at(&self, place: Destination, job: &Job, file: File) -> Result<PathBuf, NotWritten> {
        let folder = place.folder();
        let recording = job.recording.sha256.clone().unwrap_or_else(|| job.id.to_string());
        let sha256 = hex(&Sha256::digest(&file.bytes));
        let (of_folder, of_recording) = (folder.clone(), recording.clone());
        let own = move |connection: &_| written::of_recording(connection, &of_folder, &of_recording);
        let own = self.ledger.read(own).await?;
        // The same name after a crash: nothing unfinished is left behind.
        let unfinished = OsString::from(format!(".{}{}.tmp", job.id, file.suffix));
        let place = Arc::new(place);
        let identity = blocking({
            let (place, unfinished) = (place.clone(), unfinished.clone());
            move || write_unfinished(&place.open()?, &unfinished, &file.bytes)
        });
        let identity = identity.await.map_err(|error| not_written(&folder, &error))?;
        let unnamed = Written {
            folder,
            name: unfinished.clone(),
            job: job.id,
            recording,
            identity,
            sha256,
            replaces: 0,
        };
        let named = self.give_free_name(&place, &file.suffix, unnamed, &own).await;
        if named.is_err() {
            // It has the transcript. The first error says what is wrong.
            let _ = blocking(move || place.open()?.entry(&unfinished).remove()).await;
        }
        named
    }

    /// Gives an unfinished file the first name that is free, or that of a file of `own`; returns its path.
    async fn give_free_name(
        &self,
        place: &Arc<Destination>,
        suffix: &str,
        unnamed: Written,
        own: &[Written],
    ) -> Result<PathBuf, NotWritten> {
        let (folder, unfinished) = (unnamed.folder.clone(), unnamed.name.clone());
        for number in 1..=MOST_NAMES {
            let name = place.name(number, suffix);
            let there = blocking({
                let (place, name) = (place.clone(), name.clone());
                move || inode(&place.open()?, &name)
            });
            let there = there.await.map_err(|error| not_written(&folder.join(&name), &error))?;
            let is_own = |inode| own.iter().any(|written| written.name == name && written.is_own(inode));
            if there.is_some_and(|inode| !is_own(inode)) {
                continue;
            }
            let written = Written { name: name.clone(), replaces: there.unwrap_or(0), ..unnamed.clone() };
            // Noted before the file has its name: a crash in between leaves no file that the daemon does not know.
            self.ledger.write(move |connection| written::note(connection, &written)).await?;
            let named = blocking({
                let (place, unfinished, name) = (place.clone(), unfinished.clone(), name.clone());
                move || give_name(&place.open()?, &unfinished, &name, there.is_some())
            });
            match named.await {
                Ok(()) => return Ok(folder.join(name)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let (folder, name) = (folder.clone(), name.clone());
                    self.ledger.write(move |connection| written::remove(connection, &folder, &name)).await?;
                }
                Err(error) => return Err(not_written(&folder.join(name), &error)),
            }
        }
        Err(NotWritten::Refused(format!(
            "{} has {MOST_NAMES} files of that name and suffix; move them away",
            folder.display()
        )))
    }
}

fn write_unfinished(folder: &Folder, name: &OsStr, bytes: &[u8]) -> io::Result<FileIdentity> {
    let entry = folder.entry(name);
    match entry.remove() {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = entry.create()?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| Ok(fstat(&file)?));
    match written {
        Ok(status) => Ok(FileIdentity::of(&status)),
        Err(error) => {
            // The disk may be full: the part that was written takes room in vain. The first error says what is wrong.
            let _ = entry.remove();
            Err(error)
        }
    }
}

fn inode(folder: &Folder, name: &OsStr) -> io::Result<Option<u64>> {
    match folder.entry(name).status() {
        Ok(status) => Ok(Some(status.st_ino)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn give_name(folder: &Folder, from: &OsStr, to: &OsStr, replaces: bool) -> io::Result<()> {
    match replaces {
        true => folder.entry(from).rename_over(folder.entry(to))?,
        false => folder.entry(from).rename_new(folder.entry(to))?,
    }
    folder.sync()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

/// The name of a message as a file's name: without folders, and visible.
fn plain_name(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|character| if character == '/' || character.is_control() { '_' } else { character })
        .collect();
    plain.trim_start_matches('.').to_owned()
}

fn not_written(path: &Path, error: &io::Error) -> NotWritten {
    let remedy = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on its disk",
        io::ErrorKind::InvalidFilename => "give recordings shorter names",
        _ => "give harkd's user the right to write there",
    };
    NotWritten::Refused(format!("{}: {error}; {remedy}", path.display()))
}
