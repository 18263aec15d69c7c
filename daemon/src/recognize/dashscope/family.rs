//! What differs between the provider's families of models. A model's family is in its name.

/// A family of models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Family {
    /// The content of each event of a stream, given that `incremental_output` is set.
    pub(super) stream: Tells,
}

/// The meaning of the text in an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tells {
    /// The text that was added since the preceding event.
    News,
    /// The whole text so far.
    Everything,
}

/// `qwen3-asr-flash…`: every event has the new text only, and the last event has none (dashscope-protocol.md 2).
const QWEN3: Family = Family { stream: Tells::News };

impl Family {
    /// The family of a model. The protocol of the successors (`qwen-audio-…`, `fun-asr-…`) differs; they belong here once Hark can read it.
    pub(super) fn of(_model: &str) -> Family {
        QWEN3
    }
}
