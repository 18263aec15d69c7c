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

use tokio::sync::watch;

/// The state that a source reports: `Err` has the reason why it takes nothing in, or not all of it.
type Watching = watch::Sender<Result<(), String>>;

/// Sets a source's state; wakes receivers only if the state has changed.
fn set_state(watching: &Watching, state: Result<(), String>) {
    watching.send_if_modified(|now| {
        let changed = *now != state;
        *now = state;
        changed
    });
}
