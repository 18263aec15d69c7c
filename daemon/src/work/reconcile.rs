//! What the task list says of a submit of unknown fate.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tracing::{info, warn};

use super::{PieceTask, Tools};
use crate::job::PieceState;
use crate::job::ledger::{LedgerError, pieces};
use crate::job::piece_machine::{Listing, PieceFact};
use crate::recognize::{Error, LostSubmit, Verdict};

/// A list that answers nothing but refusals of its own for so long is none: then nobody can tell, as with a message's own URL.
const LONGEST_SILENCE: Duration = Duration::from_secs(180);

/// The first look comes 5 s after the submit was given up, the second 5 s later: that the list does not answer is said once.
const FIRST_LOOK: Duration = Duration::from_secs(10);
const LIST_AGAIN: Duration = Duration::from_secs(5);

/// Since when the list was reached and did not tell.
#[derive(Debug, Default)]
pub struct Silence(Mutex<Option<Instant>>);

impl Silence {
    /// Takes in what came of a look, and gives how long the silence has lasted. A network that is down, a bad key or a bill, and a queue
    /// that is full pass, and the list tells then. A right to read it that the account has not may never come, and nothing else may need it.
    fn after(&self, error: Option<&Error>) -> Duration {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passes = |error: &Error| match error.verdict {
            Verdict::Account { .. } => !is_right(&error.fault.code),
            Verdict::NotSent | Verdict::Throttled { .. } => true,
            _ => false,
        };
        if error.is_none_or(passes) {
            *since = None;
            return Duration::ZERO;
        }
        since.get_or_insert_with(Instant::now).elapsed()
    }
}

/// Whether the account is refused by this code for a right that it has not.
fn is_right(code: &str) -> bool {
    code.contains("AccessDenied") || code == "HttpStatus403"
}

/// Carries out `Duty::Resolve`.
///
/// # Errors
/// When the ledger is closed or damaged.
pub async fn reconcile(task: PieceTask, tools: Tools) -> Result<(), LedgerError> {
    let PieceState::Resolving { until, .. } = &task.piece.state else { return Ok(()) };
    let Some((attempt, marker)) =
        task.piece.last_attempt().and_then(|attempt| Some((attempt, attempt.marker.as_deref()?)))
    else {
        return tools.advance_piece(&task, PieceFact::Listed(Listing::CannotTell), 0).await;
    };
    let begun = Timestamp::now();
    let taken = tools.ledger.read(pieces::known_tasks).await?;
    let submit = LostSubmit {
        model: &task.piece.model,
        object: marker,
        since: attempt.began,
        until: *until,
        taken: &taken,
    };
    let listing = tokio::select! {
        listing = tools.recognizer.reconcile(submit) => listing,
        () = tools.stop.cancelled() => return Ok(()),
    };
    let silence = tools.silence.after(listing.as_ref().err());
    match listing {
        Ok(listing) => {
            info!(object = marker, ?listing, "the task list was asked about a submit of unknown fate");
            tools.advance_piece(&task, PieceFact::Listed(listing), 0).await
        }
        Err(error) => {
            let waited = begun.duration_since(until.unwrap_or(attempt.began)).unsigned_abs();
            if waited.min(silence) > LONGEST_SILENCE {
                warn!(%error, "the task list does not answer; the submit counts as one of unknown fate");
                return tools.advance_piece(&task, PieceFact::Listed(Listing::CannotTell), 0).await;
            }
            warn!(%error, "the task list does not answer; asking again");
            if waited < FIRST_LOOK {
                let fact = PieceFact::Hindered { fault: error.fault, retry_in: LIST_AGAIN };
                tools.advance_piece(&task, fact, 0).await?;
            }
            tools.advance_piece(&task, PieceFact::Listed(Listing::Undecided), 0).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recognize::verdict::Refusal;

    #[tokio::test(start_paused = true)]
    async fn only_a_list_that_was_reached_and_does_not_tell_is_given_up() {
        let silence = Silence::default();
        let broken = Error::again("NoAnswer", "");
        assert!(silence.after(Some(&broken)) < Duration::from_secs(1));
        std::thread::sleep(Duration::from_millis(20));
        assert!(silence.after(Some(&broken)) >= Duration::from_millis(20));
        assert_eq!(silence.after(Some(&Error::not_sent(""))), Duration::ZERO);
        assert!(silence.after(Some(&broken)) < Duration::from_millis(20), "it begins anew");
        let refused = |status: u16, code: &str| {
            Error::refused(&Refusal { status: Some(status), code: Some(code), ..Refusal::default() })
        };
        assert_eq!(silence.after(Some(&refused(401, "InvalidApiKey"))), Duration::ZERO);
        silence.after(Some(&refused(403, "AccessDenied")));
        std::thread::sleep(Duration::from_millis(20));
        assert!(silence.after(Some(&refused(403, "AccessDenied"))) >= Duration::from_millis(20));
        assert_eq!(silence.after(None), Duration::ZERO);
    }
}
