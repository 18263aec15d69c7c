//! What the daemon answers to the outside: HTTP, and requests over NATS. This module reads what the daemon reported, and changes no job
//! that is under way.

pub mod control;
pub mod health;
pub mod http;
