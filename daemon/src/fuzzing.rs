//! What parses bytes from outside in the daemon, as functions of bytes alone: for the targets in `fuzz/` and a test of mutated seeds.
//!
//! Each function asserts what holds for any bytes. Its input is as the bytes arrive; where several things arrive, an empty line is between
//! them.

pub use crate::audio::fuzzing::{own_audio, worker_message};
pub use crate::pipeline::fuzzing::plugin_frames;
pub use crate::recognize::fuzzing::{flash_stream, own_server, refusal, sse, task};
pub use crate::share::fuzzing::claim;
pub use crate::source::fuzzing::{file_name, message, sidecar, url, wav_of_a_folder};

#[cfg(test)]
mod tests;
