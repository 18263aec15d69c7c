//! The writer: takes the waiting writes, commits them together, and waits while the disk is full.

use std::thread;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info};

use super::checkpoint::empty_log;
use super::error::{LedgerError, NO_ROOM_PAUSE, is_damage, is_no_room};

/// At most this many writes share a commit, so that the first of them is not kept waiting for the last.
const GROUP: usize = 256;

/// A function of a transaction, with the place for its answer.
pub(super) trait Write: Send {
    /// Runs it; may be called again after a group found no room. `true`: keep its effects; `false`: it failed in itself. An error concerns
    /// the whole group.
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<bool>;
    /// Answers the caller after the commit. `failure`: there was none, and never will be.
    fn answer(self: Box<Self>, failure: Option<LedgerError>);
}

/// A write that waits for the writer.
pub(super) struct Pending<T, F> {
    write: F,
    outcome: Option<Result<T, LedgerError>>,
    answer: oneshot::Sender<Result<T, LedgerError>>,
}

impl<T, F> Pending<T, F> {
    /// And where its outcome will be.
    pub(super) fn new(write: F) -> (Self, oneshot::Receiver<Result<T, LedgerError>>) {
        let (answer, answered) = oneshot::channel();
        (Pending { write, outcome: None, answer }, answered)
    }
}

impl<T: Send, F: FnMut(&Connection) -> Result<T, LedgerError> + Send> Write for Pending<T, F> {
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<bool> {
        match (self.write)(connection) {
            Err(LedgerError::Sqlite(error)) if is_no_room(&error) => Err(error),
            outcome => {
                let keep = outcome.is_ok();
                self.outcome = Some(outcome.map_err(|error| LedgerError::of(connection, error)));
                Ok(keep)
            }
        }
    }

    fn answer(self: Box<Self>, failure: Option<LedgerError>) {
        if let Some(outcome) = failure.map(Err).or(self.outcome) {
            // If the caller no longer waits for the answer, the write stays committed all the same.
            let _ = self.answer.send(outcome);
        }
    }
}

/// The writer's thread: until the queue's senders are gone, or the file proves to be damaged.
pub(super) fn write_in_groups(
    connection: &Connection,
    mut queue: mpsc::Receiver<Box<dyn Write>>,
    room: &watch::Sender<Result<(), String>>,
) {
    while let Some(first) = queue.blocking_recv() {
        let mut group = vec![first];
        group.extend(std::iter::from_fn(|| queue.try_recv().ok()).take(GROUP - 1));
        let damage = loop {
            let error = match commit(connection, &mut group) {
                Ok(()) => break None,
                Err(error) if is_damage(&error) => break Some(error.to_string()),
                Err(error) => error,
            };
            let _ = connection.execute_batch("ROLLBACK");
            // The log itself may fill the disk. A checkpoint moves its pages into the file, each page once, and frees the log.
            let _ = empty_log(connection);
            let reason = error.to_string();
            if room.send_if_modified(|state| std::mem::replace(state, Err(reason.clone())).is_ok()) {
                error!(
                    reason,
                    "the ledger cannot be written and sources wait; make room on the disk of state.directory, or mend it"
                );
            }
            thread::sleep(NO_ROOM_PAUSE);
        };
        if let Some(finding) = damage {
            for write in group {
                write.answer(Some(LedgerError::damaged(connection, &finding)));
            }
            // Later writes fail with `Closed`.
            return;
        }
        if room.send_if_modified(|state| std::mem::replace(state, Ok(())).is_err()) {
            info!("the ledger can be written again");
        }
        group.into_iter().for_each(|write| write.answer(None));
    }
}

/// Runs a group in one transaction. A write that fails in itself is undone alone. A failure of the statements around the writes (a full
/// disk, a lost file) concerns the whole group: except for damage, waiting is the only way to lose no write.
fn commit(connection: &Connection, group: &mut [Box<dyn Write>]) -> rusqlite::Result<()> {
    let run = |sql: &str| connection.prepare_cached(sql)?.execute([]).map(drop);
    run("BEGIN IMMEDIATE")?;
    for write in group {
        run("SAVEPOINT one")?;
        if !write.run(connection)? {
            run("ROLLBACK TO one")?;
        }
        run("RELEASE one")?;
    }
    run("COMMIT")
}
