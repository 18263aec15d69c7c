//! Forgetting the files that are not there any more.

use std::collections::HashSet;
use std::path::PathBuf;

use super::root::Root;
use super::scan::{PIECE, Scan, ScanError, blocking};
use crate::job::audio::is_absence;
use crate::job::ledger::files::{self, Known};

/// Files that were missing at one full scan, to be forgotten at the next.
const MOST_MISSING: usize = 10_000;

impl Scan {
    /// Forgets files that were missing at the last full scan and still are. In between, whoever moved one has had the time to be
    /// found; so a row stays while a file of its size is not taken in.
    pub(super) async fn forget_gone(&mut self, met: u64, devices: HashSet<u64>) -> Result<(), ScanError> {
        let source = self.around.destination.source.clone();
        let counted = source.clone();
        if self.around.ledger.read(move |connection| files::count(connection, &counted)).await? == met {
            self.missing.clear();
            return Ok(());
        }
        let mut missing = HashSet::new();
        let mut after = PathBuf::new();
        loop {
            let (from, of) = (after.clone(), source.clone());
            let known = self.around.ledger.read(move |c| files::page(c, &of, &from, PIECE)).await?;
            let Some(last) = known.last() else { break };
            after = last.path.clone();
            let path = self.around.choice.root.clone();
            let absent = blocking(move || {
                // Where the folder itself cannot be opened, nothing is known to be gone.
                let Ok(root) = Root::open(&path) else { return Vec::new() };
                let is_absent =
                    |known: &Known| root.status(&known.path).is_err_and(|error| is_absence(&error));
                known.into_iter().filter(is_absent).collect::<Vec<_>>()
            })
            .await?;
            let mut gone = Vec::new();
            for known in absent {
                // Nothing of this filesystem was met: it is not mounted now, and its files are not gone.
                if !devices.contains(&known.identity.dev) {
                    continue;
                }
                if self.missing.contains(&known.path) && !self.awaits_size(known.identity.size) {
                    gone.push(known);
                } else if missing.len() < MOST_MISSING {
                    missing.insert(known.path);
                }
            }
            if !gone.is_empty() {
                let of = source.clone();
                self.around
                    .ledger
                    .write(move |connection| {
                        gone.iter().try_for_each(|known| files::remove(connection, &of, &known.path))
                    })
                    .await?;
            }
        }
        self.missing = missing;
        Ok(())
    }
}
