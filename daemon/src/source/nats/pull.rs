//! One request for messages, and what comes of it.
//!
//! async-nats has such requests too, and ends them five seconds after their time, whatever is on its way by then or has come and was not
//! read yet. It comes again after `ack_wait`; and a message that takes longer than that on a slow line would do so for ever.

use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::consumer::pull::BatchConfig;
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::{StatusCode, Subject, Subscriber};
use futures::StreamExt;
use tokio::time::{Instant, sleep_until};

use crate::broker::{JetStream, Refusals};

/// How long a request stays open at the server. No heartbeats: what the server says at its end is enough.
const EXPIRES: Duration = Duration::from_secs(10);

/// How long after that the server's word of its end may take.
const LATE: Duration = Duration::from_secs(5);

/// A message may block a line for less than this: then its pings are missed, and the client connects anew.
const LATEST: Duration = Duration::from_secs(60);

/// Messages that were asked for.
pub(super) struct Pull<'a> {
    consumer: &'a PullConsumer,
    jetstream: &'a JetStream,
    messages: Subscriber,
    left: usize,
    asked_at: Instant,
    refusals: Refusals,
    /// How the subject of the request ends in the server's words.
    named: String,
}

impl<'a> Pull<'a> {
    /// Asks for so many messages, and so many bytes of them at most.
    ///
    /// # Errors
    /// A sentence, when the connection is gone for good.
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

    /// No message of it was sent before.
    pub(super) fn asked_at(&self) -> std::time::Instant {
        self.asked_at.into_std()
    }

    /// The next message, or the server's words where it gives none; nothing when the request is over.
    pub(super) async fn next(&mut self) -> Option<Result<Message, String>> {
        if self.left == 0 {
            return None;
        }
        let named = [self.named.as_str()];
        let message = tokio::select! {
            // What has come is taken first.
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

/// Waits until nothing can come any more of a request whose time is over. A line has an order: what the server sent before an answer has
/// come when the answer has.
async fn nothing_is_on_its_way(consumer: &PullConsumer, late: Instant) {
    sleep_until(late).await;
    while let Err(error) = consumer.get_info().await
        && error.kind() == ConsumerInfoErrorKind::TimedOut
        && late.elapsed() < LATEST
    {}
}
