//! Overwrites what SQLite leaves of erased rows in the pages of its trees.
//!
//! With `secure_delete` SQLite overwrites a row that is deleted, and a page that becomes free. But a page that is rebuilt while rows move to
//! its neighbors keeps copies of them between its list of rows and its first row: in its gap, of which SQLite reads nothing. If one of these
//! rows is deleted later, only the row itself is overwritten.

use rusqlite::{Connection, OptionalExtension, params};

use super::Ledger;
use super::error::LedgerError;

/// How many pages one transaction looks at: other writes wait for it, some milliseconds, and a tenth of a second where all of them have to be
/// written.
const BATCH: u32 = 1_000;

/// From this page number on, the first byte of an overflow page may be that of a tree's page. It is a file of 128 GiB.
const AMBIGUOUS: u32 = 0x0200_0000;

/// How often the pages are walked over where other writes come between the batches: SQLite may exchange the places of two pages then, one
/// that was looked at and one that was not. It would have to happen to the same page twice.
const WALKS: u32 = 2;

/// How far the pages are walked over.
#[derive(Debug, Clone, Copy, Default)]
pub struct Walk {
    /// Where to go on; `None`: all of them were looked at, or none yet.
    next: Option<u32>,
    /// Rows that the connection had changed in its life after the last batch.
    changes: Option<u64>,
    /// No other write has come between the batches.
    is_alone: bool,
}

impl Walk {
    /// Looks at the next batch of pages; at none where nothing was written since the last walk.
    fn step(self, connection: &Connection) -> Result<Walk, LedgerError> {
        let is_unchanged = self.changes == Some(connection.total_changes());
        let (from, is_alone) = match self.next {
            None if is_unchanged && self.is_alone => return Ok(self),
            None => (1, true),
            Some(next) => (next, self.is_alone && is_unchanged),
        };
        let next = zero(connection, from)?;
        Ok(Walk { next, changes: Some(connection.total_changes()), is_alone })
    }
}

impl Ledger {
    /// Overwrites the gaps of all pages. The log keeps the pages as they were until it is emptied.
    ///
    /// # Errors
    /// When the pages cannot be read or written: above all, where SQLite was built without its table of pages.
    pub async fn zero_gaps(&self) -> Result<(), LedgerError> {
        for _ in 0..WALKS {
            let mut walk = Walk::default();
            loop {
                walk = self.zero_next_gaps(walk).await?;
                if walk.next.is_none() {
                    break;
                }
            }
            if walk.is_alone {
                break;
            }
        }
        Ok(())
    }

    /// Overwrites the gaps of a batch of pages, and returns where the walk goes on. A walk begins anew when something was written since.
    ///
    /// # Errors
    /// As of [`Ledger::zero_gaps`].
    pub async fn zero_next_gaps(&self, walk: Walk) -> Result<Walk, LedgerError> {
        self.write(move |connection| walk.step(connection)).await
    }
}

/// Overwrites the gaps of a batch of pages, and returns the first page behind it. Only pages whose gap has something are written.
fn zero(connection: &Connection, from: u32) -> Result<Option<u32>, LedgerError> {
    let pages: u32 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
    if pages >= AMBIGUOUS {
        return Err(LedgerError::TooLarge(pages));
    }
    let end = pages.min(from.saturating_add(BATCH - 1));
    let mut read = connection.prepare_cached("SELECT data FROM sqlite_dbpage WHERE pgno = ?1")?;
    let mut write = connection.prepare_cached("UPDATE sqlite_dbpage SET data = ?2 WHERE pgno = ?1")?;
    for number in from..=end {
        let without = |row: &rusqlite::Row<'_>| Ok(without_gap(number, row.get_ref(0)?.as_blob()?));
        if let Some(page) = read.query_row([number], without).optional()?.flatten() {
            write.execute(params![number, page])?;
        }
    }
    Ok((end < pages).then_some(end + 1))
}

/// The page with zeros in its gap; `None`: they are there, or it is no page of a tree.
fn without_gap(number: u32, page: &[u8]) -> Option<Vec<u8>> {
    let at = if number == 1 { 100 } else { 0 };
    let header = page.get(at..at + 12)?;
    let list = match header[0] {
        0x02 | 0x05 => at + 12,
        0x0a | 0x0d => at + 8,
        _ => return None,
    };
    let number_at = |offset: usize| usize::from(u16::from_be_bytes([header[offset], header[offset + 1]]));
    let first_row = match number_at(5) {
        0 => 65_536,
        offset => offset,
    };
    // A page that contradicts itself is SQLite's to report, when it reads it.
    let gap = list + 2 * number_at(3)..first_row;
    page.get(gap.clone())?.iter().any(|byte| *byte != 0).then(|| {
        let mut page = page.to_owned();
        page[gap].fill(0);
        page
    })
}

#[cfg(test)]
mod tests;
