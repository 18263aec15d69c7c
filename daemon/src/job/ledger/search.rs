//! The index of what was said, for searches: the text of each transcript, the recording's name and its metadata.

use hark_sdk::event::Event;
use rusqlite::{Connection, params};
use serde_json::Value;
use uuid::Uuid;

use super::{LedgerError, sql};

/// The shortest text, in characters, that the index finds; shorter ones are looked for in each row.
const INDEXED: usize = 3;

/// Adds a transcript that has just been put into the outbox.
pub(super) fn insert(connection: &Connection, event: &Event, text: &str) -> Result<(), LedgerError> {
    let mut searched = vec![text];
    searched.extend(event.recording.name.as_deref());
    searched.extend(event.metadata.values().filter_map(Value::as_str));
    sql::run(
        connection,
        "INSERT INTO search (rowid, text) VALUES (?1, ?2)",
        params![connection.last_insert_rowid(), searched.join("\n")],
    )
}

/// Removes the texts of a job, while its events are still there.
pub(super) fn erase(connection: &Connection, job: Uuid) -> Result<(), LedgerError> {
    let query = "SELECT id FROM event WHERE job = ?1 AND kind = 'transcript.final'";
    let ids: Vec<i64> = sql::all(connection, query, [job], |row| row.get(0))?;
    ids.into_iter().try_for_each(|id| sql::run(connection, "DELETE FROM search WHERE rowid = ?1", [id]))
}

/// A condition on `search` with one parameter, and its value, that holds for the texts in which `wanted` stands. Letters match whatever
/// their case.
pub(super) fn condition(wanted: &str) -> (&'static str, String) {
    if wanted.chars().count() >= INDEXED {
        // A string of FTS5: it is looked for as it is.
        ("search MATCH ?", format!("\"{}\"", wanted.replace('"', "\"\"")))
    } else {
        let escaped = wanted.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        ("text LIKE ? ESCAPE '\\'", format!("%{escaped}%"))
    }
}
