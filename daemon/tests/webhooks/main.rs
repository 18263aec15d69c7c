//! Webhooks: stored events reach a receiver over HTTP, signed, each at least once, those of a job in their order.
#![allow(unreachable_pub, dead_code, reason = "parts of one test")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "an unwrap here is an assertion of the test")]

#[path = "../support/mod.rs"]
mod support;

mod changed;
mod command;
mod delivered;
mod desk;
mod killed;
mod limits;
mod order;
mod paused;
mod two;
