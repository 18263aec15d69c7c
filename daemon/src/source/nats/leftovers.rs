//! Messages whose jobs are over and which are still in the stream.
//!
//! After a server was killed, its consumer may have the acknowledgement of a message while its stream still has the message (seen with
//! nats-server 2.15: SIGKILL under load left 5 of 400). The server neither redelivers nor removes such a message, so the daemon removes it.

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::stream::{RawMessageErrorKind, RetentionPolicy};
use tracing::{debug, info, warn};

use super::{Subject, message};
use crate::job::Ticket;
use crate::job::ledger::{LedgerError, intake, jobs};
use crate::share::claim;

/// Why the stream could not be searched; the search is retried later.
#[derive(Debug, thiserror::Error)]
enum Postponed {
    #[error("{0}")]
    Broker(String),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Subject {
    /// Removes messages that the consumer has as acknowledged and whose job is over by the ledger or the bucket. Other messages that the
    /// consumer has as acknowledged stay and are logged. `true`: the search is complete for this connection. Costs one request for each
    /// message that is found.
    ///
    /// # Errors
    /// When the ledger is closed or damaged.
    pub(super) async fn remove_remains(&self, consumer: &PullConsumer) -> Result<bool, LedgerError> {
        match self.look_for_remains(consumer).await {
            Ok(is_all) => Ok(is_all),
            Err(Postponed::Ledger(error)) => Err(error),
            Err(Postponed::Broker(reason)) => {
                debug!(
                    source = self.config.name,
                    reason, "the search for acknowledged messages in the stream is retried later"
                );
                Ok(false)
            }
        }
    }

    async fn look_for_remains(&self, consumer: &PullConsumer) -> Result<bool, Postponed> {
        let broker = |error: &dyn std::fmt::Display| Postponed::Broker(error.to_string());
        let seen = consumer.get_info().await.map_err(|error| broker(&error))?;
        let acknowledged = seen.ack_floor.stream_sequence;
        let stream = self.jetstream.get_stream(&self.stream.name).await.map_err(|error| broker(&error))?;
        // With any other retention the stream keeps acknowledged messages, as its operator configured.
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
                    "the server counts a message as acknowledged, and no daemon knows it; publish it again, it will not be delivered"
                );
                continue;
            }
            stream.delete_message(sequence).await.map_err(|error| broker(&error))?;
            removed += 1;
        }
        if removed > 0 {
            info!(
                source = self.config.name,
                removed, "removed messages whose jobs were over from the stream"
            );
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
        if known.is_some_and(|job| job.stage.is_settled()) {
            return Ok(true);
        }
        let ticket = Ticket { key: claim::key(message_id, place), place: place.to_owned() };
        self.claims
            .is_over(&ticket, message_id)
            .await
            .map_err(|unconfirmed| Postponed::Broker(unconfirmed.to_string()))
    }
}
