//! What was spent or reserved in each UTC day. Changed in the transaction that changes the attempt.

use jiff::Timestamp;
use jiff::civil::Date;
use rusqlite::{Connection, params};
use uuid::Uuid;

use super::{LedgerError, sql};
use crate::job::budget::{OverBudget, date, day};
use crate::job::piece_machine::PieceFact;
use crate::job::{Attempt, Budget, Failure, Job, Piece, Spent};

/// Adds to the daily sums how much more, or less, a piece's attempts have spent than the ledger had `written`. Each attempt counts on the day on
/// which it began. Counts the attempts of `daemon` only: each daemon has a budget of its own, and the daemon that sends a request reserves for
/// it.
///
/// # Errors
/// When the statement fails.
pub(super) fn change(
    connection: &Connection,
    job: &Job,
    piece: &Piece,
    written: &[Attempt],
    daemon: Uuid,
) -> Result<(), LedgerError> {
    let own = |attempt: &&Attempt| attempt.daemon == daemon;
    let same = |one: &Attempt, other: &Attempt| one.number == other.number;
    let before = |attempt: &Attempt| {
        written.iter().filter(own).find(|other| same(attempt, other)).map_or(0, Attempt::spent_micro)
    };
    let gone =
        written.iter().filter(own).filter(|old| !piece.attempts.iter().any(|attempt| same(attempt, old)));
    let changes = piece
        .attempts
        .iter()
        .filter(own)
        .map(|attempt| (attempt.began, attempt.spent_micro(), before(attempt)))
        .chain(gone.map(|attempt| (attempt.began, 0, attempt.spent_micro())));
    for (began, now, before) in changes.filter(|(_, now, before)| now != before) {
        sql::run(
            connection,
            "INSERT INTO spend (day, source, recognizer, micro) VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT DO UPDATE SET micro = micro + ?4",
            params![day(began), job.source, piece.recognizer, now as i64 - before as i64],
        )?;
    }
    Ok(())
}

/// What becomes of a piece whose request the day's budget does not allow; `None`: it may be sent. `reserved_micro`: its estimate.
///
/// # Errors
/// When the query fails.
pub fn refusal(
    connection: &Connection,
    job: &Job,
    reserved_micro: u64,
    budget: &Budget,
    now: Timestamp,
) -> Result<Option<PieceFact>, LedgerError> {
    if !budget.limits(&job.source) {
        return Ok(None);
    }
    let (daemon, source): (i64, i64) = sql::one(
        connection,
        "SELECT coalesce(sum(micro), 0), coalesce(sum(micro) FILTER (WHERE source = ?2), 0) \
             FROM spend WHERE day = ?1",
        params![day(now), job.source],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let spent = Spent { daemon: daemon.max(0) as u64, source: source.max(0) as u64 };
    Ok(budget.refusal(&job.source, spent, reserved_micro, now).map(|refusal| match refusal {
        OverBudget::Today { fault, retry_in } => PieceFact::OverBudget { fault, retry_in },
        OverBudget::AnyDay(fault) => PieceFact::Failed(Failure::for_good(fault)),
    }))
}

/// What was spent on one day by one source at one recognizer, reservations included.
#[derive(Debug, Clone, PartialEq)]
pub struct DaySpent {
    /// UTC.
    pub day: Date,
    pub source: String,
    pub recognizer: String,
    /// Millionths of a dollar, so that sums are exact.
    pub micro: i64,
}

/// The sum in dollars.
pub fn dollars<'a>(spent: impl IntoIterator<Item = &'a DaySpent>) -> f64 {
    spent.into_iter().map(|spent| spent.micro).sum::<i64>() as f64 / 1e6
}

/// What was spent since the begin of the UTC day of `first`.
///
/// # Errors
/// When the query fails.
pub fn since(connection: &Connection, first: Timestamp) -> Result<Vec<DaySpent>, LedgerError> {
    sql::all(
        connection,
        "SELECT day, source, recognizer, micro FROM spend WHERE day >= ?1 ORDER BY day",
        [day(first)],
        |row| {
            let micro: i64 = row.get(3)?;
            Ok(DaySpent {
                day: date(row.get(0)?),
                source: row.get(1)?,
                recognizer: row.get(2)?,
                micro: micro.max(0),
            })
        },
    )
}

#[cfg(test)]
mod tests {
    use hark_sdk::event::{Recording, Usage};

    use super::*;
    use crate::job::{Fate, Origin, Span};

    #[test]
    fn a_sum_of_dollars_has_six_decimals() {
        let one =
            |micro| DaySpent { day: date(0), source: "calls".into(), recognizer: "flash".into(), micro };
        let spent: Vec<DaySpent> = [35, 35, 35, 35, 35].map(one).into();
        assert_eq!(dollars(&spent).to_string(), "0.000175");
    }

    const OWN: Uuid = Uuid::from_u128(1);

    fn attempt(daemon: Uuid, fate: Fate, seconds: u64) -> Attempt {
        let open = Attempt::open(1, daemon, Timestamp::UNIX_EPOCH, None);
        Attempt {
            fate,
            billed: Usage::seconds(seconds),
            cost_micro: seconds * 35,
            reserved_micro: 350,
            ..open
        }
    }

    #[test]
    fn a_day_has_what_this_daemon_reserved_until_it_has_the_bill() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("schema.sql")).unwrap();
        let (id, recording) = (Uuid::now_v7(), Recording::default());
        let job = Job::new(id, "calls", "default", Origin::Nothing, recording, Default::default());
        let piece = Piece::new(1, Span::whole(None), "flash", "model");
        let mut written = Vec::new();
        let mut spent_after = |attempts: Vec<Attempt>| -> i64 {
            let piece = Piece { attempts, ..piece.clone() };
            change(&connection, &job, &piece, &written, OWN).unwrap();
            written.clone_from(&piece.attempts);
            connection
                .query_row("SELECT coalesce(sum(micro), 0) FROM spend WHERE day = 0", [], |row| row.get(0))
                .unwrap()
        };
        assert_eq!(spent_after(vec![attempt(Uuid::nil(), Fate::Taken, 10)]), 0, "another daemon's");
        assert_eq!(spent_after(vec![attempt(OWN, Fate::Open, 0)]), 350);
        assert_eq!(spent_after(vec![]), 0, "it was not sent after all");
        assert_eq!(spent_after(vec![attempt(OWN, Fate::Unknown, 0)]), 350);
        assert_eq!(spent_after(vec![attempt(OWN, Fate::Taken, 4)]), 140);
        assert_eq!(spent_after(vec![attempt(OWN, Fate::Refused, 0)]), 0);
    }
}
