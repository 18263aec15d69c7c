//! What became of a submit of unknown fate.

use std::time::Duration;

use jiff::Timestamp;
use tracing::{info, warn};

use super::Surroundings;
use crate::job::ledger::{LedgerError, tasks};
use crate::job::machine::{Fact, Listing};
use crate::job::{Job, State};
use crate::recognize::{Lost, Resolution};

/// The first look comes 5 s after the submit was given up, the second 5 s later: that the list does not answer is said once.
const FIRST_LOOK: Duration = Duration::from_secs(10);
const LIST_AGAIN: Duration = Duration::from_secs(5);

/// Carries out `Duty::Reconcile`.
///
/// # Errors
/// When the ledger is closed or damaged.
pub async fn reconcile(job: Job, around: Surroundings) -> Result<(), LedgerError> {
    let State::Reconciling { plan, object, sent_at, until, .. } = &job.state else { return Ok(()) };
    let Some(recognizer) = around.recognizer(&job, plan).await? else { return Ok(()) };
    let begun = Timestamp::now();
    let known = around.ledger.read(tasks::known).await?;
    let lost = Lost { model: &plan.model, marker: object, since: *sent_at, until: *until, known: &known };
    let resolution = tokio::select! {
        resolution = recognizer.resolve(lost) => resolution,
        () = around.stop.cancelled() => return Ok(()),
    };
    match resolution {
        Ok(resolution) => {
            info!(job = %job.id, object, ?resolution, "it was asked what became of a submit");
            let listing = match resolution {
                Resolution::Found { handle } => Listing::Found { task_id: handle },
                Resolution::Absent => Listing::Absent,
                Resolution::Undecided => Listing::Undecided,
                Resolution::Unknown => Listing::CannotTell,
            };
            around.advance(&job, Fact::Listed(listing)).await
        }
        Err(error) => {
            warn!(job = %job.id, %error, "it is not told what became of a submit; asking again");
            let waited = begun.duration_since(until.unwrap_or(*sent_at)).unsigned_abs();
            if waited < FIRST_LOOK {
                around.advance(&job, Fact::Hindered { fault: error.fault, retry_in: LIST_AGAIN }).await?;
            }
            around.advance(&job, Fact::Listed(Listing::Undecided)).await
        }
    }
}
