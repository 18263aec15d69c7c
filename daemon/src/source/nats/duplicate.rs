//! Duplicates: messages with the `Nats-Msg-Id` of an earlier message. A duplicate waits until the original's job ends. If the daemon that
//! owns the job dies, another daemon takes the job over when the server redelivers the original. If the original is no longer in the
//! stream, the server never redelivers it; then the duplicate inherits the job.

use async_nats::jetstream::stream::RawMessageErrorKind;
use tracing::{debug, info};

use super::Subject;
use crate::job::Ticket;
use crate::share::claim::Claim;

/// Number of deliveries after which a duplicate has waited for `ack_wait`: a live owner had as much time as for any other job.
const PATIENT: i64 = 2;

impl Subject {
    /// Moves the claim of the original to the waiting duplicate `ticket`, and returns it, if the original is no longer in the stream.
    pub(super) async fn move_to_duplicate(
        &self,
        ticket: &Ticket,
        delivery: i64,
        claim: &Claim,
    ) -> Option<Claim> {
        if delivery <= PATIENT || !self.is_gone(claim.sequence()?, &claim.place).await {
            return None;
        }
        match self.handles.claims.move_to_duplicate(ticket, delivery, claim).await {
            Ok(moved) => {
                let moved = moved?;
                info!(job = %claim.job, gone = claim.place, place = ticket.place, former = %claim.owner, "the job's original message is gone; a duplicate takes its place");
                Some(moved)
            }
            Err(unconfirmed) => {
                debug!(job = %claim.job, %unconfirmed, "a duplicate still waits for the original's job");
                None
            }
        }
    }

    /// Whether a message is no longer in the stream. `false` if the server does not answer.
    pub(super) async fn is_gone(&self, sequence: u64, place: &str) -> bool {
        let Ok(stream) = self.handles.jetstream.get_stream_no_info(&self.stream.name).await else {
            return false;
        };
        match stream.get_raw_message(sequence).await {
            Ok(message) => self.place(sequence, message.time.unix_timestamp_nanos()) != place,
            Err(error) => error.kind() == RawMessageErrorKind::NoMessageFound,
        }
    }
}
