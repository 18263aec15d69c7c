//! The pool of readers: each read has a connection to itself, so a long read (the page, the API) stalls no lane.

use std::panic::AssertUnwindSafe;
use std::path::Path;

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;

use super::LedgerError;
use super::open;

/// Connections. Lanes read for microseconds; two are left to them while the page and the API read for longer.
pub(super) const READERS: usize = 4;

/// Read connections to one ledger. A reader without a connection waits for the next that is free.
pub(super) struct Readers {
    idle: Mutex<Vec<Connection>>,
    freed: Condvar,
}

impl Readers {
    pub(super) fn new(first: Connection, path: &Path) -> Result<Self, LedgerError> {
        let mut idle = vec![first];
        while idle.len() < READERS {
            idle.push(open::reader(path)?);
        }
        Ok(Readers { idle: Mutex::new(idle), freed: Condvar::new() })
    }

    /// Runs `read` on a connection of the pool. Blocking. A panic in `read` gives the connection back: reads leave no state in it.
    pub(super) fn with<T>(&self, read: impl FnOnce(&Connection) -> T) -> T {
        let connection = {
            let mut idle = self.idle.lock();
            loop {
                match idle.pop() {
                    Some(connection) => break connection,
                    None => self.freed.wait(&mut idle),
                }
            }
        };
        // Caught, so that the connection comes back to the pool; the panic goes on.
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| read(&connection)));
        self.idle.lock().push(connection);
        self.freed.notify_one();
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
