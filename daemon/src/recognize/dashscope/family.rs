//! What differs between the provider's families of models. A model's family is in its name.

/// A family of models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Family {
    /// What an event of a stream tells, given that `incremental_output` is asked for.
    pub(super) stream: Tells,
}

/// What the text of an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tells {
    /// What is new since the event before.
    News,
    /// Everything so far.
    Everything,
}

/// `qwen3-asr-flash…`: every event has the new text only, and the last one has none (dashscope-protocol.md 2).
const QWEN3: Family = Family { stream: Tells::News };

impl Family {
    /// The family of a model. The successors (`qwen-audio-…`, `fun-asr-…`) speak another dialect; they belong here when it is read.
    pub(super) fn of(_model: &str) -> Family {
        QWEN3
    }
}
