//! A piece through flash: intent, request, partials, answer.

use std::time::Duration;

use hark_sdk::event::{Body, Engine, Event, TranscriptPartial};
use jiff::Timestamp;
use tokio::task::JoinHandle;
use tracing::{info, trace, warn};

use super::revisions::Revision;
use super::{PieceTask, Tools, context, language};
use crate::job::ledger::LedgerError;
use crate::job::piece_machine::PieceFact;
use crate::job::{Delivery, Origin};
use crate::recognize::{Audio, FlashRequest, Listener, Tries};

/// How long the ledger waits to hear that the recognizer has a piece: most answers are whole by then, and one transaction tells of both.
const TAKEN_AFTER: Duration = Duration::from_millis(300);

/// Carries out `Duty::Send` of flash.
///
/// # Errors
/// When the ledger is closed or damaged.
pub async fn flash(task: PieceTask, tools: Tools) -> Result<(), LedgerError> {
    let Some((route, plan)) = tools.planned_route(&task).await? else { return Ok(()) };
    let turn = tokio::select! {
        turn = tools.recognizer.turn(Engine::Flash) => turn,
        () = tools.stop.cancelled() => return Ok(()),
    };
    let Some(task) = tools.as_it_stands(task).await?.filter(PieceTask::is_queued) else { return Ok(()) };
    let job = &task.job;
    let audio = match (&plan.delivery, &job.origin) {
        (Delivery::Url, Origin::Url { url }) => Audio::Url(url),
        _ => match tools.content(job).await {
            Ok(content) => {
                Audio::Inline { content, format: job.recording.format.as_deref().unwrap_or_default() }
            }
            Err(unopened) => return tools.not_opened(job, Some(&task), unopened).await,
        },
    };
    let request = FlashRequest {
        model: &plan.model,
        audio,
        language: language(job, &route),
        context: context(job, &route),
        itn: route.itn,
        partials: route.partials,
        duration_ms: job.recording.duration_ms,
    };
    let Some(task) = tools.intend(&task, None, &turn).await? else { return Ok(()) };
    let revision = tools.revisions.of(job.id, job.revision);
    let mut progress = Progress { task: task.clone(), tools: tools.clone(), revision, taken: None };
    let outcome = tools.recognizer.flash(turn, request, &mut progress).await;
    let revision = progress.revision.last();
    // An answer that is whole says more than that it began.
    if let Some(taken) = progress.taken.take() {
        taken.abort();
        // Cancelled before it wrote, or done: either way the ledger is not written beside what follows.
        let _ = taken.await;
    }
    match outcome {
        Ok(transcript) => {
            info!(billed_seconds = transcript.billed_seconds, "recognized");
            tools.heard(&task, transcript, revision).await
        }
        Err(error) => {
            warn!(attempt = task.piece.failures + 1, %error, "the request failed");
            let failure = error.into_failure(Tries::of(&task.piece));
            tools.advance_piece(&task, PieceFact::Failed(failure), revision).await
        }
    }
}

/// Hears the answer grow.
struct Progress {
    task: PieceTask,
    tools: Tools,
    revision: Revision,
    taken: Option<JoinHandle<()>>,
}

impl Listener for Progress {
    fn on_taken(&mut self) {
        let (tools, task) = (self.tools.clone(), self.task.id());
        // Beside the stream: its text need not wait for our disk.
        self.taken.get_or_insert_with(|| {
            tokio::spawn(async move {
                tokio::time::sleep(TAKEN_AFTER).await;
                let fact = PieceFact::Taken { handle: None };
                if let Err(error) = tools.ledger.advance_piece(task, fact, 0, &tools.policy).await {
                    warn!(%error, "the ledger does not know yet that the recognizer has the piece");
                }
            })
        });
    }

    fn on_text(&mut self, text: &str) {
        let (job, piece) = (&self.task.job, &self.task.piece);
        let revision = self.revision.next();
        trace!(job = %job.id, revision, bytes = text.len(), "the text grows");
        (self.tools.on_partial)(Event {
            job: job.id,
            source: job.source.clone(),
            sequence: None,
            time: Timestamp::now(),
            recording: job.recording.clone(),
            metadata: job.metadata.clone(),
            body: Body::TranscriptPartial(TranscriptPartial {
                revision,
                channel: piece.span.channels.first().copied().unwrap_or(0),
                role: None,
                piece: self.task.number_in_events(),
                begin_ms: piece.span.begin_ms,
                text: text.to_owned(),
            }),
        });
    }
}
