//! What a child gives up, for good, before it touches anything untrusted.
//!
//! Two layers of the kernel: landlock decides which files, seccomp which system calls. Both are best effort: a kernel that
//! lacks one still has the other, the limits and the empty environment. To be called with one thread running, since both
//! bind the calling thread and those it starts.

use std::path::PathBuf;

use super::{landlock, seccomp};

/// What a plugin may reach.
#[derive(Debug, Clone, Default)]
pub struct PluginRights {
    /// Absolute paths that it must not read, with all below them: state directory, credentials, key files, configuration. The
    /// rest of the filesystem can be read, but for other processes in `/proc`, devices, and the parents of
    /// hidden paths, which cannot be listed.
    pub hidden: Vec<PathBuf>,
    /// Folders that it may write below, and read, also inside hidden ones. Those that do not exist are passed over.
    pub writable: Vec<PathBuf>,
    /// Whether it may open internet connections. Unix sockets stay closed: they lead to other daemons.
    pub network: bool,
}

/// What the kernel did not do, a sentence each, for the log; empty when everything holds.
pub type Missing = Vec<String>;

/// For the process that parses audio: no files at all (what is open stays open), and only the system calls that reading,
/// memory and its socket need. Everything else fails with EPERM.
#[must_use = "what is missing belongs into the log"]
pub fn confine_audio_worker() -> Missing {
    let mut missing = Missing::new();
    missing.extend(landlock::no_files());
    missing.extend(seccomp::only_reading());
    missing
}

/// For the process that a plugin runs in: may start threads but no processes and no programs, send no signals but to itself,
/// reach no other process, write only where it may, and open no socket unless `network`. What is refused fails with EPERM.
#[must_use = "what is missing belongs into the log"]
pub fn confine_plugin(rights: &PluginRights) -> Missing {
    let mut missing = Missing::new();
    missing.extend(landlock::files_of_a_plugin(&rights.hidden, &rights.writable));
    missing.extend(seccomp::nothing_dangerous(rights.network));
    missing
}
