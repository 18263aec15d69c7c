//! Empties the ledger's log (`ledger.sqlite3-wal`) into the file. Erased texts are overwritten in the file; in the log they would remain
//! until their place is reused, which may take days.

use std::time::Duration;

use rusqlite::Connection;
use tracing::debug;

use super::error::LedgerError;

/// How long one connection waits for another.
pub(super) const BUSY: Duration = Duration::from_secs(10);

/// How long the log waits for a reader before it stays as it is; writes wait with it.
const A_MOMENT: Duration = Duration::from_millis(20);

/// Empties the log, unless a reader uses it for longer than a moment: then a later call does. Returns whether it is empty.
///
/// # Errors
/// When the time limit of the connection cannot be set.
pub fn empty_log(connection: &Connection) -> Result<bool, LedgerError> {
    connection.busy_timeout(A_MOMENT)?;
    let emptied =
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>("busy"));
    connection.busy_timeout(BUSY)?;
    let is_empty = matches!(emptied, Ok(false));
    if !is_empty {
        debug!(?emptied, "the ledger's log stays as it is for now");
    }
    Ok(is_empty)
}
