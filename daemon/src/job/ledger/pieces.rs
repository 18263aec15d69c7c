//! Pieces and their attempts in the ledger.

use hark_sdk::event::{Engine, Usage};
use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use super::{LedgerError, form, sql};
use crate::job::job_machine::{Recognized, Totals};
use crate::job::{Attempt, Duty, Job, Piece, PieceId, PieceState};

/// The service forgets a task a day after its end, and ends each within hours.
const TASKS_KEPT: SignedDuration = SignedDuration::from_hours(48);

/// All pieces of a job, those that have not ended, those that are heard.
const COUNTS: &str = "SELECT count(*), coalesce(sum(duty IS NOT NULL), 0), coalesce(sum(heard IS NOT NULL), 0) \
                      FROM piece INDEXED BY piece_counted WHERE job = ?1";
/// Failures before any request, of all pieces of a job.
const FAILURES: &str =
    "SELECT sum(json_extract(about, '$.failures')) FROM piece INDEXED BY piece_counted WHERE job = ?1";

/// Writes a piece, new or changed, and its attempts that are not in `written`. `due`: when its duty may start.
///
/// # Errors
/// When a statement fails.
pub(super) fn put(
    connection: &Connection,
    job: &Job,
    piece: &Piece,
    written: &[Attempt],
    due: Timestamp,
) -> Result<(), LedgerError> {
    sql::run(
        connection,
        "INSERT INTO piece (job, number, source, recognizer, duty, due, about, heard) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) \
             ON CONFLICT DO UPDATE SET duty = ?5, due = ?6, about = ?7, heard = ?8",
        params![
            job.id,
            piece.number,
            job.source,
            piece.recognizer,
            piece.state.duty().map(Duty::as_str),
            due.as_millisecond(),
            form::to_json(piece)?,
            piece.heard.as_ref().map(form::to_json).transpose()?
        ],
    )?;
    for attempt in piece.attempts.iter().filter(|attempt| !written.contains(attempt)) {
        put_attempt(connection, job.id, piece.number, attempt)?;
    }
    if piece.attempts.len() < written.len() {
        let last = piece.last_attempt().map_or(0, |attempt| attempt.number);
        sql::run(
            connection,
            "DELETE FROM attempt WHERE job = ?1 AND piece = ?2 AND number > ?3",
            params![job.id, piece.number, last],
        )?;
    }
    Ok(())
}

/// A piece with its attempts.
///
/// # Errors
/// When a row cannot be read; one of a newer version is [`LedgerError::Newer`].
pub fn find(connection: &Connection, id: PieceId) -> Result<Option<Piece>, LedgerError> {
    let mut statement =
        connection.prepare_cached("SELECT about, heard FROM piece WHERE job = ?1 AND number = ?2")?;
    statement
        .query_and_then(params![id.job, id.number], |row| read(connection, id.job, row))?
        .next()
        .transpose()
}

/// How many pieces a job has, how many of them are heard, and how many have failed.
///
/// # Errors
/// When the query fails.
pub fn tally(connection: &Connection, job: Uuid) -> Result<(usize, usize, usize), LedgerError> {
    let query = "SELECT count(*), coalesce(sum(json_extract(about, '$.state.name') IN ('heard', 'piping')), 0), \
                 coalesce(sum(json_extract(about, '$.state.name') = 'failed'), 0) FROM piece WHERE job = ?1";
    sql::one(connection, query, [job], |row| row.try_into())
}

/// All pieces of a job, in order, with their attempts.
///
/// # Errors
/// As of [`find`].
pub fn of_job(connection: &Connection, job: Uuid) -> Result<Vec<Piece>, LedgerError> {
    let mut statement =
        connection.prepare_cached("SELECT about, heard FROM piece WHERE job = ?1 ORDER BY number")?;
    statement.query_and_then([job], |row| read(connection, job, row))?.collect()
}

fn read(connection: &Connection, job: Uuid, row: &Row<'_>) -> Result<Piece, LedgerError> {
    let (about, heard): (String, Option<String>) = (row.get(0)?, row.get(1)?);
    let mut piece: Piece = form::from_json("piece", &about)?;
    piece.heard = heard.as_deref().map(|heard| form::from_json("piece", heard)).transpose()?;
    piece.attempts = sql::all(
        connection,
        "SELECT number, daemon, began, marker, handle, fate, seconds, input_tokens, output_tokens, cost_micro, reserved_micro, raw FROM attempt \
         WHERE job = ?1 AND piece = ?2 ORDER BY number",
        params![job, piece.number],
        attempt,
    )?;
    Ok(piece)
}

fn attempt(row: &Row<'_>) -> rusqlite::Result<Attempt> {
    Ok(Attempt {
        number: row.get(0)?,
        daemon: row.get(1)?,
        began: Timestamp::from_millisecond(row.get(2)?).unwrap_or(Timestamp::MIN),
        marker: row.get(3)?,
        handle: row.get(4)?,
        fate: row.get(5)?,
        billed: Usage { seconds: row.get(6)?, input_tokens: row.get(7)?, output_tokens: row.get(8)? },
        cost_micro: row.get(9)?,
        reserved_micro: row.get(10)?,
        raw: row.get(11)?,
    })
}

fn put_attempt(connection: &Connection, job: Uuid, piece: u32, attempt: &Attempt) -> Result<(), LedgerError> {
    sql::run(
        connection,
        "INSERT OR REPLACE INTO attempt \
             (job, piece, number, daemon, began, marker, handle, fate, seconds, input_tokens, output_tokens, cost_micro, reserved_micro, raw) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        params![
            job,
            piece,
            attempt.number,
            attempt.daemon,
            attempt.began.as_millisecond(),
            attempt.marker,
            attempt.handle,
            attempt.fate,
            attempt.billed.seconds,
            attempt.billed.input_tokens,
            attempt.billed.output_tokens,
            attempt.cost_micro,
            attempt.reserved_micro,
            attempt.raw
        ],
    )
}

/// Puts a piece's duty off, without an event.
///
/// # Errors
/// When the statement fails.
pub fn postpone(connection: &Connection, id: PieceId, until: Timestamp) -> Result<(), LedgerError> {
    sql::run(
        connection,
        "UPDATE piece SET due = ?3 WHERE job = ?1 AND number = ?2",
        params![id.job, id.number, until.as_millisecond()],
    )
}

/// Lets the pieces that wait for the budget of another day look at it now: it may have been raised.
///
/// # Errors
/// When the statement fails.
pub fn look_at_budget(connection: &Connection, now: Timestamp) -> Result<(), LedgerError> {
    connection.execute(
        "UPDATE piece SET due = ?2 WHERE duty = ?1 AND due > ?2 AND EXISTS \
         (SELECT 1 FROM job WHERE id = piece.job AND json_extract(about, '$.reported_over_budget'))",
        params![Duty::Send.as_str(), now.as_millisecond()],
    )?;
    Ok(())
}

/// Makes the pieces of held recognizers due now: the operator may have repaired what caused the refusals.
///
/// # Errors
/// When the statement fails.
pub fn ask_again(connection: &Connection, held: &[Engine], now: Timestamp) -> Result<(), LedgerError> {
    let update = "UPDATE piece SET due = ?2 WHERE duty = ?1 AND due > ?2 AND recognizer = ?3";
    let (send, now) = (Duty::Send.as_str(), now.as_millisecond());
    held.iter().try_for_each(|engine| sql::run(connection, update, params![send, now, engine.as_str()]))
}

/// The jobs with pieces that wait to be sent, and not before a later time.
///
/// # Errors
/// When the query fails.
pub fn put_off(connection: &Connection, now: Timestamp) -> Result<Vec<Uuid>, LedgerError> {
    let query = "SELECT DISTINCT job FROM piece WHERE duty = ?1 AND due > ?2";
    sql::all(connection, query, params![Duty::Send.as_str(), now.as_millisecond()], |row| row.get(0))
}

/// Removes the pieces of a job and their attempts: the job is planned anew, or forgotten.
///
/// # Errors
/// When a statement fails.
pub fn remove(connection: &Connection, job: Uuid) -> Result<(), LedgerError> {
    sql::run(connection, "DELETE FROM attempt WHERE job = ?1", [job])?;
    sql::run(connection, "DELETE FROM piece WHERE job = ?1", [job])
}

/// Erases the transcripts and raw answers of a job whose last event is acknowledged.
///
/// # Errors
/// When a statement fails.
pub fn erase_texts(connection: &Connection, job: Uuid) -> Result<(), LedgerError> {
    sql::run(connection, "UPDATE piece SET heard = NULL WHERE job = ?1 AND heard IS NOT NULL", [job])?;
    sql::run(connection, "UPDATE attempt SET raw = NULL WHERE job = ?1 AND raw IS NOT NULL", [job])
}

/// The state of all pieces of a job.
///
/// # Errors
/// When a row cannot be read.
pub fn recognized(connection: &Connection, job: Uuid) -> Result<Recognized, LedgerError> {
    let (pieces, open, heard) = sql::one(connection, COUNTS, [job], |row| row.try_into())?;
    let mut recognized = Recognized { pieces, open, heard, fault: None };
    if open == 0 && heard == 0 {
        recognized.fault = of_job(connection, job)?.into_iter().rev().find_map(|piece| match piece.state {
            PieceState::Failed { fault } => Some(fault),
            _ => None,
        });
    }
    Ok(recognized)
}

/// Sums over the attempts of a job.
///
/// # Errors
/// When a row cannot be read.
pub fn totals(connection: &Connection, job: Uuid) -> Result<Totals, LedgerError> {
    let (billed, cost_micro, most_that_may_have_cost): (Usage, u64, u32) = sql::one(
        connection,
        "SELECT coalesce(sum(seconds), 0), sum(input_tokens), sum(output_tokens), \
                    coalesce(sum(cost_micro), 0), coalesce(max(cost), 0) FROM \
             (SELECT sum(seconds) AS seconds, sum(input_tokens) AS input_tokens, \
                     sum(output_tokens) AS output_tokens, sum(cost_micro) AS cost_micro, \
                     sum(fate IN ('open', 'maybe_forwarded', 'taken', 'unknown')) AS cost \
              FROM attempt WHERE job = ?1 GROUP BY piece)",
        [job],
        |row| {
            let (seconds, input_tokens, output_tokens) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok((Usage { seconds, input_tokens, output_tokens }, row.get(3)?, row.get(4)?))
        },
    )?;
    let failures: Option<u32> = sql::one(connection, FAILURES, [job], |row| row.get(0))?;
    Ok(Totals {
        failures: failures.unwrap_or(0),
        billed,
        cost_micro,
        possible_duplicate_charge: most_that_may_have_cost > 1,
    })
}

/// Pieces whose request was under way when the daemon ended.
///
/// # Errors
/// When the query fails.
pub fn interrupted(connection: &Connection) -> Result<Vec<PieceId>, LedgerError> {
    let query = "SELECT job, number FROM piece WHERE json_extract(about, '$.state.name') = 'sending'";
    sql::all(connection, query, [], |row| Ok(PieceId { job: row.get(0)?, number: row.get(1)? }))
}

/// The recognizers of the pieces that have not ended.
///
/// # Errors
/// When the query fails.
pub fn recognizers(connection: &Connection) -> Result<Vec<String>, LedgerError> {
    let query = "SELECT DISTINCT recognizer FROM piece WHERE duty IS NOT NULL";
    sql::all(connection, query, [], |row| row.get(0))
}

/// The tasks that the service accepted for recordings of this ledger and that its list may still show, with the times of their requests. A
/// search for the task of a lost answer need not look at these.
///
/// # Errors
/// When the query fails.
pub fn known_tasks(connection: &Connection) -> Result<HashMap<String, Timestamp>, LedgerError> {
    let since = Timestamp::now().as_millisecond() - TASKS_KEPT.as_millis() as i64;
    let query = "SELECT handle, began FROM attempt WHERE handle IS NOT NULL AND began > ?1";
    let tasks: Vec<(String, i64)> = sql::all(connection, query, [since], |row| row.try_into())?;
    let time = |began| Timestamp::from_millisecond(began).unwrap_or(Timestamp::MIN);
    Ok(tasks.into_iter().map(|(handle, began)| (handle, time(began))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_at_every_step_is_read_from_the_index_alone() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("schema.sql")).unwrap();
        for query in [COUNTS, FAILURES] {
            let plan: String = connection
                .query_row(&format!("EXPLAIN QUERY PLAN {query}"), [Uuid::nil()], |row| row.get(3))
                .unwrap();
            assert!(plan.contains("USING COVERING INDEX piece_counted"), "{query}: {plan}");
        }
    }
}
