//! Starting a `harkd` subcommand as a child process that cannot outlive us and inherits nothing.
//!
//! The socket travels as the child's stdin and the rest of the hardening is done by the child itself as its first act
//! ([`super::child::enter`]): nothing of ours runs between fork and exec, so the standard library may use `posix_spawn`, which
//! does not copy the daemon's page tables, and no `unsafe` is needed. Until `enter` is done the child runs our code only.

use std::ffi::{OsStr, OsString};
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

/// The program that is running, also after an upgrade has replaced or deleted its file.
pub fn this_executable() -> PathBuf {
    PathBuf::from("/proc/self/exe")
}

/// Where a child's stdout or stderr goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Output {
    /// `/dev/null`.
    #[default]
    Null,
    /// To a pipe of the returned [`Child`]; somebody must read it, a full pipe blocks the child.
    Piped,
    /// To ours.
    Inherit,
}

/// A `harkd` subcommand to be started as a child.
///
/// The child has one end of a socket pair, which it takes with [`super::child::enter`], and nothing else: no environment, no other
/// descriptor, no terminal (a Ctrl-C does not reach it), no capabilities, no core dumps, the limits given here. The kernel
/// kills it when the daemon dies, however the daemon dies; the socket's end of file tells it too. Dropping the
/// returned [`Child`] kills it.
#[derive(Debug, Clone)]
pub struct ChildCommand {
    executable: PathBuf,
    arguments: Vec<OsString>,
    stdout: Output,
    stderr: Output,
    limits: Limits,
    library_path: OsString,
}

impl ChildCommand {
    /// `executable subcommand`; the executable is [`this_executable`] but for tests.
    pub fn new(executable: &Path, subcommand: &str) -> Self {
        ChildCommand {
            executable: executable.to_owned(),
            arguments: vec![subcommand.into()],
            stdout: Output::Null,
            stderr: Output::Null,
            limits: Limits::default(),
            library_path: OsString::new(),
        }
    }

    /// Adds one argument. Other users can read it in the list of processes.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments; see [`Self::arg`].
    pub fn args(self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        arguments.into_iter().fold(self, Self::arg)
    }

    /// Where its stdout goes; `/dev/null` unless said.
    pub fn stdout(mut self, output: Output) -> Self {
        self.stdout = output;
        self
    }

    /// Where its stderr goes; `/dev/null` unless said.
    pub fn stderr(mut self, output: Output) -> Self {
        self.stderr = output;
        self
    }

    /// What it may use; see [`Limits`].
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Folders, separated by `:`, that the loader looks into for what libraries need, before its own. They must be trusted: they are looked
    /// into for what `harkd` itself needs as well.
    pub fn library_path(mut self, folders: OsString) -> Self {
        self.library_path = folders;
        self
    }

    /// Starts the child with a byte stream between us.
    ///
    /// # Errors
    /// When there are no descriptors, processes or memory left, or the executable cannot be run.
    pub async fn spawn_stream(self) -> io::Result<(Child, UnixStream)> {
        let (child, socket) = self.spawn(SocketType::STREAM).await?;
        let stream = std::os::unix::net::UnixStream::from(socket);
        stream.set_nonblocking(true)?;
        Ok((child, UnixStream::from_std(stream)?))
    }

    /// Starts the child with packets between us, which keep their bounds and can carry a descriptor.
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
            .stdout(self.stdout.stdio())
            .stderr(self.stderr.stdio())
            .process_group(0)
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

impl Output {
    fn stdio(self) -> Stdio {
        match self {
            Output::Null => Stdio::null(),
            Output::Piped => Stdio::piped(),
            Output::Inherit => Stdio::inherit(),
        }
    }
}

struct Request {
    command: Command,
    runtime: Handle,
    answer: oneshot::Sender<io::Result<Child>>,
}

/// The one thread that starts children. PR_SET_PDEATHSIG fires when the *thread* that started the child ends, and runtimes end
/// threads whenever they like; this one lives as long as the process.
fn spawner() -> io::Result<&'static mpsc::Sender<Request>> {
    static SPAWNER: OnceLock<mpsc::Sender<Request>> = OnceLock::new();
    if let Some(spawner) = SPAWNER.get() {
        return Ok(spawner);
    }
    let (requests, received) = mpsc::channel::<Request>();
    std::thread::Builder::new().name("spawner".into()).stack_size(256 << 10).spawn(move || {
        // Of this thread alone: the daemon keeps CAP_LEASE, and a child that is started here begins without.
        if let Err(error) = rustix::thread::clear_ambient_capability_set() {
            tracing::warn!(%error, "children will drop their capabilities themselves");
        }
        for Request { mut command, runtime, answer } in received {
            let _context = runtime.enter();
            let child = command.spawn();
            // The socket's far end must not stay open in us, or the child's death would go unheard.
            drop(command);
            // A caller that has been cancelled gets no child; kill_on_drop ends it here.
            let _ = answer.send(child);
        }
    })?;
    // Of two that raced here the loser's thread ends at once, its channel being dropped, and has started no child.
    Ok(SPAWNER.get_or_init(|| requests))
}
