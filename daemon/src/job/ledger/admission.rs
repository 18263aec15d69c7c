//! Admission of new recordings: denied while the state directory has its maximum size or its disk is nearly full.

use tokio::sync::watch;
use tracing::{error, info};

use super::Ledger;

/// How many bytes sources may still write into the state directory; or why new recordings are denied, as text for the operator.
pub type Admission = Result<u64, &'static str>;

const AT_MAX_SIZE: Admission = Err(
    "the state directory has reached state.max_size and sources wait; raise it, or see why events do not leave",
);
const DISK_FULL: Admission =
    Err("the disk of state.directory is nearly full and sources wait; make room on it");

impl Ledger {
    /// Sets how many bytes are left until the state directory has its maximum size. At 0, new recordings are denied; accepted jobs go on to
    /// their end, which makes room.
    pub fn admit(&self, left: u64) {
        self.set_admission(|_| if left > 0 { Ok(left) } else { AT_MAX_SIZE });
    }

    /// Denies new recordings while less of the disk is free than is reserved for the ledger.
    pub fn keep_rest_of_disk(&self) {
        self.set_admission(|_| DISK_FULL);
    }

    /// Subtracts `bytes`, which a source has written, from the bytes left, until the directory is measured again. If new recordings are
    /// denied already, the first reason stays.
    pub fn spooled(&self, bytes: u64) {
        self.set_admission(|admission| match admission?.saturating_sub(bytes) {
            0 => AT_MAX_SIZE,
            left => Ok(left),
        });
    }

    /// Bytes that sources may still write, by the last measurement and the writes since.
    pub fn left(&self) -> u64 {
        self.admission.borrow().unwrap_or(0)
    }

    fn set_admission(&self, change: impl FnOnce(Admission) -> Admission) {
        let mut now = Ok(0);
        let is_new = self.admission.send_if_modified(|admission| {
            now = change(*admission);
            std::mem::replace(admission, now).err() != now.err()
        });
        match now {
            _ if !is_new => {}
            Ok(_) => info!("the state directory has room again; sources resume"),
            Err(reason) => error!("{reason}"),
        }
    }

    /// Waits until new recordings are admitted. Sources call it before each recording.
    pub async fn admitted(&self) {
        // The sender lives as long as this handle: waiting cannot fail.
        let _ = self.admission().wait_for(Result::is_ok).await;
    }

    /// A receiver that tells whether new recordings are admitted.
    pub fn admission(&self) -> watch::Receiver<Admission> {
        self.admission.subscribe()
    }
}
