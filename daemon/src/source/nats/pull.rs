//! One request for messages, and the server's answers to it.
//!
//! async-nats has such requests too, but ends them five seconds after their expiry, although messages may be on their way, or received and
//! not read yet. The server redelivers these after `ack_wait`; a message that takes longer than five seconds on a slow connection would be
//! redelivered again and again.

use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::consumer::pull::BatchConfig;
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::{StatusCode, Subject, Subscriber};
use futures::StreamExt;
use tokio::time::{Instant, sleep_until};

use crate::broker::{JetStream, Refusals};

/// How long a request stays open at the server. Heartbeats are not needed: the server reports the end of the request.
const EXPIRES: Duration = Duration::from_secs(10);

/// How long after that the server's report of the end may take.
const LATE: Duration = Duration::from_secs(5);

/// How long after that messages may still be on their way. No message blocks a connection for longer: its pings fail, and the client
/// reconnects.
const LATEST: Duration = Duration::from_secs(60);

/// A request for messages, and the subscription that receives them.
pub(super) struct Pull<'a> {
    consumer: &'a PullConsumer,
    jetstream: &'a JetStream,
    messages: Subscriber,
    left: usize,
    asked_at: Instant,
    refusals: Refusals,
    /// The end of the request's subject, by which the server's refusals name it.
    named: String,
}

impl<'a> Pull<'a> {
    /// Requests at most `messages` messages with at most `bytes` bytes.
    ///
    /// # Errors
    /// A sentence, when the client is closed and does not reconnect.
    pub(super) async fn ask(
        consumer: &'a PullConsumer,
        jetstream: &'a JetStream,
        messages: usize,
        bytes: usize,
    ) -> Result<Self, String> {
        let client = jetstream.client();
        let inbox = Subject::from(client.new_inbox());
        let subscriber = client.subscribe(inbox.clone()).await.map_err(|error| error.to_string())?;
        let request = BatchConfig {
            batch: messages,
            max_bytes: bytes,
            expires: Some(EXPIRES),
            ..BatchConfig::default()
        };
        let refusals = jetstream.refusals().listen();
        let info = consumer.cached_info();
        let named = format!(".CONSUMER.MSG.NEXT.{}.{}\"", info.stream_name, info.name);
        let asked_at = Instant::now();
        consumer.request_batch(request, inbox).await.map_err(|error| error.to_string())?;
        Ok(Pull { consumer, jetstream, messages: subscriber, left: messages, asked_at, refusals, named })
    }

    /// When the request was sent: the server sent no message of it before.
    pub(super) fn asked_at(&self) -> std::time::Instant {
        self.asked_at.into_std()
    }

    /// The next message, or the server's error text if it refuses or ends the request; `None` when the request is over.
    pub(super) async fn next(&mut self) -> Option<Result<Message, String>> {
        if self.left == 0 {
            return None;
        }
        let named = [self.named.as_str()];
        let message = tokio::select! {
            // Messages that have arrived are taken first.
            biased;
            message = self.messages.next() => message?,
            refused = self.refusals.naming(&named) => return Some(Err(refused.to_string())),
            () = nothing_is_on_its_way(self.consumer, self.asked_at + EXPIRES + LATE) => return None,
        };
        match message.status {
            None | Some(StatusCode::OK) => {
                self.left -= 1;
                Some(Ok(Message { message, context: (**self.jetstream).clone() }))
            }
            Some(StatusCode::TIMEOUT | StatusCode::NOT_FOUND) => None,
            Some(status) => Some(Err(format!("{status} {}", message.description.unwrap_or_default()))),
        }
    }
}

/// Waits until no message of an expired request can arrive any more. A connection keeps the order: when the answer to a later request has
/// arrived, everything that the server sent before it has arrived too.
async fn nothing_is_on_its_way(consumer: &PullConsumer, late: Instant) {
    sleep_until(late).await;
    while let Err(error) = consumer.get_info().await
        && error.kind() == ConsumerInfoErrorKind::TimedOut
        && late.elapsed() < LATEST
    {}
}
