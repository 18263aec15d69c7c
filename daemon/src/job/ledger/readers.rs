//! The pool of readers: each read has a connection to itself, so a long read (the page, the API) stalls no lane.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::error::LedgerError;
use super::open;

/// Connections. Lanes read for microseconds; two are left to them while the page and the API read for longer.
const READERS: usize = 4;

/// Read connections to one ledger. A read waits for a connection before it takes a thread.
pub(super) struct Readers {
    idle: Mutex<Vec<Connection>>,
    free: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn open(path: &Path) -> Result<Self, LedgerError> {
        let idle = (0..READERS).map(|_| open::reader(path)).collect::<Result<_, _>>()?;
        Ok(Readers { free: Arc::new(Semaphore::new(READERS)), idle: Mutex::new(idle) })
    }

    /// Runs `read` on a connection of the pool, on a blocking thread. A panic in `read` gives the connection back: reads leave no state
    /// in it. `None`: the runtime ends.
    pub(super) async fn with<T: Send + 'static>(
        self: Arc<Self>,
        read: impl FnOnce(&Connection) -> T + Send + 'static,
    ) -> Option<T> {
        let place = Arc::clone(&self.free).acquire_owned().await.ok()?;
        let reading = tokio::task::spawn_blocking(move || {
            let _place = place;
            // There are as many connections as places.
            let connection = self.idle.lock().pop()?;
            // Caught, so that the connection comes back to the pool; the panic goes on.
            let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| read(&connection)));
            self.idle.lock().push(connection);
            Some(outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        reading.await.ok().flatten()
    }
}
