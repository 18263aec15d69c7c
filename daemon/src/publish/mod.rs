//! Publishes events to NATS. Delivery promise: a stored event stays in the outbox until JetStream has acknowledged it; the daemon sends
//! it again under the same id until then. Partials may be lost.
//! Webhooks get the stored events from JetStream, in the same way as every other consumer.

mod feed;
mod outbox;
mod partials;
pub mod webhooks;

pub use feed::{Feed, Published};
pub use outbox::Outbox;
pub use partials::PartialPublisher;
