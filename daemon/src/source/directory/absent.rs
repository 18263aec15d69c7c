//! Known files that are absent: noted when a scan first misses them, and removed from the ledger when the next full scan misses them too.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

use super::root::Root;
use super::scan::{PIECE, Scan, ScanError, blocking};
use crate::job::FileIdentity;
use crate::job::audio::is_absence;
use crate::job::ledger::files::{self, Known};

/// The most absent files that are noted at one full scan, to be removed at the next.
const MOST_MISSING: usize = 10_000;

/// Files of the ledger that are absent, by row. A file with the same bytes that appears after the absence was noted counts as another
/// recording, and not as the absent file, moved. Clones share the notes.
#[derive(Debug, Clone, Default)]
pub struct Absences(Arc<Mutex<HashMap<i64, Absence>>>);

#[derive(Debug, Clone, Copy)]
struct Absence {
    /// The number of a look. A file that was first seen in this look or an earlier one may be the absent one.
    since: u64,
    /// A full scan has missed the file as well.
    at_full_scan: bool,
}

impl Absences {
    /// Whether the file of row `id` was missed before the look `seen`, in which another file was first seen.
    pub fn is_before(&self, id: i64, seen: u64) -> bool {
        self.lock().get(&id).is_some_and(|absence| absence.since < seen)
    }

    /// Notes that the file is present.
    pub fn is_back(&self, id: i64) {
        self.lock().remove(&id);
    }

    fn note(&self, id: i64, look: u64) {
        let mut absences = self.lock();
        if absences.len() < MOST_MISSING {
            absences.entry(id).or_insert(Absence { since: look, at_full_scan: false });
        }
    }

    /// A poisoned lock is ignored: every change to the table is one call, so a panic cannot leave it half changed.
    fn lock(&self) -> MutexGuard<'_, HashMap<i64, Absence>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scan {
    /// Notes files that are absent according to a hint.
    pub(super) async fn note_absent(&mut self, paths: Vec<PathBuf>) -> Result<(), ScanError> {
        if paths.is_empty() {
            return Ok(());
        }
        let source = self.around.destination.source.clone();
        let known = move |c: &Connection| {
            let known = paths.iter().map(|path| files::at_path(c, &source, path));
            Ok(known.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect::<Vec<_>>())
        };
        for known in self.around.ledger.read(known).await? {
            self.absences.note(known.id, self.look);
        }
        Ok(())
    }

    /// Removes files from the ledger that were absent at the last full scan and still are. The time between the scans lets the daemon find
    /// a moved file under its new name; therefore a row also stays while a file of the same size waits to be taken in.
    pub(super) async fn forget_gone(&mut self, met: u64, devices: HashSet<u64>) -> Result<(), ScanError> {
        let source = self.around.destination.source.clone();
        let counted = source.clone();
        if self.around.ledger.read(move |connection| files::count(connection, &counted)).await? == met {
            self.absences.lock().clear();
            return Ok(());
        }
        let mut absences = HashMap::new();
        let mut after = None;
        loop {
            let (from, of) = (after.clone(), source.clone());
            let page = move |c: &Connection| files::page(c, &of, from.as_ref(), PIECE);
            let known = self.around.ledger.read(page).await?;
            let Some(last) = known.last() else { break };
            after = Some(last.clone());
            let path = self.around.file_filter.root.clone();
            let absent = blocking(move || {
                // If the watched folder itself cannot be opened, no file is known to be absent.
                let Ok(root) = Root::open(&path) else { return Vec::new() };
                known.into_iter().filter(|known| is_gone(&root, known)).collect::<Vec<_>>()
            })
            .await?;
            let mut gone = Vec::new();
            for known in absent {
                // The scan met no file of this filesystem: it is not mounted now, which does not make its files absent.
                if !devices.contains(&known.identity.dev) {
                    continue;
                }
                let noted = self.absences.lock().get(&known.id).copied();
                if noted.is_some_and(|noted| noted.at_full_scan) && !self.awaits_size(known.identity.size) {
                    gone.push(known.id);
                } else if absences.len() < MOST_MISSING {
                    // A scan takes time: a file that is first seen in the next look may have appeared before this file was missed.
                    let since = noted.map_or(self.look + 1, |noted| noted.since);
                    absences.insert(known.id, Absence { since, at_full_scan: true });
                }
            }
            if !gone.is_empty() {
                let forget = move |c: &Connection| gone.iter().try_for_each(|known| files::remove(c, *known));
                self.around.ledger.write(forget).await?;
            }
        }
        *self.absences.lock() = absences;
        Ok(())
    }
}

/// Whether a file is no longer at its path: the path is absent, or another file has it.
fn is_gone(root: &Root, known: &Known) -> bool {
    match root.status(&known.path) {
        Ok(status) => {
            let there = FileIdentity::of(&status);
            there.inode != known.identity.inode && !there.is_unchanged(&known.identity)
        }
        Err(error) => is_absence(&error),
    }
}
