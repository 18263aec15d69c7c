//! The claim of a message's job among the daemons that share a stream.

use serde::{Deserialize, Serialize};

/// Where a message's job is claimed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// Key in the bucket `HARK_JOBS`.
    pub key: String,
    /// `<stream>.<sequence>@<time>` of the message.
    pub place: String,
}

impl Ticket {
    /// The message: its stream, its sequence there, and when the stream stored it, ns since the epoch.
    pub fn message(&self) -> Option<(&str, u64, i128)> {
        let (stream, counted) = self.place.split_once('.')?;
        let (sequence, time) = counted.split_once('@')?;
        Some((stream, sequence.parse().ok()?, time.parse().ok()?))
    }
}
