//! One recording through flash: intent, request, partials, answer.

use hark_sdk::event::{Body, Engine, Event, TranscriptPartial};
use jiff::Timestamp;
use tokio::task::JoinHandle;
use tracing::{Instrument, info, trace, warn};

use super::{Surroundings, context, language};
use crate::job::ledger::LedgerError;
use crate::job::machine::Fact;
use crate::job::{Delivery, Job, Origin, State};
use crate::recognize::{Audio, FlashRequest, Listener, Tries};

/// Carries out `Duty::Flash`.
///
/// # Errors
/// When the ledger is closed or damaged.
pub async fn flash(job: Job, around: Surroundings) -> Result<(), LedgerError> {
    let Some(route) = around.planned_route(&job).await? else { return Ok(()) };
    let turn = tokio::select! {
        turn = around.recognizer.turn(Engine::Flash) => turn,
        () = around.stop.cancelled() => return Ok(()),
    };
    let Some(job) = around.as_it_stands(job).await? else { return Ok(()) };
    let State::Queued { plan } = &job.state else { return Ok(()) };
    let audio = match (&plan.delivery, &job.origin) {
        (Delivery::Url, Origin::Url { url }) => Audio::Url(url),
        _ => match around.content(&job).await {
            Ok(content) => {
                Audio::Inline { content, format: job.recording.format.as_deref().unwrap_or_default() }
            }
            Err(unopened) => return around.not_opened(&job, unopened).await,
        },
    };
    let request = FlashRequest {
        model: &plan.model,
        audio,
        language: language(&job, &route),
        context: context(&job, &route),
        itn: route.itn,
        partials: route.partials,
        duration_ms: job.recording.duration_ms,
    };
    let Some(intent) = around.intend(&job, None, &turn).await? else { return Ok(()) };
    let mut progress = Progress { job: intent, around: around.clone(), taken: None };
    let outcome = around.recognizer.flash(turn, request, &mut progress).await;
    if let Some(taken) = progress.taken.take() {
        taken.await.unwrap_or(Err(LedgerError::Closed))?;
    }
    let revision = progress.job.revision;
    match outcome {
        Ok(transcript) => {
            info!(job = %job.id, billed_seconds = transcript.billed_seconds, "recognized");
            around.advance(&job, Fact::Heard { transcript, revision }).await
        }
        Err(error) => {
            warn!(job = %job.id, attempt = job.attempts + 1, %error, "the request failed");
            let billed_seconds = error.billed_seconds;
            let failure = error.into_failure(Tries::of(&job));
            around.advance(&job, Fact::Failed { failure, billed_seconds, revision }).await
        }
    }
}

/// Hears the answer grow.
struct Progress {
    job: Job,
    around: Surroundings,
    taken: Option<JoinHandle<Result<(), LedgerError>>>,
}

impl Listener for Progress {
    fn on_taken(&mut self) {
        let (around, job) = (self.around.clone(), self.job.id);
        // Beside the stream: its text need not wait for our disk.
        self.taken.get_or_insert_with(|| {
            let taken = async move {
                around.ledger.advance(job, Fact::Taken { task_id: None }, around.policy).await.map(drop)
            };
            tokio::spawn(taken.in_current_span())
        });
    }

    fn on_text(&mut self, text: &str) {
        self.job.revision += 1;
        trace!(job = %self.job.id, revision = self.job.revision, bytes = text.len(), "the text grows");
        (self.around.on_partial)(Event {
            job: self.job.id,
            source: self.job.source.clone(),
            sequence: None,
            time: Timestamp::now(),
            recording: self.job.recording.clone(),
            metadata: self.job.metadata.clone(),
            body: Body::TranscriptPartial(TranscriptPartial {
                revision: self.job.revision,
                channel: 0,
                role: None,
                begin_ms: 0,
                text: text.to_owned(),
            }),
        });
    }
}
