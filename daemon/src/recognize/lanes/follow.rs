//! Follows tasks at the service until they end, within the account's queries a second.
//!
//! Hundreds of tasks are heard of through the task list (`survey`), others one by one. The task ids are in the ledger; how soon each is
//! asked again is in memory only, so a restart asks all of them at once, spread by the pacer. A result lives for a day: one that cannot be
//! fetched is warned of long before (`expiry`), and is asked for until it is sure that it is gone, for another one has to be paid.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use hark_sdk::event::{Blame, Fault};
use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::error;
use uuid::Uuid;

use super::Surroundings;
use super::ask::{Asked, Misses, SoFar, ToFetch, ask, fetch};
use super::downtime::Downtime;
use super::survey::{self, Listing, survey};
use crate::job::ledger::{LedgerError, jobs};
use crate::job::machine::Fact;
use crate::job::{Duty, State};
use crate::recognize::expiry::{self, rough};

/// Longest wait between two queries of a task: a goal is to notice an end within a minute (RELIABILITY 7, row 10), and with a
/// thousand tasks the account's 20 queries a second take fifty seconds for a round.
const LONGEST_INTERVAL: Duration = Duration::from_secs(30);

/// How long a task of which the list says that it runs is not asked for itself. The list is a hint, and its rows are not documented: one
/// that lags or is misread may make an end late by this much, no more. A thousand tasks take 11 of the account's 20 queries a second.
const LISTED_INTERVAL: Duration = Duration::from_secs(90);

/// Queries under way at a time; each takes a round trip, and the pacer bounds their rate.
const WIDTH: usize = 16;

/// Downloads of results under way at a time, each with up to 64 MiB in memory. They have places of their own: a host of results that
/// stands still keeps nobody from hearing how other tasks stand.
const DOWNLOADS: usize = 8;

/// How often the tasks' ages are looked at.
const LOOK: Duration = Duration::from_secs(60);

/// A task that was not heard of since the start is none of whose result cannot be fetched, until everybody had his turn.
const FIRST_ROUND: Duration = Duration::from_secs(300);

/// A task that has not brought its transcript yet.
struct Followed {
    task_id: String,
    model: String,
    submitted_at: Timestamp,
    since: Instant,
    /// Its place on the agenda; none while it is asked.
    at: Option<Instant>,
    /// It has that place because the list says that it runs, and the list will say when it does not.
    listed: bool,
    /// It has that place because the list says that it has ended.
    ended: bool,
    interval: Duration,
    misses: Misses,
    /// `usage.seconds`, as it was told last.
    seconds: u64,
    /// It had not ended then.
    open_at: Timestamp,
    /// Warnings that its events have.
    warned: u32,
    /// Why its result is not here, though it may have ended.
    trouble: Option<String>,
}

/// Carries out `Duty::Follow` for all tasks until `around.stop`.
///
/// # Errors
/// When the ledger is closed or damaged.
pub async fn follow(around: Surroundings, first_interval: Duration) -> Result<(), LedgerError> {
    let mut followed: HashMap<Uuid, Followed> = HashMap::new();
    let mut agenda: BTreeSet<(Instant, Uuid)> = BTreeSet::new();
    let mut asking = FuturesUnordered::new();
    let mut to_fetch: VecDeque<(Uuid, ToFetch)> = VecDeque::new();
    let mut fetching = FuturesUnordered::new();
    let mut warning = FuturesUnordered::new();
    let mut surveying = FuturesUnordered::new();
    let mut next_survey = Instant::now();
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut look = true;
    let mut downtime: Option<Downtime> = None;
    loop {
        if look {
            look = false;
            let known: HashSet<Uuid> = followed.keys().copied().collect();
            let found = around.ledger.read(move |connection| found(connection, &known)).await?;
            if downtime.is_none() {
                let ids = found.iter().map(|(id, _)| *id).collect();
                downtime = Some(Downtime::new(around.ledger.last_sign_of_life(), ids));
            }
            for (id, state) in found {
                if let Some(mut task) = Followed::new(state, first_interval) {
                    // Whether it was submitted, found in the list, taken over, or is of an earlier life.
                    around.tasks.add(id);
                    task.place(&mut agenda, id, first_interval);
                    followed.insert(id, task);
                }
            }
        }
        while asking.len() < WIDTH {
            let Some(&(at, id)) = agenda.first().filter(|(at, _)| *at <= Instant::now()) else { break };
            agenda.remove(&(at, id));
            let Some(task) = followed.get_mut(&id) else { continue };
            (task.at, task.listed, task.ended) = (None, false, false);
            asking.push(ask(around.clone(), id, task.task_id.clone(), task.so_far(first_interval)));
        }
        while fetching.len() < DOWNLOADS {
            let Some((id, result)) = to_fetch.pop_front() else { break };
            let Some(task) = followed.get(&id) else { continue };
            fetching.push(fetch(around.clone(), id, result, task.so_far(first_interval)));
        }
        let by_list = followed.len() >= survey::MANY || followed.values().any(|task| task.listed);
        if surveying.is_empty() && by_list && next_survey <= Instant::now() {
            next_survey = Instant::now() + survey::INTERVAL;
            if followed.values().filter(|task| task.ended).count() < survey::ENOUGH {
                surveying.push(survey(around.clone(), followed.values().map(Followed::listing).collect()));
            }
        }
        let next = agenda.first().map(|(at, _)| *at);
        let has_room = asking.len() < WIDTH;
        let asked = async {
            tokio::select! {
                Some(asked) = asking.next(), if !asking.is_empty() => asked,
                Some(fetched) = fetching.next(), if !fetching.is_empty() => fetched,
                else => std::future::pending().await,
            }
        };
        tokio::select! {
            (id, asked) = asked => {
                let asked = asked?;
                if let Some(downtime) = &mut downtime {
                    downtime.heard(id, &asked);
                }
                if let Asked::Done(result) = asked {
                    if let Some(task) = followed.get_mut(&id) {
                        task.seconds = result.seconds;
                    }
                    to_fetch.push_back((id, result));
                } else if let Asked::Over { .. } = asked {
                    followed.remove(&id);
                    around.tasks.ended(id);
                    // The job may have another task already.
                    look = true;
                } else if let Some(task) = followed.get_mut(&id) {
                    task.heard(asked, first_interval);
                    task.place(&mut agenda, id, task.interval);
                    warning.extend(task.warn(id).map(|fact| around.clone().tell_of(id, fact)));
                }
                around.show_expiring(&followed);
            }
            Some(survey) = surveying.next(), if !surveying.is_empty() => {
                next_survey = Instant::now() + survey.again;
                for (id, task) in &mut followed {
                    match survey.ended.get(&task.task_id) {
                        // What is troubled, or asked just now, keeps its rhythm.
                        Some(_) if task.trouble.is_some() || task.at.is_none() => {}
                        Some(true) if task.ended => {}
                        Some(true) => {
                            task.place(&mut agenda, *id, Duration::ZERO);
                            task.ended = true;
                        }
                        Some(false) => {
                            task.open_at = task.open_at.max(survey.asked_at);
                            task.runs_by_list(&mut agenda, *id);
                            if let Some(downtime) = &mut downtime {
                                downtime.heard(*id, &Asked::Open);
                            }
                        }
                        None if task.listed => task.place(&mut agenda, *id, task.interval),
                        None => {}
                    }
                }
            }
            () = sleep_until(Some(next_survey)), if surveying.is_empty() && by_list => {}
            Some(told) = warning.next(), if !warning.is_empty() => told?,
            _ = ticks.tick() => {
                for (id, task) in &mut followed {
                    warning.extend(task.warn(*id).map(|fact| around.clone().tell_of(*id, fact)));
                }
                around.show_expiring(&followed);
            }
            () = sleep_until(next), if has_room => {}
            () = around.ledger.woken(Duty::Follow) => look = true,
            () = around.stop.cancelled() => return Ok(()),
        }
    }
}

/// Tasks of the ledger that are not followed yet.
fn found(connection: &Connection, known: &HashSet<Uuid>) -> Result<Vec<(Uuid, State)>, LedgerError> {
    let mut found = Vec::new();
    for id in jobs::due(connection, Duty::Follow, Timestamp::MAX, usize::MAX)?.ids() {
        if !known.contains(&id)
            && let Some(job) = jobs::find(connection, id)?
        {
            found.push((id, job.state));
        }
    }
    Ok(found)
}

impl Followed {
    /// As it stands in the ledger.
    fn new(state: State, interval: Duration) -> Option<Followed> {
        let State::Submitted { plan, task_id, submitted_at, warned } = state else { return None };
        Some(Followed {
            task_id,
            model: plan.model,
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

    /// Gives it its place on the agenda.
    fn place(&mut self, agenda: &mut BTreeSet<(Instant, Uuid)>, id: Uuid, after: Duration) {
        if let Some(at) = self.at.take() {
            agenda.remove(&(at, id));
        }
        let at = Instant::now() + after;
        agenda.insert((at, id));
        (self.at, self.listed, self.ended) = (Some(at), false, false);
    }

    /// Puts off the next question, once: the next list that says the same does not put it off again, or a list that is wrong would do
    /// so for ever.
    fn runs_by_list(&mut self, agenda: &mut BTreeSet<(Instant, Uuid)>, id: Uuid) {
        if !self.listed {
            self.place(agenda, id, LISTED_INTERVAL);
            self.listed = true;
        }
    }

    fn listing(&self) -> Listing {
        Listing { task_id: self.task_id.clone(), model: self.model.clone(), since: self.submitted_at }
    }

    fn heard(&mut self, asked: Asked, first_interval: Duration) {
        self.interval = (self.interval * 3 / 2).min(LONGEST_INTERVAL.max(first_interval));
        match asked {
            Asked::Over { .. } | Asked::Done(_) => {}
            Asked::Open => {
                (self.misses, self.open_at, self.trouble) = (Misses::default(), Timestamp::now(), None);
            }
            Asked::Missed(why) => {
                // Soon: what is gone is not worth a place in the queue for long.
                let growths = self.misses.count.min(9);
                self.interval = (first_interval * 3u32.pow(growths) / 2u32.pow(growths)).min(self.interval);
                self.misses.add();
                self.trouble = Some(why);
            }
            Asked::Troubled(why) => {
                self.misses = Misses::default();
                self.trouble = Some(why);
            }
        }
    }

    fn so_far(&self, first_interval: Duration) -> SoFar {
        SoFar { misses: self.misses, open_at: self.open_at, first_interval, seconds: self.seconds }
    }

    /// Time since it was last known to run.
    fn age(&self) -> SignedDuration {
        Timestamp::now().duration_since(self.open_at)
    }

    fn is_expiring(&self) -> bool {
        let waits = self.trouble.is_some() || self.since.elapsed() > FIRST_ROUND;
        waits && expiry::warnings(self.age()) > 0
    }

    /// Says that its result may be lost, where that is due; gives what the job's events are to say.
    fn warn(&mut self, id: Uuid) -> Option<Fact> {
        let (age, due) = (self.age(), expiry::warnings(self.age()));
        if !self.is_expiring() || due <= self.warned {
            return None;
        }
        self.warned = due;
        let why = self.trouble.as_deref().unwrap_or("nothing was heard of the task");
        let left = match (expiry::LIFE - age).max(SignedDuration::ZERO) {
            left if left.is_zero() => "may have deleted it".to_owned(),
            left => format!("may delete it in {}", rough(left)),
        };
        let waited = rough(age);
        error!(job = %id, waited, "a task's result has not come; the service {left}, and then the recording has to be paid again");
        let message = format!("the task's result has not come for {waited}; the service {left}: {why}");
        let fault = Fault { code: "ResultExpiring".into(), blame: Blame::Service, message, attempts: None };
        Some(Fact::Expiring { warnings: due, fault, retry_in: self.interval })
    }
}

impl Surroundings {
    fn show_expiring(&self, followed: &HashMap<Uuid, Followed>) {
        let expiring = followed.values().filter(|task| task.is_expiring()).count();
        let gauge = &self.recognizer.inner.metrics.recognize_results_expiring;
        gauge.set(i64::try_from(expiring).unwrap_or(i64::MAX));
    }

    async fn tell_of(self, id: Uuid, fact: Fact) -> Result<(), LedgerError> {
        self.ledger.advance(id, fact, self.policy).await.map(drop)
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use hark_sdk::event::Engine;

    use super::*;
    use crate::job::{Delivery, Plan};

    #[tokio::test(start_paused = true)]
    async fn a_list_that_always_says_running_puts_a_question_off_but_once() {
        let (model, reason) = ("model".to_owned(), "dice".to_owned());
        let plan = Plan { engine: Engine::Filetrans, model, delivery: Delivery::Upload, reason };
        let state =
            State::Submitted { plan, task_id: "task".into(), submitted_at: Timestamp::now(), warned: 0 };
        let mut task = Followed::new(state, Duration::from_secs(2)).unwrap();
        let (mut agenda, id, begin) = (BTreeSet::new(), Uuid::now_v7(), Instant::now());
        task.place(&mut agenda, id, Duration::from_secs(2));
        for _ in 0..10 {
            task.runs_by_list(&mut agenda, id);
            tokio::time::advance(Duration::from_secs(15)).await;
        }
        assert_eq!(agenda.into_iter().collect::<Vec<_>>(), [(begin + LISTED_INTERVAL, id)]);
    }
}
