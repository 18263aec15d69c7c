//! What is due: the jobs to which a lane owes something now, and when the next ones will be.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use super::{LedgerError, sql};
use crate::job::{Duty, PieceId};

/// No duty is put off for longer than this: the longest hint of the service that is obeyed is ten minutes, and every backoff is shorter. A
/// later due time was written before the clock was set back; such a duty is due now, not when the clock reaches that time again.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_mins(15);

/// A lane of work: one duty, owed to jobs or to the pieces of one recognizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// What is owed.
    pub duty: Duty,
    /// To pieces of this recognizer; `None`: to jobs.
    pub recognizer: Option<String>,
}

impl Lane {
    /// Of jobs.
    pub fn of_jobs(duty: Duty) -> Lane {
        Lane { duty, recognizer: None }
    }

    /// Of the pieces of a recognizer.
    pub fn of_pieces(duty: Duty, recognizer: &str) -> Lane {
        Lane { duty, recognizer: Some(recognizer.to_owned()) }
    }
}

/// What is owed a duty: a job, or a piece of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owed {
    pub job: Uuid,
    /// 0: the job itself.
    pub piece: u32,
}

impl Owed {
    /// As a piece.
    pub fn piece_id(self) -> PieceId {
        PieceId { job: self.job, number: self.piece }
    }
}

/// Jobs or pieces whose duty may start, and when the first of the others may.
#[derive(Debug, Default)]
pub struct Due {
    /// By source, oldest due first. Sources without any are missing.
    pub by_source: BTreeMap<String, Vec<Owed>>,
    /// Milliseconds since the epoch.
    pub next: Option<i64>,
}

impl Due {
    /// The work that is due, of all sources.
    pub fn all(self) -> impl Iterator<Item = Owed> {
        self.by_source.into_values().flatten()
    }
}

/// What is owed by a lane at `now`, at most `limit` of each source.
///
/// # Errors
/// When a query fails.
pub fn due(connection: &Connection, lane: &Lane, now: Timestamp, limit: usize) -> Result<Due, LedgerError> {
    // Both walk an index that begins with what `owed` compares, then source and due.
    let (table, key, owed) = match lane.recognizer {
        None => ("job INDEXED BY job_by_duty", "id, 0", "duty = ?1 AND ?2 IS NULL"),
        Some(_) => ("piece INDEXED BY piece_by_duty", "job, number", "duty = ?1 AND recognizer = ?2"),
    };
    let (duty, recognizer) = (lane.duty.as_str(), lane.recognizer.as_deref());
    let latest = now.saturating_add(LONGEST_WAIT).unwrap_or(Timestamp::MAX).as_millisecond();
    let now = now.as_millisecond();
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    let list = format!(
        "SELECT {key} FROM {table} WHERE {owed} AND source = ?3 AND due > ?4 AND due <= ?5 \
         ORDER BY due, {} LIMIT ?6",
        key.trim_end_matches(", 0"),
    );
    let first =
        format!("SELECT min(due) FROM {table} WHERE {owed} AND source = ?3 AND due > ?4 AND due <= ?5");
    let next_source =
        format!("SELECT source FROM {table} WHERE {owed} AND source > ?3 ORDER BY source LIMIT 1");
    let mut due = Due::default();
    let mut last_source = String::new();
    // One step through the index for each source, however many it has.
    let source_after = |last: &str| {
        sql::first(connection, &next_source, params![duty, recognizer, last], |row| row.get::<_, String>(0))
    };
    while let Some(source) = source_after(&last_source)? {
        let mut found: Vec<Owed> = Vec::new();
        for (after, until) in [(i64::MIN, now), (latest, i64::MAX)] {
            let values = params![duty, recognizer, source, after, until, most];
            let owed = |row: &Row<'_>| Ok(Owed { job: row.get(0)?, piece: row.get(1)? });
            found.extend(sql::all(connection, &list, values, owed)?);
        }
        found.truncate(limit);
        let next: Option<i64> =
            sql::one(connection, &first, params![duty, recognizer, source, now, latest], |row| row.get(0))?;
        due.next = [due.next, next].into_iter().flatten().min();
        if !found.is_empty() {
            due.by_source.insert(source.clone(), found);
        }
        last_source = source;
    }
    Ok(due)
}

#[cfg(test)]
mod tests {
    use hark_sdk::event::{Blame, Recording};

    use super::super::advance::advance;
    use super::super::jobs::insert;
    use super::*;
    use crate::job::job_machine::Fact;
    use crate::job::{Job, Origin, fault};

    #[test]
    fn the_oldest_are_due_first_and_what_is_due_too_late_is_due_now() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("schema.sql")).unwrap();
        let now = Timestamp::now();
        let mut ids = Vec::new();
        for age in [3, 2, 1] {
            let id = Uuid::now_v7();
            let mut job =
                Job::new(id, "calls", "default", Origin::Nothing, Recording::default(), Default::default());
            job.accepted_at = now - SignedDuration::from_secs(age);
            insert(&connection, &mut job, Vec::new()).unwrap();
            ids.push(id);
        }
        // The second one is to be looked for once more, five seconds later.
        let fault = fault("X", Blame::Audio, "x".into());
        advance(&connection, ids[1], Fact::Missing { fault }, now).unwrap();
        let due_at = |now, limit| due(&connection, &Lane::of_jobs(Duty::Prepare), now, limit).unwrap();
        let jobs = |due: Due| due.all().map(|owed| owed.job).collect::<Vec<_>>();

        let present = due_at(now, 10);
        assert_eq!(present.next, Some((now + SignedDuration::from_secs(5)).as_millisecond()));
        assert_eq!(jobs(present), [ids[0], ids[2]]);
        assert_eq!(jobs(due_at(now, 1)), [ids[0]]);
        let later = due_at(now + SignedDuration::from_secs(6), 10);
        assert_eq!(jobs(later), [ids[0], ids[2], ids[1]], "in the order of their times");
        let back = due_at(now - SignedDuration::from_mins(16), 10);
        assert_eq!(jobs(back), [ids[0], ids[2], ids[1]], "the clock was set back");
    }
}
