//! Publishes messages of audio, and waits for their acknowledgement.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::{self, Context, ErrorCode};

use super::nats_server::NatsServer;
use super::wait::wait_until;

/// Publishes a message into a stream, and returns the server's acknowledgement.
pub async fn publish(
    context: &Context,
    subject: &str,
    headers: &[(&str, &str)],
    payload: Vec<u8>,
) -> PublishAck {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, *value);
    }
    let sent = context.publish_with_headers(subject.to_owned(), map, payload.into()).await.unwrap();
    sent.await.unwrap()
}

/// Number of messages in `HARK_AUDIO` that no daemon has acknowledged yet; 0 if there is no such stream.
pub async fn unacknowledged(context: &Context) -> u64 {
    match context.get_stream("HARK_AUDIO").await {
        Ok(stream) => stream.cached_info().state.messages,
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(reason) if reason.error_code() == ErrorCode::STREAM_NOT_FOUND => 0,
            _ => panic!("the stream of audio cannot be looked at: {error}"),
        },
    }
}

/// Waits until every message is acknowledged.
pub async fn all_acknowledged(nats: &NatsServer, ceiling: Duration) {
    let context = jetstream::new(nats.client().await);
    wait_until("every message to be acknowledged", ceiling, async || unacknowledged(&context).await == 0)
        .await;
}
