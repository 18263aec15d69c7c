//! Jobs in the ledger: taken in, adopted, found, forgotten.

use hark_sdk::event::{Body, Event, Warning};
use jiff::Timestamp;
use rusqlite::{Connection, params};
use uuid::Uuid;

use super::cancel::CANCELED;
use super::{Ledger, LedgerError, form, outbox, pieces, published, sql, written};
use crate::job::{Duty, Job, Origin, Piece, PieceId, Stage, job_machine};

/// Writes a new job with its `job.accepted`, which has the warnings. Part of a larger transaction of the source that took it in.
///
/// # Errors
/// When a statement fails.
pub fn insert(connection: &Connection, job: &mut Job, warnings: Vec<Warning>) -> Result<(), LedgerError> {
    let events = [job_machine::accepted(job, warnings)];
    enqueue(connection, job, &events, job.accepted_at)?;
    write_new(connection, job, 0)
}

/// Writes a job that this daemon has taken over, in its present state, with its pieces. `emissions`: those of plugins, and the
/// `annotation.speech`, that the stream has of it. `events`: all of its stored events that this daemon can read. `stream_seq`: of the newest
/// one. Earlier rows of the same job must have been deleted before.
///
/// # Errors
/// When a statement fails.
pub fn adopt(
    connection: &Connection,
    job: &Job,
    adopted: &[Piece],
    emissions: Vec<Body>,
    events: &[outbox::Stored],
    stream_seq: u64,
) -> Result<(), LedgerError> {
    write_new(connection, job, stream_seq)?;
    for stored in events.iter().filter(|stored| stored.event.job == job.id) {
        outbox::adopt(connection, stored)?;
    }
    published::keep_speech(connection, job.id, &emissions)?;
    published::new_ones(connection, job.id, emissions)?;
    let now = Timestamp::now();
    adopted.iter().try_for_each(|piece| pieces::put(connection, job, piece, &[], now))
}

fn write_new(connection: &Connection, job: &Job, stream_seq: u64) -> Result<(), LedgerError> {
    let (duty, accepted) = (job.stage.duty().map(Duty::as_str), job.accepted_at.as_millisecond());
    sql::run(
        connection,
        "INSERT INTO job (id, source, duty, due, accepted, stream_seq, about) \
         VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6)",
        params![job.id, job.source, duty, accepted, stream_seq, form::to_json(job)?],
    )
}

/// Writes a job's new state. `due`: when its duty may start, if that changes; `ended`: when its last event was written, if that was now.
///
/// # Errors
/// When the statement fails.
pub(super) fn update(
    connection: &Connection,
    job: &Job,
    due: Option<Timestamp>,
    ended: Option<Timestamp>,
) -> Result<(), LedgerError> {
    let duty = job.stage.duty().map(Duty::as_str);
    let [due, ended] = [due, ended].map(|time| time.map(Timestamp::as_millisecond));
    sql::run(
        connection,
        "UPDATE job SET duty = ?2, due = coalesce(?3, due), ended = coalesce(?4, ended), about = ?5 WHERE id = ?1",
        params![job.id, duty, due, ended, form::to_json(job)?],
    )
}

/// Deletes a job with its events; returns whether there was such a job.
///
/// # Errors
/// When a statement fails.
pub fn forget(connection: &Connection, id: Uuid) -> Result<bool, LedgerError> {
    // Its tasks are deleted as well: if the job comes back with a submit whose answer was lost, the search of the list must not skip its
    // task as known.
    pieces::remove(connection, id)?;
    published::erase(connection, id)?;
    written::forget(connection, id)?;
    outbox::erase(connection, id)?;
    sql::run(connection, "DELETE FROM intake WHERE job = ?1", [id])?;
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
    sql::all(
        connection,
        "SELECT id FROM job WHERE source = ?1 AND (ended IS NULL OR duty IS NOT NULL OR ended > ?2)",
        params![source, since.as_millisecond()],
        |row| row.get(0),
    )
}

/// The jobs of a source that came with a `Nats-Msg-Id` and ended before `time`, with nothing owed to them.
///
/// # Errors
/// When a statement fails.
pub fn with_message_id_ended_before(
    connection: &Connection,
    source: &str,
    time: Timestamp,
) -> Result<Vec<Uuid>, LedgerError> {
    sql::all(
        connection,
        "SELECT id FROM job WHERE source = ?1 AND ended <= ?2 AND duty IS NULL AND EXISTS \
         (SELECT 1 FROM intake WHERE intake.job = job.id AND key >= 'id:' AND key < 'id;')",
        params![source, time.as_millisecond()],
        |row| row.get(0),
    )
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
            due = Some(Timestamp::now());
        }
        Stage::Stored { .. } => {}
        _ => job.missing = false,
    }
    update(connection, &job, due, None)
}

/// A job by its id.
///
/// # Errors
/// When the row cannot be read; one of a newer version is [`LedgerError::Newer`].
pub fn find(connection: &Connection, id: Uuid) -> Result<Option<Job>, LedgerError> {
    let about: Option<String> =
        sql::first(connection, "SELECT about FROM job WHERE id = ?1", [id], |row| row.get(0))?;
    about.as_deref().map(|about| form::from_json("job", about)).transpose()
}

/// The open retry of a job in a source, if there is one.
///
/// # Errors
/// When the query fails.
pub fn open_retry(connection: &Connection, source: &str, of: Uuid) -> Result<Option<Uuid>, LedgerError> {
    sql::first(
        connection,
        "SELECT id FROM job WHERE source = ?1 AND ended IS NULL AND json_extract(about, '$.retry_of') = ?2",
        params![source, of.to_string()],
        |row| row.get(0),
    )
}

/// When a job's last event was written.
///
/// # Errors
/// When the query fails.
pub fn ended_at(connection: &Connection, id: Uuid) -> Result<Option<Timestamp>, LedgerError> {
    let millis: Option<Option<i64>> =
        sql::first(connection, "SELECT ended FROM job WHERE id = ?1", [id], |row| row.get(0))?;
    Ok(millis.flatten().and_then(|millis| Timestamp::from_millisecond(millis).ok()))
}

/// Puts a job's duty off, without an event: the job is as it was, only later.
///
/// # Errors
/// When the statement fails.
pub fn postpone(connection: &Connection, id: Uuid, until: Timestamp) -> Result<(), LedgerError> {
    sql::run(connection, "UPDATE job SET due = ?2 WHERE id = ?1", params![id, until.as_millisecond()])
}

/// What is owed, by duty: jobs, pieces, or both where the duty is one of both.
///
/// # Errors
/// When the query fails.
pub fn count_by_duty(connection: &Connection) -> Result<Vec<(String, i64)>, LedgerError> {
    sql::all(
        connection,
        "SELECT duty, sum(owed) FROM (SELECT duty, count(*) AS owed FROM job WHERE duty IS NOT NULL GROUP BY duty \
         UNION ALL SELECT duty, count(*) FROM piece WHERE duty IS NOT NULL GROUP BY duty) GROUP BY duty",
        [],
        |row| row.try_into(),
    )
}

/// Gives events their sequence and puts them into the outbox.
pub(super) fn enqueue(
    connection: &Connection,
    job: &mut Job,
    events: &[Body],
    now: Timestamp,
) -> Result<(), LedgerError> {
    for body in events {
        job.sequence += 1;
        let event = Event { time: now, ..job.event(Some(job.sequence), body.clone()) };
        outbox::insert(connection, &event)?;
        if let Some(outcome) = outcome(body) {
            sql::run(connection, "UPDATE job SET outcome = ?2 WHERE id = ?1", params![job.id, outcome])?;
        }
    }
    Ok(())
}

/// How a job ended, in the column `outcome`; `None`: this is not a job's last event.
fn outcome(event: &Body) -> Option<&'static str> {
    match event {
        Body::JobCompleted(_) => Some("completed"),
        Body::JobFailed(failed) if failed.error.code == CANCELED => Some("canceled"),
        Body::JobFailed(_) => Some("failed"),
        _ => None,
    }
}

impl Ledger {
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
