//! See [`crate::fuzzing`].

use hark_sdk::event::Recording;
use serde_json::Map;
use uuid::Uuid;

use super::claim::Claim;
use crate::job::{Job, Origin, persisted};

/// A value of the bucket of claims, which any program with rights on the bucket may write.
///
/// # Panics
/// Where reading it or going on from it does, or what comes of it cannot be stored.
pub fn claim(json: &[u8]) {
    let Ok(claim) = persisted::from_json::<Claim>(json) else { return };
    claim.sequence();
    let job = Job::new(
        Uuid::nil(),
        "calls",
        "default",
        Origin::Spool { file: "a".into() },
        Recording::default(),
        Map::new(),
    );
    let (job, pieces) = claim.resume(job);
    let is_stored = |json: serde_json::Result<String>| match json {
        Ok(json) => persisted::from_json::<serde_json::Value>(json.as_bytes()).is_ok(),
        Err(_) => false,
    };
    assert!(
        is_stored(persisted::to_json(&job))
            && pieces.iter().all(|piece| is_stored(persisted::to_json(piece)))
    );
    assert!(is_stored(persisted::to_json(&claim)));
}
