//! What the daemon asks of the operating system: sandboxed child processes, file leases, limits, safe access to folders.
//!
//! [`spawn`] is the parent's side of a child process, [`child`] is what the child does first, [`sandbox`] which rights the child gives up
//! before it touches untrusted input. This module and `pipeline/library.rs` are the only places in the daemon with `unsafe`.

pub mod beneath;
pub mod child;
mod clock;
mod landlock;
pub mod lease;
pub mod limits;
pub mod packet;
pub mod private;
pub mod recording;
pub mod resource_use;
pub mod sandbox;
mod seccomp;
pub mod spawn;
#[cfg(test)]
mod tests;
pub mod usage;

pub use beneath::{Entry, Folder};
pub use child::{Limits, enter};
pub use clock::{cautious_now, cpu_time};
pub use lease::{Lease, has_writers};
pub use limits::{
    free_bytes, is_shortage, keep_memory_private, raise_nofile_limit, reserve_bytes, return_large_memory,
};
pub use packet::PacketSocket;
pub use recording::{NotARecording, open_recording};
pub use spawn::ChildCommand;
