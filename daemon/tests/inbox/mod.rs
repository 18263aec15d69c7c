//! Audio published on a NATS subject, and how the daemon handles messages that are not audio.

mod messages;
mod references;
mod refused;
mod streams;

use crate::support::publish;
use async_nats::jetstream;

async fn put(context: &jetstream::Context, headers: &[(&str, &str)], payload: Vec<u8>) -> u64 {
    publish(context, "hark.audio.inbox", headers, payload).await.sequence
}
