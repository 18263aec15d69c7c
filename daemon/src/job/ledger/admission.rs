//! The door for new recordings: closed while the state directory is as large as it may be.

use std::sync::atomic::Ordering;

use tokio::sync::watch;
use tracing::{error, info};

use super::Ledger;

impl Ledger {
    /// Says how many bytes are left until the state directory is as large as it may be. At none the door for new recordings is closed;
    /// what is inside goes on to its end, which is what makes room.
    pub fn admit(&self, left: u64) {
        self.left.store(left, Ordering::Relaxed);
        self.open_door(left > 0);
    }

    /// Takes what a source has written off what is left, until it is measured again.
    pub fn spooled(&self, bytes: u64) {
        let take = |left: u64| Some(left.saturating_sub(bytes));
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).unwrap_or(0);
        self.open_door(left > bytes);
    }

    /// Bytes that sources may still write, as far as is known.
    pub fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    fn open_door(&self, open: bool) {
        if self.admission.send_replace(open) != open {
            match open {
                true => info!("the state directory has room again; sources go on"),
                false => error!(
                    "the state directory has reached state.max_size and sources wait; raise it, or see why events do not leave"
                ),
            }
        }
    }

    /// Waits until new recordings may come in. Sources ask before each.
    pub async fn admitted(&self) {
        // The sender lives as long as this handle: waiting cannot fail.
        let _ = self.admission().wait_for(|open| *open).await;
    }

    /// Whether new recordings may come in.
    pub fn admission(&self) -> watch::Receiver<bool> {
        self.admission.subscribe()
    }
}
