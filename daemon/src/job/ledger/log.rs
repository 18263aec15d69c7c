//! Decides when the ledger's log (`ledger.sqlite3-wal`) is emptied into the file. Erased texts are overwritten in the file; in the log they
//! would remain until their place is reused, which may take days.

use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tracing::debug;

use super::open;

/// After no write has come for this long the log is emptied: no caller has to wait for it.
const QUIET: Duration = Duration::from_millis(500);

/// If writes always come, the log is emptied this often all the same.
const LONGEST: Duration = Duration::from_secs(60);

/// What is in the log, as its only writer knows.
pub(super) struct Log {
    clock: Runtime,
    /// Rows changed by this connection when it was emptied; `None`: an earlier life may have left something in it.
    empty_at: Option<u64>,
    folded: Instant,
}

impl Log {
    /// Of a ledger that was just opened. `clock` is a runtime with time and no threads of its own.
    pub(super) fn new(clock: Runtime) -> Log {
        Log { clock, empty_at: None, folded: Instant::now() }
    }

    /// Waits for the next write, and empties the log meanwhile; `None`: there will be no more. Blocking.
    pub(super) fn empty_until<T>(
        &mut self,
        connection: &Connection,
        queue: &mut mpsc::Receiver<T>,
    ) -> Option<T> {
        while self.empty_at != Some(connection.total_changes()) {
            if self.folded.elapsed() >= LONGEST {
                self.fold(connection);
            }
            match self.clock.block_on(async { tokio::time::timeout(QUIET, queue.recv()).await }) {
                Ok(next) => return next,
                Err(_) => self.fold(connection),
            }
        }
        queue.blocking_recv()
    }

    /// A reader that is at work keeps the log; the next quiet moment is as good.
    fn fold(&mut self, connection: &Connection) {
        self.folded = Instant::now();
        match open::fold(connection) {
            Ok(()) => self.empty_at = Some(connection.total_changes()),
            Err(error) => debug!(%error, "the ledger's log stays as it is for now"),
        }
    }
}
