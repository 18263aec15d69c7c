//! Jobs in the ledger: taken in, advanced, found by what is owed to them.

use hark_sdk::event::{Body, Event};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use tracing::trace;
use uuid::Uuid;

use super::due::at_once;
use super::{Ledger, LedgerError, files, outbox, tasks};
use crate::job::machine::{self, Fact, Policy};
use crate::job::{Duty, Job, Origin, State, audio};

/// A job after a fact, as the ledger has it.
#[derive(Debug, Clone)]
pub struct Advanced {
    /// The job now.
    pub job: Job,
    /// When its next duty may start.
    pub due: Timestamp,
    /// Whether the fact changed anything; a late or repeated one does not.
    pub changed: bool,
}

/// Writes a new job with its `job.accepted`. Part of a larger transaction of the source that took it in.
///
/// # Errors
/// When a statement fails.
pub fn insert(connection: &Connection, job: &mut Job) -> Result<(), LedgerError> {
    let events = [machine::accepted(job)];
    enqueue(connection, job, &events, job.accepted_at)?;
    connection
        .prepare_cached("INSERT INTO job (id, source, duty, due, body) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![
        job.id,
        job.source,
        job.state.duty().as_str(),
        at_once(job.accepted_at),
        to_json(job)?
    ])?;
    Ok(())
}

/// Writes a job that was another daemon's, as it stands; `stream_seq` of its last event in the stream. What was here of the same job
/// from an earlier time has to be forgotten before.
///
/// # Errors
/// When a statement fails.
pub fn adopt(connection: &Connection, job: &Job, stream_seq: u64) -> Result<(), LedgerError> {
    if let State::Submitted { task_id, submitted_at, .. } = &job.state {
        tasks::remember(connection, task_id, *submitted_at)?;
    }
    connection
        .prepare_cached(
            "INSERT INTO job (id, source, duty, due, sending, stream_seq, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            job.id,
            job.source,
            job.state.duty().as_str(),
            at_once(Timestamp::now()),
            matches!(job.state, State::Submitting { .. }),
            stream_seq,
            to_json(job)?
        ])?;
    Ok(())
}

/// Forgets a job with everything that was to leave of it; whether there was one.
///
/// # Errors
/// When a statement fails.
pub fn forget(connection: &Connection, id: Uuid) -> Result<bool, LedgerError> {
    // Should the job come back as one whose submit was not heard of, its task has to be found.
    if let Some(State::Submitted { task_id, .. }) = find(connection, id)?.map(|job| job.state) {
        tasks::forget(connection, &task_id)?;
    }
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
    let mut statement = connection.prepare_cached("SELECT id FROM job WHERE duty = ?1 AND source = ?2")?;
    let mut open = Vec::new();
    for duty in Duty::ALL.into_iter().filter(|duty| *duty != Duty::Nothing) {
        let rows = statement.query_map(params![duty.as_str(), source], |row| row.get(0))?;
        open.extend(rows.collect::<Result<Vec<Uuid>, _>>()?);
    }
    let mut statement =
        connection.prepare_cached("SELECT id FROM job WHERE ended > ?1 AND duty = ?2 AND source = ?3")?;
    let nothing = Duty::Nothing.as_str();
    let rows = statement.query_map(params![since.as_millisecond(), nothing, source], |row| row.get(0))?;
    open.extend(rows.collect::<Result<Vec<Uuid>, _>>()?);
    Ok(open)
}

/// Feeds a fact to the machine and stores what comes out. `None`: there is no such job.
///
/// # Errors
/// When a statement fails.
pub fn advance(
    connection: &Connection,
    id: Uuid,
    fact: Fact,
    policy: &Policy,
    now: Timestamp,
) -> Result<Option<Advanced>, LedgerError> {
    let Some(job) = find(connection, id)? else { return Ok(None) };
    let mut step = machine::advance(&job, fact, policy, now);
    let changed = step.job != job || !step.events.is_empty() || step.due != now;
    if changed {
        if let State::Submitted { task_id, .. } = &step.job.state
            && !matches!(job.state, State::Submitted { .. })
        {
            // One that was looked for was made long before it was found.
            let made = if let State::Reconciling { sent_at, .. } = job.state { sent_at } else { now };
            tasks::remember(connection, task_id, made)?;
        }
        let never_read =
            |body: &Body| matches!(body, Body::JobFailed(failed) if audio::is_unread(&failed.error.code));
        if step.events.iter().any(never_read)
            && let Origin::File { identity, .. } = &step.job.origin
        {
            files::forget_unread(connection, &step.job.source, identity, id)?;
            // Nor is it settled: what is there by now may be another job's already.
            step.job.origin = Origin::Nothing;
        }
        enqueue(connection, &mut step.job, &step.events, now)?;
        let ended = step.events.iter().any(|body| body.kind().is_last()).then(|| now.as_millisecond());
        connection
            .prepare_cached(
                "UPDATE job SET duty = ?2, due = ?3, ended = coalesce(?4, ended), body = ?5, sending = ?6 WHERE id = ?1",
            )?
            .execute(params![
                id,
                step.job.state.duty().as_str(),
                if step.due > now { step.due.as_millisecond() } else { at_once(now) },
                ended,
                to_json(&step.job)?,
                matches!(step.job.state, State::Submitting { .. })
            ])?;
    }
    Ok(Some(Advanced { job: step.job, due: step.due, changed }))
}

/// Follows a job's file to where it is now; its origin is where the bytes are read and settled. A job that is not kept any more, or
/// that came from no file, is left alone. One that is over, and whose file was missed when it was to be put away, is owed that again if
/// its source `puts_away`; not if the file is a copy, which nobody has heard as a file of its own.
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
    match job.state {
        // It stays known as missed: it is counted already, and its bytes have to tell that it is the same file.
        State::Settled { failed } if job.missing && puts_away && !is_copy => {
            job.state = State::Stored { failed, bad_input: false };
            due = Some(at_once(Timestamp::now()));
        }
        State::Stored { .. } => {}
        _ => job.missing = false,
    }
    connection
        .prepare_cached("UPDATE job SET duty = ?2, due = coalesce(?3, due), body = ?4 WHERE id = ?1")?
        .execute(params![id, job.state.duty().as_str(), due, to_json(&job)?])?;
    Ok(())
}

/// A job by its id.
///
/// # Errors
/// When the row cannot be read.
pub fn find(connection: &Connection, id: Uuid) -> Result<Option<Job>, LedgerError> {
    let body: Option<String> = connection
        .prepare_cached("SELECT body FROM job WHERE id = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()?;
    body.as_deref().map(from_json).transpose()
}

/// Puts a duty off, without an event: the job is as it was, only later.
///
/// # Errors
/// When the statement fails.
pub fn postpone(connection: &Connection, id: Uuid, until: Timestamp) -> Result<(), LedgerError> {
    connection
        .prepare_cached("UPDATE job SET due = ?2 WHERE id = ?1")?
        .execute(params![id, until.as_millisecond()])?;
    Ok(())
}

/// Open jobs of each duty.
///
/// # Errors
/// When the query fails.
pub fn count_by_duty(connection: &Connection) -> Result<Vec<(String, i64)>, LedgerError> {
    let mut statement =
        connection.prepare_cached("SELECT duty, count(*) FROM job WHERE duty <> 'nothing' GROUP BY duty")?;
    let counts = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    Ok(counts)
}

/// Ids of jobs that were in `Submitting` when the daemon ended.
///
/// # Errors
/// When the query fails.
pub fn interrupted(connection: &Connection) -> Result<Vec<Uuid>, LedgerError> {
    let mut statement = connection.prepare("SELECT id FROM job WHERE sending = 1")?;
    let ids = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(ids)
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
        let event = Event {
            job: job.id,
            source: job.source.clone(),
            sequence: Some(job.sequence),
            time: now,
            recording: job.recording.clone(),
            metadata: job.metadata.clone(),
            body: body.clone(),
        };
        outbox::insert(connection, &event)?;
    }
    Ok(())
}

fn to_json(job: &Job) -> Result<String, LedgerError> {
    serde_json::to_string(job)
        .map_err(|error| LedgerError::Sqlite(rusqlite::Error::ToSqlConversionFailure(error.into())))
}

fn from_json(body: &str) -> Result<Job, LedgerError> {
    serde_json::from_str(body).map_err(|error| {
        LedgerError::Sqlite(rusqlite::Error::FromSqlConversionFailure(
            0,
            rusqlite::types::Type::Text,
            error.into(),
        ))
    })
}

impl Ledger {
    /// Feeds a fact to a job, durably.
    ///
    /// # Errors
    /// When the ledger is closed or damaged.
    pub async fn advance(
        &self,
        id: Uuid,
        fact: Fact,
        policy: Policy,
    ) -> Result<Option<Advanced>, LedgerError> {
        let now = Timestamp::now();
        let advanced =
            self.write(move |connection| advance(connection, id, fact.clone(), &policy, now)).await?;
        if let Some(advanced) = &advanced
            && advanced.changed
        {
            let duty = advanced.job.state.duty();
            trace!(job = %id, ?duty, "the job goes on");
            self.wake(duty);
            self.wake(Duty::Publish);
        }
        Ok(advanced)
    }

    /// Puts a job's duty off.
    ///
    /// # Errors
    /// When the ledger is closed or damaged.
    pub async fn postpone(&self, id: Uuid, until: Timestamp) -> Result<(), LedgerError> {
        self.write(move |connection| postpone(connection, id, until)).await
    }

    /// A job by its id.
    ///
    /// # Errors
    /// When the ledger is closed or damaged.
    pub async fn find(&self, id: Uuid) -> Result<Option<Job>, LedgerError> {
        self.read(move |connection| find(connection, id)).await
    }
}
