//! The first thing a child does: give up what it does not need, take the limits it was given, find its socket.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, getppid, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, set_capabilities,
    set_no_new_privs,
};
use serde::{Deserialize, Serialize};

/// What a child may use. `None` leaves the daemon's own limit in force.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of memory over what the child has mapped when it enters. Held as RLIMIT_DATA: what the child can write to counts, addresses
    /// that it only reserves do not. Runtimes with a garbage collector reserve far more than a machine has.
    pub memory: Option<u64>,
    /// Seconds of CPU over its whole life; at the limit SIGXCPU ends it.
    pub cpu_seconds: Option<u64>,
    /// Open descriptors.
    pub descriptors: Option<u64>,
    /// Bytes of the longest file it may write.
    pub file_bytes: Option<u64>,
    /// Threads and processes that its user may have in all for it to start another thread. The kernel holds no root to it.
    pub tasks: Option<u64>,
}

/// Makes this process the child that [`super::ChildCommand`] promised, and returns its end of the socket (descriptor 3).
///
/// To be called first, while there is one thread and nothing is open: every descriptor above 2 is closed. `name` is what
/// `ps` and `top` show, at most 15 bytes.
///
/// # Errors
/// When it was not started by the daemon, the daemon is gone already, or the kernel refuses: the child should then exit.
#[allow(unsafe_code)]
pub fn enter(name: &std::ffi::CStr) -> io::Result<OwnedFd> {
    let entry = Entry::read()?;
    // SAFETY: this process has one thread, so nobody reads the environment meanwhile. What is loaded later finds it empty.
    unsafe {
        std::env::remove_var(Entry::VARIABLE);
        std::env::remove_var(Entry::LIBRARY_PATH);
    }
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The daemon may have died before that line took effect; then the signal never comes.
    if getppid().map(|pid| pid.as_raw_nonzero().get() as u32) != Some(entry.parent) {
        return Err(io::Error::other("the daemon that started this process is gone"));
    }
    // SAFETY: closes descriptors that nobody in this process owns: it has one thread and just started, the standard library owns
    // 0 to 2 only, and what lies above leaked in from whoever started the daemon.
    if unsafe { libc::close_range(3, libc::c_uint::MAX, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    rustix::thread::set_name(name)?;
    volunteer_for_the_oom_killer();
    entry.limits.apply()?;
    drop_privileges()?;
    Ok(socket)
}

/// What the parent tells the child before the child can listen: in a variable of its environment, as other users must not read it in the
/// command line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) parent: u32,
    pub(super) limits: Limits,
}

impl Entry {
    pub(super) const VARIABLE: &str = "HARK_CHILD";
    /// Read by the loader as the program starts, for as long as it runs.
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
            limit(Resource::Cpu, seconds)?;
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

/// A thread's stack counts in full, though little of it is touched, and glibc gives it as much as the first thread's may grow to: 8 MiB.
/// A runtime that starts a thread for each processor would have no memory left. Threads that ask for a size get it.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
fn small_thread_stacks() {
    const STACK: usize = 1 << 20;
    unsafe extern "C" {
        fn pthread_setattr_default_np(attributes: *const libc::pthread_attr_t) -> libc::c_int;
    }
    let mut attributes = std::mem::MaybeUninit::uninit();
    // SAFETY: the attributes are initialized before they are used and destroyed once; glibc copies what it is given. Where one of the calls
    // refuses, stacks stay as they were.
    unsafe {
        if libc::pthread_attr_init(attributes.as_mut_ptr()) == 0 {
            libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), STACK);
            pthread_setattr_default_np(attributes.as_ptr());
            libc::pthread_attr_destroy(attributes.as_mut_ptr());
        }
    }
}

/// Others give threads less than that anyway.
#[cfg(not(target_env = "gnu"))]
fn small_thread_stacks() {}

/// Sets the soft and the hard limit, never above the hard limit that is in force.
fn limit(resource: Resource, value: u64) -> io::Result<()> {
    let maximum = rustix::process::getrlimit(resource).maximum;
    let value = Some(maximum.map_or(value, |maximum| maximum.min(value)));
    Ok(setrlimit(resource, Rlimit { current: value, maximum: value })?)
}

/// Bytes that this process can write to now, stacks included.
fn mapped_data() -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages = text.split_whitespace().nth(5).and_then(|word| word.parse::<u64>().ok());
    let pages = pages.ok_or_else(|| io::Error::other("/proc/self/statm is not what Linux writes there"))?;
    Ok(pages * rustix::param::page_size() as u64)
}

/// When memory runs out it is the child that goes, not the daemon.
fn volunteer_for_the_oom_killer() {
    // Refused in some containers; then the kernel's own judgement stands.
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
}

fn drop_privileges() -> io::Result<()> {
    set_no_new_privs(true)?;
    // CAP_LEASE and whatever else the daemon was given is not the child's.
    clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    let held = capabilities(None)?;
    // Only root has any left, whose capabilities do not come from the ambient set that the spawner gave up. To ask first matters: the
    // unit's system call filter refuses capset to all.
    if held.effective != none || held.permitted != none {
        set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    }
    // Neither dumped nor traced: other children run under the same user.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}
