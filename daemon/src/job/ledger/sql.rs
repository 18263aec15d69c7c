//! Statements. Each is planned once for a connection. They fail as SQLite does, or where a row cannot be read.

use rusqlite::{Connection, OptionalExtension, Params, Row};

use super::error::LedgerError;

/// Runs a statement without rows.
pub(super) fn run(connection: &Connection, sql: &str, values: impl Params) -> Result<(), LedgerError> {
    connection.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// The only row of a query that has one in any case.
pub(super) fn one<T>(
    connection: &Connection,
    sql: &str,
    values: impl Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<T, LedgerError> {
    Ok(connection.prepare_cached(sql)?.query_row(values, read)?)
}

/// The first row, if there is one.
pub(super) fn first<T>(
    connection: &Connection,
    sql: &str,
    values: impl Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, LedgerError> {
    Ok(connection.prepare_cached(sql)?.query_row(values, read).optional()?)
}

/// All rows.
pub(super) fn all<T>(
    connection: &Connection,
    sql: &str,
    values: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, LedgerError> {
    Ok(connection.prepare_cached(sql)?.query_map(values, read)?.collect::<Result<_, _>>()?)
}
