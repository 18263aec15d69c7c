//! Known files that are absent: noted when a scan first misses them, and removed from the ledger when the next full scan misses them too.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::context::{BATCH, Context};
use super::root::Root;
use crate::job::FileIdentity;
use crate::job::audio::is_absence;
use crate::job::ledger::LedgerError;
use crate::job::ledger::files::{self, Known};

/// The most absent files that are noted at one full scan, to be removed at the next.
const MOST_MISSING: usize = 10_000;

/// Files of the ledger that are absent, by row. A file with the same bytes that appears after the absence was noted counts as another
/// recording, and not as the absent file, moved. Clones share the notes.
#[derive(Debug, Clone, Default)]
pub(super) struct Absences(Arc<Mutex<HashMap<i64, Absence>>>);

#[derive(Debug, Clone, Copy)]
struct Absence {
    /// The number of a look. A file that was first seen in this look or an earlier one may be the absent one.
    since: u64,
    /// A full scan has missed the file as well.
    at_full_scan: bool,
}

/// What a full scan has seen.
pub(super) struct FullScan {
    /// The number of this look.
    pub look: u64,
    /// How many files of the ledger the scan has met at their paths.
    pub met: u64,
    /// The filesystems of which the scan has met files.
    pub devices: HashSet<u64>,
}

impl Absences {
    /// Whether the file of row `id` was missed before the look `seen`, in which another file was first seen.
    pub fn is_before(&self, id: i64, seen: u64) -> bool {
        self.0.lock().get(&id).is_some_and(|absence| absence.since < seen)
    }

    /// Notes that the file is present.
    pub fn is_back(&self, id: i64) {
        self.0.lock().remove(&id);
    }

    /// Notes in the look of this number that nothing is at these paths.
    ///
    /// # Errors
    /// When the ledger is closed or damaged.
    pub async fn note(
        &self,
        context: &Arc<Context>,
        paths: Vec<PathBuf>,
        look: u64,
    ) -> Result<(), LedgerError> {
        if paths.is_empty() {
            return Ok(());
        }
        let known = context.read(move |c, context| {
            let known = paths.iter().map(|path| files::at_path(c, context.source(), path));
            Ok(known.collect::<Result<Vec<_>, _>>()?.concat())
        });
        let known = known.await?;
        let mut absences = self.0.lock();
        for known in known {
            if absences.len() < MOST_MISSING {
                absences.entry(known.id).or_insert(Absence { since: look, at_full_scan: false });
            }
        }
        Ok(())
    }

    /// Removes files from the ledger that were absent at the last full scan and still are. The time between the scans lets the daemon find
    /// a moved file under its new name; therefore a row also stays while a file of the same size waits to be taken in (`awaits_size`).
    ///
    /// # Errors
    /// When the ledger is closed or damaged.
    pub async fn forget_gone(
        &self,
        context: &Arc<Context>,
        scan: FullScan,
        awaits_size: impl Fn(u64) -> bool,
    ) -> Result<(), LedgerError> {
        if context.read(|c, context| files::count(c, context.source())).await? == scan.met {
            self.0.lock().clear();
            return Ok(());
        }
        let mut absences = HashMap::new();
        let mut after: Option<Known> = None;
        loop {
            let page =
                move |c: &_, context: &Context| files::page(c, context.source(), after.as_ref(), BATCH);
            let known = context.read(page).await?;
            let Some(last) = known.last() else { break };
            after = Some(last.clone());
            // If the watched folder itself cannot be opened, no file is known to be absent.
            let absent = context.in_folder(move |root, _| {
                known.into_iter().filter(|known| is_gone(&root, known)).collect::<Vec<_>>()
            });
            let mut gone = Vec::new();
            for known in absent.await?.unwrap_or_default() {
                // The scan met no file of this filesystem: it is not mounted now, which does not make its files absent.
                if !scan.devices.contains(&known.identity.dev) {
                    continue;
                }
                let noted = self.0.lock().get(&known.id).copied();
                if noted.is_some_and(|noted| noted.at_full_scan) && !awaits_size(known.identity.size) {
                    gone.push(known.id);
                } else if absences.len() < MOST_MISSING {
                    // A scan takes time: a file that is first seen in the next look may have appeared before this file was missed.
                    let since = noted.map_or(scan.look + 1, |noted| noted.since);
                    absences.insert(known.id, Absence { since, at_full_scan: true });
                }
            }
            if !gone.is_empty() {
                let forget = move |c: &_, _: &_| gone.iter().try_for_each(|row| files::remove(c, *row));
                context.write(forget).await?;
            }
        }
        *self.0.lock() = absences;
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
