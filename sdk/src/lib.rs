//! Event types of Hark, and what a plugin needs.
//!
//! A plugin is a type that implements [`Plugin`], and one line that exports it; it is built as a `cdylib`:
//!
//! ```
//! use hark_sdk::{Error, Host, Plugin, Transcript};
//!
//! struct Hello;
//!
//! impl Plugin for Hello {
//!     fn create(_config: &str) -> Result<Self, Error> {
//!         Ok(Hello)
//!     }
//!
//!     fn on_final(&mut self, _transcript: &Transcript, host: &Host) -> Result<(), Error> {
//!         host.annotate("greeting", "hello")
//!     }
//! }
//!
//! hark_sdk::export!(Hello);
//! ```
//!
//! The contract is in C ([`abi`], `include/hark_plugin.h`); this crate wraps it for Rust. The daemon runs every plugin in a process of its
//! own: the header documents what the plugin may do there, and what happens when it fails.
#![warn(missing_docs)]

pub mod abi;
pub mod codes;
pub mod config;
pub mod emission;
pub mod event;
pub mod export;
mod host;
pub mod joined;
pub mod plain;
mod plugin;
pub mod schema;
pub mod testing;

pub use host::{Host, Level};
pub use plugin::{Error, Plugin, Transcript, Wants};
/// For the schema of a plugin's config: `use hark_sdk::schemars::{self, JsonSchema};` and `#[derive(JsonSchema)]`.
pub use schemars;
