//! The end of a job at an operator's wish.

use hark_sdk::event::Blame;
use jiff::Timestamp;
use rusqlite::Connection;
use std::sync::Arc;
use tokio::sync::broadcast;
use uuid::Uuid;

use super::advance::{Advanced, advance};
use super::error::LedgerError;
use super::{Ledger, jobs, pieces, spend};
use crate::job::job_machine::Fact;
use crate::job::piece_machine::{self, PieceFact, Policy};
use crate::job::{Attempt, Piece, PieceId, PieceState, fault};

/// The code of a canceled job.
pub const CANCELED: &str = "Canceled";

/// Work on a canceled job that is to be dropped.
#[derive(Debug, Clone)]
pub struct Dropped {
    pub job: Uuid,
    /// Pieces whose request goes on to its end: the daemon needs the answer, which names the task that it has to stop.
    pub except: Arc<[u32]>,
}

/// Ends a job and its pieces. `stopped`: pieces whose task the recognizer has dropped, so that it bills nothing. `None`: there is no such
/// job, or it can be canceled no more.
///
/// # Errors
/// When a statement fails.
pub fn cancel(
    connection: &Connection,
    id: Uuid,
    stopped: &[PieceId],
    policy: &Policy,
    now: Timestamp,
) -> Result<Option<Advanced>, LedgerError> {
    let Some(job) = jobs::find(connection, id)?.filter(|job| job.can_be_canceled()) else { return Ok(None) };
    let mut under_way = 0;
    let fault = |under_way: usize| {
        let bill = match under_way {
            0 => String::new(),
            1 => "; one request was under way, and the recognizer may bill it".into(),
            more => format!("; {more} requests were under way, and the recognizer may bill them"),
        };
        fault(CANCELED, Blame::Operator, format!("an operator has canceled the job{bill}"))
    };
    for piece in pieces::of_job(connection, id)? {
        let number = piece.number;
        let canceled =
            PieceFact::Canceled { fault: fault(0), stopped: stopped.contains(&PieceId { job: id, number }) };
        let after = piece_machine::advance(&piece, canceled, policy, now);
        if after.piece != piece {
            pieces::put(connection, &job, &after.piece, &piece.attempts, after.due)?;
            spend::change(connection, &job, &after.piece, &piece.attempts, policy.daemon)?;
            under_way += usize::from(is_under_way(&piece) && after.piece.last_attempt().is_some_and(is_open));
        }
    }
    advance(connection, id, Fact::Canceled { fault: fault(under_way) }, now)
}

fn is_under_way(piece: &Piece) -> bool {
    matches!(piece.state, PieceState::Sending | PieceState::Awaiting { .. } | PieceState::Resolving { .. })
}

/// Whether an attempt may be billed, and is not yet.
fn is_open(attempt: &Attempt) -> bool {
    attempt.fate.may_have_cost() && attempt.billed.is_nothing()
}

impl Ledger {
    /// Ends a job and its pieces; returns after the commit is on disk. The lanes drop their work on it, except on the pieces for which `except`
    /// returns true; `except` gets each piece as it was before. See [`cancel`].
    ///
    /// # Errors
    /// When the ledger is closed or damaged.
    pub async fn cancel(
        &self,
        id: Uuid,
        stopped: Vec<PieceId>,
        except: impl Fn(&Piece) -> bool + Send + 'static,
        policy: &Policy,
    ) -> Result<Option<Advanced>, LedgerError> {
        let (now, policy) = (Timestamp::now(), policy.clone());
        let write = move |connection: &Connection| {
            // As they are now: a piece may have been sent since its caller read it.
            let pieces = pieces::of_job(connection, id)?;
            let except: Vec<u32> =
                pieces.iter().filter(|piece| except(piece)).map(|piece| piece.number).collect();
            Ok(cancel(connection, id, &stopped, &policy, now)?.map(|canceled| (canceled, except)))
        };
        let Some((canceled, except)) = self.write(write).await? else { return Ok(None) };
        // An error means that no lane runs.
        let _ = self.canceled.send(Dropped { job: id, except: except.into() });
        self.announce_step(&canceled);
        Ok(Some(canceled))
    }

    /// A receiver of the work that lanes have to drop from now on. A receiver that lags misses some, which costs only work in vain: no fact
    /// changes a canceled job.
    pub fn dropped(&self) -> broadcast::Receiver<Dropped> {
        self.canceled.subscribe()
    }
}
