//! Forgetting the files that are not there any more.

use std::collections::HashSet;

use rusqlite::Connection;

use super::root::Root;
use super::scan::{PIECE, Scan, ScanError, blocking};
use crate::job::FileIdentity;
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
                if self.missing.contains(&known.id) && !self.awaits_size(known.identity.size) {
                    gone.push(known.id);
                } else if missing.len() < MOST_MISSING {
                    missing.insert(known.id);
                }
            }
            if !gone.is_empty() {
                let forget = move |c: &Connection| gone.iter().try_for_each(|known| files::remove(c, *known));
                self.around.ledger.write(forget).await?;
            }
        }
        self.missing = missing;
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
