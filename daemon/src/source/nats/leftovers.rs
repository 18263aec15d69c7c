//! Messages that are done and still lie in the stream.
//!
//! A server that is killed can remember that its consumer has had an acknowledgement, and forget that it had removed the message
//! (seen with nats-server 2.15: SIGKILL under load left 5 of 400). Nobody delivers such a message again, and nobody would remove it.

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::stream::{RawMessageErrorKind, RetentionPolicy};
use tracing::{debug, info, warn};

use super::{Subject, message};
use crate::job::Ticket;
use crate::job::ledger::{LedgerError, intake, jobs};
use crate::share::{self, claim};

/// Why the stream could not be looked through; it is done again later.
#[derive(Debug, thiserror::Error)]
enum Postponed {
    #[error("{0}")]
    Broker(String),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Subject {
    /// Removes what the consumer says is acknowledged and the ledger or the bucket says is over; anything else stays and is named.
    /// `true`: nothing is left to look for on this connection. Costs one request for each message that lies there.
    ///
    /// # Errors
    /// When the ledger is closed or damaged.
    pub(super) async fn remove_remains(&self, consumer: &PullConsumer) -> Result<bool, LedgerError> {
        match self.look_for_remains(consumer).await {
            Ok(is_all) => Ok(is_all),
            Err(Postponed::Ledger(error)) => Err(error),
            Err(Postponed::Broker(reason)) => {
                debug!(source = self.config.name, reason, "the stream is looked through later");
                Ok(false)
            }
        }
    }

    async fn look_for_remains(&self, consumer: &PullConsumer) -> Result<bool, Postponed> {
        let broker = |error: &dyn std::fmt::Display| Postponed::Broker(error.to_string());
        let seen = consumer.get_info().await.map_err(|error| broker(&error))?;
        let acknowledged = seen.ack_floor.stream_sequence;
        let stream = self.jetstream.get_stream(&self.stream.name).await.map_err(|error| broker(&error))?;
        // In other streams messages stay after their acknowledgement, as their owner wants it.
        if stream.cached_info().config.retention != RetentionPolicy::WorkQueue {
            return Ok(true);
        }
        let (mut from, mut removed) = (1, 0_u64);
        while from <= acknowledged {
            let next = stream.raw_message_builder().sequence(from).next_by_subject(&self.config.subject);
            let message = match next.send().await {
                Ok(message) if message.sequence <= acknowledged => message,
                Err(error) if error.kind() != RawMessageErrorKind::NoMessageFound => {
                    return Err(broker(&error));
                }
                _ => break,
            };
            let sequence = message.sequence;
            from = sequence + 1;
            let (said, _) = message::read(Some(&message.headers), &message.payload);
            let message_id = said.message_id.as_deref();
            let place = self.place(sequence, message.time.unix_timestamp_nanos());
            if !self.is_over(message_id, &place).await? {
                warn!(
                    source = self.config.name,
                    place,
                    "a message counts as acknowledged and no daemon knows it; publish it again, it will not be delivered"
                );
                continue;
            }
            stream.delete_message(sequence).await.map_err(|error| broker(&error))?;
            removed += 1;
        }
        if removed > 0 {
            info!(source = self.config.name, removed, "messages that were done had been left in the stream");
        }
        Ok(acknowledged >= seen.delivered.stream_sequence)
    }

    async fn is_over(&self, message_id: Option<&str>, place: &str) -> Result<bool, Postponed> {
        let key = self.intake_key(message_id, place);
        let known = self
            .ledger
            .read(move |connection| {
                let id = intake::find(connection, &key)?;
                Ok(id.map(|id| jobs::find(connection, id)).transpose()?.flatten())
            })
            .await?;
        if known.as_ref().is_some_and(share::is_settled) {
            return Ok(true);
        }
        let ticket = Ticket { key: claim::key(message_id, place), place: place.to_owned() };
        self.claims
            .is_over(&ticket, message_id)
            .await
            .map_err(|unconfirmed| Postponed::Broker(unconfirmed.to_string()))
    }
}
