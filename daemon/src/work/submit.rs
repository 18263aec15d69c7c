//! A piece to filetrans: upload, intent, submit.

use std::time::{Duration, Instant};

use hark_sdk::event::Engine;
use tracing::{info, warn};
use uuid::Uuid;

use super::{PieceTask, Tools, context, language};
use crate::job::ledger::LedgerError;
use crate::job::piece_machine::PieceFact;
use crate::job::{Delivery, Origin, PieceState, Plan};
use crate::recognize::{SubmitRequest, Tries};

/// An account may be held for days while a submit waits for its turn. The service keeps an upload for 48 h, and a task whose file is gone
/// looks like one of bad audio.
const FRESH_UPLOAD: Duration = Duration::from_secs(24 * 3600);

/// Carries out `Duty::Send` of filetrans.
///
/// # Errors
/// When the ledger is closed or damaged.
pub async fn submit(task: PieceTask, tools: Tools) -> Result<(), LedgerError> {
    let Some((route, plan)) = tools.planned_route(&task).await? else { return Ok(()) };
    // The service's account has room for so many tasks; the place goes back when the task has ended.
    let place = tokio::select! {
        place = tools.tasks.place() => place,
        () = tools.stop.cancelled() => return Ok(()),
    };
    let Ok(place) = place else { return Ok(()) };
    // Before the upload, which may be long.
    if !tools.is_ours(&task).await? {
        return Ok(());
    }
    let Some(task) = tools.as_it_stands(task).await?.filter(PieceTask::is_queued) else { return Ok(()) };
    let Some((file_url, marker)) = file_url(&task, &plan, &tools).await? else { return Ok(()) };
    let uploaded = Instant::now();
    let turn = tokio::select! {
        turn = tools.recognizer.turn(Engine::Filetrans) => turn,
        () = tools.stop.cancelled() => return Ok(()),
    };
    if marker.is_some() && uploaded.elapsed() > FRESH_UPLOAD {
        info!("the upload is too old to be submitted; it is made again");
        return Ok(());
    }
    let job = &task.job;
    if let Some(channels) = job.recording.channels.filter(|channels| *channels > 1) {
        warn!(
            channels,
            "filetrans recognizes the first channel only; mix the channels down if the others say something else"
        );
    }
    let request = SubmitRequest {
        model: &plan.model,
        file_url: &file_url,
        language: language(job, &route),
        context: context(job, &route),
        itn: route.itn,
        channels: &[0],
    };
    let Some(task) = tools.intend(&task, marker, &turn).await? else { return Ok(()) };
    match tools.recognizer.submit(turn, &request).await {
        Ok(task_id) => {
            info!(task = task_id, "submitted");
            // First: once the ledger has the task, it may be heard of, and end, at any time.
            tools.tasks.keep(task.id(), place);
            tools.advance_piece(&task, PieceFact::Taken { handle: Some(task_id) }, 0).await?;
            // A job that went to another daemon meanwhile has its task there, and its end is not heard of here.
            let found = tools.ledger.find_piece(task.id()).await?;
            if !found.is_some_and(|(_, piece)| matches!(piece.state, PieceState::Awaiting { .. })) {
                tools.tasks.ended(task.id());
            }
            Ok(())
        }
        Err(error) => {
            warn!(attempt = task.piece.failures + 1, %error, "the submit failed");
            let failure = error.into_failure(Tries::of(&task.piece));
            tools.advance_piece(&task, PieceFact::Failed(failure), 0).await
        }
    }
}

/// Where the service finds the audio, and the name of the object where it was uploaded for that. `None`: nowhere for now.
async fn file_url(
    task: &PieceTask,
    plan: &Plan,
    tools: &Tools,
) -> Result<Option<(String, Option<String>)>, LedgerError> {
    let job = &task.job;
    if let (Delivery::Url, Origin::Url { url }) = (&plan.delivery, &job.origin) {
        return Ok(Some((url.clone(), None)));
    }
    // Unique over attempts, those that a kill cut short included: a task of the list can be told to be this one's, and the storage refuses
    // a name that it has.
    let extension = job.recording.format.as_deref().unwrap_or("bin");
    let marker = format!("{}-{}.{extension}", job.id, Uuid::now_v7().simple());
    let content = match tools.content(job).await {
        Ok(content) => content,
        Err(unopened) => {
            tools.not_opened(job, Some(task), unopened).await?;
            return Ok(None);
        }
    };
    let uploaded = tokio::select! {
        uploaded = tools.recognizer.upload(&plan.model, content, &marker) => uploaded,
        // An upload costs nothing; the next start makes another.
        () = tools.stop.cancelled() => return Ok(None),
    };
    match uploaded {
        Ok(url) => Ok(Some((url, Some(marker)))),
        Err(error) => {
            warn!(attempt = task.piece.failures + 1, %error, "the upload failed");
            let failure = error.into_failure(Tries::of(&task.piece));
            tools.advance_piece(task, PieceFact::Failed(failure), 0).await?;
            Ok(None)
        }
    }
}
