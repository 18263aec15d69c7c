//! The intent to send: it is written into the claim and to disk before a request leaves that may cost.

use std::time::Instant;

use jiff::Timestamp;

use super::{PieceTask, Tools};
use crate::job::Piece;
use crate::job::ledger::{Advanced, LedgerError};
use crate::job::piece_machine::{self, PieceFact};
use crate::recognize::Permit;
use crate::share::Unconfirmed;

impl Tools {
    /// Writes the intent to send, first into the claim, where other daemons see it, then to disk. If it returns `None`, nothing may be sent:
    /// another daemon owns the job, the bucket did not answer and the piece is put off, or the daemon is stopping.
    pub(super) async fn intend(
        &self,
        task: &PieceTask,
        marker: Option<String>,
        permit: &Permit,
    ) -> Result<Option<PieceTask>, LedgerError> {
        let fact = PieceFact::Sending { marker };
        let writing = self.claims.writing(task.job.id).await;
        let mut confirmed = Instant::now();
        let is_ours = self.claim_with(task, fact.clone()).await?;
        if !self.goes_on(task, is_ours).await? {
            return Ok(None);
        }
        let advanced = self.ledger.advance_piece(task.id(), fact, 0, &self.policy).await?;
        drop(writing);
        let Some(Advanced { job, piece: Some(piece) }) = advanced else { return Ok(None) };
        let task = PieceTask { job, piece };
        let leaves = async {
            permit.depart().await;
            // The process or its disk may have been stopped for minutes since the claim was confirmed, and another daemon may have taken
            // the job over.
            while confirmed.elapsed() > self.claims.fresh_for() {
                let asked = Instant::now();
                if !self.claims.owns(&task.job).await? {
                    return Ok(false);
                }
                confirmed = asked;
            }
            Ok(true)
        };
        let is_ours = tokio::select! {
            is_ours = leaves => is_ours,
            () = self.stop.cancelled() => {
                self.advance_piece(&task, PieceFact::Unsent, 0).await?;
                return Ok(None);
            }
        };
        if is_ours.is_err() {
            // The piece goes back to the end of the queue and its permit to the next request, which must not wait for the bucket.
            self.advance_piece(&task, PieceFact::Unsent, 0).await?;
        }
        Ok(self.goes_on(&task, is_ours).await?.then_some(task))
    }

    /// Writes the claim as it will be once `fact` is in the ledger; returns whether this daemon owns the job.
    async fn claim_with(
        &self,
        task: &PieceTask,
        fact: PieceFact,
    ) -> Result<Result<bool, Unconfirmed>, LedgerError> {
        if task.job.ticket.is_none() {
            return Ok(Ok(true));
        }
        let next = piece_machine::advance(&task.piece, fact, &self.policy, Timestamp::now()).piece;
        let Some((job, mut pieces)) = self.ledger.find_whole(task.job.id).await? else {
            return Ok(Ok(false));
        };
        let is_next = |piece: &&mut Piece| piece.number == next.number;
        if let Some(piece) = pieces.iter_mut().find(is_next) {
            *piece = next;
        }
        Ok(self.claims.write(&job, &pieces).await)
    }
}
