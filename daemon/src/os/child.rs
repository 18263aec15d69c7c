//! The first thing a child process does: drop what it does not need, apply its limits, find its socket.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, getppid, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit, setsid,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, set_capabilities,
    set_no_new_privs,
};
use serde::{Deserialize, Serialize};

/// What a child may use. `None` leaves the daemon's own limit in force.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of memory beyond what the child has mapped when it calls [`enter`]. Enforced as RLIMIT_DATA: writable memory counts, reserved
    /// addresses do not. Runtimes with a garbage collector reserve far more than a machine has.
    pub memory: Option<u64>,
    /// CPU seconds over the child's whole life; at the limit SIGXCPU ends the child.
    pub cpu_seconds: Option<u64>,
    /// Open descriptors.
    pub descriptors: Option<u64>,
    /// Bytes of the longest file that the child may write.
    pub file_bytes: Option<u64>,
    /// Threads and processes of the child's user, in all, up to which the child can start another thread. The kernel exempts root.
    pub tasks: Option<u64>,
}

/// Puts this process into the state that [`super::ChildCommand`] documents, and returns the child's end of the socket (descriptor 3).
///
/// Call it first, while the process has one thread and has opened nothing: it closes every descriptor above 2. `name` is what `ps` and
/// `top` show, at most 15 bytes.
///
/// # Errors
/// When the daemon did not start this process, the daemon is gone already, or the kernel refuses a call: the child should then exit.
#[allow(unsafe_code)]
pub fn enter(name: &std::ffi::CStr) -> io::Result<OwnedFd> {
    let entry = Entry::read()?;
    // SAFETY: this process has one thread, so no other thread reads the environment meanwhile. A library that is loaded later finds the
    // environment empty.
    unsafe {
        std::env::remove_var(Entry::VARIABLE);
        std::env::remove_var(Entry::LIBRARY_PATH);
    }
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The daemon may have died before the line above took effect; then the kernel never sends the signal.
    if getppid().map(|pid| pid.as_raw_nonzero().get() as u32) != Some(entry.parent) {
        return Err(io::Error::other("the daemon that started this process is gone"));
    }
    // SAFETY: no code in this process owns these descriptors: the process has one thread and just started, the standard library owns 0 to 2
    // only, and higher descriptors leaked in from the process that started the daemon.
    if unsafe { libc::close_range(3, libc::c_uint::MAX, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    rustix::thread::set_name(name)?;
    // A new session has no terminal. It also leaves the daemon's scheduling group: if the kernel groups processes by session (autogroup), all
    // threads of the child together get as much CPU as the whole daemon. This needs no right; the systemd unit refuses the calls that set
    // a weight.
    setsid()?;
    prefer_for_oom_kill();
    entry.limits.apply()?;
    drop_privileges()?;
    Ok(socket)
}

/// What the parent passes to the child before the socket works. It travels in an environment variable, since other users could read the
/// command line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) parent: u32,
    pub(super) limits: Limits,
}

impl Entry {
    pub(super) const VARIABLE: &str = "HARK_CHILD";
    /// The loader reads this variable at program start and keeps its value for the whole run.
    pub(super) const LIBRARY_PATH: &str = "LD_LIBRARY_PATH";

    pub(super) fn to_text(&self) -> io::Result<String> {
        Ok(serde_json::to_string(self)?)
    }

    fn read() -> io::Result<Entry> {
        let text = std::env::var(Self::VARIABLE)
            .map_err(|_| io::Error::other("this command is started by `harkd run`, not by hand"))?;
        Ok(serde_json::from_str(&text)?)
    }
}

impl Limits {
    fn apply(&self) -> io::Result<()> {
        limit(Resource::Core, 0)?;
        if let Some(seconds) = self.cpu_seconds {
            // At the hard limit the kernel sends SIGKILL, which would look like that of another process.
            limits(Resource::Cpu, seconds, seconds.saturating_add(5))?;
        }
        if let Some(count) = self.descriptors {
            limit(Resource::Nofile, count)?;
        }
        if let Some(bytes) = self.file_bytes {
            limit(Resource::Fsize, bytes)?;
        }
        if let Some(count) = self.tasks {
            limit(Resource::Nproc, count)?;
        }
        if let Some(bytes) = self.memory {
            small_thread_stacks();
            limit(Resource::Data, mapped_data()?.saturating_add(bytes))?;
        }
        Ok(())
    }
}

/// Reduces the default stack size of new threads. A thread's stack counts in full against RLIMIT_DATA, though little of it is used, and
/// glibc makes it as large as the main thread's limit: 8 MiB. A runtime that starts a thread for each processor would have no memory left.
/// Threads that request a size get it.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
fn small_thread_stacks() {
    const STACK: usize = 1 << 20;
    unsafe extern "C" {
        fn pthread_setattr_default_np(attributes: *const libc::pthread_attr_t) -> libc::c_int;
    }
    let mut attributes = std::mem::MaybeUninit::uninit();
    // SAFETY: the attributes are initialized before use and destroyed once; glibc copies them. If one of the calls fails, the default size
    // stays.
    unsafe {
        if libc::pthread_attr_init(attributes.as_mut_ptr()) == 0 {
            libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), STACK);
            pthread_setattr_default_np(attributes.as_ptr());
            libc::pthread_attr_destroy(attributes.as_mut_ptr());
        }
    }
}

/// Other C libraries use smaller stacks anyway.
#[cfg(not(target_env = "gnu"))]
fn small_thread_stacks() {}

/// Sets the soft and the hard limit, never above the current hard limit.
fn limit(resource: Resource, value: u64) -> io::Result<()> {
    limits(resource, value, value)
}

/// Sets the soft and the hard limit, neither above the hard limit that holds now.
fn limits(resource: Resource, soft: u64, hard: u64) -> io::Result<()> {
    let now = rustix::process::getrlimit(resource).maximum;
    let [current, maximum] = [soft, hard].map(|value| Some(now.map_or(value, |now| now.min(value))));
    Ok(setrlimit(resource, Rlimit { current, maximum })?)
}

/// Bytes of writable memory that this process has mapped now, stacks included.
fn mapped_data() -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages = text.split_whitespace().nth(5).and_then(|word| word.parse::<u64>().ok());
    let pages = pages.ok_or_else(|| io::Error::other("/proc/self/statm is not what Linux writes there"))?;
    Ok(pages * rustix::param::page_size() as u64)
}

/// Makes the kernel kill the child, not the daemon, when memory runs out.
fn prefer_for_oom_kill() {
    // Some containers refuse this; then the kernel decides by its own score.
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
}

fn drop_privileges() -> io::Result<()> {
    set_no_new_privs(true)?;
    // The child keeps neither CAP_LEASE nor any other capability of the daemon.
    clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    let held = capabilities(None)?;
    // Only root has capabilities left: they do not come from the ambient set, which the spawner thread cleared. The check before the call
    // matters: the system call filter of the systemd unit refuses capset.
    if held.effective != none || held.permitted != none {
        set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    }
    // No core dump and no tracing: other children run as the same user.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}
