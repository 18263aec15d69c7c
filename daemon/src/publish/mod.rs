//! Out of the house: events to NATS. Delivery promise: a stored event stays in the outbox until JetStream has acknowledged it, and is
//! sent again under the same id; partials are lossy.

mod append;
mod connect;
mod fence;
mod forgotten;
mod large;
mod outbox;
mod partials;
mod stream;
mod subject;

pub use connect::{ConnectError, Connection, Patience, connect};
pub use fence::Fence;
pub use outbox::Outbox;
pub use partials::{Outlet, Partials, partials};
pub use subject::Subjects;
