//! What is due: the jobs to which a lane owes something now, and when the next ones will be.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::LedgerError;
use crate::job::Duty;

/// No duty is put off for longer: the longest hint of the service that is obeyed is ten minutes, every backoff is shorter. What is due
/// later than that was written before the clock was set back; it is due now, and not when the clock comes by again.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_mins(15);

/// Jobs whose duty may start, and when the first of the others may.
#[derive(Debug, Default)]
pub struct Due {
    /// Ids by source, oldest due first. Sources without such a job are missing.
    pub by_source: BTreeMap<String, Vec<Uuid>>,
    /// Milliseconds since the epoch.
    pub next: Option<i64>,
}

impl Due {
    /// The ids of all sources.
    pub fn ids(self) -> impl Iterator<Item = Uuid> {
        self.by_source.into_values().flatten()
    }
}

/// What is due at once is so whatever the clock will say: its time is written this far back, and keeps the order.
const AT_ONCE: i64 = 1 << 52;

pub(super) fn at_once(now: Timestamp) -> i64 {
    now.as_millisecond() - AT_ONCE
}

/// What is owed by a lane at `now`, at most `limit` jobs of each source.
///
/// # Errors
/// When a query fails.
pub fn due(connection: &Connection, duty: Duty, now: Timestamp, limit: usize) -> Result<Due, LedgerError> {
    let latest = now.saturating_add(LONGEST_WAIT).unwrap_or(Timestamp::MAX).as_millisecond();
    let now = now.as_millisecond();
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut due = Due::default();
    for source in sources(connection, duty)? {
        let mut found: Vec<(i64, Uuid)> = Vec::new();
        for (after, until, shift) in [(i64::MIN, -1, AT_ONCE), (-1, now, 0), (latest, i64::MAX, 0)] {
            let mut statement = connection.prepare_cached(
                "SELECT due, id FROM job WHERE duty = ?1 AND source = ?2 AND due > ?3 AND due <= ?4 \
                 ORDER BY due, id LIMIT ?5",
            )?;
            let rows = statement.query_map(params![duty.as_str(), source, after, until, most], |row| {
                Ok((row.get::<_, i64>(0)? + shift, row.get(1)?))
            })?;
            found.extend(rows.collect::<Result<Vec<_>, _>>()?);
        }
        found.sort_unstable();
        found.truncate(limit);
        let next: Option<i64> = connection
            .prepare_cached(
                "SELECT min(due) FROM job WHERE duty = ?1 AND source = ?2 AND due > ?3 AND due <= ?4",
            )?
            .query_row(params![duty.as_str(), source, now, latest], |row| row.get(0))?;
        due.next = [due.next, next].into_iter().flatten().min();
        if !found.is_empty() {
            due.by_source.insert(source, found.into_iter().map(|(_, id)| id).collect());
        }
    }
    Ok(due)
}

/// Sources with jobs of a duty: one step through the index for each, however many jobs they have.
fn sources(connection: &Connection, duty: Duty) -> Result<Vec<String>, LedgerError> {
    let mut statement = connection
        .prepare_cached("SELECT source FROM job WHERE duty = ?1 AND source > ?2 ORDER BY source LIMIT 1")?;
    let mut sources: Vec<String> = Vec::new();
    loop {
        let last = sources.last().map_or("", String::as_str);
        match statement.query_row(params![duty.as_str(), last], |row| row.get(0)).optional()? {
            Some(source) => sources.push(source),
            None => return Ok(sources),
        }
    }
}

#[cfg(test)]
mod tests {
    use hark_sdk::event::{Blame, Fault, Recording};

    use super::super::jobs::{advance, insert};
    use super::*;
    use crate::job::machine::{Fact, Policy};
    use crate::job::{Job, Origin};

    #[test]
    fn what_is_due_at_once_is_so_under_a_clock_that_was_set_back() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(concat!(include_str!("schema.sql"), include_str!("schema_2.sql"))).unwrap();
        let now = Timestamp::now();
        let mut ids = Vec::new();
        for age in [3, 2, 1] {
            let id = Uuid::now_v7();
            let mut job =
                Job::new(id, "calls", "default", Origin::Nothing, Recording::default(), Default::default());
            job.accepted_at = now - SignedDuration::from_secs(age);
            insert(&connection, &mut job).unwrap();
            ids.push(id);
        }
        // The second one is to be looked for once more, five seconds later.
        let fault = Fault { code: "X".into(), blame: Blame::Audio, message: "x".into(), attempts: None };
        let policy = Policy { ambiguous_retries: 0, price: 0.0 };
        advance(&connection, ids[1], Fact::Missing { fault }, &policy, now).unwrap();
        let due_at = |now| due(&connection, Duty::Prepare, now, 10).unwrap();

        let back = due_at(now - SignedDuration::from_mins(9));
        assert_eq!(back.next, Some((now + SignedDuration::from_secs(5)).as_millisecond()));
        assert_eq!(back.ids().collect::<Vec<_>>(), [ids[0], ids[2]]);
        let later = due_at(now + SignedDuration::from_secs(6));
        assert_eq!(later.ids().collect::<Vec<_>>(), [ids[0], ids[2], ids[1]], "in the order of their times");
        assert_eq!(due(&connection, Duty::Prepare, now, 1).unwrap().ids().collect::<Vec<_>>(), [ids[0]]);
    }
}
