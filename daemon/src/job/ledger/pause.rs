//! What an operator has paused: it outlives a restart.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::error::LedgerError;

/// Pauses a source; one that is paused stays so.
///
/// # Errors
/// When the statement fails.
pub fn pause(connection: &Connection, source: &str, now: Timestamp) -> Result<(), LedgerError> {
    connection
        .prepare_cached("INSERT OR IGNORE INTO pause (scope, since) VALUES (?1, ?2)")?
        .execute(params![scope(source), now.as_millisecond()])?;
    Ok(())
}

/// Ends a pause, if there is one.
///
/// # Errors
/// When the statement fails.
pub fn resume(connection: &Connection, source: &str) -> Result<(), LedgerError> {
    connection.prepare_cached("DELETE FROM pause WHERE scope = ?1")?.execute([scope(source)])?;
    Ok(())
}

/// The sources that are paused, and since when.
///
/// # Errors
/// When the query fails.
pub fn sources(connection: &Connection) -> Result<BTreeMap<String, Timestamp>, LedgerError> {
    let mut statement =
        connection.prepare_cached("SELECT substr(scope, 8), since FROM pause WHERE scope GLOB 'source:*'")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))?;
    let time = |since| Timestamp::from_millisecond(since).unwrap_or(Timestamp::MIN);
    rows.map(|row| row.map(|(name, since)| (name, time(since))).map_err(Into::into)).collect()
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
