//! One recording to filetrans: upload, intent, submit.

use std::time::{Duration, Instant};

use tracing::{info, warn};
use uuid::Uuid;

use super::failure::failure;
use super::{Surroundings, context, language};
use crate::job::ledger::LedgerError;
use crate::job::machine::Fact;
use crate::job::{Delivery, Job, Origin, Plan, State};
use crate::recognize::{Audio, Listener, Recognizer, Request, Sent};

/// An account may be held for days while a submit waits for its turn. The service keeps an upload for 48 h, and a task whose file is gone
/// looks like one of bad audio.
const FRESH_UPLOAD: Duration = Duration::from_secs(24 * 3600);

/// Carries out `Duty::Submit`.
///
/// # Errors
/// When the ledger is closed or damaged.
pub async fn submit(job: Job, around: Surroundings) -> Result<(), LedgerError> {
    let Some(route) = around.planned_route(&job).await? else { return Ok(()) };
    // The service's account has room for so many tasks; the place goes back when the task has ended.
    let place = tokio::select! {
        place = around.tasks.place() => place,
        () = around.stop.cancelled() => return Ok(()),
    };
    let Ok(place) = place else { return Ok(()) };
    // Before the upload, which may be long.
    if !around.is_ours(&job).await? {
        return Ok(());
    }
    let Some(job) = around.as_it_stands(job).await? else { return Ok(()) };
    let State::Queued { plan } = &job.state else { return Ok(()) };
    let Some(recognizer) = around.recognizer(&job, plan).await? else { return Ok(()) };
    let Some((file_url, object)) = file_url(&job, plan, &*recognizer, &around).await? else { return Ok(()) };
    let uploaded = Instant::now();
    let permit = tokio::select! {
        permit = recognizer.permit() => permit,
        () = around.stop.cancelled() => return Ok(()),
    };
    if object.is_some() && uploaded.elapsed() > FRESH_UPLOAD {
        info!(job = %job.id, "its upload is too old to be submitted; it goes up again");
        return Ok(());
    }
    if let Some(channels) = job.recording.channels.filter(|channels| *channels > 1) {
        warn!(job = %job.id, channels, "filetrans recognizes the first channel only; mix them down if the others say something else");
    }
    let request = Request {
        model: &plan.model,
        audio: Audio::Url(&file_url),
        channels: &[0],
        language: language(&job, &route),
        context: context(&job, &route),
        itn: route.itn,
        partials: false,
        duration_ms: job.recording.duration_ms,
        marker: object.as_deref(),
    };
    if around.intend(&job, object.clone(), &permit).await?.is_none() {
        return Ok(());
    }
    match recognizer.send(permit, request, &mut Unheard).await {
        Ok(Sent::Heard(transcript)) => around.advance(&job, Fact::Heard { transcript, revision: 0 }).await,
        Ok(Sent::Accepted { handle: task_id }) => {
            info!(job = %job.id, task = task_id, "submitted");
            // First: once the ledger has the task, it may be heard of, and end, at any time.
            around.tasks.keep(job.id, place);
            around.advance(&job, Fact::Taken { task_id: Some(task_id) }).await?;
            // A job that went to another daemon meanwhile has its task there, and nobody here hears of its end.
            let found = around.ledger.find(job.id).await?;
            if !found.is_some_and(|found| matches!(found.state, State::Submitted { .. })) {
                around.tasks.ended(job.id);
            }
            Ok(())
        }
        Err(error) => {
            warn!(job = %job.id, attempt = job.attempts + 1, %error, "the submit failed");
            let failure = failure(error, &job);
            around.advance(&job, Fact::Failed { failure, billed_seconds: 0, revision: 0 }).await
        }
    }
}

/// A task tells nothing while it is made.
struct Unheard;

impl Listener for Unheard {
    fn on_taken(&mut self) {}
    fn on_text(&mut self, _text: &str) {}
}

/// Where the service finds the audio, and the name of the object where it was uploaded for that. `None`: nowhere for now.
async fn file_url(
    job: &Job,
    plan: &Plan,
    recognizer: &dyn Recognizer,
    around: &Surroundings,
) -> Result<Option<(String, Option<String>)>, LedgerError> {
    if let (Delivery::Url, Origin::Url { url }) = (&plan.delivery, &job.origin) {
        return Ok(Some((url.clone(), None)));
    }
    // Unique over tries, those that a kill cut short included: a task of the list can be told to be this one's, and the storage refuses a
    // name that it has.
    let extension = job.recording.format.as_deref().unwrap_or("bin");
    let object = format!("{}-{}.{extension}", job.id, Uuid::now_v7().simple());
    let content = match around.content(job).await {
        Ok(content) => content,
        Err(unopened) => {
            around.not_opened(job, unopened).await?;
            return Ok(None);
        }
    };
    let uploaded = tokio::select! {
        uploaded = recognizer.upload(&plan.model, content, &object) => uploaded,
        // An upload costs nothing; the next start makes another.
        () = around.stop.cancelled() => return Ok(None),
    };
    match uploaded {
        Ok(url) => Ok(Some((url, Some(object)))),
        Err(error) => {
            warn!(job = %job.id, attempt = job.attempts + 1, %error, "the upload failed");
            let failure = failure(error, job).unpaid();
            around.advance(job, Fact::Failed { failure, billed_seconds: 0, revision: 0 }).await?;
            Ok(None)
        }
    }
}
