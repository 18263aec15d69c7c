//! Messages whose headers the client cannot read (a name with a space in it, bytes that are no UTF-8): async-nats 0.51 drops the connection
//! at each delivery, with whatever else was on its way. They are bad input like any other, and get their answer before they come again.

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

/// Looked at at a time. What lies behind is found at its next delivery, when some of these are done.
const MESSAGES: usize = 1_024;
const BYTES: usize = 256 << 20;

#[derive(Deserialize)]
struct Stored {
    message: RawMessage,
}

impl Subject {
    /// Looks at what the consumer has delivered and nobody has acknowledged, and takes in what cannot be read as what it is. For after
    /// trouble while messages were on their way. Costs one request a message, one message in memory at a time.
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
                debug!(source = self.config.name, %error, "unreadable messages are looked for after the next trouble");
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
                        reason, "unreadable messages are looked for after the next trouble"
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

    /// The first message of the subject at or behind a place in the stream, as it is stored.
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

    /// The message as the consumer would have delivered it: it can be acknowledged. How often it came is not told; it was not more often
    /// than it had time to.
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

/// As the client reads what a consumer delivers.
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
