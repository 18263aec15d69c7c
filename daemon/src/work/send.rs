//! Sends a piece to its recognizer: upload (if the recognizer fetches the audio), intent, request, partials, answer.

use std::time::{Duration, Instant};

use hark_sdk::event::{Body, Engine, TranscriptPartial};
use tokio::task::JoinHandle;
use tracing::{info, trace, warn};
use uuid::Uuid;

use super::objects::UploadGuard;
use super::revisions::Revision;
use super::tasks::TaskSlot;
use super::{PieceTask, Tools, failure};
use crate::config::{Outputs, Route, Secret};
use crate::job::audio::Unopened;
use crate::job::ledger::LedgerError;
use crate::job::piece_machine::PieceFact;
use crate::job::{Delivery, Halves, Origin, Piece, PieceFormat, PieceState, Plan};
use crate::recognize::{Audio, Content, Echo, Error, Hints, Listener, Recognizer, Request, Sent, Uploaded};

/// How long after the recognizer took a piece the ledger is told so: most answers are complete by then, and one transaction writes both.
const TAKEN_AFTER: Duration = Duration::from_millis(300);

/// A piece whose permit comes this soon is not read again: its file is where it was when the lane read the piece, or is found missing.
const AT_ONCE: Duration = Duration::from_millis(200);

/// Carries out `Duty::Send`.
///
/// # Errors
/// When the ledger is closed or damaged.
pub async fn send(task: PieceTask, tools: Tools) -> Result<(), LedgerError> {
    let begun = Instant::now();
    if task.is_queued() && task.piece.halves.as_ref().is_some_and(Halves::have_failed) {
        return tools.keep(&task).await;
    }
    let Some((route, plan)) = tools.planned_route(&task).await? else { return Ok(()) };
    let Some(recognizer) = tools.recognizer(&task).await? else { return Ok(()) };
    if !tools.is_within_budget(&task).await? {
        return Ok(());
    }
    let hints = match tools.hints(&task.job, &route, &plan) {
        Ok(hints) => hints,
        Err(fault) => return tools.fail_for_good(&task, fault).await,
    };
    let place = if recognizer.profile().limits.tasks.is_some() {
        // The service's account has room for a limited number of tasks. The place is given back when the task has ended.
        tokio::select! {
            place = tools.tasks.place(task.id()) => Some(place),
            () = tools.outdated(&task, &recognizer) => return Ok(()),
            () = tools.stop.cancelled() => return Ok(()),
        }
    } else {
        None
    };
    let task = match plan.delivery {
        Delivery::Url => task,
        // After a takeover the audio of a URL or an object is not on this machine: the former owner had fetched it.
        Delivery::Inline | Delivery::Upload => match tools.with_bytes(task.job.clone(), Some(&task)).await? {
            Some(job) => PieceTask { job, ..task },
            None => return Ok(()),
        },
    };
    if task.piece.halves.as_ref().is_some_and(|halves| halves.left.is_none()) {
        return tools.halve(&task).await;
    }
    let upload = match plan.delivery {
        Delivery::Inline | Delivery::Url => None,
        Delivery::Upload => match upload(&task, &plan, &*recognizer, &tools).await? {
            Some(upload) => Some(upload),
            None => return Ok(()),
        },
    };
    let permit = tokio::select! {
        permit = recognizer.permit(tools.settings.priorities.of(&task.job.source)) => permit,
        () = tools.outdated(&task, &recognizer) => return Ok(()),
        () = tools.stop.cancelled() => return Ok(()),
    };
    if upload.as_ref().is_some_and(|upload| upload.made.elapsed() > upload.fresh_for) {
        info!("the upload is too old to be submitted; it is made again");
        return Ok(());
    }
    let task = match begun.elapsed() {
        waited if waited < AT_ONCE => task,
        _ => match tools.still_queued(&task).await? {
            Some(task) => task,
            None => return Ok(()),
        },
    };
    let job = &task.job;
    let audio = match (&upload, &job.origin) {
        (Some(upload), _) => Audio::Url(upload.url.reveal()),
        (None, Origin::Url { url }) => Audio::Url(url),
        (None, _) if let Some(format) = made_here(&task, &plan, &*recognizer) => {
            let part = tools.part(job, task.piece.asked_for(), format).await;
            match part.and_then(|part| Content::of_piece(part).map_err(Unopened::NotNow)) {
                Ok(content) => Audio::Inline { content, format: format.as_str() },
                Err(unopened) => return tools.not_opened(job, Some(&task), unopened).await,
            }
        }
        (None, _) => match tools.content(job).await {
            Ok(content) => {
                Audio::Inline { content, format: job.recording.format.as_deref().unwrap_or_default() }
            }
            Err(unopened) => return tools.not_opened(job, Some(&task), unopened).await,
        },
    };
    let marker = upload.as_ref().map(|upload| upload.marker.clone());
    let Some((intent, owned)) = tools.intend(&task, marker.clone(), &permit, &recognizer).await? else {
        return Ok(());
    };
    let outputs = recognizer.profile().limits.outputs;
    let request = request(&task, &route, &plan, outputs, &hints, audio, marker.as_deref());
    let request = Request { clearance: Some(owned.clone()), ..request };
    let channels = job.recording.channels.unwrap_or(1);
    let selects = recognizer.profile().limits.selects_channels && plan.split.is_none();
    if selects && channels as usize > request.channels.len() {
        warn!(channels, recognized = ?request.channels, "not all channels are recognized; set channels = \"split\" on the route if the others have speech");
    }
    let mut progress = Progress::new(&intent, &tools, Echo::of(&hints.words()));
    let outcome = recognizer.send(permit, request, &mut progress).await;
    if let Some(is_ours) = owned.refusal() {
        info!("the request was cut off before its end: another daemon may own the job by now");
        return tools.not_cleared(&intent, is_ours).await;
    }
    tools.sent(&intent, outcome, progress, place).await
}

/// What the piece is encoded as, if it is not the recording as it is.
fn made_here(task: &PieceTask, plan: &Plan, recognizer: &dyn Recognizer) -> Option<PieceFormat> {
    let of_halves = || recognizer.profile().limits.pieces.map(|pieces| pieces.format);
    plan.cut.map(|cut| cut.format).or_else(|| task.piece.halves.as_ref().and_then(|_| of_halves()))
}

fn request<'a>(
    task: &'a PieceTask,
    route: &'a Route,
    plan: &'a Plan,
    outputs: Outputs,
    hints: &'a Hints,
    audio: Audio<'a>,
    marker: Option<&'a str>,
) -> Request<'a> {
    let PieceTask { job, piece } = task;
    Request {
        model: &plan.model,
        audio,
        format: job.recording.format.as_deref(),
        channels: &piece.span.channels,
        hints,
        itn: route.itn,
        words: route.words,
        // Each piece would count its own speakers from 0; a model that does not tell them may refuse to be asked.
        speakers: if plan.cut.is_some() || !outputs.speakers { 0 } else { route.speakers },
        partials: route.partials,
        duration_ms: piece.asked_for().sent_ms().or(job.recording.duration_ms),
        marker,
        clearance: None,
    }
}

/// A recording at the service's own storage, or in the operator's bucket.
struct Upload {
    url: Secret,
    /// Kept in the bucket until the request is in the ledger.
    _object: Option<UploadGuard>,
    /// The object's unique name.
    marker: String,
    made: Instant,
    fresh_for: Duration,
}

/// Uploads the recording of a piece. `None`: nothing is to be sent now; the ledger has the reason, or the daemon is stopping.
async fn upload(
    task: &PieceTask,
    plan: &Plan,
    recognizer: &dyn Recognizer,
    tools: &Tools,
) -> Result<Option<Upload>, LedgerError> {
    // Asked before the upload, which may take long.
    if !tools.is_ours(task).await? {
        return Ok(None);
    }
    let Some(task) = tools.still_queued(task).await? else { return Ok(None) };
    let job = &task.job;
    // Unique for every attempt, including attempts that a kill cut short: the name identifies this attempt's task in the list, and the
    // storage refuses a name that it already has.
    let extension = job.recording.format.as_deref().unwrap_or("bin");
    let marker = format!("{}-{}.{extension}", job.id, Uuid::now_v7().simple());
    let content = match tools.content(job).await {
        Ok(content) => content,
        Err(unopened) => {
            tools.not_opened(job, Some(&task), unopened).await?;
            return Ok(None);
        }
    };
    let object = match recognizer.object(&marker) {
        Some(object) => Some(tools.make_object(object, job.id).await?),
        None => None,
    };
    match tools.stop.run_until_cancelled(recognizer.upload(&plan.model, content, &marker)).await {
        // An upload costs nothing, and the next start makes a new one.
        None => Ok(None),
        Some(Ok(Uploaded { url, fresh_for })) => {
            Ok(Some(Upload { url, _object: object, marker, made: Instant::now(), fresh_for }))
        }
        Some(Err(error)) => {
            warn!(attempt = task.piece.failures + 1, %error, "the upload failed");
            tools.advance_piece(&task, PieceFact::Failed(failure(error, &task.piece)), 0).await?;
            Ok(None)
        }
    }
}

impl Tools {
    /// Writes the outcome of a request to the ledger.
    async fn sent(
        &self,
        task: &PieceTask,
        outcome: Result<Sent, Error>,
        mut progress: Progress,
        place: Option<TaskSlot<'_>>,
    ) -> Result<(), LedgerError> {
        let revision = progress.revision.last();
        // The complete answer makes the report that the answer began unnecessary.
        if let Some(taken) = progress.taken.take() {
            taken.abort();
            // The spawned task is cancelled before its write, or has finished it, so it does not write to the ledger at the same time as this
            // function.
            let _ = taken.await;
        }
        match outcome {
            Ok(Sent::Heard(transcript)) => {
                self.billed(&task.job, &task.piece, transcript.billed);
                info!(billed_seconds = transcript.billed.seconds, "recognized");
                self.heard(task, transcript, revision).await
            }
            Ok(Sent::Accepted { handle }) => {
                info!(task = handle, "submitted");
                // The place is kept first: once the ledger has the task, the task may be polled, and end, at any time.
                if let Some(place) = place {
                    place.keep();
                }
                self.advance_piece(task, PieceFact::Taken { handle: Some(handle.clone()) }, 0).await?;
                // If another daemon has taken the job over meanwhile, that daemon follows the task, and this one does not learn of its end.
                let found = self.ledger.find_piece(task.id()).await?;
                let is_followed = |piece: &Piece| matches!(piece.state, PieceState::Awaiting { .. });
                if !found.as_ref().is_some_and(|(_, piece)| is_followed(piece)) {
                    self.tasks.ended(task.id());
                }
                if found.is_some_and(|(job, _)| job.canceled) {
                    self.stop_task(task, &handle).await;
                }
                Ok(())
            }
            Err(error) => {
                warn!(attempt = task.piece.failures + 1, %error, "the request failed");
                self.billed(&task.job, &task.piece, *error.billed);
                let failed = PieceFact::Failed(failure(error, &task.piece));
                self.advance_piece(task, failed, revision).await
            }
        }
    }
}

impl Tools {
    /// Stops a task whose job was canceled while it was submitted.
    async fn stop_task(&self, task: &PieceTask, handle: &str) {
        let recognizers = &self.settings.recognizers;
        let Some(recognizer) = recognizers.get(&Engine::new(&task.piece.recognizer)) else { return };
        match recognizer.stop(handle).await {
            Ok(is_stopped) => info!(task = handle, is_stopped, "the job of a submitted task was canceled"),
            Err(error) => {
                warn!(task = handle, %error, "the task of a canceled job cannot be stopped; it may be billed")
            }
        }
    }
}

/// Reports the progress of an answer: that the recognizer took the piece, and each partial.
struct Progress {
    task: PieceTask,
    tools: Tools,
    revision: Revision,
    echo: Echo,
    taken: Option<JoinHandle<()>>,
}

impl Progress {
    fn new(task: &PieceTask, tools: &Tools, echo: Echo) -> Self {
        let revision = tools.revisions.of(task.job.id, task.job.revision);
        Progress { task: task.clone(), tools: tools.clone(), revision, echo, taken: None }
    }
}

impl Listener for Progress {
    fn on_taken(&mut self) {
        let (tools, task) = (self.tools.clone(), self.task.id());
        // In a task of its own, so that the streamed text does not wait for the disk.
        self.taken.get_or_insert_with(|| {
            tokio::spawn(async move {
                tokio::time::sleep(TAKEN_AFTER).await;
                let fact = PieceFact::Taken { handle: None };
                if let Err(error) = tools.ledger.advance_piece(task, fact, 0, &tools.settings.policy).await {
                    warn!(%error, "could not write to the ledger that the recognizer has the piece");
                }
            })
        });
    }

    fn on_text(&mut self, text: &str) {
        let (job, piece) = (&self.task.job, &self.task.piece);
        let channel = piece.span.channels.first().copied().unwrap_or(0);
        let revision = self.revision.next();
        trace!(job = %job.id, revision, bytes = text.len(), "the text grows");
        let whole = piece.halves.as_ref().map_or_else(|| text.to_owned(), |halves| halves.text_with(text));
        let partial = Body::TranscriptPartial(TranscriptPartial {
            revision,
            channel,
            role: job.plan.as_ref().and_then(|plan| plan.role(channel)),
            piece: self.task.number_in_events(),
            begin_ms: piece.span.begin_ms,
            echo: self.echo.may_be(&whole),
            text: whole,
        });
        self.tools.partials.offer(self.task.id(), job.event(None, partial));
    }
}
