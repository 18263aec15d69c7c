//! The tasks that were made for recordings of this daemon. Whoever looks in the service's list for one that was not heard of need not look
//! at these: with thousands of them, each asked for by itself, a search would outlive a daemon that is started again and again.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, params};

use super::LedgerError;

/// The service forgets a task a day after its end, and ends each within hours.
const KEPT: SignedDuration = SignedDuration::from_hours(48);

/// Remembers a task with the time when it was `made`, and forgets those that the service has forgotten.
///
/// # Errors
/// When a statement fails.
pub fn remember(connection: &Connection, task_id: &str, made: Timestamp) -> Result<(), LedgerError> {
    connection
        .prepare_cached("DELETE FROM task WHERE made < ?1")?
        .execute([made.as_millisecond() - KEPT.as_millis() as i64])?;
    connection
        .prepare_cached("INSERT OR IGNORE INTO task (id, made) VALUES (?1, ?2)")?
        .execute(params![task_id, made.as_millisecond()])?;
    Ok(())
}

/// Takes one out: its recording is another daemon's now.
///
/// # Errors
/// When a statement fails.
pub fn forget(connection: &Connection, task_id: &str) -> Result<(), LedgerError> {
    connection.prepare_cached("DELETE FROM task WHERE id = ?1")?.execute([task_id])?;
    Ok(())
}

/// All that are remembered, with the time when they were made.
///
/// # Errors
/// When a statement fails.
pub fn known(connection: &Connection) -> Result<HashMap<String, Timestamp>, LedgerError> {
    let mut statement = connection.prepare_cached("SELECT id, made FROM task")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let tasks = rows.collect::<Result<Vec<(String, i64)>, _>>()?;
    let time = |made| Timestamp::from_millisecond(made).unwrap_or(Timestamp::MIN);
    Ok(tasks.into_iter().map(|(id, made)| (id, time(made))).collect())
}
