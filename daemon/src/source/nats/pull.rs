//! One request for one message, and the server's answer to it. Messages are asked for one at a time: while one is taken in, no other
//! occupies the connection, on which the answer of the bucket of claims has to arrive.
//!
//! async-nats has such requests too, but ends them five seconds after their expiry, although a message may be on its way. The server
//! redelivers it after `ack_wait`; a message that takes longer than five seconds on a slow connection would be redelivered again and again.

use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::consumer::pull::BatchConfig;
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::{StatusCode, Subject};
use futures::StreamExt;
use tokio::time::{Instant, sleep_until};

use crate::broker::JetStream;

/// How long a request stays open at the server. Heartbeats are not needed: the server reports the end of the request.
const EXPIRES: Duration = Duration::from_secs(10);

/// How long after that the server's report of the end may take.
const LATE: Duration = Duration::from_secs(5);

/// How long after that a message may still be on its way. No message blocks a connection for longer: its pings fail, and the client
/// reconnects.
const LATEST: Duration = Duration::from_secs(60);

/// Requests a message. `None`: the stream has none.
///
/// # Errors
/// The server's error text, if it refuses or ends the request; a sentence, when the client is closed and does not reconnect.
pub(super) async fn next_message(
    consumer: &PullConsumer,
    jetstream: &JetStream,
) -> Result<Option<Message>, String> {
    let inbox = Subject::from(jetstream.client().new_inbox());
    let subscribed = jetstream.client().subscribe(inbox.clone()).await;
    let mut answers = subscribed.map_err(|error| error.to_string())?;
    let info = consumer.cached_info();
    let subject = format!(".CONSUMER.MSG.NEXT.{}.{}\"", info.stream_name, info.name);
    let named = [subject.as_str()];
    let mut refusals = jetstream.refusals().listen();
    let ends = Instant::now() + EXPIRES + LATE;
    let request = BatchConfig { batch: 1, expires: Some(EXPIRES), ..BatchConfig::default() };
    consumer.request_batch(request, inbox).await.map_err(|error| error.to_string())?;
    let answer = tokio::select! {
        // A message that has arrived is taken first.
        biased;
        answer = answers.next() => answer,
        refused = refusals.naming(&named) => return Err(refused.to_string()),
        () = nothing_is_on_its_way(consumer, ends) => None,
    };
    let Some(message) = answer else { return Ok(None) };
    match message.status {
        None | Some(StatusCode::OK) => Ok(Some(Message { message, context: (**jetstream).clone() })),
        Some(StatusCode::TIMEOUT | StatusCode::NOT_FOUND) => Ok(None),
        Some(status) => Err(format!("{status} {}", message.description.unwrap_or_default())),
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
