//! Takes over a job that another daemon owned, or that this daemon claimed before it crashed: the job keeps its id and continues after the
//! events that are stored.

use hark_sdk::event::Fault;
use jiff::Timestamp;
use tracing::{info, warn};

use super::Subject;
use super::unacked::HeldMessage;
use crate::job::job_machine::Fact;
use crate::job::ledger::{LedgerError, Now, advance, cancel, intake, jobs};
use crate::job::piece_machine::PieceFact;
use crate::job::{Job, PieceId, PieceState, Stage, spool};
use crate::share::claim::Claim;
use crate::share::continue_job;

impl Subject {
    /// Continues a job that is this daemon's by the bucket and that the ledger does not know. `job` is the job that the message alone would
    /// become.
    pub(super) async fn take_over(
        &self,
        claim: &Claim,
        key: String,
        job: Job,
        refusal: Option<Fault>,
        held_message: HeldMessage,
    ) -> Result<(), LedgerError> {
        let (job, pieces) = claim.resume(job);
        let failures = pieces.iter().map(|piece| piece.failures).sum();
        let stored = match self.handles.fence.clone().append_fence_event(job.clone(), failures).await {
            Ok(stored) => stored,
            Err(reason) => {
                warn!(job = %job.id, reason, "the job cannot be continued now; it is tried again when its message is redelivered");
                spool::remove(&self.handles.state_directory, job.id).await;
                return Ok(());
            }
        };
        if stored.over {
            info!(job = %job.id, "the job's last event is stored already");
            let over = Job { stage: Stage::Settled { failed: false }, ..job };
            if let Err(unconfirmed) = self.handles.claims.write(&over, &[]).await {
                warn!(job = %over.id, %unconfirmed, "the bucket does not record that this job is over");
            }
            self.held.hold(over.id, held_message);
            self.settle(over.id, false, false).await;
            return Ok(());
        }
        let (stream_seq, published, events) =
            (stored.stream_seq, stored.published.clone(), stored.events.clone());
        let terms = self.terms();
        let (job, pieces) = continue_job(job, pieces, stored, &terms.policy.prices);
        info!(job = %job.id, source = job.source, sequence = job.sequence, stage = ?job.stage, "taken over");
        let (id, policy) = (job.id, terms.policy.clone());
        let adopted = self.handles.ledger.write(move |connection| {
            let now = Timestamp::now();
            jobs::adopt(connection, &job, &pieces, published.clone(), &events, stream_seq)?;
            intake::remember(connection, &key, job.id)?;
            if let (Stage::Accepted, Some(fault)) = (&job.stage, &refusal) {
                let recording = Box::new(job.recording.clone());
                advance::advance(
                    connection,
                    job.id,
                    Fact::Unusable { recording, fault: fault.clone() },
                    now,
                )?;
            }
            for piece in pieces.iter().filter(|piece| piece.state == PieceState::Sending) {
                let id = PieceId { job: job.id, number: piece.number };
                advance::advance_piece(connection, id, PieceFact::Restarted, 0, &policy, now)?;
            }
            if job.canceled {
                cancel::cancel(connection, job.id, &[], &policy, now)?;
            }
            jobs::find(connection, job.id)
        });
        let stage = adopted.await?.map(|job| job.stage);
        info!(job = %id, ?stage, "the job continues on this daemon");
        self.handles.metrics.source_accepted.with_label_values(&[&self.name]).inc();
        self.handles.ledger.announce(id, stage.and_then(|stage| stage.duty()).map_or(Now::Waits, Now::Owes));
        self.handles.ledger.wake_all();
        // Joined only after the job is in the ledger: the ledger's changes may still report this id as forgotten, and the source would
        // then release the message.
        self.join(id, held_message).await
    }
}
