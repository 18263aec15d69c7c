//! The writer: takes the waiting writes, commits them together, and waits while the disk is full.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info};

use super::error::{is_damage, is_no_room};
use super::log::Log;
use super::{LedgerError, open};

/// At most this many writes share a commit, so that the first of them is not kept waiting for the last.
const GROUP: usize = 256;

/// Pause before a group that found no room is tried again: a goal is to resume within 5 s of space.
pub(super) const NO_ROOM_PAUSE: Duration = Duration::from_secs(1);

/// A function of a transaction, with the place for its answer.
pub(super) trait Write: Send {
    /// Runs it; may be called again after a group found no room. `true`: keep its effects; `false`: it failed in itself.
    fn run(&mut self, connection: &Connection) -> Result<bool, NoCommit>;
    /// Tells the caller, after the commit.
    fn answer(self: Box<Self>);
    /// Tells the caller that there was none, and never will be.
    fn fail(self: Box<Self>, error: LedgerError);
}

/// Why a group is not on disk.
#[derive(Debug)]
pub(super) enum NoCommit {
    /// The disk is full, or the file cannot be written now.
    NoRoom(String),
    /// The file is damaged.
    Damaged(String),
}

impl NoCommit {
    fn of(error: &rusqlite::Error) -> NoCommit {
        match is_damage(error) {
            true => NoCommit::Damaged(error.to_string()),
            false => NoCommit::NoRoom(error.to_string()),
        }
    }
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
    fn run(&mut self, connection: &Connection) -> Result<bool, NoCommit> {
        match (self.write)(connection) {
            Err(LedgerError::Sqlite(error)) if is_no_room(&error) => Err(NoCommit::of(&error)),
            outcome => {
                let keep = outcome.is_ok();
                self.outcome = Some(outcome.map_err(|error| LedgerError::of(connection, error)));
                Ok(keep)
            }
        }
    }

    fn answer(self: Box<Self>) {
        if let Some(outcome) = self.outcome {
            // If the caller no longer waits for the answer, the write stays committed all the same.
            let _ = self.answer.send(outcome);
        }
    }

    fn fail(self: Box<Self>, error: LedgerError) {
        let _ = self.answer.send(Err(error));
    }
}

/// The writer's thread: until the queue's senders are gone, or the file proves to be damaged.
pub(super) fn write_in_groups(
    connection: &Connection,
    mut queue: mpsc::Receiver<Box<dyn Write>>,
    room: &watch::Sender<Result<(), String>>,
    mut log: Log,
) {
    while let Some(first) = log.empty_until(connection, &mut queue) {
        let mut group = vec![first];
        while group.len() < GROUP {
            let Ok(write) = queue.try_recv() else { break };
            group.push(write);
        }
        let damage = loop {
            let reason = match commit(connection, &mut group) {
                Ok(()) => break None,
                Err(NoCommit::Damaged(finding)) => break Some(finding),
                Err(NoCommit::NoRoom(reason)) => reason,
            };
            let _ = connection.execute_batch("ROLLBACK");
            // The log may be what takes the room; what is in it twice is once in the file.
            let _ = open::fold(connection);
            if room.send_if_modified(|state| std::mem::replace(state, Err(reason.clone())).is_ok()) {
                error!(
                    reason,
                    "the ledger cannot be written and sources wait; make room on the disk of state.directory, or mend it"
                );
            }
            thread::sleep(NO_ROOM_PAUSE);
        };
        if let Some(finding) = damage {
            let path: PathBuf = connection.path().unwrap_or_default().into();
            for write in group {
                write.fail(LedgerError::Corrupt { path: path.clone(), finding: finding.clone() });
            }
            // Later writes fail with `Closed`.
            return;
        }
        if room.send_if_modified(|state| std::mem::replace(state, Ok(())).is_err()) {
            info!("the ledger can be written again");
        }
        group.into_iter().for_each(Write::answer);
    }
}

/// Runs a group in one transaction. A write that fails in itself is undone alone.
fn commit(connection: &Connection, group: &mut [Box<dyn Write>]) -> Result<(), NoCommit> {
    let run = |sql: &str| connection.prepare_cached(sql)?.execute([]).map(drop);
    // A failure of the statements around the writes (a full disk, a lost file) concerns the whole group. Except for damage, waiting is
    // the only way to lose no write.
    let frame = |sql: &str| run(sql).map_err(|error: rusqlite::Error| NoCommit::of(&error));
    frame("BEGIN IMMEDIATE")?;
    for write in group {
        frame("SAVEPOINT one")?;
        if !write.run(connection)? {
            frame("ROLLBACK TO one")?;
        }
        frame("RELEASE one")?;
    }
    frame("COMMIT")
}
