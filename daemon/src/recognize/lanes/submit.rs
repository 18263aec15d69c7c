//! One recording to filetrans: upload, intent, submit; and what the task list says of a submit of unknown fate.

use std::time::Duration;

use hark_sdk::event::Engine;
use jiff::Timestamp;
use tracing::{info, warn};
use uuid::Uuid;

use super::{Surroundings, context, language};
use crate::job::ledger::LedgerError;
use crate::job::machine::{Fact, Listing};
use crate::job::{Delivery, Job, Origin, State};
use crate::recognize::{Content, LostSubmit, SubmitRequest, Tries};

/// Carries out `Duty::Submit`.
///
/// # Errors
/// When the ledger is closed or damaged.
pub async fn submit(job: Job, around: Surroundings) -> Result<(), LedgerError> {
    let State::Queued { plan } = &job.state else { return Ok(()) };
    let route = match around.route(&job) {
        Ok(route) => route.clone(),
        Err(fault) => return around.give_up(&job, fault).await,
    };
    if around.is_replanned(&job, plan, &route).await? {
        return Ok(());
    }
    // The service's account has room for so many tasks; the permit goes back when the task has ended.
    let permit = tokio::select! {
        permit = around.tasks.acquire() => permit,
        () = around.stop.cancelled() => return Ok(()),
    };
    let Ok(permit) = permit else { return Ok(()) };
    // Before the upload, which may be long.
    if !around.is_ours(&job).await? {
        return Ok(());
    }
    let Some(job) = around.as_it_stands(job).await? else { return Ok(()) };
    let State::Queued { plan } = &job.state else { return Ok(()) };
    let (file_url, object) = match (&plan.delivery, &job.origin) {
        (Delivery::Url, Origin::Url { url }) => (url.clone(), None),
        _ => {
            // Unique over tries, those that a kill cut short included: a task of the list can be told to be this one's, and the storage
            // refuses a name that it has.
            let extension = job.recording.format.as_deref().unwrap_or("bin");
            let object = format!("{}-{}.{extension}", job.id, Uuid::now_v7().simple());
            let content = match Content::of(&job, &around.state_directory) {
                Ok(content) => content,
                Err(unopened) => return around.not_opened(&job, unopened).await,
            };
            let uploaded = tokio::select! {
                uploaded = around.recognizer.upload(&plan.model, content, &object) => uploaded,
                // An upload costs nothing; the next start makes another.
                () = around.stop.cancelled() => return Ok(()),
            };
            match uploaded {
                Ok(url) => (url, Some(object)),
                Err(error) => {
                    warn!(job = %job.id, attempt = job.attempts + 1, %error, "the upload failed");
                    let failure = error.into_failure(Tries::of(&job)).unpaid();
                    return around
                        .advance(&job, Fact::Failed { failure, billed_seconds: 0, revision: 0 })
                        .await;
                }
            }
        }
    };
    let turn = tokio::select! {
        turn = around.recognizer.turn(Engine::Filetrans) => turn,
        () = around.stop.cancelled() => return Ok(()),
    };
    if let Some(channels) = job.recording.channels.filter(|channels| *channels > 1) {
        warn!(job = %job.id, channels, "filetrans recognizes the first channel only; mix them down if the others say something else");
    }
    let request = SubmitRequest {
        model: &plan.model,
        file_url: &file_url,
        language: language(&job, &route),
        context: context(&job, &route),
        itn: route.itn,
        channels: &[0],
    };
    if around.intend(&job, object, &turn).await?.is_none() {
        return Ok(());
    }
    match around.recognizer.submit(turn, &request).await {
        Ok(task_id) => {
            info!(job = %job.id, task = task_id, "submitted");
            permit.forget();
            around.advance(&job, Fact::Taken { task_id: Some(task_id) }).await
        }
        Err(error) => {
            warn!(job = %job.id, attempt = job.attempts + 1, %error, "the submit failed");
            let failure = error.into_failure(Tries::of(&job));
            around.advance(&job, Fact::Failed { failure, billed_seconds: 0, revision: 0 }).await
        }
    }
}

/// A list that does not answer for so long is none: then nobody can tell, as with a message's own URL.
const LONGEST_SEARCH: Duration = Duration::from_secs(180);

/// The first look comes 5 s after the submit was given up, the second 5 s later: that the list does not answer is said once.
const FIRST_LOOK: Duration = Duration::from_secs(10);
const LIST_AGAIN: Duration = Duration::from_secs(5);

/// Carries out `Duty::Reconcile`.
///
/// # Errors
/// When the ledger is closed or damaged.
pub async fn reconcile(job: Job, around: Surroundings) -> Result<(), LedgerError> {
    let State::Reconciling { plan, object, sent_at, until, .. } = &job.state else { return Ok(()) };
    let begun = Timestamp::now();
    let submit = LostSubmit { model: &plan.model, object, since: *sent_at, until: *until };
    let listing = tokio::select! {
        listing = around.recognizer.reconcile(submit) => listing,
        () = around.stop.cancelled() => return Ok(()),
    };
    match listing {
        Ok(listing) => {
            info!(job = %job.id, object, ?listing, "the task list was asked about a submit of unknown fate");
            if matches!(listing, Listing::Found { .. }) {
                // The permit of the submit went back with its failure; the task holds one again.
                if let Ok(permit) = around.tasks.acquire().await {
                    permit.forget();
                }
            }
            around.advance(&job, Fact::Listed(listing)).await
        }
        Err(error) => {
            let waited = begun.duration_since(until.unwrap_or(*sent_at)).unsigned_abs();
            if waited > LONGEST_SEARCH {
                warn!(job = %job.id, %error, "the task list does not answer; the submit counts as one of unknown fate");
                return around.advance(&job, Fact::Listed(Listing::CannotTell)).await;
            }
            warn!(job = %job.id, %error, "the task list does not answer; asking again");
            if waited < FIRST_LOOK {
                around.advance(&job, Fact::Hindered { fault: error.fault, retry_in: LIST_AGAIN }).await?;
            }
            around.advance(&job, Fact::Listed(Listing::Undecided)).await
        }
    }
}
