//! Persisted forms in rows: to text and back, with the ledger's errors.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::LedgerError;
use crate::job::persisted::{self, Unreadable};

/// The text of a row.
pub(super) fn to_json(form: &impl Serialize) -> Result<String, LedgerError> {
    persisted::to_json(form)
        .map_err(|error| LedgerError::Sqlite(rusqlite::Error::ToSqlConversionFailure(error.into())))
}

/// What a row of this table holds.
pub(super) fn from_json<T: DeserializeOwned>(table: &'static str, text: &str) -> Result<T, LedgerError> {
    persisted::from_json(text.as_bytes()).map_err(|unreadable| match unreadable {
        Unreadable::Newer { found } => LedgerError::Newer { table, found },
        Unreadable::Damaged(error) => LedgerError::Sqlite(rusqlite::Error::FromSqlConversionFailure(
            0,
            rusqlite::types::Type::Text,
            error.into(),
        )),
    })
}
