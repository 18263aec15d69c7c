//! The stored events of jobs. Those that JetStream has not acknowledged are the outbox.

use bytes::Bytes;
use hark_sdk::event::{Body, Event, Fault};
use rusqlite::{Connection, Params, params};
use serde::Deserialize;
use uuid::Uuid;

use super::{LedgerError, search, sql};

/// One event on its way out.
#[derive(Debug, Clone)]
pub struct Row {
    /// Place in the outbox.
    pub id: i64,
    /// The job.
    pub job: Uuid,
    /// Its source, a token of the subject.
    pub source: String,
    /// `family.name`.
    pub kind: String,
    /// The event's `sequence`.
    pub sequence: u64,
    /// RFC 3339.
    pub time: String,
    /// The JSON body.
    pub body: Bytes,
    /// Stream sequence of the job's last acknowledged event, 0 for none.
    pub stream_seq: u64,
}

/// An event that JetStream has.
#[derive(Debug, Clone, Copy)]
pub struct Acknowledged {
    /// Place in the outbox.
    pub id: i64,
    /// The job.
    pub job: Uuid,
    /// Sequence in the stream.
    pub stream_seq: u64,
    /// It was the job's last event.
    pub last: bool,
}

/// An event of a job that another daemon stored, and that this one shows.
#[derive(Debug, Clone)]
pub struct Stored {
    pub event: Event,
    /// The body as it was published.
    pub body: String,
    /// Sequence in the stream.
    pub stream_seq: u64,
}

/// Puts an event at the end. The event must have a sequence.
///
/// # Errors
/// When the statement fails.
pub(super) fn insert(connection: &Connection, event: &Event) -> Result<(), LedgerError> {
    let body = serde_json::to_string(event)
        .map_err(|error| LedgerError::Sqlite(rusqlite::Error::ToSqlConversionFailure(error.into())))?;
    put(connection, event, &body, None)
}

/// Adds an event that the stream has: it is not in the outbox.
///
/// # Errors
/// When the statement fails.
pub(super) fn adopt(connection: &Connection, stored: &Stored) -> Result<(), LedgerError> {
    put(connection, &stored.event, &stored.body, Some(stored.stream_seq))
}

fn put(
    connection: &Connection,
    event: &Event,
    body: &str,
    stream_seq: Option<u64>,
) -> Result<(), LedgerError> {
    let (kind, time) = (event.kind().to_string(), event.time.to_string());
    sql::run(
        connection,
        "INSERT INTO event (job, source, kind, sequence, time, body, stream_seq) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![event.job, event.source, kind, event.sequence, time, body, stream_seq],
    )?;
    match &event.body {
        Body::TranscriptFinal(transcript) => search::insert(connection, event, &transcript.text),
        _ => Ok(()),
    }
}

/// The rows after `after`, at most `limit` and (but for the first) at most `bytes` of bodies.
///
/// # Errors
/// When the query fails.
pub fn after(
    connection: &Connection,
    after: i64,
    limit: usize,
    bytes: usize,
) -> Result<Vec<Row>, LedgerError> {
    let condition =
        "event INDEXED BY event_waiting WHERE stream_seq IS NULL AND id > ?1 ORDER BY id LIMIT ?2";
    select(connection, condition, params![after, most(limit)], bytes)
}

/// A job's rows with sequences after `after` and ids up to `until`, as of [`after()`].
///
/// # Errors
/// When the query fails.
pub fn of_job(
    connection: &Connection,
    job: Uuid,
    after: u64,
    until: i64,
    limit: usize,
    bytes: usize,
) -> Result<Vec<Row>, LedgerError> {
    // Left to itself, SQLite may read every row in between.
    let condition = "event INDEXED BY event_of_job WHERE job = ?1 AND sequence > ?2 AND stream_seq IS NULL AND id <= ?3 \
                     ORDER BY sequence LIMIT ?4";
    select(connection, condition, params![job, after, until, most(limit)], bytes)
}

fn most(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn select(
    connection: &Connection,
    condition: &str,
    values: impl Params,
    bytes: usize,
) -> Result<Vec<Row>, LedgerError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT id, job, source, kind, sequence, time, body,
                coalesce((SELECT stream_seq FROM job WHERE job.id = event.job), 0)
         FROM {condition}"
    ))?;
    let mut rows = statement.query(values)?;
    let mut taken = Vec::new();
    let mut size = 0;
    while let Some(row) = rows.next()? {
        let body: String = row.get(6)?;
        size += body.len();
        if size > bytes && !taken.is_empty() {
            break;
        }
        taken.push(Row {
            id: row.get(0)?,
            job: row.get(1)?,
            source: row.get(2)?,
            kind: row.get(3)?,
            sequence: row.get(4)?,
            time: row.get(5)?,
            body: body.into(),
            stream_seq: row.get(7)?,
        });
    }
    Ok(taken)
}

/// Why the job failed, if that is what an acknowledged event says.
///
/// # Errors
/// When the query fails.
pub fn fault(connection: &Connection, acknowledged: &Acknowledged) -> Result<Option<Fault>, LedgerError> {
    #[derive(Deserialize)]
    struct Failed {
        error: Option<Fault>,
    }
    let query = "SELECT body FROM event WHERE id = ?1";
    let body: Option<String> = sql::first(connection, query, [acknowledged.id], |row| row.get(0))?;
    // A body that cannot be parsed was published all the same, and consumers have it.
    Ok(body.and_then(|body| serde_json::from_str::<Failed>(&body).ok()?.error))
}

/// Notes that JetStream has an event: it is in the outbox no more. `newest`: [`newest_stored`] before this group of acknowledgements. A client
/// of `/api/events` that received the event `newest` last asks for later ones only; an event below it is marked as late, so that the API sends
/// this client the late one too.
///
/// # Errors
/// When a statement fails.
pub fn acknowledge(
    connection: &Connection,
    acknowledged: &Acknowledged,
    newest: u64,
) -> Result<(), LedgerError> {
    let behind = (acknowledged.stream_seq < newest).then_some(newest);
    sql::run(
        connection,
        "UPDATE event SET stream_seq = ?2, behind = ?3 WHERE id = ?1",
        params![acknowledged.id, acknowledged.stream_seq, behind],
    )?;
    sql::run(
        connection,
        "UPDATE job SET stream_seq = max(stream_seq, ?2) WHERE id = ?1",
        params![acknowledged.job, acknowledged.stream_seq],
    )
}

/// The highest sequence of the stream that a stored event has; 0: none has one.
///
/// # Errors
/// When the query fails.
pub fn newest_stored(connection: &Connection) -> Result<u64, LedgerError> {
    let query = "SELECT coalesce(max(stream_seq), 0) FROM event WHERE stream_seq IS NOT NULL";
    sql::one(connection, query, [], |row| row.get(0))
}

/// Whether a row is still in the outbox: the rows of a job that another daemon took over are deleted.
///
/// # Errors
/// When the query fails.
pub fn waits(connection: &Connection, id: i64) -> Result<bool, LedgerError> {
    let query = "SELECT EXISTS (SELECT 1 FROM event WHERE id = ?1 AND stream_seq IS NULL)";
    sql::one(connection, query, [id], |row| row.get(0))
}

/// The time of an event of a job that waits.
///
/// # Errors
/// When the query fails.
pub fn time_of(connection: &Connection, job: Uuid, sequence: u64) -> Result<Option<String>, LedgerError> {
    let query = "SELECT time FROM event WHERE job = ?1 AND sequence = ?2 AND stream_seq IS NULL";
    sql::first(connection, query, params![job, sequence], |row| row.get(0))
}

/// Erases the events of a job.
///
/// # Errors
/// When a statement fails.
pub(super) fn erase(connection: &Connection, job: Uuid) -> Result<(), LedgerError> {
    search::erase(connection, job)?;
    sql::run(connection, "DELETE FROM event WHERE job = ?1", [job])
}

/// How many rows wait.
///
/// # Errors
/// When the query fails.
pub fn count(connection: &Connection) -> Result<i64, LedgerError> {
    sql::one(connection, "SELECT count(*) FROM event WHERE stream_seq IS NULL", [], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use hark_sdk::event::Kind;
    use serde_json::Value;

    use super::*;
    use crate::job::ledger::Ledger;

    /// The golden files are the SDK's, so that a change of what is written here shows in their diff.
    #[tokio::test]
    async fn a_row_has_the_body_of_the_golden_file_of_its_kind() {
        let state = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(state.path()).unwrap();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk/tests/events");
        let mut kinds = 0;
        for file in folder.read_dir().unwrap().map(|entry| entry.unwrap().path()) {
            let name = file.file_stem().unwrap().to_str().unwrap();
            let kind: Kind = if name == "plugin" { "plugin.keywords" } else { name }.parse().unwrap();
            if !kind.is_stored() {
                continue;
            }
            kinds += 1;
            let golden = std::fs::read(&file).unwrap();
            let event = Event::parse(&kind, &golden).unwrap();
            let rows = ledger
                .write(move |connection| {
                    connection.execute("DELETE FROM event", [])?;
                    insert(connection, &event)?;
                    after(connection, 0, 10, usize::MAX)
                })
                .await
                .unwrap();
            let [row] = &rows[..] else { panic!("{} rows of {kind}", rows.len()) };
            let golden: Value = serde_json::from_slice(&golden).unwrap();
            assert_eq!(serde_json::from_slice::<Value>(&row.body).unwrap(), golden, "{kind}");
            assert!(row.body.starts_with(br#"{"job":"#), "{kind}: a body begins with its job");
            assert_eq!((row.kind.as_str(), row.sequence), (kind.to_string().as_str(), 3));
            assert_eq!((row.source.as_str(), row.time.as_str()), ("calls", "2026-11-23T08:15:04.114Z"));
        }
        assert!(kinds > 10, "{kinds}");
    }
}
