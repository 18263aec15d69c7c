//! Hark listens: audio from folders and NATS subjects goes in, transcripts come out as NATS events.
#![allow(unreachable_pub, reason = "one binary and its tests; `pub` in a module means: for its neighbours")]

pub mod audio;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod http;
pub mod job;
pub mod logging;
pub mod os;
pub mod pipeline;
pub mod publish;
pub mod recognize;
pub mod source;
