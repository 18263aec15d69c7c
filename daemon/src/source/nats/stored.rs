//! Messages that the daemon reads from the stream itself, because the consumer does not deliver them, or delivers them in a form that the client
//! cannot parse.
//!
//! Unreadable messages have headers that the client cannot parse (a name with a space in it, bytes that are not UTF-8): async-nats 0.51
//! drops the connection at each delivery, and loses the other messages that were on their way. They are answered as bad input before the
//! server redelivers them.
//!
//! Kept messages are acknowledged, and the stream has them still: after a server was killed, its consumer may have the acknowledgement of a
//! message that its stream did not remove (seen with nats-server 2.15: SIGKILL under load left 5 of 400). The server neither redelivers nor
//! removes such a message, so the daemon removes it.

use std::time::Instant;

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{RawMessage, RetentionPolicy};
use async_nats::jetstream::{ErrorCode, Message};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::json;
use tracing::{info, warn};

use super::message::{Input, MessageOptions, bad};
use super::{NotNow, Subject, message};
use crate::broker::acknowledgement;
use crate::job::Ticket;
use crate::job::ledger::intake;
use crate::share::claim;
use crate::source::Watching;

/// The most messages, and the most bytes, that one search for unreadable messages reads. Messages behind these are found at their next
/// delivery, when some of the first have been acknowledged.
const MESSAGES: usize = 1_024;
const BYTES: usize = 256 << 20;

#[derive(Deserialize)]
struct Stored {
    message: RawMessage,
}

impl Subject {
    /// Searches the messages that the consumer has delivered and that are not acknowledged, and takes in each unreadable one as bad input.
    /// To be called after a connection was lost. Costs one request per message, and one message in memory at a time.
    ///
    /// # Errors
    /// When the server does not answer, or the ledger is closed or damaged.
    pub(super) async fn answer_unreadable(
        &self,
        consumer: &PullConsumer,
        watching: &Watching,
    ) -> Result<(), NotNow> {
        let seen = consumer.get_info().await.map_err(NotNow::broker)?;
        let (mut from, mut bytes) = (seen.ack_floor.stream_sequence + 1, 0);
        for _ in 0..MESSAGES {
            let asked_at = Instant::now();
            let found = match self.stored(from).await? {
                Some(found) if found.sequence <= seen.delivered.stream_sequence && bytes <= BYTES => found,
                _ => return Ok(()),
            };
            from = found.sequence + 1;
            bytes += found.payload.len();
            if parsed(&found).is_none() {
                warn!(
                    source = self.name,
                    sequence = found.sequence,
                    "a message has headers that cannot be read; it is refused"
                );
                let message = self.as_delivered(&seen.name, &found);
                match self.take(message, unreadable(), asked_at, watching).await {
                    Err(NotNow::Ledger(error)) => return Err(error.into()),
                    // The server redelivers it.
                    Ok(()) | Err(NotNow::Broker(_)) => {}
                }
            }
        }
        Ok(())
    }

    /// Removes messages that the consumer has as acknowledged and whose job is over by the ledger or the bucket. Other messages that the
    /// consumer has as acknowledged stay and are logged. `true`: the search is complete for this connection. Costs one request for each
    /// message that is found.
    ///
    /// # Errors
    /// When the server does not answer, or the ledger is closed or damaged.
    pub(super) async fn remove_kept(&self, consumer: &PullConsumer) -> Result<bool, NotNow> {
        let seen = consumer.get_info().await.map_err(NotNow::broker)?;
        let acknowledged = seen.ack_floor.stream_sequence;
        let stream = self.handles.jetstream.get_stream(&self.stream.name).await.map_err(NotNow::broker)?;
        // With any other retention the stream keeps acknowledged messages, as its operator configured.
        if stream.cached_info().config.retention != RetentionPolicy::WorkQueue {
            return Ok(true);
        }
        let (mut from, mut removed) = (1, 0_u64);
        while let Some(found) = self.stored(from).await?.filter(|found| found.sequence <= acknowledged) {
            from = found.sequence + 1;
            let options = parsed(&found).map(|found| message::read(Some(&found.headers), &found.payload).0);
            let message_id = options.and_then(|options| options.message_id);
            let place = self.place(found.sequence, found.time.unix_timestamp_nanos());
            if self.is_over(message_id.as_deref(), &place).await? {
                stream.delete_message(found.sequence).await.map_err(NotNow::broker)?;
                removed += 1;
            } else {
                warn!(
                    source = self.name,
                    place,
                    "the server counts a message as acknowledged, and no daemon knows it; publish it again, it will not be delivered"
                );
            }
        }
        if removed > 0 {
            let source = &self.name;
            info!(source, removed, "removed messages whose jobs were over from the stream");
        }
        Ok(acknowledged >= seen.delivered.stream_sequence)
    }

    async fn is_over(&self, message_id: Option<&str>, place: &str) -> Result<bool, NotNow> {
        let key = self.intake_key(message_id, place);
        let ledger = &self.handles.ledger;
        if let Some(id) = ledger.read(move |connection| intake::find(connection, &key)).await?
            && ledger.find(id).await?.is_some_and(|job| job.stage.is_settled())
        {
            return Ok(true);
        }
        let ticket = Ticket { key: claim::key(message_id, place), place: place.to_owned() };
        self.handles.claims.is_over(&ticket, message_id).await.map_err(NotNow::broker)
    }

    /// The first message of the source's subject at or after a sequence number of the stream, as stored.
    async fn stored(&self, from: u64) -> Result<Option<RawMessage>, NotNow> {
        let subject = format!("STREAM.MSG.GET.{}", self.stream.name);
        let request = json!({"seq": from, "next_by_subj": self.config().subject});
        match self.handles.jetstream.request(subject, &request).await.map_err(NotNow::broker)? {
            Response::Ok(Stored { message }) => Ok(Some(message)),
            Response::Err { error } if error.error_code() == ErrorCode::NO_MESSAGE_FOUND => Ok(None),
            Response::Err { error } => Err(NotNow::broker(error)),
        }
    }

    /// The message as the consumer would have delivered it, so that it can be acknowledged. The server does not report how often it has
    /// delivered the message, so the count is the most that its age and `ack_wait` allow.
    fn as_delivered(&self, consumer: &str, stored: &RawMessage) -> Message {
        let published = stored.time.unix_timestamp_nanos();
        let age = Timestamp::now().as_nanosecond() - published;
        let deliveries =
            1 + age.max(0) / SignedDuration::try_from(self.ack_wait()).unwrap_or_default().as_nanos().max(1);
        let (stream, sequence) = (&self.stream.name, stored.sequence);
        let reply = acknowledgement::subject(stream, consumer, deliveries, sequence, published);
        let message = async_nats::Message {
            subject: stored.subject.as_str().into(),
            reply: Some(reply.into()),
            payload: STANDARD.decode(&stored.payload).unwrap_or_default().into(),
            headers: None,
            status: None,
            description: None,
            length: 0,
        };
        Message { message, context: (*self.handles.jetstream).clone() }
    }
}

/// The message as the client parses it when a consumer delivers it, if it can.
fn parsed(stored: &RawMessage) -> Option<StreamMessage> {
    StreamMessage::try_from(stored.clone()).ok()
}

fn unreadable() -> (MessageOptions, Input) {
    let fault = bad(
        "UnreadableHeaders",
        "the headers of the message cannot be read; their names have to be printable ASCII without spaces, their values UTF-8 on one line",
    );
    (MessageOptions::default(), Input::Bad(fault))
}
