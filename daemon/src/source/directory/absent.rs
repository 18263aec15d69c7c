//! Files that are not there any more: noted when they are first missed, and forgotten when they still are.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

use super::root::Root;
use super::scan::{PIECE, Scan, ScanError, blocking};
use crate::job::FileIdentity;
use crate::job::audio::is_absence;
use crate::job::ledger::files::{self, Known};

/// Files that were missing at one full scan, to be forgotten at the next.
const MOST_MISSING: usize = 10_000;

/// Files of the ledger that are missing, by row. A file of the same bytes that comes after one was missed is another recording, and not
/// that one, moved. Clones share the notes.
#[derive(Debug, Clone, Default)]
pub struct Absences(Arc<Mutex<HashMap<i64, Absence>>>);

#[derive(Debug, Clone, Copy)]
struct Absence {
    /// Files that were first seen in a look before this one may be it.
    since: u64,
    /// A full scan has missed it as well.
    at_full_scan: bool,
}

impl Absences {
    /// Whether a file was missed before the look in which another one was first seen.
    pub fn is_before(&self, id: i64, seen: u64) -> bool {
        self.lock().get(&id).is_some_and(|absence| absence.since < seen)
    }

    /// The file is there.
    pub fn is_back(&self, id: i64) {
        self.lock().remove(&id);
    }

    fn note(&self, id: i64, look: u64) {
        let mut absences = self.lock();
        if absences.len() < MOST_MISSING {
            absences.entry(id).or_insert(Absence { since: look, at_full_scan: false });
        }
    }

    /// A panic elsewhere leaves the table whole: every change to it is one call.
    fn lock(&self) -> MutexGuard<'_, HashMap<i64, Absence>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scan {
    /// Notes files of which a hint says that they have gone.
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

    /// Forgets files that were missing at the last full scan and still are. In between, whoever moved one has had the time to be
    /// found; so a row stays while a file of its size is not taken in.
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
            let path = self.around.choice.root.clone();
            let absent = blocking(move || {
                // Where the folder itself cannot be opened, nothing is known to be gone.
                let Ok(root) = Root::open(&path) else { return Vec::new() };
                known.into_iter().filter(|known| is_gone(&root, known)).collect::<Vec<_>>()
            })
            .await?;
            let mut gone = Vec::new();
            for known in absent {
                // Nothing of this filesystem was met: it is not mounted now, and its files are not gone.
                if !devices.contains(&known.identity.dev) {
                    continue;
                }
                let noted = self.absences.lock().get(&known.id).copied();
                if noted.is_some_and(|noted| noted.at_full_scan) && !self.awaits_size(known.identity.size) {
                    gone.push(known.id);
                } else if absences.len() < MOST_MISSING {
                    // A scan takes its time: what is first seen in the next look may have come before this one was missed.
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

/// Whether a file is not at its path: nothing is, or another file.
fn is_gone(root: &Root, known: &Known) -> bool {
    match root.status(&known.path) {
        Ok(status) => {
            let there = FileIdentity::of(&status);
            there.inode != known.identity.inode && !there.is_unchanged(&known.identity)
        }
        Err(error) => is_absence(&error),
    }
}
