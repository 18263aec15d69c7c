//! Finds out, from the recognizer's list of tasks, the fate of an attempt whose answer was lost.

use std::time::Duration;

use jiff::Timestamp;
use tracing::{info, warn};

use super::{PieceTask, Tools};
use crate::job::PieceState;
use crate::job::ledger::{LedgerError, pieces};
use crate::job::piece_machine::{PieceFact, Resolution};
use crate::recognize::Lost;

/// The daemon first asks the list 5 s after it gave the attempt up, and again 5 s later. Only within this time after giving up is an event
/// published that the list does not answer, so that there is one such event.
const FIRST_LOOK: Duration = Duration::from_secs(10);
const LIST_AGAIN: Duration = Duration::from_secs(5);

/// Carries out `Duty::Resolve`.
///
/// # Errors
/// When the ledger is closed or damaged.
pub async fn resolve(task: PieceTask, tools: Tools) -> Result<(), LedgerError> {
    let PieceState::Resolving { until, .. } = &task.piece.state else { return Ok(()) };
    let Some(recognizer) = tools.recognizer(&task).await? else { return Ok(()) };
    let Some((attempt, marker)) =
        task.piece.last_attempt().and_then(|attempt| Some((attempt, attempt.marker.as_deref()?)))
    else {
        return tools.advance_piece(&task, PieceFact::Resolved(Resolution::Unknown), 0).await;
    };
    let begun = Timestamp::now();
    let known = tools.ledger.read(pieces::known_tasks).await?;
    let lost = Lost { model: &task.piece.model, marker, since: attempt.began, until: *until, known: &known };
    match tools.stop.run_until_cancelled(recognizer.resolve(lost)).await {
        None => Ok(()),
        Some(Ok(resolution)) => {
            info!(marker, ?resolution, "the recognizer was asked for the fate of a lost request");
            tools.advance_piece(&task, PieceFact::Resolved(resolution), 0).await
        }
        Some(Err(error)) => {
            warn!(marker, %error, "the recognizer cannot tell the fate of a lost request now; asking again");
            let waited = begun.duration_since(until.unwrap_or(attempt.began)).unsigned_abs();
            if waited < FIRST_LOOK {
                let fact = PieceFact::Hindered { fault: error.fault, retry_in: LIST_AGAIN };
                tools.advance_piece(&task, fact, 0).await?;
            }
            tools.advance_piece(&task, PieceFact::Resolved(Resolution::Undecided), 0).await
        }
    }
}
