//! NATS: the connection, the streams and their limits, the subjects and headers of events. No other module knows a subject.

pub mod acknowledgement;
pub mod append;
pub mod asyncapi;
mod connect;
mod erase;
pub mod event_streams;
mod jetstream;
pub mod large;
mod messages;
pub mod object;
mod right;
pub mod rights;
mod server_refusals;
pub mod stream;
pub mod subject;

pub use connect::{ConnectError, Patience, connect};
pub use erase::ErasedObject;
pub use jetstream::JetStream;
pub use server_refusals::{Refusals, Refused, ServerRefusals, Unanswered};
pub use subject::Subjects;
