//! Event types of Hark, and what a plugin needs.
#![warn(missing_docs)]

pub mod event;
