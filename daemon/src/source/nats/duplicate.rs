//! A repeat waits for the end of the message that was there first, and its job for a daemon. Where that message is gone it is delivered
//! to nobody again, so nobody would stand in for an owner that is gone too: then the repeat inherits the job.

use async_nats::jetstream::stream::RawMessageErrorKind;
use tracing::{debug, info};

use super::Subject;
use crate::job::Ticket;
use crate::share::claim::Claim;

/// Deliveries after which a repeat has waited for `ack_wait`: an owner that lives has had as long as any other to end its job.
const PATIENT: i64 = 2;

impl Subject {
    /// The claim as the message's that waits for it, if the one that it was made for is not in the stream any more.
    pub(super) async fn inherit(&self, ticket: &Ticket, delivery: i64, claim: &Claim) -> Option<Claim> {
        if delivery <= PATIENT || !self.is_gone(claim.sequence()?, &claim.place).await {
            return None;
        }
        match self.claims.inherit(ticket, delivery, claim).await {
            Ok(inherited) => {
                let inherited = inherited?;
                info!(job = %claim.job, gone = claim.place, place = ticket.place, former = %claim.owner, "the message of its job is gone; a repeat takes its place");
                Some(inherited)
            }
            Err(unconfirmed) => {
                debug!(job = %claim.job, %unconfirmed, "a repeat goes on waiting");
                None
            }
        }
    }

    /// Whether a message is not in the stream any more. Where nobody can tell, it is there.
    pub(super) async fn is_gone(&self, sequence: u64, place: &str) -> bool {
        let Ok(stream) = self.jetstream.get_stream_no_info(&self.stream.name).await else { return false };
        match stream.get_raw_message(sequence).await {
            Ok(message) => self.place(sequence, message.time.unix_timestamp_nanos()) != place,
            Err(error) => error.kind() == RawMessageErrorKind::NoMessageFound,
        }
    }
}
