//! Persisted forms in rows: to text and back, with the ledger's errors.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::de::value::Error;
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::LedgerError;
use crate::job::Fate;
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

/// A fate is stored as the word that it has in JSON.
impl ToSql for Fate {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match serde_json::to_value(self) {
            Ok(Value::String(word)) => Ok(word.into()),
            other => Err(rusqlite::Error::ToSqlConversionFailure(format!("{other:?}").into())),
        }
    }
}

impl FromSql for Fate {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let word = value.as_str()?.into_deserializer();
        Fate::deserialize(word).map_err(|error: Error| FromSqlError::other(error))
    }
}
