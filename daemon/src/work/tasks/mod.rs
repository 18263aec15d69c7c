//! Follows tasks at the service until they end, within the account's limit of queries a second.
//!
//! Many tasks are followed through the task list (`hints`), few tasks one by one. The task ids are in the ledger; when each task is polled
//! next is in memory only, so after a restart all tasks are due at once and the pacer spreads the queries. The service keeps a result for
//! a day: the daemon warns of a result that it cannot fetch long before that (`expiry`), and asks for the result until it is certainly
//! gone, because another result has to be paid.

mod agenda;
mod downtime;
mod expiry;
mod hints;
mod in_flight;
mod poll;

use std::collections::VecDeque;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, MissedTickBehavior};

use self::agenda::Agenda;
use self::hints::hints;
use self::poll::{Asked, fetch, poll};
use super::Tools;
use crate::job::ledger::LedgerError;
use crate::job::piece_machine::PieceFact;
use crate::recognize::Ready;

pub use self::in_flight::InFlight;
use crate::job::{Duty, PieceId};

/// Queries under way at a time; each takes a round trip, and the pacer bounds their rate.
const WIDTH: usize = 16;

/// Downloads of results under way at a time, each with up to 64 MiB in memory. They are counted apart from queries, so that a storage host
/// that does not answer does not stop the polling of other tasks.
const DOWNLOADS: usize = 8;

/// How often the tasks' ages are checked for warnings.
const LOOK: Duration = Duration::from_secs(60);

/// Carries out `Duty::Await` for all tasks until `tools.stop`.
///
/// # Errors
/// When the ledger is closed or damaged.
pub async fn await_tasks(tools: Tools, first_interval: Duration) -> Result<(), LedgerError> {
    let mut agenda = Agenda::new(first_interval);
    let mut asking = FuturesUnordered::new();
    let mut to_fetch: VecDeque<(PieceId, Ready)> = VecDeque::new();
    let mut fetching = FuturesUnordered::new();
    let mut warning = FuturesUnordered::new();
    let mut hinting = FuturesUnordered::new();
    let mut next_hints = Instant::now();
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut woken = tools.ledger.wakes(Duty::Await);
    let mut look = true;
    loop {
        if std::mem::take(&mut look) {
            agenda.look(&tools).await?;
        }
        while asking.len() < WIDTH {
            let Some((id, task_id, so_far)) = agenda.due() else { break };
            asking.push(poll(tools.clone(), id, task_id, so_far));
        }
        while fetching.len() < DOWNLOADS {
            let Some((id, result)) = to_fetch.pop_front() else { break };
            let Some(so_far) = agenda.so_far(id) else { continue };
            fetching.push(fetch(tools.clone(), id, result, so_far));
        }
        let by_list = agenda.is_by_list();
        if hinting.is_empty() && by_list && next_hints <= Instant::now() {
            next_hints = Instant::now() + hints::INTERVAL;
            hinting.extend(agenda.to_hint().map(|tasks| hints(tools.clone(), tasks)));
        }
        let next = agenda.next();
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
                agenda.heard(id, &asked);
                match asked {
                    Asked::Done(result) => to_fetch.push_back((id, result)),
                    Asked::Over { .. } => {
                        tools.tasks.ended(id);
                        // The job may have a new task already.
                        look = true;
                    }
                    Asked::Open | Asked::Missed(_) | Asked::Troubled(_) => {
                        warning.extend(agenda.warn_of(id).map(|due| tools.clone().tell_of(due)));
                    }
                }
                tools.show_expiring(&agenda);
            }
            Some(hints) = hinting.next(), if !hinting.is_empty() => {
                next_hints = Instant::now() + hints.again;
                agenda.hinted(&hints);
            }
            () = tokio::time::sleep_until(next_hints), if hinting.is_empty() && by_list => {}
            Some(told) = warning.next(), if !warning.is_empty() => told?,
            _ = ticks.tick() => {
                warning.extend(agenda.warn().into_iter().map(|due| tools.clone().tell_of(due)));
                tools.show_expiring(&agenda);
            }
            () = sleep_until(next), if has_room => {}
            Ok(()) = woken.changed() => look = true,
            () = tools.stop.cancelled() => return Ok(()),
        }
    }
}

impl Tools {
    fn show_expiring(&self, agenda: &Agenda) {
        self.metrics.recognize_results_expiring.set(i64::try_from(agenda.expiring()).unwrap_or(i64::MAX));
    }

    async fn tell_of(self, (id, fact): (PieceId, PieceFact)) -> Result<(), LedgerError> {
        self.ledger.advance_piece(id, fact, 0, &self.policy).await.map(drop)
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
