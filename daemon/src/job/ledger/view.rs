//! What the live page, the API and the commands show of jobs: lists, single jobs, their events as they were published.
//!
//! Reads only, from the pool of readers: no lane waits for a list.

mod filter;
mod listed;

use jiff::Timestamp;
use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, Row, params, params_from_iter};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{LedgerError, jobs, search, sql};

pub use self::filter::{Before, Filter, MOST, State, WrongFilter};
pub use self::listed::{AlertBrief, Listed, Page};

/// Where an open job stands, as the list says it. A job waits where nothing of it is under way and what is owed next is owed later (a retry, a
/// budget, a plugin that holds it), was tried in vain, or is owed by a recognizer whose queue is held. `?` is the present time, the last one
/// the recognizers that are held, as JSON.
const OPEN_STATE: &str = "CASE \
    WHEN duty IN ('prepare', 'pipe') THEN iif(due > ?, 'waiting', iif(duty = 'prepare', 'accepted', 'recognizing')) \
    WHEN EXISTS (SELECT 1 FROM piece WHERE piece.job = job.id AND duty IN ('await', 'resolve', 'pipe')) \
      OR EXISTS (SELECT 1 FROM piece WHERE piece.job = job.id AND json_extract(piece.about, '$.state.name') = 'sending') \
      OR duty IN ('cut', 'publish', 'settle') THEN 'recognizing' \
    WHEN EXISTS (SELECT 1 FROM piece WHERE piece.job = job.id AND duty = 'send' AND (due > ? \
      OR json_extract(piece.about, '$.failures') > 0 OR recognizer IN (SELECT value FROM json_each(?)))) THEN 'waiting' \
    WHEN EXISTS (SELECT 1 FROM piece WHERE piece.job = job.id AND heard IS NOT NULL) THEN 'recognizing' \
    ELSE 'accepted' END";

/// When a list is asked for.
#[derive(Debug, Clone)]
pub struct Moment {
    pub now: Timestamp,
    /// The recognizers whose queues are held.
    pub held: Vec<String>,
}

impl Moment {
    /// The values of [`OPEN_STATE`].
    fn values(&self) -> Vec<SqlValue> {
        let now = SqlValue::Integer(self.now.as_millisecond());
        vec![now.clone(), now, text(&json!(self.held).to_string())]
    }
}

/// The jobs that a filter lets through, newest first.
///
/// # Errors
/// When a query fails, or a row cannot be read.
pub fn list(connection: &Connection, filter: &Filter, moment: &Moment) -> Result<Page, LedgerError> {
    let mut values = moment.values();
    let mut conditions = vec!["TRUE".to_owned()];
    let mut also = |condition: String, of: Vec<SqlValue>| {
        conditions.push(condition);
        values.extend(of);
    };
    match filter.state {
        Some(state) if state.is_end() => also("outcome = ?".into(), vec![text(state.as_str())]),
        Some(state) => also("outcome IS NULL AND state = ?".into(), vec![text(state.as_str())]),
        None => {}
    }
    if let Some(source) = &filter.source {
        also("source = ?".into(), vec![text(source)]);
    }
    if let Some(since) = filter.since {
        also("id >= ?".into(), vec![blob(filter::first_of(since))]);
    }
    if let Some(before) = filter.before {
        also("id < ?".into(), vec![blob(before.id())]);
    }
    if let Some(rule) = &filter.alert {
        let of_rule = |column: &str| match rule.as_str() {
            "*" => String::new(),
            _ => format!("AND json_extract({column}, '$.rule') = ?"),
        };
        // The index names the jobs, however many there are; whether an alert was retracted is looked up for the jobs of the page.
        let stands = format!(
            "id IN (SELECT job FROM event INDEXED BY event_of_rule WHERE kind = 'alert.raised' {}) AND EXISTS (\
             SELECT 1 FROM event raised WHERE raised.job = job.id AND raised.kind = 'alert.raised' {} AND NOT EXISTS (\
             SELECT 1 FROM event later WHERE later.job = raised.job AND later.kind = 'alert.retracted' \
             AND json_extract(later.body, '$.alert') = json_extract(raised.body, '$.alert')))",
            of_rule("body"),
            of_rule("raised.body"),
        );
        also(stands, if rule == "*" { Vec::new() } else { vec![text(rule); 2] });
    }
    if let Some(wanted) = &filter.text {
        let (condition, value) = search::condition(wanted);
        let of_text =
            format!("id IN (SELECT job FROM event WHERE id IN (SELECT rowid FROM search WHERE {condition}))");
        also(of_text, vec![text(&value)]);
    }
    let conditions = conditions.join(" AND ");
    // One more than wanted tells whether there is a next page.
    values.push(SqlValue::Integer(filter.limit as i64 + 1));
    let query = format!(
        "SELECT id, coalesce(outcome, {OPEN_STATE}) AS state, ended FROM job WHERE {conditions} ORDER BY id DESC LIMIT ?"
    );
    let mut found: Vec<StateRow> =
        sql::all(connection, &query, params_from_iter(values), |row| row.try_into())?;
    let is_more = found.len() > filter.limit;
    found.truncate(filter.limit);
    let next = found.last().filter(|_| is_more).map(|(id, ..)| *id);
    let mut listed = Vec::with_capacity(found.len());
    for (id, state, ended) in found {
        listed.extend(one(connection, id, state, ended)?);
    }
    Ok(Page { jobs: listed, next })
}

/// One job as lists show it; `None`: the ledger has no such job.
///
/// # Errors
/// As of [`list`].
pub fn find(connection: &Connection, id: Uuid, moment: &Moment) -> Result<Option<Listed>, LedgerError> {
    let query = format!("SELECT id, coalesce(outcome, {OPEN_STATE}), ended FROM job WHERE id = ?");
    let values = moment.values().into_iter().chain([blob(id)]);
    let row: Option<StateRow> =
        sql::first(connection, &query, params_from_iter(values), |row| row.try_into())?;
    let Some((id, state, ended)) = row else { return Ok(None) };
    one(connection, id, state, ended)
}

type StateRow = (Uuid, State, Option<i64>);

fn one(
    connection: &Connection,
    id: Uuid,
    state: State,
    ended: Option<i64>,
) -> Result<Option<Listed>, LedgerError> {
    let Some(job) = jobs::find(connection, id)? else { return Ok(None) };
    let ended = ended.and_then(|ended| Timestamp::from_millisecond(ended).ok());
    let mut listed = Listed::new(&job, state, ended);
    let mut statement = connection.prepare_cached(
        "SELECT kind, body FROM event WHERE job = ?1 AND (kind GLOB 'job.*' OR kind GLOB 'alert.*' \
         OR kind = 'transcript.final') ORDER BY sequence",
    )?;
    let mut rows = statement.query([id])?;
    while let Some(row) = rows.next()? {
        listed
            .add(row.get_ref(0)?.as_str().unwrap_or_default(), row.get_ref(1)?.as_str().unwrap_or_default());
    }
    Ok(Some(listed))
}

/// A stored event, as it was published or will be.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct LedgerEvent {
    /// `family.name`.
    pub kind: String,
    #[serde(skip)]
    pub job: Uuid,
    #[serde(skip)]
    pub source: String,
    #[serde(skip)]
    pub sequence: u64,
    /// Its sequence in the stream; null while the server has not acknowledged it.
    pub stream_seq: Option<u64>,
    /// The body.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub body: Box<RawValue>,
}

/// A job's stored events, in order.
///
/// # Errors
/// When the query fails, or a body is not JSON.
pub fn events(connection: &Connection, job: Uuid) -> Result<Vec<LedgerEvent>, LedgerError> {
    events_after(connection, job, 0, usize::MAX)
}

/// A job's stored events behind one, at most `limit`, in order.
///
/// # Errors
/// As of [`events`].
pub fn events_after(
    connection: &Connection,
    job: Uuid,
    sequence: u64,
    limit: usize,
) -> Result<Vec<LedgerEvent>, LedgerError> {
    sql::all(
        connection,
        "SELECT kind, stream_seq, job, source, sequence, body FROM event WHERE job = ?1 AND sequence > ?2 \
         ORDER BY sequence LIMIT ?3",
        params![job, sequence, i64::try_from(limit).unwrap_or(i64::MAX)],
        ledger_event,
    )
}

/// The events that a client may lack after it received the event with the sequence `last` of the stream: the events behind it, and the
/// earlier ones that the server acknowledged late. In the stream's order, from the one behind the sequence `from` on, at most `limit`.
///
/// # Errors
/// As of [`events`].
pub fn stored_after(
    connection: &Connection,
    last: u64,
    from: u64,
    limit: usize,
) -> Result<Vec<LedgerEvent>, LedgerError> {
    sql::all(
        connection,
        "SELECT kind, stream_seq, job, source, sequence, body FROM event \
         WHERE behind >= ?1 AND stream_seq < ?1 AND stream_seq > ?2 \
         UNION ALL SELECT kind, stream_seq, job, source, sequence, body FROM event \
         WHERE stream_seq > max(?1, ?2) ORDER BY stream_seq LIMIT ?3",
        params![last, from, limit as i64],
        ledger_event,
    )
}

/// The body of a job's event.
///
/// # Errors
/// When the query fails.
pub fn body(connection: &Connection, job: Uuid, sequence: u64) -> Result<Option<String>, LedgerError> {
    let query = "SELECT body FROM event WHERE job = ?1 AND sequence = ?2";
    sql::first(connection, query, params![job, sequence], |row| row.get(0))
}

/// The newest alerts that stand, newest first: each as it was raised last, and none that was retracted.
///
/// # Errors
/// As of [`events`].
pub fn alerts(connection: &Connection, limit: usize) -> Result<Vec<LedgerEvent>, LedgerError> {
    sql::all(
        connection,
        "SELECT kind, stream_seq, job, source, sequence, body FROM event raised INDEXED BY event_raised \
         WHERE kind = 'alert.raised' AND NOT EXISTS (SELECT 1 FROM event later WHERE later.job = raised.job \
         AND later.sequence > raised.sequence AND later.kind GLOB 'alert.*' \
         AND json_extract(later.body, '$.alert') = json_extract(raised.body, '$.alert')) \
         ORDER BY id DESC LIMIT ?1",
        [limit as i64],
        ledger_event,
    )
}

fn ledger_event(row: &Row<'_>) -> rusqlite::Result<LedgerEvent> {
    let body = RawValue::from_string(row.get(5)?).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(5, rusqlite::types::Type::Text, error.into())
    })?;
    Ok(LedgerEvent {
        kind: row.get(0)?,
        stream_seq: row.get(1)?,
        job: row.get(2)?,
        source: row.get(3)?,
        sequence: row.get(4)?,
        body,
    })
}

/// How many jobs ended in each way, and how many are open.
///
/// # Errors
/// When the query fails.
pub fn counts(connection: &Connection) -> Result<Vec<(String, u64)>, LedgerError> {
    let query = "SELECT coalesce(outcome, 'open'), count(*) FROM job GROUP BY outcome";
    sql::all(connection, query, [], |row| row.try_into())
}

fn text(value: &str) -> SqlValue {
    SqlValue::Text(value.to_owned())
}

fn blob(id: Uuid) -> SqlValue {
    SqlValue::Blob(id.as_bytes().to_vec())
}

#[cfg(test)]
mod tests;
