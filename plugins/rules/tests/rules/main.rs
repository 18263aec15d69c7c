//! The rules: each key, the engine beside a naive reference, and a call that is followed while it is heard.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is the assertion")]

mod generate;
mod heard;
mod keys;
mod reference;
