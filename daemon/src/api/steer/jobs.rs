//! Jobs: lists, single ones, and what an operator does to them.

use std::sync::Arc;
use std::time::Duration;

use hark_sdk::event::Engine;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tracing::{info, warn};
use uuid::Uuid;

use super::fit::{self, ShownEvent};
use super::{Refusal, Steer};
use crate::job::ledger::cancel::CANCELED;
use crate::job::ledger::view::{self, Filter, Listed, Page};
use crate::job::{Fate, Piece, PieceId, PieceState};
use crate::recognize::Recognizer;

pub use super::retry::retry;

/// How long the services have to drop the tasks of a job. Then the job ends without them, and they may be billed.
const STOPPING: Duration = Duration::from_secs(10);

/// A request about a job.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfJob {
    pub job: Uuid,
}

/// A request to see a job.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToShow {
    pub job: Uuid,
    /// How many of its events the asker has already.
    #[serde(default)]
    pub skip: usize,
}

/// A job with its events.
#[derive(Debug, Serialize)]
pub struct Shown {
    #[serde(flatten)]
    pub job: Listed,
    /// As they were published, in order.
    pub events: Vec<ShownEvent>,
    /// How many later events do not fit into the answer; the next request skips the events that this answer has.
    #[serde(skip_serializing_if = "is_zero")]
    pub events_left_out: usize,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// The jobs that match a filter; fewer if the answer would be too large. `filter` has the keys of [`Filter::set`], each with a text or a
/// number.
///
/// # Errors
/// [`Refusal::Bad`] for a key or a value that a filter does not have.
pub async fn list(steer: Steer, filter: Map<String, Value>) -> Result<Page, Refusal> {
    let moment = steer.moment();
    let mut checked = Filter::default();
    for (key, value) in &filter {
        let value = match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        checked.set(key, &value, moment.now).map_err(|wrong| Refusal::Bad(wrong.to_string()))?;
    }
    let page = steer.ledger.read(move |connection| view::list(connection, &checked, &moment)).await?;
    Ok(fit::page(page, steer.room()))
}

/// One job with its events; what does not fit into the answer is left out.
///
/// # Errors
/// [`Refusal::Unknown`] where this daemon has no such job.
pub async fn show(steer: Steer, ToShow { job, skip }: ToShow) -> Result<Shown, Refusal> {
    let moment = steer.moment();
    let read = move |connection: &_| {
        let Some(found) = view::find(connection, job, &moment)? else { return Ok(None) };
        let events = view::events(connection, job)?.into_iter().skip(skip).map(ShownEvent::new).collect();
        Ok(Some(Shown { job: found, events, events_left_out: 0 }))
    };
    let shown = steer.ledger.read(read).await?.ok_or_else(|| unknown(job))?;
    Ok(shown.fit(steer.room()))
}

/// Cancels a job: the daemon sends no further request to a recognizer for it and asks the service to stop its tasks, and its last event is
/// `job.failed` with the code `Canceled`. Returns the job as lists have it.
///
/// # Errors
/// [`Refusal::Unknown`] where this daemon has no such job, [`Refusal::Conflict`] where it has ended.
pub async fn cancel(steer: Steer, OfJob { job: id }: OfJob) -> Result<Listed, Refusal> {
    let ended = || Refusal::Conflict(format!("job {id} has ended; only an open job can be canceled"));
    let (job, pieces) = steer.ledger.find_whole(id).await?.ok_or_else(|| unknown(id))?;
    if !job.can_be_canceled() {
        return Err(ended());
    }
    let mut waiting = pieces;
    waiting.retain(|piece| matches!(piece.state, PieceState::Awaiting { .. }));
    let stopped = steer.stop_tasks(id, &waiting).await;
    // A submit in progress is not interrupted: the task that it creates is stopped when the answer arrives.
    let recognizers = steer.clone();
    let is_submitted =
        move |piece: &Piece| piece.state == PieceState::Sending && recognizers.has_tasks(piece);
    let policy = steer.present.borrow().policy.clone();
    let canceled = steer.ledger.cancel(id, stopped, is_submitted, &policy).await?.ok_or_else(ended)?;
    info!(job = %id, source = canceled.job.source, "an operator has canceled the job");
    // The service may have created a task after the pieces were read and before the commit.
    if let Some((_, pieces)) = steer.ledger.find_whole(id).await? {
        steer.stop_tasks(id, &made_since(pieces, &waiting)).await;
    }
    // The claim records the cancelation: a daemon that takes the job over before its last event is stored must end it too.
    if canceled.job.ticket.is_some() {
        steer.claims.update(id).await?;
    }
    let moment = steer.moment();
    let listed = steer.ledger.read(move |connection| view::find(connection, id, &moment)).await?;
    listed.ok_or_else(|| unknown(id))
}

/// The pieces of a canceled job that have a task which did not exist when the tasks were stopped.
fn made_since(mut pieces: Vec<Piece>, stopped: &[Piece]) -> Vec<Piece> {
    let task = |piece: &Piece| piece.last_attempt().and_then(|attempt| attempt.handle.clone());
    let is_canceled = |piece: &Piece| {
        matches!(&piece.state, PieceState::Failed { fault } if fault.code == CANCELED)
            && piece.last_attempt().is_some_and(|last| last.fate == Fate::Taken && last.billed.is_nothing())
    };
    let was_stopped =
        |piece: &Piece| stopped.iter().any(|old| old.number == piece.number && task(old) == task(piece));
    pieces.retain(|piece| is_canceled(piece) && task(piece).is_some() && !was_stopped(piece));
    pieces
}

pub(super) fn unknown(job: Uuid) -> Refusal {
    Refusal::Unknown(format!("there is no job {job} here"))
}

impl Steer {
    /// The recognizer that the last attempt of a piece was sent to.
    fn recognizer(&self, piece: &Piece) -> Option<Arc<dyn Recognizer>> {
        let recognizers = Arc::clone(&self.present.borrow().recognizers);
        let began = piece.last_attempt().map_or(Timestamp::MAX, |attempt| attempt.began);
        recognizers.of_attempt(&Engine::new(&piece.recognizer), began).cloned()
    }

    fn has_tasks(&self, piece: &Piece) -> bool {
        let recognizer = self.recognizer(piece);
        recognizer.is_some_and(|recognizer| recognizer.profile().limits.tasks.is_some())
    }

    /// Asks the services to drop the tasks of these pieces; returns the pieces whose task is dropped and not billed.
    async fn stop_tasks(&self, job: Uuid, pieces: &[Piece]) -> Vec<PieceId> {
        let stop = |piece: &Piece| {
            let recognizer = self.recognizer(piece);
            let handle = piece.last_attempt().and_then(|attempt| attempt.handle.clone());
            let (id, task) = (PieceId { job, number: piece.number }, recognizer.zip(handle));
            async move {
                let (recognizer, handle) = task?;
                match tokio::time::timeout(STOPPING, recognizer.stop(&handle)).await {
                    Ok(Ok(is_stopped)) => is_stopped.then_some(id),
                    Ok(Err(error)) => {
                        warn!(%job, task = handle, %error, "the task of a canceled job cannot be stopped; it may be billed");
                        None
                    }
                    Err(_) => {
                        warn!(%job, task = handle, "the service does not answer whether the task of a canceled job is stopped; it may be billed");
                        None
                    }
                }
            }
        };
        futures::future::join_all(pieces.iter().map(stop)).await.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use hark_sdk::event::Blame;

    use super::*;
    use crate::job::{Attempt, Span, fault};

    #[test]
    fn a_task_that_was_made_while_the_job_was_canceled_is_stopped_too() {
        let piece = |number: u32, task: &str, code: &str| {
            let mut attempt = Attempt::open(1, Uuid::nil(), Timestamp::UNIX_EPOCH, None);
            (attempt.fate, attempt.handle) = (Fate::Taken, Some(task.to_owned()));
            let state = PieceState::Failed { fault: fault(code, Blame::Operator, "x".into()) };
            let mut piece = Piece::new(number, Span::default(), "filetrans", "qwen");
            (piece.attempts, piece.state) = (vec![attempt], state);
            piece
        };
        let before = [piece(1, "old", CANCELED)];
        let all = vec![piece(1, "old", CANCELED), piece(2, "new", CANCELED), piece(3, "ended", "NotAudio")];
        let numbers: Vec<u32> = made_since(all, &before).iter().map(|piece| piece.number).collect();
        assert_eq!(numbers, [2]);
    }
}
