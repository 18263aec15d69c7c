//! Erases a job from the ledger at an operator's wish, with what else the ledger has of it.

use rusqlite::Connection;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{LedgerError, forgotten_files, jobs, sql};
use crate::job::Job;

/// Erases a job with its events and texts; of its file the identity stays, without the name. `false`: it is not there any more.
///
/// # Errors
/// When a statement fails.
pub fn erase(connection: &Connection, job: &Job) -> Result<bool, LedgerError> {
    forgotten_files::replace(connection, job)?;
    sql::run(connection, "DELETE FROM remote_object WHERE job = ?1", [job.id])?;
    jobs::forget(connection, job.id)
}

/// The jobs that have all of these metadata, oldest first, at most `limit`, after the job `after`. A value is compared as text: `7` and `"7"`
/// are the same.
///
/// # Errors
/// When the query fails.
pub fn with_metadata(
    connection: &Connection,
    metadata: &Map<String, Value>,
    after: Uuid,
    limit: usize,
) -> Result<Vec<Uuid>, LedgerError> {
    let mut values: Vec<rusqlite::types::Value> = vec![after.as_bytes().to_vec().into()];
    let mut conditions = String::new();
    for (key, value) in metadata {
        // `atom` is NULL for lists and objects, and a number for true and false.
        conditions.push_str(
            " AND EXISTS (SELECT 1 FROM json_each(about, '$.metadata') WHERE key = ? \
             AND iif(type IN ('true', 'false', 'null'), type, CAST(atom AS TEXT)) = ?)",
        );
        values.push(key.clone().into());
        values.push(value.as_str().map_or_else(|| value.to_string(), str::to_owned).into());
    }
    values.push(i64::try_from(limit).unwrap_or(i64::MAX).into());
    let query = format!("SELECT id FROM job WHERE id > ?{conditions} ORDER BY id LIMIT ?");
    let mut statement = connection.prepare(&query)?;
    let ids = statement.query_map(rusqlite::params_from_iter(values), |row| row.get(0))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use hark_sdk::event::Recording;
    use serde_json::json;

    use super::*;
    use crate::job::ledger::{Ledger, files};
    use crate::job::{FileIdentity, Origin};

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[tokio::test]
    async fn jobs_are_found_by_all_of_the_metadata_whatever_their_type() {
        let state = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(state.path()).unwrap();
        let metadata = [
            json!({"a": "7", "b": "x"}),
            json!({"a": 7}),
            json!({"a": true}),
            json!({"a": ["7"]}),
            json!({}),
        ];
        let mut ids = Vec::new();
        for metadata in metadata {
            let id = Uuid::now_v7();
            ids.push(id);
            let mut job =
                Job::new(id, "calls", "default", Origin::Nothing, Recording::default(), map(metadata));
            ledger.write(move |connection| jobs::insert(connection, &mut job, Vec::new())).await.unwrap();
        }
        let find = async |wanted: Value, after: Uuid, limit: usize| {
            let read =
                move |connection: &Connection| with_metadata(connection, &map(wanted.clone()), after, limit);
            ledger.read(read).await.unwrap()
        };
        assert_eq!(find(json!({"a": "7"}), Uuid::nil(), 9).await, ids[..2]);
        assert_eq!(find(json!({"a": 7}), Uuid::nil(), 1).await, ids[..1]);
        assert_eq!(find(json!({"a": "7"}), ids[0], 9).await, ids[1..2]);
        assert_eq!(find(json!({"a": "7", "b": "x"}), Uuid::nil(), 9).await, ids[..1]);
        assert_eq!(find(json!({"a": "true"}), Uuid::nil(), 9).await, ids[2..3]);
        assert!(find(json!({"c": "7"}), Uuid::nil(), 9).await.is_empty());
    }

    #[tokio::test]
    async fn a_forgotten_file_is_known_by_its_identity_until_its_bytes_change() {
        let state = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(state.path()).unwrap();
        let identity = FileIdentity { dev: 1, inode: u64::MAX, size: 3, mtime_ns: 4 };
        let origin = Origin::File { root: "/calls".into(), below: "a.wav".into(), identity };
        let mut job = Job::new(Uuid::now_v7(), "calls", "default", origin, Recording::default(), Map::new());
        let forget = move |connection: &Connection| {
            jobs::insert(connection, &mut job, Vec::new())?;
            files::insert(connection, "calls", "/calls/a.wav".as_ref(), identity, Some("5a"), Some(job.id))?;
            erase(connection, &job)
        };
        assert!(ledger.write(forget).await.unwrap());
        let find = async |identity: FileIdentity| {
            let find = move |connection: &Connection| forgotten_files::find(connection, "calls", &identity);
            ledger.read(find).await.unwrap().is_some()
        };
        let touched = FileIdentity { mtime_ns: 5, ..identity };
        assert_eq!((find(identity).await, find(touched).await), (true, false));
        let read = async |sha256: &'static str| {
            let read = move |c: &Connection| forgotten_files::is_touched(c, "calls", &touched, sha256);
            ledger.write(read).await.unwrap()
        };
        assert!(read("5a").await);
        assert_eq!((find(identity).await, find(touched).await), (false, true));
        assert!(!read("5b").await, "another file has its place");
        assert!(!find(touched).await);
        assert_eq!(ledger.read(|c| files::count(c, "calls")).await.unwrap(), 0);
    }
}
