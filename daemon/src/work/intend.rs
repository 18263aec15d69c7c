//! The intent to send: it is written into the claim and to disk before a request leaves that may cost.

use std::sync::Arc;
use std::time::Instant;

use hark_sdk::event::Engine;
use jiff::Timestamp;
use rusqlite::Connection;

use super::ownership_check::OwnershipCheck;
use super::{PieceTask, Tools};
use crate::job::ledger::{Advanced, LedgerError, spend};
use crate::job::piece_machine::{self, PieceFact};
use crate::job::{Piece, PieceState};
use crate::recognize::{Permit, Recognizer};
use crate::share::Unconfirmed;

impl Tools {
    /// Writes the intent to send, first into the claim, where other daemons see it, then to disk. If it returns `None`, nothing may be sent:
    /// another daemon owns the job, the bucket did not answer and the piece is put off, the config has another recognizer by now, or the
    /// daemon is stopping. The request needs the returned clearance.
    pub(super) async fn intend(
        &self,
        task: &PieceTask,
        marker: Option<String>,
        permit: &Permit,
        recognizer: &Arc<dyn Recognizer>,
    ) -> Result<Option<(PieceTask, Arc<OwnershipCheck>)>, LedgerError> {
        let fact = PieceFact::Sending { marker, reserved_micro: self.reservation(task) };
        let writing = self.claims.writing(task.job.id).await;
        let confirmed = Instant::now();
        let is_ours = self.claim_with(task, fact.clone()).await?;
        if !self.owns_or_postpones(task, is_ours).await? {
            return Ok(None);
        }
        let advanced = self.ledger.advance_piece(task.id(), fact, 0, &self.settings.policy).await?;
        drop(writing);
        let Some(Advanced { job, piece: Some(piece) }) = advanced else { return Ok(None) };
        let task = PieceTask { job, piece };
        if task.piece.state != PieceState::Sending {
            // Another piece has spent the budget meanwhile. The claim has an intent that the ledger refused, so the claim is written again.
            if task.job.ticket.is_some() {
                self.claims.update(task.job.id).await?;
            }
            return Ok(None);
        }
        if self.is_outdated(&task, recognizer) {
            // The daemon asks for the fate of an attempt at the recognizer that was in force when the attempt began (`Recognizers::of_attempt`).
            // So a recognizer that a reload has replaced must not send a new attempt.
            self.advance_piece(&task, PieceFact::Unsent, 0).await?;
            return Ok(None);
        }
        if self.stop.run_until_cancelled(permit.depart()).await.is_none() {
            self.advance_piece(&task, PieceFact::Unsent, 0).await?;
            return Ok(None);
        }
        let owned = Arc::new(OwnershipCheck::new(self.claims.clone(), task.job.clone(), confirmed));
        Ok(Some((task, owned)))
    }

    /// Handles a request that was cut off because [`OwnershipCheck`] did not clear it.
    pub(super) async fn not_cleared(
        &self,
        task: &PieceTask,
        is_ours: Result<bool, Unconfirmed>,
    ) -> Result<(), LedgerError> {
        if is_ours.is_err() {
            // The piece goes back to the end of the queue, so that it occupies no place of the lane while the bucket does not answer.
            self.advance_piece(task, PieceFact::Unsent, 0).await?;
        }
        self.owns_or_postpones(task, is_ours).await.map(drop)
    }

    /// What the next request of a piece reserves in the day's budget, in millionths of a dollar. A length that is not known counts as the
    /// longest that the recognizer takes.
    fn reservation(&self, task: &PieceTask) -> u64 {
        let PieceTask { job, piece } = task;
        if !self.settings.policy.budget.limits(&job.source) {
            return 0;
        }
        let limits = self
            .settings
            .recognizers
            .get(&Engine::new(&piece.recognizer))
            .map(|one| one.profile().limits.clone());
        let longest =
            limits.as_ref().and_then(|limits| limits.longest).map(|longest| longest.as_millis() as u64);
        let length_ms = piece.span.sent_ms().or(job.recording.duration_ms).or(longest).unwrap_or(0);
        let channels = match limits.is_some_and(|limits| limits.selects_channels) {
            true => piece.span.channels.len() as u64,
            false => 1,
        };
        let price = self.settings.policy.prices.of(&piece.recognizer, &piece.model);
        price.reservation_micro(length_ms.div_ceil(1_000) * channels)
    }

    /// Whether the day's budget allows the next request of a piece. If not, the piece has been put off or has failed. Asked before work that
    /// costs time; the transaction that writes the intent decides.
    pub(super) async fn is_within_budget(&self, task: &PieceTask) -> Result<bool, LedgerError> {
        if !self.settings.policy.budget.limits(&task.job.source) {
            return Ok(true);
        }
        let (job, reserved, budget) =
            (task.job.clone(), self.reservation(task), self.settings.policy.budget.clone());
        let look = move |connection: &Connection| {
            spend::refusal(connection, &job, reserved, &budget, Timestamp::now())
        };
        match self.ledger.read(look).await? {
            None => Ok(true),
            Some(refusal) => {
                self.advance_piece(task, refusal, 0).await?;
                Ok(false)
            }
        }
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
        let next = piece_machine::advance(&task.piece, fact, &self.settings.policy, Timestamp::now()).piece;
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
