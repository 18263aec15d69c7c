//! What differs between the provider's families of models. A model's family is in its name.

/// A family of models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Family {
    /// The content of each event of a stream, given that `incremental_output` is set.
    pub(super) stream: StreamMode,
}

/// The meaning of the text in an event of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamMode {
    /// The text that was added since the preceding event.
    Increments,
    /// The whole text so far.
    Snapshots,
}

/// `qwen3-asr-flash…`: every event has the new text only, and the last event has none (dashscope-protocol.md 2).
const QWEN3: Family = Family { stream: StreamMode::Increments };

impl Family {
    /// The family of a model. The protocol of the successors (`qwen-audio-…`, `fun-asr-…`) differs; they belong here once Hark can read it.
    pub(super) fn of(_model: &str) -> Family {
        QWEN3
    }
}
