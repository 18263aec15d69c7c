//! Which rights a child process gives up, permanently, before it touches untrusted input.
//!
//! Two layers of the kernel: landlock restricts files, seccomp restricts system calls. Both are best effort: on a kernel that lacks one,
//! the other, the limits and the empty environment still hold. Call these functions while the process has one thread, since both layers
//! bind the calling thread and the threads that it starts later.

use std::path::{Path, PathBuf};

use super::{landlock, seccomp};

/// What a plugin may reach.
#[derive(Debug, Clone, Default)]
pub struct PluginRights {
    /// Absolute paths that the plugin must not read, with everything below them: state directory, credentials, key files, configuration.
    /// The plugin can read the rest of the filesystem, except other processes in `/proc` and devices, and it cannot list the parents of
    /// hidden paths.
    pub hidden: Vec<PathBuf>,
    /// Folders below which the plugin may write and read, also inside hidden ones. Folders that do not exist are ignored.
    pub writable: Vec<PathBuf>,
    /// Whether the plugin may open internet connections. Unix sockets are always refused: they lead to other daemons.
    pub network: bool,
}

/// Restrictions that the kernel did not enforce, a sentence each, for the log; empty when all are in force.
pub type Missing = Vec<String>;

/// For the process that parses audio: the process can open no file (open descriptors stay open), and may use only the system calls that
/// reading, memory and its socket need. Every other call fails with EPERM.
#[must_use = "what is missing belongs in the log"]
pub fn confine_audio_worker() -> Missing {
    missing(landlock::no_files(), seccomp::only_reading())
}

/// For the process that a plugin runs in: the process may start threads but no processes or programs, may signal only itself, cannot access
/// other processes, may write only below `writable`, and may open internet sockets only with `network`. Refused calls fail with EPERM.
#[must_use = "what is missing belongs in the log"]
pub fn confine_plugin(rights: &PluginRights) -> Missing {
    let files = landlock::files_of_a_plugin(&rights.hidden, &rights.writable);
    let freedom = if rights.network { seccomp::Freedom::Network } else { seccomp::Freedom::None };
    missing(files, seccomp::nothing_dangerous(freedom))
}

/// For the process that becomes ffmpeg: the process may replace itself by a program, but start no other process. It can read and run only
/// `program` and the files below `/usr`, `/lib` and `/lib64`, can write no file but `/dev/null`, and can open no socket.
#[must_use = "what is missing belongs in the log"]
pub fn confine_ffmpeg(program: &Path) -> Missing {
    missing(landlock::programs_only(program), seccomp::nothing_dangerous(seccomp::Freedom::Program))
}

fn missing(files: Option<String>, calls: Result<(), seccompiler::Error>) -> Missing {
    let calls = calls.err().map(|error| format!("seccomp: not in force: {error}"));
    files.into_iter().chain(calls).collect()
}
