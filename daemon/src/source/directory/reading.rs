//! Reads files that are ready and takes them in, concurrently with the scan, a few pieces at a time.

use tracing::{Instrument, debug, info, warn};

use super::complaints::key_of;
use super::piece::{Read, read_piece};
use super::scan::{Scan, ScanError, now};
use super::walk::Found;
use crate::job::ledger::LedgerError;

/// Pieces that are read at the same time; more would not be faster with one disk and two cores.
const READERS: usize = 4;

/// Limits of a piece, which is read and written into the ledger together: small, so that its first file does not wait for long. A file that
/// is larger is a piece by itself.
const READ_FILES: usize = 64;
const READ_BYTES: u64 = 16 << 20;

impl Scan {
    /// Waits until a piece has been read; for ever, if none is being read.
    ///
    /// # Errors
    /// When the ledger is closed.
    pub async fn read(&mut self) -> Result<(), ScanError> {
        match self.reading.join_next().await {
            Some(outcome) => self.absorb(outcome.unwrap_or(Err(LedgerError::Closed))?),
            None => std::future::pending().await,
        }
        self.ended();
        Ok(())
    }

    /// Waits until the ledger admits jobs again, if files were turned away; for ever, if none were. The next full scan meets these files.
    pub fn admitted(&self) -> impl Future<Output = ()> + use<> {
        let ledger = self.turned_away.then(|| self.around.ledger.clone());
        async move {
            match ledger {
                Some(ledger) => ledger.admitted().await,
                None => std::future::pending().await,
            }
        }
    }

    /// Reads files and takes them in, a few pieces at a time; waits while too many are being read. If the ledger admits no more jobs, the
    /// files stay where they are, and the scan goes on, because it also has to follow moved files.
    pub(super) async fn take_in(&mut self, ready: Vec<Found>) -> Result<(), ScanError> {
        let mut ready = ready.into_iter().peekable();
        while ready.peek().is_some() {
            if self.around.ledger.admission().borrow().is_err() {
                self.turned_away = true;
                return Ok(());
            }
            let mut bytes = 0;
            let mut piece = Vec::new();
            while let Some(found) = ready.next_if(|found| {
                let fits = bytes + found.stamp.identity.size <= READ_BYTES;
                piece.is_empty() || (piece.len() < READ_FILES && fits)
            }) {
                bytes += found.stamp.identity.size;
                self.in_flight.insert(found.path.clone(), found.stamp.identity.size);
                piece.push(found);
            }
            while self.reading.len() >= READERS {
                self.read().await?;
            }
            let (to, ledger) = (self.around.destination.clone(), self.around.ledger.clone());
            let (stop, absences) = (self.around.stop.clone(), self.absences.clone());
            let read = read_piece(piece, to, self.is_network, absences, ledger, stop);
            self.reading.spawn(read.in_current_span());
        }
        Ok(())
    }

    /// Whether a file of this size is still to be taken in, which may be a copy of a file that is absent since: it has not stood still yet,
    /// was turned away, or is being read.
    pub(super) fn awaits_size(&self, size: u64) -> bool {
        self.turned_away || self.settling.has_size(size) || self.in_flight.values().any(|of| *of == size)
    }

    fn absorb(&mut self, read: Read) {
        let source = &self.around.destination.source;
        for found in &read.files {
            self.in_flight.remove(&found.path);
        }
        for found in read.again {
            self.settling.postpone(&found.path, found.stamp, now(), found.seen);
        }
        for found in read.short {
            debug!(source, path = %found.path.display(), "a WAV file is shorter than its header says; the rest is waited for");
            self.settling.wait_longer(&found.path, found.stamp, now(), found.seen);
        }
        for (found, error) in read.unreadable {
            self.settling.postpone(&found.path, found.stamp, now(), found.seen);
            self.around.metrics.source_unreadable.with_label_values(&[source]).inc();
            if self.complaints.is_first(key_of(&found)) {
                warn!(source, path = %found.path.display(), %error, "a recording waits because it cannot be read");
            }
        }
        if read.unleased && !self.said_no_lease {
            self.said_no_lease = true;
            info!(
                source,
                "the kernel does not say whether files are open for writing (they are another user's and CAP_LEASE is missing, or the filesystem has no leases); settle alone decides"
            );
        }
        for (reason, path) in read.kept {
            self.kept.add(reason, &path);
        }
        if read.accepted > 0 {
            self.around.metrics.source_accepted.with_label_values(&[source]).inc_by(read.accepted);
            info!(source, recordings = read.accepted, "taken in");
        }
    }
}
