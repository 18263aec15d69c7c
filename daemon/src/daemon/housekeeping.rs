//! Keeps the state directory within its bounds.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::DaemonError;
use crate::config::Config;
use crate::job::ledger::{Ledger, LedgerError, Walk, checkpoint, retention};
use crate::job::spool::{self, Sweep};
use crate::os;
use crate::pipeline::Pipeline;

/// How often the size of the state directory is measured and the ledger's log is emptied. What a message adds is counted at once; besides,
/// sources can exceed the limit by the rows that they write in this time.
const HOUSEKEEPING: Duration = Duration::from_secs(5);

/// The same, while sources wait for room: they resume within 5 s of room.
const WHILE_FULL: Duration = Duration::from_secs(2);

/// The audio of failed jobs, and the events of ended ones, leave this part of `state.max_size` free.
const ROOM: u64 = 10;

/// The spool is swept once in this many rounds: every minute.
const SWEEP: u64 = 12;

/// Deletes old jobs from the ledger, empties the ledger's log so that erased texts do not stay in it, and denies new recordings while the state
/// directory has reached its limit or its disk is nearly full. Releases plugins of earlier configs whose jobs have ended.
pub(super) async fn housekeeping(
    ledger: Ledger,
    mut config: watch::Receiver<Arc<Config>>,
    pipeline: Arc<Pipeline>,
    stop: CancellationToken,
) -> Result<(), DaemonError> {
    let mut rounds = 0_u64;
    let mut walk = Some(Walk::default());
    loop {
        let state = config.borrow_and_update().state.clone();
        let directory = state.directory.clone();
        let size =
            tokio::task::spawn_blocking(move || (retention::size(&directory), is_nearly_full(&directory)));
        let (size, is_nearly_full) = size.await.unwrap_or((0, false));
        let room_inside = ledger.read(retention::room_inside).await?;
        let left = state.max_size.saturating_sub(size.saturating_sub(room_inside));
        match is_nearly_full {
            true => ledger.keep_rest_of_disk(),
            false => ledger.admit(left),
        }
        let wanted = if is_nearly_full { u64::MAX } else { (state.max_size / ROOM).saturating_sub(left) };
        if wanted > 0 || rounds.is_multiple_of(SWEEP) {
            let kept = spool::sweep(&state.directory, &ledger, state.keep_failed, Sweep::Running).await?;
            spool::make_room(&state.directory, kept, wanted).await;
        }
        if !is_nearly_full {
            shed(&ledger, wanted, room_inside).await?;
        }
        rounds += 1;
        // `state.keep` can be longer than the clock goes back: then nothing is ever deleted.
        if let Ok(before) = os::cautious_now().checked_sub(state.keep) {
            while ledger.write(move |connection| retention::forget(connection, before)).await? > 0 {}
        }
        if let Some(from) = walk.filter(|_| !is_nearly_full) {
            walk = zero_next_gaps(&ledger, from).await?;
        }
        ledger.read(checkpoint::empty_log).await?;
        pipeline.forget_ended(&ledger).await?;
        tokio::select! {
            () = tokio::time::sleep(if ledger.left() == 0 { WHILE_FULL } else { HOUSEKEEPING }) => {}
            Ok(()) = config.changed() => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
}

/// Overwrites copies of erased texts in the next pages of the ledger; `None`: that cannot be done to its file.
async fn zero_next_gaps(ledger: &Ledger, walk: Walk) -> Result<Option<Walk>, LedgerError> {
    match ledger.zero_next_gaps(walk).await {
        Ok(walk) => Ok(Some(walk)),
        Err(error @ (LedgerError::Sqlite(_) | LedgerError::TooLarge(_))) => {
            warn!(%error, "copies of erased texts may stay in gaps of the ledger's pages");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Erases events of ended jobs, the oldest first, until so many bytes more are free inside the ledger.
async fn shed(ledger: &Ledger, wanted: u64, room_inside: u64) -> Result<(), LedgerError> {
    let mut room = room_inside;
    let mut jobs = 0;
    while room < room_inside.saturating_add(wanted) {
        let shed = ledger.write(retention::shed).await?;
        if shed == 0 {
            break;
        }
        jobs += shed;
        room = ledger.read(retention::room_inside).await?;
    }
    if jobs > 0 {
        info!(
            jobs,
            "the oldest ended jobs made room: state.max_size is near; lists show them without their texts"
        );
    }
    Ok(())
}

/// Whether the disk has less free space than the ledger's reserve. A disk whose free space cannot be read counts as not full.
fn is_nearly_full(directory: &Path) -> bool {
    let free = os::free_bytes(directory).and_then(|free| Ok(free < os::reserve_bytes(directory)?));
    free.unwrap_or(false)
}
