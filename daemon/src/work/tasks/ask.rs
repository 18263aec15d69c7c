//! One poll of a task, the download of its result, and what follows from the answer.
//!
//! A poll is free, and a second recognition is not. So the daemon asks for a result until the service has deleted it, or answers that it is
//! gone.

use std::sync::Arc;
use std::time::Duration;

use hark_sdk::event::Blame;
use jiff::SignedDuration;
use tokio::sync::SemaphorePermit;
use tracing::{error, info, warn};

use super::expiry::{self, rough};
use super::follow::{Asked, Expiring, Follower, RemoteTask};
use crate::job::ledger::LedgerError;
use crate::job::piece_machine::PieceFact;
use crate::job::{Failure, Fate, Next, Transcript, fault};
use crate::recognize::{Error, Polled, Ready, Recognizer, Tries};
use crate::work::{PieceTask, Tools, failure};

impl Follower {
    /// Polls a task, fetches its result if it is ready, and reports the outcome to its piece. `query`: the permit that bounds the queries under
    /// way; it is given back before the download.
    pub(super) async fn ask(
        &self,
        task: &mut RemoteTask,
        query: Option<SemaphorePermit<'_>>,
    ) -> Result<Asked, LedgerError> {
        let Some(question) = self.question(task).await? else { return Ok(Asked::Done) };
        let polled = question.recognizer.poll(&question.task.handle).await;
        drop(query);
        match polled {
            Ok(Polled::Open) => {
                task.runs();
                Ok(Asked::Waiting)
            }
            Ok(Polled::Ready(ready)) => self.fetch(task, ready).await,
            Ok(Polled::Heard(transcript)) => question.recognized(transcript).await,
            Ok(Polled::Failed(error)) if error.fate != Fate::Unknown => question.failed(error).await,
            Ok(Polled::Failed(error)) => question.without_result(error, false).await,
            Err(error) => {
                if let Next::Held { wait, announce: true } = error.next(Tries::default()) {
                    // The event is published here, because tasks are followed even while no request is sent that would report it.
                    let fact = PieceFact::Hindered { fault: error.fault.clone(), retry_in: wait };
                    question.tools.advance_piece(&question.piece, fact, 0).await?;
                }
                question.without_result(error, false).await
            }
        }
    }

    async fn fetch(&self, task: &mut RemoteTask, ready: Ready) -> Result<Asked, LedgerError> {
        task.billed = ready.billed;
        let _download = self.downloads.acquire().await;
        // The piece may have gone while the task waited for its turn.
        let Some(question) = self.question(task).await? else { return Ok(Asked::Done) };
        let billed = ready.billed;
        match question.recognizer.fetch(ready).await {
            Ok(transcript) => question.recognized(Transcript { billed, ..transcript }).await,
            // The next poll of the task gives a fresh URL.
            Err(error) => question.without_result(error, true).await,
        }
    }

    /// `None`: the piece does not wait for this task any more, or its recognizer is no longer configured.
    async fn question<'a>(&self, task: &'a mut RemoteTask) -> Result<Option<Question<'a>>, LedgerError> {
        let tools = self.tools();
        let found = tools.ledger.find_piece(task.id).await?.filter(|(_, piece)| task.is_of(piece));
        let Some((job, piece)) = found else { return Ok(None) };
        let piece = PieceTask { job, piece };
        let recognizer = tools.recognizer(&piece).await?;
        Ok(recognizer.map(|recognizer| Question { tools, task, piece, recognizer }))
    }
}

/// A task, with the piece that waits for it.
struct Question<'a> {
    tools: Tools,
    task: &'a mut RemoteTask,
    piece: PieceTask,
    recognizer: Arc<dyn Recognizer>,
}

impl Question<'_> {
    async fn recognized(self, transcript: Transcript) -> Result<Asked, LedgerError> {
        let (tools, PieceTask { job, piece }) = (&self.tools, &self.piece);
        let billed = transcript.billed;
        info!(job = %job.id, source = job.source, task = self.task.handle, billed_seconds = billed.seconds, "recognized");
        tools.billed(job, piece, billed);
        tools.heard(&self.piece, transcript, 0).await?;
        Ok(Asked::Done)
    }

    async fn failed(self, error: Error) -> Result<Asked, LedgerError> {
        let (tools, PieceTask { job, piece }) = (&self.tools, &self.piece);
        warn!(job = %job.id, source = job.source, task = self.task.handle, %error, "the task failed");
        tools.billed(job, piece, *error.billed);
        let failed = PieceFact::Failed(failure(error, piece));
        tools.advance_piece(&self.piece, failed, 0).await?;
        Ok(Asked::Done)
    }

    /// The service gave no result: the daemon asks again, or gives the task up. `is_result`: the task has succeeded, and its result could
    /// not be fetched or read.
    async fn without_result(self, error: Error, is_result: bool) -> Result<Asked, LedgerError> {
        if self.task.is_lost(&error, is_result, self.tools.settings.poll_interval) {
            return self.lost(error, is_result).await;
        }
        let job = &self.piece.job;
        warn!(job = %job.id, source = job.source, task = self.task.handle, %error, "the result of a task did not come; asking again");
        self.warn(&error.for_event()).await?;
        Ok(Asked::Waiting)
    }

    /// Gives the task up. Whether the piece is sent, and paid, once more is decided by the operator's `ambiguous_retries`.
    async fn lost(self, error: Error, is_result: bool) -> Result<Asked, LedgerError> {
        let (tools, PieceTask { job, piece }) = (&self.tools, &self.piece);
        // The answer about a deleted task does not tell what the task cost; an earlier answer may have.
        let billed = self.task.billed.max(*error.billed);
        tools.billed(job, piece, billed);
        tools.metrics.recognize_results_lost.inc();
        error!(
            job = %job.id,
            source = job.source,
            recording = job.recording.uri,
            task = self.task.handle,
            billed_seconds = (!billed.is_nothing()).then_some(billed.seconds),
            %error,
            "the result of a task is lost; dashscope.ambiguous_retries says whether it is paid for again"
        );
        let told = error.for_event();
        let fault = match is_result {
            true => fault(
                "ResultLost",
                Blame::Service,
                format!("the task succeeded, but its result could not be read: {told}"),
            ),
            false => {
                fault("TaskUnknown", Blame::Service, format!("the service does not tell of the task: {told}"))
            }
        };
        let raw = error.raw.filter(|_| is_result).map(Vec::from);
        let next = Next::After { wait: Duration::ZERO, counts: true };
        let failed = Failure { fault, fate: Fate::Taken, next, billed, raw };
        tools.advance_piece(&self.piece, PieceFact::Failed(failed), 0).await?;
        Ok(Asked::Done)
    }

    /// Warns that the result may be lost, in the log and in the job's events, if a warning is due.
    async fn warn(self, reason: &str) -> Result<(), LedgerError> {
        let (tools, task, job) = (&self.tools, self.task, &self.piece.job);
        let age = task.age();
        let warnings = expiry::warnings(task.life, age);
        if warnings == 0 {
            return Ok(());
        }
        task.expiring.get_or_insert_with(|| Expiring::in_gauge(&tools.metrics.recognize_results_expiring));
        if warnings <= task.warned {
            return Ok(());
        }
        task.warned = warnings;
        let left = match expiry::left(task.life, age).max(SignedDuration::ZERO) {
            left if left.is_zero() => "may have deleted it".to_owned(),
            left => format!("may delete it in {}", rough(left)),
        };
        let waited = rough(age);
        error!(job = %job.id, source = job.source, waited, service = left, "the result of a task could not be fetched; once the service deletes it, the recording has to be paid again");
        let message = format!("the task's result has not come for {waited}; the service {left}: {reason}");
        let fault = fault("ResultExpiring", Blame::Service, message);
        let fact = PieceFact::Expiring { warnings, fault, retry_in: task.interval };
        tools.advance_piece(&self.piece, fact, 0).await
    }
}
