//! Messages that became jobs. The ledger remembers their keys itself, because a work-queue stream forgets the ids of acknowledged messages.

use hark_sdk::event::Warning;
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::{LedgerError, jobs, sql};
use crate::job::Job;

/// Takes a message in as `job`, unless its key is known, by an earlier delivery or the same `Nats-Msg-Id`: then returns the job that it belongs
/// to. `warnings`: for its `job.accepted`.
///
/// # Errors
/// When a statement fails.
pub fn take(
    connection: &Connection,
    key: &str,
    job: &mut Job,
    warnings: Vec<Warning>,
) -> Result<Option<Uuid>, LedgerError> {
    if let Some(id) = find(connection, key)?
        && jobs::find(connection, id)?.is_some()
    {
        return Ok(Some(id));
    }
    jobs::insert(connection, job, warnings)?;
    remember(connection, key, job.id)?;
    Ok(None)
}

/// Remembers under which key a job was taken in.
///
/// # Errors
/// When the statement fails.
pub fn remember(connection: &Connection, key: &str, job: Uuid) -> Result<(), LedgerError> {
    sql::run(connection, "INSERT OR REPLACE INTO intake (key, job) VALUES (?1, ?2)", params![key, job])
}

/// The job that a key was taken in as.
///
/// # Errors
/// When the query fails.
pub fn find(connection: &Connection, key: &str) -> Result<Option<Uuid>, LedgerError> {
    sql::first(connection, "SELECT job FROM intake WHERE key = ?1", [key], |row| row.get(0))
}

/// The id by which other daemons on the same stream know this ledger's; made at the first start.
///
/// # Errors
/// When a statement fails.
pub fn own_id(connection: &Connection) -> Result<Uuid, LedgerError> {
    let known = connection.query_row("SELECT id FROM daemon", [], |row| row.get(0)).optional()?;
    if let Some(id) = known {
        return Ok(id);
    }
    let id = Uuid::now_v7();
    connection.execute("INSERT INTO daemon (id) VALUES (?1)", [id])?;
    Ok(id)
}
