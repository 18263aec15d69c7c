//! What an operator has paused: it outlives a restart.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::{LedgerError, sql};

/// Pauses a source; one that is paused stays so.
///
/// # Errors
/// When the statement fails.
pub fn pause(connection: &Connection, source: &str, now: Timestamp) -> Result<(), LedgerError> {
    sql::run(
        connection,
        "INSERT OR IGNORE INTO pause (scope, since) VALUES (?1, ?2)",
        params![scope(source), now.as_millisecond()],
    )
}

/// Ends a pause, if there is one.
///
/// # Errors
/// When the statement fails.
pub fn resume(connection: &Connection, source: &str) -> Result<(), LedgerError> {
    sql::run(connection, "DELETE FROM pause WHERE scope = ?1", [scope(source)])
}

/// The sources that are paused, and since when.
///
/// # Errors
/// When the query fails.
pub fn sources(connection: &Connection) -> Result<BTreeMap<String, Timestamp>, LedgerError> {
    let query = "SELECT substr(scope, 8), since FROM pause WHERE scope GLOB 'source:*'";
    let paused: Vec<(String, i64)> = sql::all(connection, query, [], |row| row.try_into())?;
    let time = |since| Timestamp::from_millisecond(since).unwrap_or(Timestamp::MIN);
    Ok(paused.into_iter().map(|(name, since)| (name, time(since))).collect())
}

fn scope(source: &str) -> String {
    format!("source:{source}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_keeps_its_begin_and_ends() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("schema.sql")).unwrap();
        let begin = Timestamp::from_millisecond(1_000).unwrap();
        pause(&connection, "calls", begin).unwrap();
        pause(&connection, "calls", Timestamp::now()).unwrap();
        assert_eq!(sources(&connection).unwrap(), BTreeMap::from([("calls".to_owned(), begin)]));
        resume(&connection, "calls").unwrap();
        resume(&connection, "calls").unwrap();
        assert!(sources(&connection).unwrap().is_empty());
    }
}
