//! What became of a request that may cost: stored with its attempt, never inferred.

use serde::{Deserialize, Serialize};

/// The fate of one attempt. It is written before the request leaves and changed by the answer of the recognizer or of its task list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// The intent is written and nothing more is known: the request may be under way.
    #[default]
    Open,
    /// The request provably never left.
    NotSent,
    /// The service itself refused the request, and does not bill it.
    Refused,
    /// A gateway between the daemon and the service refused the request; the service may have carried it out all the same.
    MaybeForwarded,
    /// The service provably does not have it: its list of tasks does not contain it.
    Absent,
    /// The service accepted it: it is billed, or will be.
    Taken,
    /// The daemon cannot find out what became of it.
    Unknown,
}

impl Fate {
    /// Whether the attempt may have cost something. A piece with more than one such attempt may have been charged twice.
    pub fn may_have_cost(self) -> bool {
        matches!(self, Fate::Open | Fate::MaybeForwarded | Fate::Taken | Fate::Unknown)
    }

    /// Whether the attempt brought no answer because it was refused; the number of such attempts is limited.
    pub fn is_refusal(self) -> bool {
        matches!(self, Fate::Refused | Fate::MaybeForwarded | Fate::Absent)
    }

    /// Whether the attempt, if it failed, was or may have been paid for; `ambiguous_retries` limits the retries of such attempts.
    pub fn is_lost(self) -> bool {
        matches!(self, Fate::Taken | Fate::Unknown)
    }
}
