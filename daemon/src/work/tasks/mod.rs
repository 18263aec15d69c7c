//! Follows tasks at the service until they end, within the account's limit of queries a second.
//!
//! The task ids are in the ledger. Only the follower of a task knows when the task is polled next, so after a restart all tasks are due at once;
//! the recognizer's pacer spreads the queries and serves the tasks in turn. The service keeps a result for a day. The daemon warns of a result
//! that it could not fetch long before the service deletes it (`expiry`), and asks for the result until it is certainly gone, because a second
//! recognition has to be paid.

mod ask;
mod expiry;
mod follow;
mod in_flight;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use hark_sdk::event::Engine;
use jiff::Timestamp;
use rusqlite::Connection;
use tokio::task::JoinSet;

use self::follow::{Follower, RemoteTask};
pub use self::in_flight::{InFlight, TaskSlot};
use super::Tools;
use crate::job::ledger::due::{self, Lane, Owed};
use crate::job::ledger::{LedgerError, pieces};
use crate::job::{Duty, Piece, PieceId};
use crate::recognize::Tasks;

/// Carries out `Duty::Await` for all tasks until `tools.stop`.
///
/// # Errors
/// When the ledger is closed or damaged.
pub async fn await_tasks(tools: Tools) -> Result<(), LedgerError> {
    let mut woken = tools.ledger.wakes(Duty::Await);
    let follower = Arc::new(Follower::new(tools.clone()));
    let mut followed = HashSet::new();
    // Each task is followed by a tokio task of its own. If this future polled the followers itself, a follower that holds a reader of the
    // ledger, or its turn at the pacer, would stand still while this future waits for a reader: a deadlock.
    let mut following = JoinSet::new();
    loop {
        let tools = tools.renewed();
        for (id, piece) in waiting(&tools, followed.clone()).await? {
            let life = tools.life_of(&piece.recognizer);
            let Some(task) = RemoteTask::of(id, &piece, life) else { continue };
            tools.tasks.add(id);
            followed.insert(id);
            following.spawn(Arc::clone(&follower).follow(task));
        }
        tokio::select! {
            Some(ended) = following.join_next(), if !following.is_empty() => {
                let id = ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
                tools.tasks.ended(id);
                // The piece may wait for a new task already; the ledger, which is read next, has it.
                followed.remove(&id);
            }
            Ok(()) = woken.changed() => {}
            () = tools.stop.cancelled() => return Ok(()),
        }
    }
}

/// The pieces of the ledger that wait for a task and are not followed yet: their tasks were submitted, found in the list, taken over from
/// another daemon, or left by an earlier run of this one. Rows that a newer harkd wrote are left alone.
async fn waiting(tools: &Tools, followed: HashSet<PieceId>) -> Result<Vec<(PieceId, Piece)>, LedgerError> {
    let recognizers = tools.settings.recognizers.with_tasks();
    let read = move |connection: &Connection| {
        let mut waiting = Vec::new();
        for recognizer in &recognizers {
            let lane = Lane::of_pieces(Duty::Await, recognizer);
            let owed = due::due(connection, &lane, Timestamp::MAX, usize::MAX)?;
            for id in owed.all().map(Owed::piece_id).filter(|id| !followed.contains(id)) {
                match pieces::find(connection, id) {
                    Err(LedgerError::Newer { .. }) => {}
                    found => waiting.extend(found?.map(|piece| (id, piece))),
                }
            }
        }
        Ok(waiting)
    };
    tools.ledger.read(read).await
}

impl Tools {
    /// How long the service keeps results of this recognizer's tasks; for ever if the config no longer has the recognizer.
    fn life_of(&self, recognizer: &str) -> Tasks {
        let recognizer = self.settings.recognizers.get(&Engine::new(recognizer));
        let tasks = recognizer.and_then(|recognizer| recognizer.profile().limits.tasks);
        tasks.unwrap_or(Tasks { kept: Duration::MAX, longest: Duration::ZERO })
    }
}
