//! Ownership of jobs among the daemons that share a stream, and takeover: how a daemon continues a job that another daemon owned.

mod bucket;
pub mod claim;
mod claims;
mod fence;
mod find_job;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod job_lock;
mod takeover;

pub use self::bucket::{Bucket, Unconfirmed};
pub use self::claims::Claims;
pub use self::fence::{Fence, sequence_of, stored_events};
pub use self::find_job::Sought;
pub use self::takeover::{StoredEvents, continue_job};
