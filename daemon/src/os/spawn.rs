//! Starts a `harkd` subcommand as a child process that cannot outlive the daemon and inherits nothing.
//!
//! The child gets its socket as stdin and does the rest of the hardening itself as its first act ([`super::child::enter`]). The daemon runs
//! no code between fork and exec, so the standard library may use `posix_spawn`, which does not copy the daemon's page tables, and no
//! `unsafe` is needed. Until `enter` returns the child runs only code of `harkd`.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{OnceLock, mpsc};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::child::{Entry, Limits};
use super::packet::PacketSocket;

/// Path of the running program, valid even after an upgrade has replaced or deleted its file.
pub fn this_executable() -> PathBuf {
    PathBuf::from("/proc/self/exe")
}

/// A `harkd` subcommand to start as a child.
///
/// The child has one end of a socket pair, which it takes with [`super::child::enter`], and nothing else: no environment, no output, no other
/// descriptor, no terminal (a Ctrl-C does not reach it), no capabilities, no core dumps, a session of its own, and the limits given here. The
/// kernel kills the child when the daemon dies in any way; the child also sees the end of file on the socket. Dropping the returned
/// [`Child`] kills the child.
#[derive(Debug, Clone)]
pub struct ChildCommand {
    executable: PathBuf,
    /// Other users can read them in the list of processes.
    pub(super) arguments: Vec<OsString>,
    limits: Limits,
    library_path: OsString,
}

impl ChildCommand {
    /// `executable subcommand`; outside of tests the executable is [`this_executable`].
    pub fn new(executable: &Path, subcommand: &str) -> Self {
        ChildCommand {
            executable: executable.to_owned(),
            arguments: vec![subcommand.into()],
            limits: Limits::default(),
            library_path: OsString::new(),
        }
    }

    /// What the child may use; see [`Limits`].
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Folders, separated by `:`, in which the loader searches for dependencies of libraries, before its default folders. They must be
    /// trusted: the loader searches them for the libraries of `harkd` itself as well.
    pub fn library_path(mut self, folders: OsString) -> Self {
        self.library_path = folders;
        self
    }

    /// Starts the child with a byte stream between daemon and child.
    ///
    /// # Errors
    /// When there are no descriptors, processes or memory left, or the executable cannot be run.
    pub async fn spawn_stream(self) -> io::Result<(Child, UnixStream)> {
        let (child, socket) = self.spawn(SocketType::STREAM).await?;
        let stream = std::os::unix::net::UnixStream::from(socket);
        stream.set_nonblocking(true)?;
        Ok((child, UnixStream::from_std(stream)?))
    }

    /// Starts the child with a packet socket between daemon and child. Packets keep their boundaries and can carry a descriptor.
    ///
    /// # Errors
    /// As [`Self::spawn_stream`].
    pub async fn spawn_packets(self) -> io::Result<(Child, PacketSocket)> {
        let (child, socket) = self.spawn(SocketType::SEQPACKET).await?;
        Ok((child, PacketSocket::new(socket)?))
    }

    async fn spawn(self, kind: SocketType) -> io::Result<(Child, OwnedFd)> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
        let entry = Entry { parent: std::process::id(), limits: self.limits };
        let mut command = Command::new(&self.executable);
        command
            .args(&self.arguments)
            .arg0("harkd")
            .env_clear()
            .env(Entry::VARIABLE, entry.to_text()?)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        if !self.library_path.is_empty() {
            command.env(Entry::LIBRARY_PATH, &self.library_path);
        }
        let (answer, answered) = oneshot::channel();
        let request = Request { command, runtime: Handle::current(), answer };
        let gone = || io::Error::other("the thread that starts child processes is gone");
        spawner()?.send(request).map_err(|_| gone())?;
        let child = answered.await.map_err(|_| gone())??;
        Ok((child, ours))
    }
}

struct Request {
    command: Command,
    runtime: Handle,
    answer: oneshot::Sender<io::Result<Child>>,
}

/// The one thread that starts children. PR_SET_PDEATHSIG fires when the *thread* that started the child ends, and the runtime may end its
/// threads at any time; the spawner thread lives as long as the process.
fn spawner() -> io::Result<&'static mpsc::Sender<Request>> {
    static SPAWNER: OnceLock<mpsc::Sender<Request>> = OnceLock::new();
    if let Some(spawner) = SPAWNER.get() {
        return Ok(spawner);
    }
    let (requests, received) = mpsc::channel::<Request>();
    std::thread::Builder::new().name("spawner".into()).stack_size(256 << 10).spawn(move || {
        // This affects the spawner thread only: the daemon keeps CAP_LEASE, and children start without it.
        if let Err(error) = rustix::thread::clear_ambient_capability_set() {
            tracing::warn!(%error, "children will drop their capabilities themselves");
        }
        for Request { mut command, runtime, answer } in received {
            let _context = runtime.enter();
            let child = command.spawn();
            // The command holds the child's end of the socket. It must be closed here, or the daemon would see no end of file when the
            // child dies.
            drop(command);
            // If the caller was cancelled, the send fails and the child is dropped here: kill_on_drop ends it.
            let _ = answer.send(child);
        }
    })?;
    // If two callers raced, one channel is dropped: its thread ends at once and has started no child.
    Ok(SPAWNER.get_or_init(|| requests))
}
