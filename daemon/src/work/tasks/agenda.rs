//! The tasks that the daemon follows, and when it polls each of them next.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use hark_sdk::event::{Blame, Engine, Fault};
use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use tokio::time::Instant;
use tracing::error;

use super::downtime::Downtime;
use super::expiry::{self, rough};
use super::hints::{self, Hints, Listing};
use super::poll::{Asked, Misses, SoFar};
use crate::job::ledger::due::{self, Lane, Owed};
use crate::job::ledger::{LedgerError, jobs, pieces};
use crate::job::piece_machine::PieceFact;
use crate::job::{Duty, Piece, PieceId, PieceState};
use crate::recognize::Tasks;
use crate::work::Tools;

/// Longest pause between two polls of a task: the goal is to notice a task's end within a minute (RELIABILITY 7, row 10), and at the
/// account's 20 queries a second, polling a thousand tasks once takes fifty seconds.
const LONGEST_INTERVAL: Duration = Duration::from_secs(30);

/// How long the daemon does not poll a task that is running according to the list. The list is a hint, and its rows are not documented: a
/// list that lags or is misread delays the notice of an end by this much at most. A thousand tasks take 11 of the account's 20 queries a
/// second.
const LISTED_INTERVAL: Duration = Duration::from_secs(90);

/// How long after it began to follow a task the daemon does not warn of it only because no answer has come: by then every task has been
/// polled once.
const FIRST_ROUND: Duration = Duration::from_secs(300);

/// All tasks that the daemon follows.
pub(super) struct Agenda {
    followed: HashMap<PieceId, Followed>,
    agenda: BTreeSet<(Instant, PieceId)>,
    first_interval: Duration,
    /// `None` before the first look into the ledger.
    downtime: Option<Downtime>,
}

/// A task whose result has not been fetched yet.
struct Followed {
    source: String,
    task_id: String,
    recognizer: String,
    model: String,
    /// How long the service keeps its result.
    life: Tasks,
    submitted_at: Timestamp,
    /// When this daemon began to follow it.
    since: Instant,
    /// When it is polled next, its key in the agenda; `None` while a poll or a download is under way.
    at: Option<Instant>,
    /// `at` was put off because the list shows the task as running; the list will show its end.
    listed: bool,
    /// `at` was brought forward because the list shows the task as ended.
    ended: bool,
    interval: Duration,
    misses: Misses,
    /// `usage.seconds` from the latest answer that told it.
    seconds: u64,
    /// The last time at which the task is known not to have ended.
    open_at: Timestamp,
    /// How many warnings its job's events contain.
    warned: u32,
    /// Why its result could not be fetched, though the task may have ended.
    trouble: Option<String>,
}

impl Agenda {
    /// Follows nothing yet.
    pub(super) fn new(first_interval: Duration) -> Agenda {
        Agenda { followed: HashMap::new(), agenda: BTreeSet::new(), first_interval, downtime: None }
    }

    /// Begins to follow the tasks of the ledger that are not followed yet: tasks that were submitted, found in the list, taken over from
    /// another daemon, or left by an earlier run of this one.
    pub(super) async fn look(&mut self, tools: &Tools) -> Result<(), LedgerError> {
        let known: HashSet<PieceId> = self.followed.keys().copied().collect();
        let recognizers = tools.recognizers.with_tasks();
        let found = tools.ledger.read(move |connection| found(connection, &recognizers, &known)).await?;
        self.downtime.get_or_insert_with(|| {
            let ids = found.iter().map(|(id, ..)| *id).collect();
            Downtime::new(tools.ledger.last_sign_of_life(), ids)
        });
        for (id, source, piece) in found {
            let life = tools.life_of(&piece.recognizer);
            if let Some(mut task) = Followed::new(source, &piece, self.first_interval, life) {
                tools.tasks.add(id);
                task.place(&mut self.agenda, id, self.first_interval);
                self.followed.insert(id, task);
            }
        }
        Ok(())
    }

    /// When the next task is to be polled.
    pub(super) fn next(&self) -> Option<Instant> {
        self.agenda.first().map(|(at, _)| *at)
    }

    /// Takes the next task that is due off the agenda. [`Agenda::heard`] puts it back.
    pub(super) fn due(&mut self) -> Option<(PieceId, String, SoFar)> {
        loop {
            let &(at, id) = self.agenda.first().filter(|(at, _)| *at <= Instant::now())?;
            self.agenda.remove(&(at, id));
            if let Some(task) = self.followed.get_mut(&id) {
                (task.at, task.listed, task.ended) = (None, false, false);
                return Some((id, task.task_id.clone(), task.so_far(self.first_interval)));
            }
        }
    }

    /// What earlier answers told of a task, if it is still followed.
    pub(super) fn so_far(&self, id: PieceId) -> Option<SoFar> {
        Some(self.followed.get(&id)?.so_far(self.first_interval))
    }

    /// Takes in the outcome of a poll or a download.
    pub(super) fn heard(&mut self, id: PieceId, asked: &Asked) {
        if let Some(downtime) = &mut self.downtime {
            downtime.heard(id, asked);
        }
        if let Asked::Over { .. } = asked {
            self.followed.remove(&id);
            return;
        }
        let Some(task) = self.followed.get_mut(&id) else { return };
        if let Asked::Done(result) = asked {
            task.seconds = result.billed_seconds;
        } else {
            task.heard(asked, self.first_interval);
            task.place(&mut self.agenda, id, task.interval);
        }
    }

    /// Whether the list is to be read: there are many tasks, or the polls of some were put off because of an earlier list.
    pub(super) fn is_by_list(&self) -> bool {
        self.followed.len() >= hints::MANY || self.followed.values().any(|task| task.listed)
    }

    /// The tasks to look for in the list; `None` while enough tasks that an earlier list showed as ended wait to be polled.
    pub(super) fn to_hint(&self) -> Option<Vec<Listing>> {
        let ended = self.followed.values().filter(|task| task.ended).count();
        (ended < hints::ENOUGH).then(|| self.followed.values().map(Followed::listing).collect())
    }

    /// Takes in what the list shows.
    pub(super) fn hinted(&mut self, hints: &Hints) {
        let agenda = &mut self.agenda;
        for (id, task) in &mut self.followed {
            match hints.ended.get(&task.task_id) {
                // A task with trouble keeps its interval, and a task whose poll is under way gets its next time from the answer.
                Some(_) if task.trouble.is_some() || task.at.is_none() => {}
                Some(true) if task.ended => {}
                Some(true) => {
                    task.place(agenda, *id, Duration::ZERO);
                    task.ended = true;
                }
                Some(false) => {
                    task.open_at = task.open_at.max(hints.asked_at);
                    task.runs_by_list(agenda, *id);
                    if let Some(downtime) = &mut self.downtime {
                        downtime.heard(*id, &Asked::Open);
                    }
                }
                None if task.listed => task.place(agenda, *id, task.interval),
                None => {}
            }
        }
    }

    /// Logs of each task that its result may be lost, if a warning is due; returns the facts for the jobs' events.
    pub(super) fn warn(&mut self) -> Vec<(PieceId, PieceFact)> {
        self.followed.iter_mut().filter_map(|(id, task)| Some((*id, task.warn(*id)?))).collect()
    }

    /// As [`Agenda::warn`], for one task.
    pub(super) fn warn_of(&mut self, id: PieceId) -> Option<(PieceId, PieceFact)> {
        Some((id, self.followed.get_mut(&id)?.warn(id)?))
    }

    /// How many tasks have a result that may be lost soon.
    pub(super) fn expiring(&self) -> usize {
        self.followed.values().filter(|task| task.is_expiring()).count()
    }
}

impl Tools {
    /// How long the service keeps results of this recognizer's tasks; for ever if the config no longer has the recognizer.
    fn life_of(&self, recognizer: &str) -> Tasks {
        let recognizer = self.recognizers.get(&Engine::new(recognizer));
        let tasks = recognizer.and_then(|recognizer| recognizer.profile().limits.tasks);
        tasks.unwrap_or(Tasks { kept: Duration::MAX, longest: Duration::ZERO })
    }
}

/// The pieces of the ledger that wait for a task and are not in `known`. Rows that a newer harkd wrote are left alone.
fn found(
    connection: &Connection,
    recognizers: &[String],
    known: &HashSet<PieceId>,
) -> Result<Vec<(PieceId, String, Piece)>, LedgerError> {
    let mut owed = Vec::new();
    for recognizer in recognizers {
        let lane = Lane::of_pieces(Duty::Await, recognizer);
        owed.extend(due::due(connection, &lane, Timestamp::MAX, usize::MAX)?.all());
    }
    let mut found = Vec::new();
    for id in owed.into_iter().map(Owed::piece_id) {
        if known.contains(&id) {
            continue;
        }
        match pieces::find(connection, id) {
            Ok(piece) => {
                let source = jobs::find(connection, id.job)?.map(|job| job.source).unwrap_or_default();
                found.extend(piece.map(|piece| (id, source, piece)));
            }
            Err(LedgerError::Newer { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

impl Followed {
    /// The task of a piece, as the ledger has it; `None` if the piece waits for none.
    fn new(source: String, piece: &Piece, interval: Duration, life: Tasks) -> Option<Followed> {
        let PieceState::Awaiting { warned } = piece.state else { return None };
        let attempt = piece.last_attempt()?;
        let submitted_at = attempt.began;
        Some(Followed {
            source,
            task_id: attempt.handle.clone()?,
            recognizer: piece.recognizer.clone(),
            model: piece.model.clone(),
            life,
            submitted_at,
            since: Instant::now(),
            at: None,
            listed: false,
            ended: false,
            interval,
            misses: Misses::default(),
            seconds: 0,
            open_at: submitted_at,
            warned,
            trouble: None,
        })
    }

    /// Puts it on the agenda to be polled `after` this time from now, in place of its former time.
    fn place(&mut self, agenda: &mut BTreeSet<(Instant, PieceId)>, id: PieceId, after: Duration) {
        if let Some(at) = self.at.take() {
            agenda.remove(&(at, id));
        }
        let at = Instant::now() + after;
        agenda.insert((at, id));
        (self.at, self.listed, self.ended) = (Some(at), false, false);
    }

    /// Puts the next poll off because the list shows the task as running. Later lists do not put it off again before it was polled: else a
    /// wrong list would put it off for ever.
    fn runs_by_list(&mut self, agenda: &mut BTreeSet<(Instant, PieceId)>, id: PieceId) {
        if !self.listed {
            self.place(agenda, id, LISTED_INTERVAL);
            self.listed = true;
        }
    }

    fn listing(&self) -> Listing {
        Listing {
            task_id: self.task_id.clone(),
            recognizer: self.recognizer.clone(),
            model: self.model.clone(),
            since: self.submitted_at,
        }
    }

    fn heard(&mut self, asked: &Asked, first_interval: Duration) {
        self.interval = (self.interval * 3 / 2).min(LONGEST_INTERVAL.max(first_interval));
        match asked {
            Asked::Over { .. } | Asked::Done(_) => {}
            Asked::Open => {
                (self.misses, self.open_at, self.trouble) = (Misses::default(), Timestamp::now(), None);
            }
            Asked::Missed(why) => {
                // Polled again soon, so that a task that is gone is given up soon.
                let growths = self.misses.count.min(9);
                self.interval = (first_interval * 3u32.pow(growths) / 2u32.pow(growths)).min(self.interval);
                self.misses.add();
                self.trouble = Some(why.clone());
            }
            Asked::Troubled(why) => {
                self.misses = Misses::default();
                self.trouble = Some(why.clone());
            }
        }
    }

    fn so_far(&self, first_interval: Duration) -> SoFar {
        SoFar {
            misses: self.misses,
            open_at: self.open_at,
            first_interval,
            seconds: self.seconds,
            life: self.life,
        }
    }

    /// Time since it was last known to be running.
    fn age(&self) -> SignedDuration {
        Timestamp::now().duration_since(self.open_at)
    }

    fn is_expiring(&self) -> bool {
        let waits = self.trouble.is_some() || self.since.elapsed() > FIRST_ROUND;
        waits && expiry::warnings(self.life, self.age()) > 0
    }

    /// Logs that its result may be lost, if a warning is due; returns the fact for the job's events.
    fn warn(&mut self, id: PieceId) -> Option<PieceFact> {
        let (age, due) = (self.age(), expiry::warnings(self.life, self.age()));
        if !self.is_expiring() || due <= self.warned {
            return None;
        }
        self.warned = due;
        let why = self.trouble.as_deref().unwrap_or("the service has not answered about the task");
        let left = match expiry::left(self.life, age).max(SignedDuration::ZERO) {
            left if left.is_zero() => "may have deleted it".to_owned(),
            left => format!("may delete it in {}", rough(left)),
        };
        let waited = rough(age);
        error!(job = %id, source = self.source, waited, "a task's result has not come; the service {left}, and then the recording has to be paid again");
        let message = format!("the task's result has not come for {waited}; the service {left}: {why}");
        let fault = Fault { code: "ResultExpiring".into(), blame: Blame::Service, message, attempts: None };
        Some(PieceFact::Expiring { warnings: due, fault, retry_in: self.interval })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::job::{Attempt, Fate, Span};

    #[tokio::test(start_paused = true)]
    async fn a_list_that_always_says_running_puts_a_question_off_but_once() {
        let day = Tasks { kept: Duration::from_secs(24 * 3600), longest: Duration::from_secs(3 * 3600) };
        let mut piece = Piece::new(1, Span::whole(None), "filetrans", "model");
        let attempt = Attempt::open(1, Uuid::nil(), Timestamp::now(), None);
        piece.attempts.push(Attempt { fate: Fate::Taken, handle: Some("task".into()), ..attempt });
        piece.state = PieceState::Awaiting { warned: 0 };
        let mut task = Followed::new("calls".to_owned(), &piece, Duration::from_secs(2), day).unwrap();
        let (mut agenda, id, begin) =
            (BTreeSet::new(), PieceId { job: Uuid::now_v7(), number: 1 }, Instant::now());
        task.place(&mut agenda, id, Duration::from_secs(2));
        for _ in 0..10 {
            task.runs_by_list(&mut agenda, id);
            tokio::time::advance(Duration::from_secs(15)).await;
        }
        assert_eq!(agenda.into_iter().collect::<Vec<_>>(), [(begin + LISTED_INTERVAL, id)]);
    }
}
