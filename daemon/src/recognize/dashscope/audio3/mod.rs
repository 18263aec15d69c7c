//! The family `qwen-audio-3.x-asr-…`, `fun-asr…`, `paraformer…` (the provider's documentation). Every event of a stream is a snapshot of
//! everything since the beginning, which may revise the text; no event marks the end.

mod answer;
mod ask;

pub(super) use answer::FlashAnswer;
pub(super) use ask::{flash_body, submit_body};
