//! Out of the house: events to NATS. Delivery promise: a stored event stays in the outbox until JetStream has acknowledged it, and is
//! sent again under the same id; partials are lossy.

mod outbox;
mod partials;

pub use outbox::Outbox;
pub use partials::{Outlet, Partials, partials};
