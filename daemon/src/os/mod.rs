//! What the operating system does for us: children that cannot hurt, leases, limits.
//!
//! [`spawn`] is the parent's side of a child process, [`child`] is what the child does first, [`sandbox`] what it gives up
//! before it touches anything untrusted. With `pipeline/library.rs` this is the only place with `unsafe`.

pub mod beneath;
pub mod child;
mod clock;
mod landlock;
pub mod lease;
pub mod limits;
pub mod packet;
pub mod private;
pub mod recording;
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
pub use spawn::{ChildCommand, Output};
