//! Lists a folder and everything below it, a batch at a time. Of the whole tree only the paths of folders that are still to be listed are in
//! memory, fewer than the kernel watches.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, statat};
use tracing::{info, warn};

use super::context::Context;
use super::file_filter::Entered;
use super::found::{Found, kind};
use super::root::{Root, remedy};
use super::sidecar;
use super::watch::Watch;
use crate::job::audio::is_absence;

/// A walk in progress. Its calls block, so a blocking thread has to make them.
pub(super) struct Walk {
    context: Arc<Context>,
    root: Root,
    watch: Option<Arc<Watch>>,
    folders: Vec<PathBuf>,
    open: Option<(PathBuf, Dir)>,
    /// Changes in some folder raise no hints.
    pub hintless: bool,
    /// Why a folder could not be listed.
    pub unlisted: Option<String>,
}

impl Walk {
    /// Begins at a folder. Each folder is watched first and listed then, so that a file that appears in between is seen by one of the two.
    pub fn of(root: Root, folder: &Path, context: Arc<Context>, watch: Option<Arc<Watch>>) -> Walk {
        let folders = vec![folder.to_owned()];
        Walk { context, root, watch, folders, open: None, hintless: false, unlisted: None }
    }

    /// The next files, at most `limit`; empty when the walk is over.
    pub fn next(&mut self, limit: usize) -> Vec<Found> {
        let mut found = Vec::new();
        while found.len() < limit {
            let Some((folder, entries)) = &mut self.open else {
                let Some(folder) = self.folders.pop() else { break };
                self.enter(folder);
                continue;
            };
            let entry = match entries.next() {
                Some(Ok(entry)) => entry,
                Some(Err(error)) => {
                    let folder = folder.clone();
                    self.open = None;
                    self.cannot_list(&folder, &error.into());
                    continue;
                }
                None => {
                    self.open = None;
                    continue;
                }
            };
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let path = folder.join(name);
            let status = || statat(entries.fd().ok()?, name, AtFlags::SYMLINK_NOFOLLOW).ok();
            let kind = match entry.file_type() {
                // Some filesystems do not report the type in a listing. If `stat` fails too, the entry is absent by now.
                FileType::Unknown => status().map_or(FileType::Unknown, |status| kind(&status)),
                kind => kind,
            };
            let file_filter = &self.context.file_filter;
            match kind {
                FileType::Directory => match file_filter.enters(&path) {
                    Entered::Yes => self.folders.push(path),
                    Entered::SystemFolder => log_system_folder(&self.context, &path),
                    Entered::No => {}
                },
                FileType::RegularFile if file_filter.wants(&path) => {
                    found.extend(status().and_then(|status| Found::of(path, &status)));
                }
                FileType::RegularFile if file_filter.eligible(&path).is_some() => {
                    log_ignored(&self.context, &path);
                }
                FileType::Symlink if file_filter.eligible(&path).is_some() => {
                    log_link(&self.context, &path);
                }
                _ => {}
            }
        }
        found
    }

    fn enter(&mut self, folder: PathBuf) {
        let listed =
            self.root.folder(&folder).and_then(|open| Ok((open.status(Path::new(""))?, open.entries()?)));
        match listed {
            Ok((status, entries)) => {
                // Watched only if it can be listed: without a listing, missing hints do not matter.
                if let Some(watch) = &self.watch
                    && let Err(error) = watch.add(&folder, status.st_dev, status.st_ino)
                {
                    self.hintless = true;
                    if self.context.troubles.is_first(error.to_string()) {
                        let source = self.context.source();
                        warn!(source, "{error}; until then changes are found by rescans alone");
                    }
                }
                self.open = Some((folder, entries));
            }
            // The folder was removed or replaced after its parent was listed.
            Err(error) if is_absence(&error) => {}
            Err(error) => self.cannot_list(&folder, &error),
        }
    }

    fn cannot_list(&mut self, folder: &Path, error: &io::Error) {
        let (name, remedy) = (folder.display(), remedy(error));
        let or = if folder == self.context.root() { "" } else { ", or name it in `exclude`" };
        let message =
            format!("listing {name}: {error}; {remedy}{or}; until then the daemon accepts no file from it");
        if self.context.troubles.is_first(folder.display().to_string()) {
            warn!(source = self.context.source(), "{message}");
        }
        self.hintless = true;
        self.unlisted.get_or_insert(message);
    }
}

fn log_ignored(context: &Context, path: &Path) {
    let ending = path.extension().unwrap_or_default().display();
    if context.config.metadata_sidecar && ending.to_string() == sidecar::ENDING {
        return;
    }
    if context.endings.is_first(ending.to_string()) {
        info!(source = context.source(), path = %path.display(), "the file is ignored, and so are others with this ending: `include` does not name it");
    }
}

fn log_system_folder(context: &Context, path: &Path) {
    let name = path.file_name().unwrap_or_default().display();
    if context.troubles.is_first(format!("apart {name}")) {
        info!(source = context.source(), path = %path.display(), "the folder is not entered, and others of its name: a NAS system or a desktop keeps it for itself");
    }
}

fn log_link(context: &Context, path: &Path) {
    if context.troubles.is_first("link") {
        info!(source = context.source(), path = %path.display(), "symbolic links are ignored, this one and others; put the file or folder itself there, or give the folder a source of its own");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::ledger::Ledger;
    use crate::telemetry::metrics::Metrics;

    fn context(root: &Path, state: &Path) -> Arc<Context> {
        let config = format!("name = \"calls\"\npath = {root:?}\ninclude = [\"**/*.wav\"]");
        let ledger = Ledger::open(state).unwrap();
        Arc::new(Context::new(toml::from_str(&config).unwrap(), ledger, Metrics::new(), 0.0).unwrap())
    }

    #[tokio::test]
    async fn a_whole_tree_is_listed_and_each_ending_that_is_not_included_is_logged_once() {
        let disk = tempfile::tempdir().unwrap();
        let root = disk.path().join("calls");
        std::fs::create_dir_all(root.join("below/deep")).unwrap();
        for name in ["a.WAV", "b.aac", "below/c.aac", "below/deep/c.wav", "d.json", ".e.txt", "f.txt.part"] {
            std::fs::write(root.join(name), "x").unwrap();
        }
        let context = context(&root, &disk.path().join("state"));
        let mut walk = Walk::of(Root::open(&root).unwrap(), &root, Arc::clone(&context), None);
        let mut found = [walk.next(1), walk.next(100)].concat();
        found.sort_by(|one, other| one.path.cmp(&other.path));
        assert_eq!(
            found.iter().map(|file| &file.path).collect::<Vec<_>>(),
            [&root.join("a.WAV"), &root.join("below/deep/c.wav")]
        );
        assert!(walk.next(100).is_empty());
        let logged = ["aac", "json", "txt", "part"].map(|ending| !context.endings.is_first(ending));
        assert_eq!(logged, [true, false, false, false], "a .json is metadata of a recording");
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_listed_is_named() {
        let disk = tempfile::tempdir().unwrap();
        let root = disk.path().join("calls");
        std::fs::create_dir(&root).unwrap();
        let context = context(&root, &disk.path().join("state"));
        let mut walk = Walk::of(Root::open(&root).unwrap(), &root, context, None);
        for folder in [root.join("shut"), root] {
            walk.cannot_list(&folder, &io::ErrorKind::PermissionDenied.into());
            let said = walk.unlisted.take().unwrap();
            assert!(said.starts_with(&format!("listing {}: ", folder.display())), "{said}");
        }
    }
}
