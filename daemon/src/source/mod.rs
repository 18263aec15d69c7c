//! Where recordings come from. A source takes an input into the ledger as a job, and after the job's last event is stored it
//! settles the input: acknowledges the message, keeps, moves or deletes the file.

pub mod directory;
pub mod download;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod nats;
pub mod object;
pub mod plugin_files;
pub mod switch;
pub mod url;
