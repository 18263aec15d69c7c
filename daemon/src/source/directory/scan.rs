//! Compares a folder with the ledger, and acts on the differences.
//!
//! All memory here is bounded: files are listed and compared a batch at a time, a few are read at once, files that have not stood still yet
//! wait in a table of limited size, and the next scan meets the files that did not fit.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, info, trace, warn};

use super::absent::{Absences, FullScan};
use super::context::{BATCH, Context, blocking};
use super::file_filter::Entered;
use super::filesystems::Filesystems;
use super::forgotten::Forgotten;
use super::found::{Found, kind};
use super::identity::{compare, note_moves};
use super::intake::{self, Moved, ReadOutcome};
use super::not_recognized::{NotRecognized, Reason};
use super::reading::Readers;
use super::ready::NotRead;
use super::root::{Root, ScanError, look_into};
use super::standing_still::{SettledFile, Settling, now};
use super::walk::Walk;
use super::watch::Watch;
use crate::config::Existing;
use crate::job::Duty;
use crate::job::audio::is_absence;
use crate::job::ledger::LedgerError;
use crate::job::ledger::filesystems::Filesystem;
use crate::telemetry::OnceAMinute;

/// The most files that may wait until they have stood still. Each of these is looked at by itself; further files need a full scan.
const MOST_WAITING: usize = 10_000;

/// An empty file is logged after it has been empty for this long.
const EMPTY_FOR: Duration = Duration::from_secs(60);

/// The state of looking at one folder.
pub(super) struct Scan {
    context: Arc<Context>,
    watch: Option<Arc<Watch>>,
    pub settling: Settling,
    filesystems: Filesystems,
    readers: Readers,
    absences: Absences,
    forgotten: Forgotten,
    not_recognized: NotRecognized,
    grown: OnceAMinute,
    /// The number of the present or last look.
    look: u64,
    is_network: bool,
    /// Files were turned away because the ledger admitted no more jobs. The next full scan meets these files.
    pub turned_away: bool,
    /// Changes in some folder raise no hints.
    pub hintless: bool,
    /// Whether the last full scan could list every folder; else why not.
    pub seen: Result<(), String>,
}

impl Scan {
    /// A scan that has not looked at the folder yet.
    pub fn begin(context: Arc<Context>, watch: Option<Arc<Watch>>) -> Scan {
        // A batch that was being read when the last scan ended may have put jobs into the ledger without waking the tasks that process them.
        context.ledger.wake(Duty::Prepare);
        context.ledger.wake(Duty::Publish);
        let absences = Absences::default();
        Scan {
            settling: Settling::new(context.config.settle, MOST_WAITING),
            filesystems: Filesystems::default(),
            readers: Readers::new(Arc::clone(&context), absences.clone()),
            absences,
            forgotten: Forgotten::default(),
            not_recognized: NotRecognized::default(),
            grown: OnceAMinute::default(),
            look: 0,
            is_network: false,
            turned_away: false,
            hintless: false,
            seen: Ok(()),
            context,
            watch,
        }
    }

    /// A full scan.
    ///
    /// # Errors
    /// When the folder itself is absent or cannot be read, or the ledger is closed.
    pub async fn everything(&mut self) -> Result<(), ScanError> {
        self.look += 1;
        self.settling.scanned();
        self.forgotten.begin();
        self.seen = Ok(());
        let (root, status) = look_into(&self.context).await?;
        // Another filesystem may have been mounted at the folder since the last look.
        let is_network = root.is_network();
        if is_network && !self.is_network {
            info!(
                source = self.context.source(),
                "the folder is on a network filesystem, which sends no events of changes; the daemon scans it more often"
            );
        }
        self.is_network = is_network;
        self.settling.trust_ctime(!is_network);
        self.hintless = is_network || self.watch.is_none();
        self.filesystems.meet(&self.context, Filesystem { dev: status.st_dev, inode: status.st_ino }).await?;
        let mut devices = HashSet::from([status.st_dev]);
        let folder = self.context.root().to_owned();
        let met = self.walk(root, &folder, &mut devices).await?;
        trace!(source = self.context.source(), known = met, "full scan ended");
        // Files in a folder that could not be listed may be older than the source.
        if self.seen.is_ok() {
            self.filesystems.end_first_scans(&self.context, &devices).await?;
            self.forgotten.end(&self.context, &devices).await?;
        }
        let scan = FullScan { look: self.look, met, devices };
        let awaits_size =
            |size| self.turned_away || self.settling.has_size(size) || self.readers.have_size(size);
        self.absences.forget_gone(&self.context, scan, awaits_size).await?;
        self.log_and_measure();
        Ok(())
    }

    /// Looks at paths that may have changed, or whose files should have stood still by now.
    ///
    /// # Errors
    /// When the ledger is closed.
    pub async fn look_at(&mut self, paths: Vec<PathBuf>) -> Result<(), ScanError> {
        trace!(source = self.context.source(), paths = paths.len(), "looking at paths");
        self.look += 1;
        let asked = paths.clone();
        let looked = self.context.in_folder(move |root, context| {
            let (mut folders, mut found, mut absent) = (Vec::new(), Vec::new(), Vec::new());
            for path in paths {
                // A watch stays with its folder when the folder is moved, and reports events under the folder's former path.
                match root.status(&path) {
                    Ok(status) if kind(&status).is_dir() => folders.push(path),
                    Ok(status) if context.file_filter.wants(&path) => found.extend(Found::of(path, &status)),
                    Err(error) if is_absence(&error) && context.file_filter.wants(&path) => absent.push(path),
                    _ => {}
                }
            }
            folders.retain(|folder| context.file_filter.enters(folder) == Entered::Yes);
            (folders, found, absent)
        });
        // If the folder is absent, the next full scan reports that.
        let (folders, found, absent) = looked.await?.unwrap_or_default();
        let there: HashSet<&Path> = found.iter().map(|file| file.path.as_path()).collect();
        for path in asked.iter().filter(|path| !there.contains(path.as_path())) {
            self.settling.forget(path);
        }
        self.absences.note(&self.context, absent, self.look).await?;
        self.compare(found).await?;
        for folder in folders {
            if let Some(root) = self.context.in_folder(|root, _| root).await? {
                self.walk(root, &folder, &mut HashSet::new()).await?;
            }
        }
        self.log_and_measure();
        Ok(())
    }

    /// Waits until a batch has been read, and notes what came of its files; for ever, if none is being read.
    ///
    /// # Errors
    /// When the ledger is closed.
    pub async fn read(&mut self) -> Result<(), ScanError> {
        let source = self.context.source();
        let mut accepted = 0;
        for (SettledFile { file, seen, .. }, outcome) in self.readers.next().await? {
            match outcome {
                Ok(ReadOutcome::Job(_)) => accepted += 1,
                Ok(ReadOutcome::NotRecognized(reason)) => self.not_recognized.add(reason, &file.path),
                Ok(ReadOutcome::Raced) | Err(NotRead::Gone) => {}
                Err(NotRead::NotYet) => self.settling.postpone(&file, seen, now()),
                Err(NotRead::Short) => {
                    debug!(source, path = %file.path.display(), "a WAV file is shorter than its header says; the rest is waited for");
                    self.settling.wait_longer(&file, seen, now());
                }
                Err(NotRead::Unreadable(error)) => {
                    self.settling.postpone(&file, seen, now());
                    self.context.metrics.source_unreadable.with_label_values(&[source]).inc();
                    if self.context.troubles.is_first(file.key()) {
                        warn!(source, path = %file.path.display(), %error, "a recording waits because it cannot be read");
                    }
                }
            }
        }
        if accepted > 0 {
            self.context.metrics.source_accepted.with_label_values(&[source]).inc_by(accepted);
            info!(source, recordings = accepted, "taken in");
        }
        self.log_and_measure();
        Ok(())
    }

    /// Returns how many of the files that it met the ledger knows by path.
    async fn walk(
        &mut self,
        root: Root,
        folder: &Path,
        devices: &mut HashSet<u64>,
    ) -> Result<u64, ScanError> {
        let mut walk = Walk::of(root, folder, Arc::clone(&self.context), self.watch.clone());
        let mut met = 0;
        loop {
            let (walked, batch) = blocking(move || {
                let batch = walk.next(BATCH);
                (walk, batch)
            })
            .await?;
            walk = walked;
            if batch.is_empty() {
                self.hintless |= walk.hintless;
                if let (Ok(()), Some(reason)) = (&self.seen, walk.unlisted) {
                    self.seen = Err(reason);
                }
                return Ok(met);
            }
            devices.extend(batch.iter().map(|found| found.stamp.identity.dev));
            met += self.compare(batch).await?;
        }
    }

    /// Compares files with the ledger and acts on the differences. Returns how many the ledger knew by path.
    async fn compare(&mut self, found: Vec<Found>) -> Result<u64, ScanError> {
        for found in &found {
            self.filesystems
                .meet(&self.context, Filesystem { dev: found.stamp.identity.dev, inode: 0 })
                .await?;
        }
        let compared = self.context.read(move |connection, context| {
            let compare = |found: &Found| Ok((compare(connection, context.source(), found)?, found.clone()));
            found.iter().map(compare).collect::<Result<Vec<_>, LedgerError>>()
        });
        let (mut met, mut fresh, mut moved) = (0, Vec::new(), Vec::new());
        for (compared, found) in compared.await? {
            met += compared.met;
            if compared.has_grown {
                self.log_grown(&found);
            }
            if let Some(row) = compared.known {
                self.settling.forget(&found.path);
                self.absences.is_back(row);
            } else if let Some(row) = compared.forgotten {
                self.settling.forget(&found.path);
                self.forgotten.meet(row);
            } else if self.readers.have(&found.path) {
                // The task that reads the file reports the outcome.
            } else if compared.candidates.is_empty() {
                fresh.push(found);
            } else {
                moved.push((found, compared.candidates));
            }
        }
        for (found, moved) in note_moves(&self.context, moved).await? {
            match moved {
                Moved::Here { row } => {
                    self.settling.forget(&found.path);
                    self.absences.is_back(row);
                    self.not_recognized.add(Reason::Moved, &found.path);
                }
                Moved::SecondName => self.settling.forget(&found.path),
                Moved::PerhapsHere => self.settling.postpone(&found, self.look, now()),
                Moved::Elsewhere => fresh.push(found),
            }
        }
        let (mut ready, mut old) = (Vec::new(), Vec::new());
        for found in fresh {
            if self.filesystems.was_before(&found) && self.context.config.existing == Existing::Skip {
                old.push(found);
            } else if found.stamp.identity.size == 0 {
                self.log_empty(&found);
            } else {
                ready.extend(self.settling.look(found, now(), self.look));
            }
        }
        if !old.is_empty() {
            let skip = move |connection: &_, context: &Context| {
                old.iter().try_for_each(|found| intake::skip(connection, context.source(), found))
            };
            self.context.write(skip).await?;
        }
        self.take_in(ready).await?;
        Ok(met)
    }

    /// Has files read and taken in; waits while too many are being read. If the ledger admits no more jobs, or the source is paused, the files
    /// stay where they are, and the scan goes on, because it also has to note moved files.
    async fn take_in(&mut self, ready: Vec<SettledFile>) -> Result<(), ScanError> {
        let mut ready = ready.into_iter().peekable();
        while ready.peek().is_some() {
            if self.context.ledger.admission().borrow().is_err() || self.context.switch.is_paused() {
                self.turned_away = true;
                break;
            }
            while self.readers.are_busy() {
                self.read().await?;
            }
            self.readers.begin(&mut ready, self.is_network);
        }
        Ok(())
    }

    /// Logs and sets metrics after each look, and after each batch that was read.
    fn log_and_measure(&mut self) {
        let source = self.context.source();
        self.not_recognized.log(source);
        let waiting = i64::try_from(self.settling.waiting()).unwrap_or(i64::MAX);
        self.context.metrics.source_unsettled.with_label_values(&[source]).set(waiting);
    }

    fn log_empty(&self, found: &Found) {
        let age = now().wall_ns.saturating_sub(found.stamp.ctime_ns);
        let is_old = age > i64::try_from(EMPTY_FOR.as_nanos()).unwrap_or(i64::MAX);
        if is_old && self.context.troubles.is_first(found.key()) {
            warn!(source = self.context.source(), path = %found.path.display(), "the file is empty; it is no recording until something is written to it");
        }
    }

    /// If a recorder closes its file and opens it again, and `settle` is shorter than that pause, each part becomes a recording.
    fn log_grown(&self, found: &Found) {
        if self.grown.is_time() {
            warn!(
                source = self.context.source(),
                path = %found.path.display(),
                settle = ?self.context.config.settle,
                "a recognized file grows; the daemon recognizes it again, at its full price, once it stands still. If its recorder pauses while it records, set `settle` to more than the pause"
            );
        }
    }
}
