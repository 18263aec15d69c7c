//! How much metadata a recording may have.

use serde_json::{Map, Value};

/// The most bytes of metadata as JSON. Every event of the job carries the metadata, and more would leave too little room for the
/// transcript.
pub const LARGEST: usize = 32 << 10;

/// The bytes of metadata as JSON.
pub fn size(metadata: &Map<String, Value>) -> usize {
    serde_json::to_vec(metadata).map_or(usize::MAX, |json| json.len())
}
