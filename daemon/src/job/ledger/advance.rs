//! Facts about jobs and pieces: each is passed to its machine, and the step is stored with its events in one transaction.

use hark_sdk::event::{Body, Fault};
use jiff::Timestamp;
use rusqlite::Connection;
use tracing::trace;
use uuid::Uuid;

use super::error::LedgerError;
use super::{Ledger, Now, files, jobs, pieces, published, spend};
use crate::job::job_machine::{self, CutEnd, Fact, Pieces, Totals};
use crate::job::piece_machine::{self, PieceFact, Policy};
use crate::job::{Attempt, Duty, Failure, Job, Origin, Piece, PieceId, PieceState, Plan, Span, Stage, audio};

/// Revisions of partials are not on disk while a stream runs. After a crash the next ones start this much higher, so that no id is used
/// twice: five minutes of speech stream in fewer partials than that.
const REVISION_LEAP: u64 = 10_000;

/// A job after a fact that changed something, as the ledger has it.
#[derive(Debug, Clone)]
pub struct Advanced {
    /// The job now.
    pub job: Job,
    /// The piece now, if the fact was about a piece.
    pub piece: Option<Piece>,
}

/// Passes a fact to the job machine and stores the step. `None`: there is no such job, or a late or repeated fact changed nothing.
///
/// # Errors
/// When a statement fails.
pub fn advance(
    connection: &Connection,
    id: Uuid,
    fact: Fact,
    now: Timestamp,
) -> Result<Option<Advanced>, LedgerError> {
    let Some(job) = jobs::find(connection, id)? else { return Ok(None) };
    // The last event contains the bill, and nothing is billed after it.
    let totals = match job.stage.has_ended() {
        true => Totals::default(),
        false => pieces::totals(connection, id)?,
    };
    let fact = match fact {
        Fact::Piped { event, emitted } if job.stage == Stage::Heard => {
            Fact::Piped { event, emitted: published::new_ones(connection, id, emitted)? }
        }
        fact => fact,
    };
    let job = step(connection, &job, fact, totals, now)?;
    Ok(job.map(|job| Advanced { job, piece: None }))
}

/// Plugins emitted events about a partial of a piece. They are stored unless the piece has ended: then its segment, or the final, decides.
///
/// # Errors
/// When a statement fails.
pub fn emitted(
    connection: &Connection,
    id: PieceId,
    emitted: Vec<Body>,
    now: Timestamp,
) -> Result<Option<Advanced>, LedgerError> {
    let is_open = |piece: &Piece| {
        !matches!(piece.state, PieceState::Piping { .. } | PieceState::Heard | PieceState::Failed { .. })
    };
    if !pieces::find(connection, id)?.is_some_and(|piece| is_open(&piece)) {
        return Ok(None);
    }
    match published::new_ones(connection, id.job, emitted)? {
        none if none.is_empty() => Ok(None),
        emitted => advance(connection, id.job, Fact::Emitted { emitted }, now),
    }
}

/// Passes a fact to the piece machine, and its reports to the job machine. `revision`: of the last partial. `None`: as of [`advance`].
///
/// # Errors
/// When a statement fails.
pub fn advance_piece(
    connection: &Connection,
    id: PieceId,
    fact: PieceFact,
    revision: u64,
    policy: &Policy,
    now: Timestamp,
) -> Result<Option<Advanced>, LedgerError> {
    let Some(job) = jobs::find(connection, id.job)? else { return Ok(None) };
    let Some(piece) = pieces::find(connection, id)? else { return Ok(None) };
    let fact = match fact {
        PieceFact::Sending { reserved_micro, .. } => {
            spend::refusal(connection, &job, reserved_micro, &policy.budget, now)?.unwrap_or(fact)
        }
        PieceFact::Piped { transcript, leaves, emitted }
            if matches!(piece.state, PieceState::Piping { .. }) =>
        {
            PieceFact::Piped {
                transcript,
                leaves,
                emitted: published::new_ones(connection, id.job, emitted)?,
            }
        }
        fact => fact,
    };
    let (found, restarted) = match fact {
        PieceFact::Sending { .. } => (true, false),
        PieceFact::Restarted => (false, true),
        _ => (false, false),
    };
    let after = piece_machine::advance(&piece, fact, policy, now);
    if after.piece == piece && after.reports.is_empty() && after.due == now {
        return Ok(None);
    }
    pieces::put(connection, &job, &after.piece, &piece.attempts, after.due)?;
    spend::change(connection, &job, &after.piece, &piece.attempts, policy.daemon)?;
    let left = pieces::recognized(connection, id.job)?;
    let totals = pieces::totals(connection, id.job)?;
    let revision = if restarted { job.revision + REVISION_LEAP } else { revision };
    let fact = Fact::Piece { number: id.number, found, reports: after.reports, revision, left };
    let job = step(connection, &job, fact, totals, now)?.unwrap_or(job);
    Ok(Some(Advanced { job, piece: Some(after.piece) }))
}

/// Handles a piece whose recording is not at its path. The first time the daemon only looks for it once more, which costs the piece no try; the
/// second time the piece fails.
///
/// # Errors
/// When a statement fails.
pub fn missing(
    connection: &Connection,
    id: PieceId,
    fault: Fault,
    policy: &Policy,
    now: Timestamp,
) -> Result<Option<Advanced>, LedgerError> {
    let Some(job) = jobs::find(connection, id.job)? else { return Ok(None) };
    if job.missing {
        let failed = PieceFact::Failed(Failure::for_good(fault));
        return advance_piece(connection, id, failed, 0, policy, now);
    }
    pieces::postpone(connection, id, now + job_machine::TIME_TO_FIND)?;
    advance(connection, id.job, Fact::Missing { fault }, now)
}

/// Adds pieces that the analysis has found to a job with this plan. `end`: set once the analysis has reached the end of the recording. For a
/// piece that a former owner may have paid for, what follows is decided at once.
///
/// # Errors
/// When a statement fails.
pub fn cut(
    connection: &Connection,
    id: Uuid,
    plan: Option<&Plan>,
    spans: Vec<Span>,
    end: Option<CutEnd>,
    policy: &Policy,
    now: Timestamp,
) -> Result<Option<Advanced>, LedgerError> {
    // The job may have been planned anew while its recording was listened to for another plan.
    let job = jobs::find(connection, id)?.filter(|job| job.plan.as_ref() == plan);
    let Some(Job { stage: Stage::Cutting { pieces: before, .. }, .. }) = job else {
        return Ok(None);
    };
    let left = pieces::recognized(connection, id)?;
    let cut = advance(connection, id, Fact::Cut { spans, end: end.map(Box::new), left }, now)?;
    let Some(mut advanced) = cut else { return Ok(None) };
    if !advanced.job.paid.is_empty() {
        for number in before + 1..=advanced.job.pieces {
            let id = PieceId { job: id, number };
            if let Some(after) = advance_piece(connection, id, PieceFact::Restarted, 0, policy, now)? {
                advanced.job = after.job;
            }
        }
    }
    Ok(Some(advanced))
}

/// Makes a job be planned anew. `None`: an attempt may have cost something, or a piece was heard, and the job keeps its plan. Decided in the
/// transaction that removes the pieces: another piece of the job may begin an attempt at any time.
///
/// # Errors
/// When a statement fails.
pub fn replan(connection: &Connection, id: Uuid, now: Timestamp) -> Result<Option<Advanced>, LedgerError> {
    let Some(job) = jobs::find(connection, id)? else { return Ok(None) };
    // The placeholder for a former owner's unknown attempt is made again with the new plan.
    let costs =
        |attempt: &Attempt| attempt.fate.may_have_cost() && !(job.maybe_paid && attempt.daemon.is_nil());
    let is_kept = |piece: &Piece| {
        matches!(piece.state, PieceState::Heard | PieceState::Piping { .. })
            || piece.attempts.iter().any(costs)
    };
    match !job.paid.is_empty() || pieces::of_job(connection, id)?.iter().any(is_kept) {
        true => Ok(None),
        false => advance(connection, id, Fact::Replanned, now),
    }
}

/// Stores a step of the job machine. `None`: it changed nothing.
fn step(
    connection: &Connection,
    job: &Job,
    fact: Fact,
    totals: Totals,
    now: Timestamp,
) -> Result<Option<Job>, LedgerError> {
    let is_stored = matches!(fact, Fact::Stored);
    let mut step = job_machine::advance(job, fact, totals, now);
    if step.job == *job && step.events.is_empty() && step.due == now {
        return Ok(None);
    }
    let never_read =
        |body: &Body| matches!(body, Body::JobFailed(failed) if audio::is_unread(&failed.error.code));
    if step.events.iter().any(never_read)
        && let Origin::File { identity, .. } = &step.job.origin
    {
        files::forget_unread(connection, &step.job.source, identity, job.id)?;
        // The source must not settle this job either: the file at the path may belong to another job by now.
        step.job.origin = Origin::Nothing;
    }
    match &step.pieces {
        Pieces::Stay => {}
        Pieces::Gone => pieces::remove(connection, job.id)?,
        Pieces::Made(made) => {
            for piece in made {
                // A job that was taken over has the pieces already that its former owner sent.
                if pieces::find(connection, PieceId { job: job.id, number: piece.number })?.is_none() {
                    pieces::put(connection, job, piece, &[], now)?;
                }
            }
        }
    }
    if is_stored {
        pieces::erase_texts(connection, job.id)?;
        published::erase(connection, job.id)?;
    }
    published::keep_speech(connection, job.id, &step.events)?;
    if step.events.last().is_some_and(|last| last.kind().is_last()) {
        let before_the_last = step.events.len() - 1;
        step.events.splice(before_the_last..before_the_last, published::retractions(connection, job.id)?);
    }
    jobs::enqueue(connection, &mut step.job, &step.events, now)?;
    let has_ended = step.events.iter().any(|body| body.kind().is_last());
    jobs::update(connection, &step.job, Some(step.due), has_ended.then_some(now))?;
    Ok(Some(step.job))
}

impl Ledger {
    /// Passes a fact to a job; returns after the commit is on disk.
    ///
    /// # Errors
    /// When the ledger is closed or damaged.
    pub async fn advance(&self, id: Uuid, fact: Fact) -> Result<Option<Advanced>, LedgerError> {
        let now = Timestamp::now();
        self.step(move |connection| advance(connection, id, fact.clone(), now)).await
    }

    /// Passes a fact to a piece; returns after the commit is on disk. `revision`: of its last partial, 0 if it has none.
    ///
    /// # Errors
    /// When the ledger is closed or damaged.
    pub async fn advance_piece(
        &self,
        id: PieceId,
        fact: PieceFact,
        revision: u64,
        policy: &Policy,
    ) -> Result<Option<Advanced>, LedgerError> {
        let (now, policy) = (Timestamp::now(), policy.clone());
        self.step(move |connection| advance_piece(connection, id, fact.clone(), revision, &policy, now)).await
    }

    /// As [`Ledger::write`], for a write that may change a job: once it is on disk, the change is announced.
    ///
    /// # Errors
    /// As [`Ledger::write`].
    pub async fn step<F>(&self, write: F) -> Result<Option<Advanced>, LedgerError>
    where
        F: FnMut(&Connection) -> Result<Option<Advanced>, LedgerError> + Send + 'static,
    {
        let advanced = self.write(write).await?;
        Ok(advanced.inspect(|advanced| self.announce_step(advanced)))
    }

    /// Sends a committed change to the feed and wakes the lanes.
    pub fn announce_step(&self, advanced: &Advanced) {
        let duty = advanced.piece.as_ref().and_then(|piece| piece.state.duty());
        let duty = duty.or_else(|| advanced.job.stage.duty());
        trace!(job = %advanced.job.id, source = advanced.job.source, ?duty, "job advanced");
        self.announce(advanced.job.id, duty.map_or(Now::Waits, Now::Owes));
        // New pieces are owed a send, and events a publish.
        self.wake(Duty::Send);
        self.wake(Duty::Publish);
    }
}
