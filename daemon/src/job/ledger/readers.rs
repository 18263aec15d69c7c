//! The pool of readers: each read has a connection to itself, so a long read (the page, the API) stalls no lane.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::error::LedgerError;
use super::open;

/// Connections.
const READERS: usize = 4;

/// Of these, what requests may use at a time: lanes read for microseconds, and two are left to them while the page and the API read for longer.
const FOR_REQUESTS: usize = READERS - 2;

/// Read connections to one ledger. A read waits for a connection before it takes a thread.
pub(super) struct Readers {
    idle: Mutex<Vec<Connection>>,
    free: Arc<Semaphore>,
    for_requests: Arc<Semaphore>,
}

/// For whom the ledger is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    /// What the daemon does by itself.
    Daemon,
    /// A request of the page, the API or the service.
    Request,
}

impl Readers {
    pub(super) fn open(path: &Path) -> Result<Self, LedgerError> {
        let idle = (0..READERS).map(|_| open::reader(path)).collect::<Result<_, _>>()?;
        let places = |number| Arc::new(Semaphore::new(number));
        Ok(Readers { free: places(READERS), for_requests: places(FOR_REQUESTS), idle: Mutex::new(idle) })
    }

    /// Runs `read` on a connection of the pool, on a blocking thread. A panic in `read` gives the connection back: reads leave no state
    /// in it. `None`: the runtime ends.
    pub(super) async fn with<T: Send + 'static>(
        self: Arc<Self>,
        reader: Reader,
        read: impl FnOnce(&Connection) -> T + Send + 'static,
    ) -> Option<T> {
        let of_requests = match reader {
            Reader::Daemon => None,
            Reader::Request => Some(Arc::clone(&self.for_requests).acquire_owned().await.ok()?),
        };
        let place = (of_requests, Arc::clone(&self.free).acquire_owned().await.ok()?);
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::job::ledger::Ledger;

    #[tokio::test]
    async fn requests_that_read_for_long_keep_no_lane_from_reading() {
        let state = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(state.path()).unwrap();
        let mut ends = Vec::new();
        for _ in 0..2 * READERS {
            let (end, ended) = mpsc::channel::<()>();
            let requests = ledger.for_requests();
            tokio::spawn(async move {
                requests
                    .read(move |_| {
                        // Until the test drops the other end.
                        let _ = ended.recv();
                        Ok(())
                    })
                    .await
            });
            ends.push(end);
        }
        for _ in 0..READERS {
            // The requests of before have what they get.
            tokio::task::yield_now().await;
            let read = tokio::time::timeout(Duration::from_secs(5), ledger.read(|_| Ok(())));
            read.await.expect("a lane waits for requests").unwrap();
        }
        drop(ends);
    }
}
