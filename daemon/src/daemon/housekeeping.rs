//! Keeps the state directory within its bounds.

use std::path::Path;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::DaemonError;
use crate::config;
use crate::job::ledger::{Ledger, retention};
use crate::os;

/// How often the size of the state directory is looked at. What a message brings is counted at once; beyond that, sources can overshoot
/// by the rows that they make in this time.
const HOUSEKEEPING: Duration = Duration::from_secs(5);

/// Forgets what is old enough, and closes the door while the state directory is as large as it may be, or its disk nearly full.
pub(super) async fn housekeeping(
    ledger: Ledger,
    state: config::State,
    stop: CancellationToken,
) -> Result<(), DaemonError> {
    loop {
        let directory = state.directory.clone();
        let alive = ledger.clone();
        let size = tokio::task::spawn_blocking(move || {
            alive.sign_of_life();
            (retention::size(&directory), is_nearly_full(&directory))
        });
        let (size, is_nearly_full) = size.await.unwrap_or((0, false));
        let room_inside = ledger.read(retention::room_inside).await?;
        match is_nearly_full {
            true => ledger.keep_rest_of_disk(),
            false => ledger.admit(state.max_size.saturating_sub(size.saturating_sub(room_inside))),
        }
        // Longer than time goes back is: for ever.
        if let Ok(before) = os::cautious_now().checked_sub(state.keep) {
            while ledger.write(move |connection| retention::forget(connection, before)).await? > 0 {}
        }
        tokio::select! {
            () = tokio::time::sleep(HOUSEKEEPING) => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
}

/// Whether less is free than is kept for the ledger. A disk that cannot be asked is none the fuller for it.
fn is_nearly_full(directory: &Path) -> bool {
    let free = os::free_bytes(directory).and_then(|free| Ok(free < os::reserve_bytes(directory)?));
    free.unwrap_or(false)
}
