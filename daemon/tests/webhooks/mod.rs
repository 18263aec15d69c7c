//! Webhooks: stored events reach a receiver over HTTP, signed, each at least once, those of a job in their order.

mod changed;
mod command;
mod delivered;
mod killed;
mod limits;
mod order;
mod paused;
mod stage;
mod two;
