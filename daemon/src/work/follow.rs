//! Follows tasks at the service until they end, within the account's queries a second.
//!
//! Hundreds of tasks are heard of through the task list (`survey`), others one by one. The task ids are in the ledger; how soon each is
//! asked again is in memory only, so a restart asks all of them at once, spread by the pacer. A result lives for a day: one that cannot be
//! fetched is warned of long before (`expiry`), and is asked for until it is sure that it is gone, for another one has to be paid.

use std::collections::VecDeque;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, MissedTickBehavior};
use uuid::Uuid;

use super::Surroundings;
use super::ask::{Asked, ask, fetch};
use super::round::Round;
use super::survey::{self, survey};
use crate::job::Duty;
use crate::job::ledger::LedgerError;
use crate::job::machine::Fact;
use crate::recognize::Ready;

/// Queries under way at a time; each takes a round trip, and the pacer bounds their rate.
const WIDTH: usize = 16;

/// Downloads of results under way at a time, each with up to 64 MiB in memory. They have places of their own: a host of results that
/// stands still keeps nobody from hearing how other tasks stand.
const DOWNLOADS: usize = 8;

/// How often the tasks' ages are looked at.
const LOOK: Duration = Duration::from_secs(60);

/// Carries out `Duty::Follow` for all tasks until `around.stop`.
///
/// # Errors
/// When the ledger is closed or damaged.
pub async fn follow(around: Surroundings, first_interval: Duration) -> Result<(), LedgerError> {
    let mut round = Round::new(first_interval);
    let mut asking = FuturesUnordered::new();
    let mut to_fetch: VecDeque<(Uuid, Ready)> = VecDeque::new();
    let mut fetching = FuturesUnordered::new();
    let mut warning = FuturesUnordered::new();
    let mut surveying = FuturesUnordered::new();
    let mut next_survey = Instant::now();
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut look = true;
    loop {
        if std::mem::take(&mut look) {
            round.look(&around).await?;
        }
        while asking.len() < WIDTH {
            let Some((id, task_id, so_far)) = round.due() else { break };
            asking.push(ask(around.clone(), id, task_id, so_far));
        }
        while fetching.len() < DOWNLOADS {
            let Some((id, result)) = to_fetch.pop_front() else { break };
            let Some(so_far) = round.so_far(id) else { continue };
            fetching.push(fetch(around.clone(), id, result, so_far));
        }
        let by_list = round.is_by_list();
        if surveying.is_empty() && by_list && next_survey <= Instant::now() {
            next_survey = Instant::now() + survey::INTERVAL;
            surveying.extend(round.to_survey().map(|tasks| survey(around.clone(), tasks)));
        }
        let next = round.next();
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
                round.heard(id, &asked);
                match asked {
                    Asked::Done(result) => to_fetch.push_back((id, result)),
                    Asked::Over { .. } => {
                        around.tasks.ended(id);
                        // The job may have another task already.
                        look = true;
                    }
                    Asked::Open | Asked::Missed(_) | Asked::Troubled(_) => {
                        warning.extend(round.warn_of(id).map(|due| around.clone().tell_of(due)));
                    }
                }
                around.show_expiring(&round);
            }
            Some(survey) = surveying.next(), if !surveying.is_empty() => {
                next_survey = Instant::now() + survey.again;
                round.surveyed(&survey);
            }
            () = tokio::time::sleep_until(next_survey), if surveying.is_empty() && by_list => {}
            Some(told) = warning.next(), if !warning.is_empty() => told?,
            _ = ticks.tick() => {
                warning.extend(round.warn().into_iter().map(|due| around.clone().tell_of(due)));
                around.show_expiring(&round);
            }
            () = sleep_until(next), if has_room => {}
            () = around.ledger.woken(Duty::Follow) => look = true,
            () = around.stop.cancelled() => return Ok(()),
        }
    }
}

impl Surroundings {
    fn show_expiring(&self, round: &Round) {
        self.metrics.recognize_results_expiring.set(i64::try_from(round.expiring()).unwrap_or(i64::MAX));
    }

    async fn tell_of(self, (id, fact): (Uuid, Fact)) -> Result<(), LedgerError> {
        self.ledger.advance(id, fact, self.policy).await.map(drop)
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
