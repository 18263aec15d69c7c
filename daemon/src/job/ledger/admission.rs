//! Admission of new recordings: denied while the state directory has its maximum size or its disk is nearly full.

use std::sync::atomic::Ordering;

use tokio::sync::watch;
use tracing::{error, info};

use super::Ledger;

/// Whether new recordings are admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    Open,
    /// Denied: the state directory has reached `state.max_size`.
    AtMaxSize,
    /// Denied: the rest of its disk is reserved for the ledger.
    DiskFull,
}

impl Admission {
    /// Why new recordings are denied, as text for the operator.
    pub fn reason(self) -> Result<(), &'static str> {
        match self {
            Admission::Open => Ok(()),
            Admission::AtMaxSize => Err(
                "the state directory has reached state.max_size and sources wait; raise it, or see why events do not leave",
            ),
            Admission::DiskFull => {
                Err("the disk of state.directory is nearly full and sources wait; make room on it")
            }
        }
    }
}

impl Ledger {
    /// Sets how many bytes are left until the state directory has its maximum size. At 0, new recordings are denied; accepted jobs go on to
    /// their end, which makes room.
    pub fn admit(&self, left: u64) {
        self.left.store(left, Ordering::Relaxed);
        self.set_admission(if left > 0 { Admission::Open } else { Admission::AtMaxSize });
    }

    /// Denies new recordings while less of the disk is free than is reserved for the ledger.
    pub fn keep_rest_of_disk(&self) {
        self.left.store(0, Ordering::Relaxed);
        self.set_admission(Admission::DiskFull);
    }

    /// Subtracts `bytes`, which a source has written, from the bytes left, until the directory is measured again.
    pub fn spooled(&self, bytes: u64) {
        let take = |left: u64| Some(left.saturating_sub(bytes));
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).unwrap_or(0);
        // If new recordings are denied already, the first reason stays.
        if left <= bytes && *self.admission.borrow() == Admission::Open {
            self.set_admission(Admission::AtMaxSize);
        }
    }

    /// Bytes that sources may still write, by the last measurement and the writes since.
    pub fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    fn set_admission(&self, admission: Admission) {
        if self.admission.send_replace(admission) != admission {
            match admission.reason() {
                Ok(()) => info!("the state directory has room again; sources resume"),
                Err(reason) => error!("{reason}"),
            }
        }
    }

    /// Waits until new recordings are admitted. Sources call it before each recording.
    pub async fn admitted(&self) {
        // The sender lives as long as this handle: waiting cannot fail.
        let _ = self.admission().wait_for(|admission| *admission == Admission::Open).await;
    }

    /// A receiver that tells whether new recordings are admitted.
    pub fn admission(&self) -> watch::Receiver<Admission> {
        self.admission.subscribe()
    }
}
