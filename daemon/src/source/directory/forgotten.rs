//! Keeps the rows of forgotten files for as long as a scan finds these files. A forgotten file is known by its identity alone.

use std::collections::HashSet;
use std::sync::Arc;

use super::context::Context;
use crate::job::ledger::{LedgerError, forgotten_files};

/// Rows of forgotten files. Memory: a number for each.
#[derive(Debug, Default)]
pub(super) struct Forgotten {
    /// Met since the last full scan began.
    met: HashSet<i64>,
    /// The last full scan has not met them.
    missed: HashSet<i64>,
}

impl Forgotten {
    /// A full scan begins.
    pub fn begin(&mut self) {
        self.met.clear();
    }

    /// A file was met.
    pub fn meet(&mut self, row: i64) {
        self.met.insert(row);
    }

    /// To be called after a full scan that could list every folder. Removes the rows of files that this full scan and the one before it have not
    /// found. `devices`: the filesystems on which this scan has found files; others may not be mounted now.
    ///
    /// # Errors
    /// When the ledger is closed or damaged.
    pub async fn end(&mut self, context: &Arc<Context>, devices: &HashSet<u64>) -> Result<(), LedgerError> {
        let rows = context.read(|c, context| forgotten_files::of_source(c, context.source())).await?;
        let missed = rows.into_iter().filter(|(row, dev)| devices.contains(dev) && !self.met.contains(row));
        let missed: HashSet<i64> = missed.map(|(row, _)| row).collect();
        let gone: Vec<i64> = missed.intersection(&self.missed).copied().collect();
        self.missed = missed;
        if gone.is_empty() {
            return Ok(());
        }
        context.write(move |c, _| gone.iter().try_for_each(|row| forgotten_files::remove(c, *row))).await
    }
}
