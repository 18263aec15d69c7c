//! The door for new recordings: closed while the state directory is as large as it may be, or its disk nearly full.

use std::sync::atomic::Ordering;

use tokio::sync::watch;
use tracing::{error, info};

use super::Ledger;

/// How the door stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    Open,
    /// The state directory is as large as `state.max_size` says.
    AtMaxSize,
    /// What is left of its disk is the ledger's.
    DiskFull,
}

impl Door {
    /// Why it is closed, for a person.
    pub fn reason(self) -> Result<(), &'static str> {
        match self {
            Door::Open => Ok(()),
            Door::AtMaxSize => Err(
                "the state directory has reached state.max_size and sources wait; raise it, or see why events do not leave",
            ),
            Door::DiskFull => {
                Err("the disk of state.directory is nearly full and sources wait; make room on it")
            }
        }
    }
}

impl Ledger {
    /// Says how many bytes are left until the state directory is as large as it may be. At none the door for new recordings is closed;
    /// what is inside goes on to its end, which is what makes room.
    pub fn admit(&self, left: u64) {
        self.left.store(left, Ordering::Relaxed);
        self.set_door(if left > 0 { Door::Open } else { Door::AtMaxSize });
    }

    /// Closes the door for new recordings while less of the disk is free than is kept for the ledger.
    pub fn keep_rest_of_disk(&self) {
        self.left.store(0, Ordering::Relaxed);
        self.set_door(Door::DiskFull);
    }

    /// Takes what a source has written off what is left, until it is measured again.
    pub fn spooled(&self, bytes: u64) {
        let take = |left: u64| Some(left.saturating_sub(bytes));
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).unwrap_or(0);
        // A door that is closed already has its reason.
        if left <= bytes && *self.admission.borrow() == Door::Open {
            self.set_door(Door::AtMaxSize);
        }
    }

    /// Bytes that sources may still write, as far as is known.
    pub fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    fn set_door(&self, door: Door) {
        if self.admission.send_replace(door) != door {
            match door.reason() {
                Ok(()) => info!("the state directory has room again; sources go on"),
                Err(reason) => error!("{reason}"),
            }
        }
    }

    /// Waits until new recordings may come in. Sources ask before each.
    pub async fn admitted(&self) {
        // The sender lives as long as this handle: waiting cannot fail.
        let _ = self.admission().wait_for(|door| *door == Door::Open).await;
    }

    /// Whether new recordings may come in.
    pub fn admission(&self) -> watch::Receiver<Door> {
        self.admission.subscribe()
    }
}
