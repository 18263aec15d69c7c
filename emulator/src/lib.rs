//! A local substitute for the speech recognition service, strict enough that the service's own SDK cannot tell the difference. It
//! recognizes nothing: texts come from a manifest by the sha256 of the audio, or are made from that hash.
//!
//! The path of a request: [`server`] accepts it, [`call`] numbers it and draws its [`faults`], a handler ([`flash`], [`filetrans`],
//! [`storage`]) checks it against the service's rules ([`validate`], [`limits`]) and obtains the audio ([`source`], [`media`]),
//! [`transcript`] makes the text, and [`journal`] records the request before the answer is sent. [`admin`] is for tests: it is not part of
//! the service.

pub mod admin;
pub mod audio3;
pub mod body;
pub mod call;
pub mod faults;
pub mod filetrans;
pub mod flash;
pub mod journal;
pub mod limits;
pub mod manifest;
pub mod media;
pub mod options;
pub mod refusal;
pub mod server;
pub mod service;
pub mod source;
pub mod storage;
pub mod text;
pub mod transcript;
pub mod validate;

pub use options::Options;
pub use server::Emulator;
pub use text::{text_for, text_for_channel};
