//! Messages whose headers the client cannot read (a name with a space in it, bytes that are not UTF-8): async-nats 0.51 drops the
//! connection at each delivery, and loses the other messages that were on their way. The daemon reads such messages from the stream
//! instead and answers them as bad input before the server redelivers them.

use std::time::Instant;

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::RawMessage;
use async_nats::jetstream::{self, ErrorCode, Message};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::json;
use tracing::{debug, warn};

use super::intake::NotTaken;
use super::message::{Input, Said, bad};
use super::{Subject, Watching};
use crate::job::ledger::LedgerError;

/// The most messages, and the most bytes, that one search reads. Messages behind these are found at their next delivery, when some of the
/// first have been acknowledged.
const MESSAGES: usize = 1_024;
const BYTES: usize = 256 << 20;

#[derive(Deserialize)]
struct Stored {
    message: RawMessage,
}

impl Subject {
    /// Searches the messages that the consumer has delivered and that are not acknowledged, and takes in each unreadable one as bad input.
    /// To be called after an error while messages were on their way. Costs one request per message, and one message in memory at a time.
    ///
    /// # Errors
    /// When the ledger is closed or damaged.
    pub(super) async fn answer_unreadable(
        &self,
        consumer: &PullConsumer,
        watching: &Watching,
    ) -> Result<(), LedgerError> {
        let seen = match consumer.get_info().await {
            Ok(seen) => seen,
            Err(error) => {
                debug!(source = self.config.name, %error, "the search for unreadable messages is retried after the next error");
                return Ok(());
            }
        };
        let (mut from, mut bytes) = (seen.ack_floor.stream_sequence + 1, 0);
        for _ in 0..MESSAGES {
            let asked_at = Instant::now();
            let found = match self.stored(from).await {
                Ok(Some(found)) if found.sequence <= seen.delivered.stream_sequence => found,
                Ok(_) => return Ok(()),
                Err(reason) => {
                    debug!(
                        source = self.config.name,
                        reason, "the search for unreadable messages is retried after the next error"
                    );
                    return Ok(());
                }
            };
            from = found.sequence + 1;
            bytes += found.payload.len();
            if !is_readable(&found) {
                warn!(
                    source = self.config.name,
                    sequence = found.sequence,
                    "a message has headers that cannot be read; it is refused"
                );
                let message = self.as_delivered(&seen.name, &found);
                let taken = self.take(message, unreadable(), asked_at, watching).await;
                if let Err(NotTaken::Ledger(error)) = taken {
                    return Err(error);
                }
            }
            if bytes > BYTES {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The first message of the source's subject at or after a sequence number of the stream, as stored.
    async fn stored(&self, from: u64) -> Result<Option<RawMessage>, String> {
        let asked: Result<Response<Stored>, _> = self
            .jetstream
            .request(
                format!("STREAM.MSG.GET.{}", self.stream.name),
                &json!({"seq": from, "next_by_subj": self.config.subject}),
            )
            .await;
        match asked.map_err(|error| error.to_string())? {
            Response::Ok(stored) => Ok(Some(stored.message)),
            Response::Err { error } if error.error_code() == ErrorCode::NO_MESSAGE_FOUND => Ok(None),
            Response::Err { error } => Err(error.to_string()),
        }
    }

    /// The message as the consumer would have delivered it, so that it can be acknowledged. The server does not report how often it has
    /// delivered the message, so the count is the most that its age and `ack_wait` allow.
    fn as_delivered(&self, consumer: &str, stored: &RawMessage) -> Message {
        let published = stored.time.unix_timestamp_nanos();
        let age = Timestamp::now().as_nanosecond() - published;
        let deliveries =
            1 + age.max(0) / SignedDuration::try_from(self.ack_wait).unwrap_or_default().as_nanos().max(1);
        let (stream, sequence) = (&self.stream.name, stored.sequence);
        let reply = format!("$JS.ACK.{stream}.{consumer}.{deliveries}.{sequence}.{sequence}.{published}.0");
        let message = async_nats::Message {
            subject: stored.subject.as_str().into(),
            reply: Some(reply.into()),
            payload: STANDARD.decode(&stored.payload).unwrap_or_default().into(),
            headers: None,
            status: None,
            description: None,
            length: 0,
        };
        jetstream::Message { message, context: (*self.jetstream).clone() }
    }
}

/// Whether the client can read the headers: parses them as it does for a message that a consumer delivers.
fn is_readable(stored: &RawMessage) -> bool {
    let head = RawMessage {
        subject: stored.subject.clone(),
        sequence: stored.sequence,
        payload: String::new(),
        headers: stored.headers.clone(),
        time: stored.time,
    };
    StreamMessage::try_from(head).is_ok()
}

fn unreadable() -> (Said, Input) {
    let fault = bad(
        "UnreadableHeaders",
        "the headers of the message cannot be read; their names have to be printable ASCII without spaces, their values UTF-8 on one line",
    );
    (Said::default(), Input::Bad(fault))
}
