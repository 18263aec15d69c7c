//! A real folder and a real ledger: which files become jobs, and which do not.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "an unwrap here is an assertion of the test")]

#[path = "../support/mod.rs"]
mod support;

mod done;
mod folder;
mod known;
mod moved;
mod restarted;
mod taken;
mod watched;
