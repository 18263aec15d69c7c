//! Erased rows leave copies in the ledger's files: in free pages of the database, and in its write-ahead log.

use std::time::Duration;

use tracing::warn;

use super::unreached::NotReached;
use crate::job::ledger::{Ledger, LedgerError, checkpoint};

/// How long a reader may keep the ledger's log from being emptied. Housekeeping tries again every few seconds.
const EMPTYING: Duration = Duration::from_secs(5);
const EMPTY_AGAIN: Duration = Duration::from_millis(50);

/// Overwrites the copies of erased rows; returns the copies that could not be overwritten.
///
/// # Errors
/// When the ledger is closed or damaged.
pub(super) async fn overwrite(ledger: &Ledger) -> Result<Vec<NotReached>, LedgerError> {
    let mut left = Vec::new();
    match ledger.zero_gaps().await {
        Ok(()) => {}
        Err(error @ (LedgerError::Sqlite(_) | LedgerError::TooLarge(_))) => {
            warn!(%error, "what SQLite leaves of erased rows in the ledger's file is not overwritten");
            left.push(NotReached::new(
                "ledger",
                format!(
                    "copies of its rows may be left in ledger.sqlite3 ({error}); stop harkd, and run sqlite3 ledger.sqlite3 VACUUM in the state \
                     directory"
                ),
            ));
        }
        Err(error) => return Err(error),
    }
    if !empty_log(ledger).await? {
        left.push(NotReached::new(
            "ledger",
            "the ledger's log, ledger.sqlite3-wal: a reader uses it; it is emptied within seconds",
        ));
    }
    Ok(left)
}

/// Empties the ledger's log, in which erased texts remain; `false`: a reader has kept it from being emptied.
async fn empty_log(ledger: &Ledger) -> Result<bool, LedgerError> {
    let until = tokio::time::Instant::now() + EMPTYING;
    while !ledger.read(checkpoint::empty_log).await? {
        if tokio::time::Instant::now() > until {
            return Ok(false);
        }
        tokio::time::sleep(EMPTY_AGAIN).await;
    }
    Ok(true)
}
