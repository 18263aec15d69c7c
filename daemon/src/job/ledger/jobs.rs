//! Jobs in the ledger: taken in, advanced, found by what is owed to them.

use hark_sdk::event::{Body, Event};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use tracing::trace;
use uuid::Uuid;

use super::due::at_once;
use super::{Ledger, LedgerError, Now, files, form, outbox, pieces};
use crate::job::job_machine::{self, Fact, Pieces, Totals};
use crate::job::piece_machine::{self, PieceFact, Policy};
use crate::job::{Duty, Job, Origin, Piece, PieceId, SETTLED, Stage, audio};

/// Revisions of partials are not on disk while a stream runs. After a crash the next ones start this much higher, so that no id is used
/// twice: five minutes of speech stream in fewer partials than that.
const REVISION_LEAP: u64 = 10_000;

/// A job after a fact, as the ledger has it.
#[derive(Debug, Clone)]
pub struct Advanced {
    /// The job now.
    pub job: Job,
    /// The piece now, if the fact was about a piece.
    pub piece: Option<Piece>,
    /// Whether the fact changed anything; a late or repeated one does not.
    pub changed: bool,
}

/// Writes a new job with its `job.accepted`. Part of a larger transaction of the source that took it in.
///
/// # Errors
/// When a statement fails.
pub fn insert(connection: &Connection, job: &mut Job) -> Result<(), LedgerError> {
    let events = [job_machine::accepted(job)];
    enqueue(connection, job, &events, job.accepted_at)?;
    write_new(connection, job, 0)
}

/// Writes a job that was taken over from another daemon, in its present state, with its pieces. `stream_seq`: of its newest event in the
/// stream. Rows of the same job from an earlier time must have been deleted before.
///
/// # Errors
/// When a statement fails.
pub fn adopt(
    connection: &Connection,
    job: &Job,
    adopted: &[Piece],
    stream_seq: u64,
) -> Result<(), LedgerError> {
    write_new(connection, job, stream_seq)?;
    let now = Timestamp::now();
    adopted.iter().try_for_each(|piece| pieces::insert(connection, job.id, &job.source, piece, now))
}

fn write_new(connection: &Connection, job: &Job, stream_seq: u64) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "INSERT INTO job (id, source, stage, duty, due, accepted, stream_seq, about) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            job.id,
            job.source,
            job.stage.as_str(),
            job.stage.duty().map(Duty::as_str),
            at_once(job.accepted_at),
            job.accepted_at.as_millisecond(),
            stream_seq,
            form::to_json(job)?
        ])?;
    Ok(())
}

/// Deletes a job with its events in the outbox; returns whether there was such a job.
///
/// # Errors
/// When a statement fails.
pub fn forget(connection: &Connection, id: Uuid) -> Result<bool, LedgerError> {
    // Its tasks are deleted as well: if the job comes back with a submit whose answer was lost, the search of the list must not skip its
    // task as known.
    pieces::remove(connection, id)?;
    connection.prepare_cached("DELETE FROM outbox WHERE job = ?1")?.execute([id])?;
    connection.prepare_cached("DELETE FROM intake WHERE job = ?1")?.execute([id])?;
    Ok(connection.prepare_cached("DELETE FROM job WHERE id = ?1")?.execute([id])? > 0)
}

/// The jobs of a source to which something is owed, and those that have ended after `since`.
///
/// # Errors
/// When a statement fails.
pub fn at_work_since(
    connection: &Connection,
    source: &str,
    since: Timestamp,
) -> Result<Vec<Uuid>, LedgerError> {
    let mut statement =
        connection.prepare_cached("SELECT id FROM job WHERE source = ?1 AND (stage <> ?2 OR ended > ?3)")?;
    let rows = statement.query_map(params![source, SETTLED, since.as_millisecond()], |row| row.get(0))?;
    Ok(rows.collect::<Result<Vec<Uuid>, _>>()?)
}

/// Passes a fact to the job machine and stores the step. `None`: there is no such job.
///
/// # Errors
/// When a statement fails.
pub fn advance(
    connection: &Connection,
    id: Uuid,
    fact: Fact,
    now: Timestamp,
) -> Result<Option<Advanced>, LedgerError> {
    let Some(job) = find(connection, id)? else { return Ok(None) };
    // The last event contains the bill, and nothing is billed after it.
    let totals = match job.stage.has_ended() {
        true => Totals::default(),
        false => pieces::totals(connection, id)?,
    };
    let (job, changed) = step(connection, &job, fact, totals, now)?;
    Ok(Some(Advanced { job, piece: None, changed }))
}

/// Feeds a fact to the machine of a piece, and what comes out to the job's. `revision`: of the last partial. `None`: there is no such piece.
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
    let Some(job) = find(connection, id.job)? else { return Ok(None) };
    let Some(piece) = pieces::find(connection, id)? else { return Ok(None) };
    let (found, restarted) = match fact {
        PieceFact::Sending { .. } => (true, false),
        PieceFact::Restarted => (false, true),
        _ => (false, false),
    };
    let after = piece_machine::advance(&piece, fact, policy, now);
    if after.piece == piece && after.told.is_empty() && after.due == now {
        return Ok(Some(Advanced { job, piece: Some(piece), changed: false }));
    }
    let due = if after.due > now { after.due.as_millisecond() } else { at_once(now) };
    pieces::update(connection, id.job, &piece, &after.piece, due)?;
    let left = pieces::recognized(connection, id.job)?;
    let totals = pieces::totals(connection, id.job)?;
    let revision = if restarted { job.revision + REVISION_LEAP } else { revision };
    let fact = Fact::Piece { number: id.number, found, told: after.told, revision, left };
    let (job, _) = step(connection, &job, fact, totals, now)?;
    Ok(Some(Advanced { job, piece: Some(after.piece), changed: true }))
}

/// A piece's recording is not where it was. At first it is looked for once more, which costs the piece nothing; then the piece fails.
///
/// # Errors
/// When a statement fails.
pub fn missing(
    connection: &Connection,
    id: PieceId,
    fault: hark_sdk::event::Fault,
    policy: &Policy,
    now: Timestamp,
) -> Result<Option<Advanced>, LedgerError> {
    let Some(job) = find(connection, id.job)? else { return Ok(None) };
    if job.missing {
        let failed = PieceFact::Failed(crate::job::Failure::for_good(fault));
        return advance_piece(connection, id, failed, 0, policy, now);
    }
    pieces::postpone(connection, id, now + job_machine::TIME_TO_FIND)?;
    advance(connection, id.job, Fact::Missing { fault }, now)
}

/// Stores a step of the job machine; whether it changed anything.
fn step(
    connection: &Connection,
    job: &Job,
    fact: Fact,
    totals: Totals,
    now: Timestamp,
) -> Result<(Job, bool), LedgerError> {
    let is_stored = matches!(fact, Fact::Stored);
    let mut step = job_machine::advance(job, fact, totals, now);
    if step.job == *job && step.events.is_empty() && step.due == now {
        return Ok((step.job, false));
    }
    let never_read =
        |body: &Body| matches!(body, Body::JobFailed(failed) if audio::is_unread(&failed.error.code));
    if step.events.iter().any(never_read)
        && let Origin::File { identity, .. } = &step.job.origin
    {
        files::forget_unread(connection, &step.job.source, identity, job.id)?;
        // Nor is it settled: what is there by now may be another job's already.
        step.job.origin = Origin::Nothing;
    }
    match &step.pieces {
        Pieces::Stay => {}
        Pieces::Gone => pieces::remove(connection, job.id)?,
        Pieces::Made(made) => {
            made.iter().try_for_each(|piece| pieces::insert(connection, job.id, &job.source, piece, now))?
        }
    }
    if is_stored {
        pieces::erase_texts(connection, job.id)?;
    }
    enqueue(connection, &mut step.job, &step.events, now)?;
    let ended = step.events.iter().any(|body| body.kind().is_last()).then(|| now.as_millisecond());
    let due = if step.due > now { step.due.as_millisecond() } else { at_once(now) };
    connection
        .prepare_cached(
            "UPDATE job SET stage = ?2, duty = ?3, due = ?4, ended = coalesce(?5, ended), about = ?6 WHERE id = ?1",
        )?
        .execute(params![
            job.id,
            step.job.stage.as_str(),
            step.job.stage.duty().map(Duty::as_str),
            due,
            ended,
            form::to_json(&step.job)?
        ])?;
    Ok((step.job, true))
}

/// Sets a job's origin to the present path of its file: there the file is read and settled. A job that the ledger no longer has, or that
/// came from no file, is left alone. A settled job whose file was missing when it was to be moved or deleted has to be settled again, if
/// its source `puts_away` files and the file is not a copy: the copy's own bytes were never recognized.
///
/// # Errors
/// When a statement fails.
pub fn relocate(
    connection: &Connection,
    id: Uuid,
    origin: Origin,
    puts_away: bool,
) -> Result<(), LedgerError> {
    let Some(mut job) = find(connection, id)? else { return Ok(()) };
    let (Origin::File { identity: old, .. }, Origin::File { identity: new, .. }) = (&job.origin, &origin)
    else {
        return Ok(());
    };
    let is_copy = (old.inode, old.size) != (new.inode, new.size);
    job.origin = origin;
    let mut due = None;
    match job.stage {
        // `missing` stays set: the job is counted already, and the file's bytes have to prove that it is the same file.
        Stage::Settled { failed } if job.missing && puts_away && !is_copy => {
            job.stage = Stage::Stored { failed, bad_input: false };
            due = Some(at_once(Timestamp::now()));
        }
        Stage::Stored { .. } => {}
        _ => job.missing = false,
    }
    connection
        .prepare_cached(
            "UPDATE job SET stage = ?2, duty = ?3, due = coalesce(?4, due), about = ?5 WHERE id = ?1",
        )?
        .execute(params![
            id,
            job.stage.as_str(),
            job.stage.duty().map(Duty::as_str),
            due,
            form::to_json(&job)?
        ])?;
    Ok(())
}

/// A job by its id.
///
/// # Errors
/// When the row cannot be read; one of a newer version is [`LedgerError::Newer`].
pub fn find(connection: &Connection, id: Uuid) -> Result<Option<Job>, LedgerError> {
    let about: Option<String> = connection
        .prepare_cached("SELECT about FROM job WHERE id = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()?;
    about.as_deref().map(|about| form::from_json("job", about)).transpose()
}

/// Puts a job's duty off, without an event: the job is as it was, only later.
///
/// # Errors
/// When the statement fails.
pub fn postpone(connection: &Connection, id: Uuid, until: Timestamp) -> Result<(), LedgerError> {
    connection
        .prepare_cached("UPDATE job SET due = ?2 WHERE id = ?1")?
        .execute(params![id, until.as_millisecond()])?;
    Ok(())
}

/// What is owed, by duty: jobs, and pieces where the duty is one of pieces.
///
/// # Errors
/// When the query fails.
pub fn count_by_duty(connection: &Connection) -> Result<Vec<(String, i64)>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT duty, count(*) FROM job WHERE duty IS NOT NULL GROUP BY duty \
         UNION ALL SELECT duty, count(*) FROM piece WHERE duty IS NOT NULL GROUP BY duty",
    )?;
    let counts = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    Ok(counts)
}

/// Gives events their sequence and puts them into the outbox.
fn enqueue(
    connection: &Connection,
    job: &mut Job,
    events: &[Body],
    now: Timestamp,
) -> Result<(), LedgerError> {
    for body in events {
        job.sequence += 1;
        let event = Event { time: now, ..job.event(Some(job.sequence), body.clone()) };
        outbox::insert(connection, &event)?;
    }
    Ok(())
}

impl Ledger {
    /// Passes a fact to a job; returns after the commit is on disk.
    ///
    /// # Errors
    /// When the ledger is closed or damaged.
    pub async fn advance(&self, id: Uuid, fact: Fact) -> Result<Option<Advanced>, LedgerError> {
        let now = Timestamp::now();
        let advanced = self.write(move |connection| advance(connection, id, fact.clone(), now)).await?;
        Ok(advanced.inspect(|advanced| self.tell_of(advanced)))
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
        let write = move |connection: &Connection| {
            advance_piece(connection, id, fact.clone(), revision, &policy, now)
        };
        let advanced = self.write(write).await?;
        Ok(advanced.inspect(|advanced| self.tell_of(advanced)))
    }

    /// Sends a committed change to the feed and wakes the lanes.
    pub fn tell_of(&self, advanced: &Advanced) {
        if !advanced.changed {
            return;
        }
        let duty = advanced.piece.as_ref().and_then(|piece| piece.state.duty());
        let duty = duty.or_else(|| advanced.job.stage.duty());
        trace!(job = %advanced.job.id, source = advanced.job.source, ?duty, "job advanced");
        self.tell(advanced.job.id, duty.map_or(Now::Waits, Now::Owes));
        // New pieces are owed a send, and events a publish.
        self.wake(Duty::Send);
        self.wake(Duty::Publish);
    }

    /// Puts a job's duty off.
    ///
    /// # Errors
    /// When the ledger is closed or damaged.
    pub async fn postpone(&self, id: Uuid, until: Timestamp) -> Result<(), LedgerError> {
        self.write(move |connection| postpone(connection, id, until)).await
    }

    /// Puts a piece's duty off.
    ///
    /// # Errors
    /// When the ledger is closed or damaged.
    pub async fn postpone_piece(&self, id: PieceId, until: Timestamp) -> Result<(), LedgerError> {
        self.write(move |connection| pieces::postpone(connection, id, until)).await
    }

    /// A job by its id.
    ///
    /// # Errors
    /// When the ledger is closed or damaged.
    pub async fn find(&self, id: Uuid) -> Result<Option<Job>, LedgerError> {
        self.read(move |connection| find(connection, id)).await
    }

    /// A job with its pieces.
    ///
    /// # Errors
    /// When the ledger is closed or damaged.
    pub async fn find_whole(&self, id: Uuid) -> Result<Option<(Job, Vec<Piece>)>, LedgerError> {
        let read = move |connection: &Connection| {
            let Some(job) = find(connection, id)? else { return Ok(None) };
            Ok(Some((job, pieces::of_job(connection, id)?)))
        };
        self.read(read).await
    }

    /// A piece with its job.
    ///
    /// # Errors
    /// When the ledger is closed or damaged.
    pub async fn find_piece(&self, id: PieceId) -> Result<Option<(Job, Piece)>, LedgerError> {
        let read = move |connection: &Connection| {
            let Some(job) = find(connection, id.job)? else { return Ok(None) };
            Ok(pieces::find(connection, id)?.map(|piece| (job, piece)))
        };
        self.read(read).await
    }
}
