//! What the daemon tells and is told from outside: HTTP, and requests over NATS. It reads what the daemon reported and steers nothing that
//! is under way.

pub mod control;
pub mod health;
pub mod http;
