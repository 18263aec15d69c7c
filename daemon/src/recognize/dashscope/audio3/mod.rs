//! The family `qwen-audio-3.x-asr-…`, `fun-asr…`, `paraformer…` (successors.md 5 and 6). Every event of a stream is a snapshot of everything
//! since the beginning, which may revise the text; the end has no word of its own.

mod ask;
mod told;

pub(super) use ask::{flash_body, submit_body};
pub(super) use told::Told;
