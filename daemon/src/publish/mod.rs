//! publish

mod connect;

pub use connect::{ConnectError, Patience, connect};
