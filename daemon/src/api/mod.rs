//! What the daemon answers to the outside: HTTP, and requests over NATS. Its handlers read the ledger and what the daemon reported; no lane
//! waits for them. What they change for an operator is in [`steer`].

pub mod access;
mod audio;
pub mod csv;
mod extract;
pub mod health;
pub mod http;
mod jobs;
mod login;
pub mod openapi;
pub mod others;
mod page;
mod post;
mod problem;
pub mod reloads;
mod routes;
pub mod service;
pub mod state;
mod status;
pub mod steer;
mod stream;
pub mod token;
pub mod words;
