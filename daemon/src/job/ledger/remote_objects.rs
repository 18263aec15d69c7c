//! The objects that the daemon makes in a bucket of the operator's own. A row is written before its object is made and removed once the
//! object is deleted, so that a kill leaves no object without a row.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, params};
use uuid::Uuid;

use super::{LedgerError, sql};

/// Another daemon may have taken a job over together with its task, which needs the object, and that daemon's last event may never come or
/// be erased. The service ends a task that produces nothing after three hours.
const LONGEST_TASK: SignedDuration = SignedDuration::from_hours(3);

/// Notes an object that is about to be made.
///
/// # Errors
/// When the statement fails.
pub fn insert(connection: &Connection, url: &str, job: Uuid, now: Timestamp) -> Result<(), LedgerError> {
    sql::run(
        connection,
        "INSERT INTO remote_object (url, made, job) VALUES (?1, ?2, ?3)",
        params![url, now.as_millisecond(), job],
    )
}

/// Forgets an object that is deleted.
///
/// # Errors
/// When the statement fails.
pub fn remove(connection: &Connection, url: &str) -> Result<(), LedgerError> {
    sql::run(connection, "DELETE FROM remote_object WHERE url = ?1", [url])
}

/// All objects that may exist.
///
/// # Errors
/// When the query fails.
pub fn all(connection: &Connection) -> Result<Vec<String>, LedgerError> {
    sql::all(connection, "SELECT url FROM remote_object", [], |row| row.get(0))
}

/// The objects of a job.
///
/// # Errors
/// When the query fails.
pub fn of_job(connection: &Connection, job: Uuid) -> Result<Vec<String>, LedgerError> {
    sql::all(connection, "SELECT url FROM remote_object WHERE job = ?1", [job], |row| row.get(0))
}

/// The objects of jobs that the ledger does not have, by job: other daemons have taken these over.
///
/// # Errors
/// When the query fails.
pub fn elsewhere(connection: &Connection) -> Result<BTreeMap<Uuid, Vec<String>>, LedgerError> {
    let elsewhere: Vec<(Uuid, String)> = sql::all(
        connection,
        "SELECT job, url FROM remote_object AS object WHERE NOT EXISTS (SELECT 1 FROM job WHERE id = object.job)",
        [],
        |row| row.try_into(),
    )?;
    let mut found: BTreeMap<Uuid, Vec<String>> = BTreeMap::new();
    for (job, url) in elsewhere {
        found.entry(job).or_default().push(url);
    }
    Ok(found)
}

/// The objects that no request of this ledger needs: an object is needed while the request that names it is under way, its fate is searched
/// for, or its task has not ended. An object that is being uploaded has no request yet; the caller knows these.
///
/// # Errors
/// When the query fails.
pub fn unneeded(connection: &Connection, now: Timestamp) -> Result<Vec<String>, LedgerError> {
    sql::all(
        connection,
        "SELECT url FROM remote_object AS object \
         WHERE CASE WHEN EXISTS (SELECT 1 FROM job WHERE id = object.job) \
             THEN NOT EXISTS ( \
                 SELECT 1 FROM piece JOIN attempt ON attempt.job = piece.job AND attempt.piece = piece.number \
                 WHERE piece.job = object.job \
                   AND (piece.duty IN ('await', 'resolve') OR (piece.duty = 'send' AND attempt.fate = 'open')) \
                   AND attempt.number = (SELECT max(number) FROM attempt WHERE job = piece.job AND piece = piece.number) \
                   AND substr(object.url, -length(attempt.marker)) = attempt.marker) \
             ELSE made < ?1 END",
        [(now - LONGEST_TASK).as_millisecond()],
        |row| row.get(0),
    )
}

#[cfg(test)]
mod tests {
    use hark_sdk::event::{Blame, Recording};

    use super::*;
    use crate::job::ledger::{Ledger, jobs, pieces};
    use crate::job::{Attempt, Fate, Job, Origin, Piece, PieceState, Span, fault};

    const MARKER: &str = "0197-b.wav";

    fn resolving() -> PieceState {
        let fault = fault("NoAnswer", Blame::Service, "no answer".into());
        PieceState::Resolving { absences: 0, until: None, fault }
    }

    /// Whether the object of an attempt is deleted while its piece is like this.
    async fn is_unneeded(state: PieceState, attempts: &[(&str, Fate)]) -> bool {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap();
        let mut job = Job::new(
            Uuid::now_v7(),
            "calls",
            "default",
            Origin::Nothing,
            Recording::default(),
            Default::default(),
        );
        let mut piece = Piece::new(1, Span::whole(None), "filetrans", "model");
        piece.state = state;
        for (index, (marker, fate)) in attempts.iter().enumerate() {
            let number = index as u32 + 1;
            let open = Attempt::open(number, Uuid::nil(), Timestamp::now(), Some((*marker).to_owned()));
            piece.attempts.push(Attempt { fate: *fate, ..open });
        }
        let write = move |connection: &Connection| {
            insert(connection, &format!("https://host/bucket/{MARKER}"), job.id, Timestamp::now())?;
            jobs::insert(connection, &mut job, Vec::new())?;
            pieces::put(connection, &job, &piece, &[], Timestamp::now())
        };
        ledger.write(write).await.unwrap();
        !ledger.read(|connection| unneeded(connection, Timestamp::now())).await.unwrap().is_empty()
    }

    #[tokio::test]
    async fn an_object_is_needed_while_its_request_or_task_is_under_way() {
        use Fate::{Absent, Open, Refused, Taken};
        let awaiting = PieceState::Awaiting { warned: 0 };
        let failed = PieceState::Failed { fault: fault("DECODE_ERROR", Blame::Audio, "broken".into()) };
        for (state, attempts, expected) in [
            (PieceState::Queued, vec![], true),
            (PieceState::Sending, vec![(MARKER, Open)], false),
            (PieceState::Queued, vec![(MARKER, Refused)], true),
            (PieceState::Sending, vec![(MARKER, Absent), ("0197-c.wav", Open)], true),
            (PieceState::Sending, vec![("0197-a.wav", Absent), (MARKER, Open)], false),
            (resolving(), vec![(MARKER, Open)], false),
            (awaiting.clone(), vec![(MARKER, Taken)], false),
            (awaiting, vec![("97-b.wav.wav", Taken)], true),
            (PieceState::Heard, vec![(MARKER, Taken)], true),
            (failed, vec![(MARKER, Taken)], true),
        ] {
            assert_eq!(is_unneeded(state.clone(), &attempts).await, expected, "{state:?} {attempts:?}");
        }
    }

    #[tokio::test]
    async fn an_object_of_a_job_that_another_daemon_has_outlives_its_task() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap();
        let now = Timestamp::now();
        ledger.write(move |connection| insert(connection, "https://host/a", Uuid::nil(), now)).await.unwrap();
        let after = move |hours| now + SignedDuration::from_hours(hours) + SignedDuration::from_secs(1);
        for (hours, expected) in [(0, 0), (3, 1)] {
            let found = ledger.read(move |connection| unneeded(connection, after(hours))).await.unwrap();
            assert_eq!(found.len(), expected, "after {hours} h");
        }
        let elsewhere = ledger.read(elsewhere).await.unwrap();
        assert_eq!(elsewhere[&Uuid::nil()], ["https://host/a"]);
        ledger.write(|connection| remove(connection, "https://host/a")).await.unwrap();
        assert!(ledger.read(all).await.unwrap().is_empty());
    }
}
