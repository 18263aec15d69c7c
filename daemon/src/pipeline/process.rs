//! The daemon's end of one plugin process: start it, write to it, hear it, end it.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::process::Child;

use super::log::PluginLog;
use super::verify::library_path;
use super::wire::{self, Description, FromChild, Load, ToChild};
use crate::os::{ChildCommand, Limits};

/// A process that has not loaded its plugin by then is hanging. Loading takes milliseconds; a model that is read in `create`, seconds.
const LOADING_LIMIT: Duration = Duration::from_secs(10);
/// Between the socket's end and the exit status lies the kernel's cleaning up.
pub const EXIT_LIMIT: Duration = Duration::from_millis(500);
/// The same after SIGKILL, which takes effect in milliseconds unless the kernel cannot let go: a file server that does not answer, a debugger.
const KILL_LIMIT: Duration = Duration::from_millis(50);
/// What is read at once; an answer is some hundred bytes.
const READ_SIZE: usize = 16 << 10;
/// Descriptors that a plugin may have open.
const DESCRIPTORS: u64 = 256;
/// Threads and processes that the daemon's user may have when a plugin starts another thread: more than a daemon and all its plugins
/// have use for, fewer than the unit's `TasksMax`, of which something has to be left for the daemon.
const TASKS: u64 = 4_096;

/// All that is needed to start a process for a plugin, again and again.
#[derive(Debug, Clone)]
pub struct Launch {
    pub executable: PathBuf,
    pub load: Load,
    /// Bytes.
    pub memory_limit: u64,
    /// The folder below the state directory that it may write to.
    pub own_folder: PathBuf,
}

/// A plugin that cannot be loaded; the words name the library and say what to do.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct LoadError(pub String);

/// A process that has loaded its plugin. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    socket: UnixStream,
    received: BytesMut,
    unsent: BytesMut,
    pub description: Description,
}

/// The process cannot be used any more.
#[derive(Debug)]
pub enum Gone {
    /// It closed the socket: it is dead, or about to be.
    Ended,
    /// It says what nobody can make sense of.
    Rubbish(String),
}

impl Process {
    /// Starts a process and waits until it has loaded the plugin, for at most ten seconds.
    ///
    /// # Errors
    /// When it cannot be started, or the plugin cannot be loaded.
    pub async fn start(launch: &Launch, log: &mut PluginLog) -> Result<Process, LoadError> {
        let library = launch.load.library.display();
        let command = ChildCommand::new(&launch.executable, "plugin-host").limits(Limits {
            memory: Some(launch.memory_limit),
            descriptors: Some(DESCRIPTORS),
            tasks: Some(TASKS),
            // A file can be memory (memfd), and the disk is the daemon's too.
            file_bytes: Some(launch.memory_limit),
            ..Limits::default()
        });
        let start = async {
            let load = absolute(&launch.load)?;
            let (child, socket) = command.library_path(library_path(&load.library)).spawn_stream().await?;
            let unsent = wire::frame(&ToChild::Load(load))?.as_slice().into();
            Ok(Process {
                child,
                socket,
                received: BytesMut::new(),
                unsent,
                description: Description::default(),
            })
        };
        let mut process = start.await.map_err(|error: io::Error| {
            LoadError(format!("library {library}: its process cannot be started: {error}"))
        })?;
        let loaded = tokio::time::timeout(LOADING_LIMIT, async {
            loop {
                match process.next().await {
                    Ok(FromChild::Loaded(description)) => return Ok(description.cleaned()),
                    Ok(FromChild::NotLoaded { error }) => return Err(LoadError(wire::clean(&error))),
                    Ok(FromChild::Log { level, line }) => log.line(level, &line),
                    Ok(FromChild::Answer(_)) => {
                        return Err(LoadError(format!("library {library}: it answered before it was asked")));
                    }
                    Err(Gone::Rubbish(words)) => {
                        return Err(LoadError(format!("library {library}: {words}")));
                    }
                    Err(Gone::Ended) => {
                        let end = process.exit(EXIT_LIMIT).await;
                        return Err(LoadError(format!(
                            "library {library}: its process {end} while loading it; if it needs more memory than {} bytes, raise `memory_limit`",
                            launch.memory_limit
                        )));
                    }
                }
            }
        });
        match loaded.await {
            Ok(loaded) => process.description = loaded?,
            Err(_) => {
                let seconds = LOADING_LIMIT.as_secs();
                return Err(LoadError(format!("library {library}: loading took more than {seconds} s")));
            }
        }
        Ok(process)
    }

    /// The kernel's number of the process, while it lives.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Queues a frame; [`Process::next`] writes it as the process reads.
    pub fn send(&mut self, frame: &[u8]) {
        self.unsent.extend_from_slice(frame);
    }

    /// The next message. Cancelling it loses nothing.
    ///
    /// # Errors
    /// When there will be none.
    pub async fn next(&mut self) -> Result<FromChild, Gone> {
        loop {
            match wire::split_frame(&mut self.received) {
                Ok(Some(frame)) => {
                    // The buffer of a long answer would stay as long as the process.
                    if frame.len() > READ_SIZE && self.received.is_empty() {
                        self.received = BytesMut::new();
                    }
                    return serde_json::from_slice(&frame).map_err(|error| {
                        Gone::Rubbish(format!("it wrote into the daemon's socket: {error}"))
                    });
                }
                Ok(None) => {}
                Err(error) => {
                    return Err(Gone::Rubbish(format!("it wrote into the daemon's socket: {error}")));
                }
            }
            let readable = async {
                self.socket.readable().await?;
                self.received.reserve(READ_SIZE);
                match self.socket.try_read_buf(&mut self.received) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
                    outcome => outcome.map(|count| count > 0),
                }
            };
            let written = async {
                if self.unsent.is_empty() {
                    std::future::pending::<()>().await;
                }
                self.socket.writable().await?;
                match self.socket.try_write(&self.unsent) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
                    outcome => outcome,
                }
            };
            let outcome: io::Result<bool> = tokio::select! {
                read = readable => read,
                count = written => count.map(|count| {
                    self.unsent.advance(count);
                    // As would that of a long transcript.
                    if self.unsent.is_empty() {
                        self.unsent = BytesMut::new();
                    }
                    true
                }),
            };
            // What a socket pair's other end can do is to be closed; then what it still said is to be read.
            match outcome {
                Ok(true) => {}
                Ok(false) => return Err(Gone::Ended),
                Err(_) if !self.unsent.is_empty() => self.unsent.clear(),
                Err(_) => return Err(Gone::Ended),
            }
        }
    }

    /// How it ended, in words; kills it when it has not ended within `limit`.
    pub async fn exit(&mut self, limit: Duration) -> String {
        match tokio::time::timeout(limit, self.child.wait()).await {
            Ok(Ok(status)) => in_words(status),
            Ok(Err(error)) => format!("ended somehow ({error})"),
            Err(_) => {
                self.kill().await;
                "closed its socket and lived on".to_owned()
            }
        }
    }

    /// SIGKILL, and waits for it to take effect, but not for ever: what dies later is collected by the runtime.
    pub async fn kill(&mut self) {
        // Errors mean that it is gone already.
        let _ = tokio::time::timeout(KILL_LIMIT, self.child.kill()).await;
    }

    /// Lets it end in good order (destroy), for at most `limit`, then kills it.
    pub async fn retire(self, limit: Duration, log: PluginLog) {
        self.end(limit, log).await;
    }

    /// As [`Process::retire`]; says in words how it ended, or `None` when it had to be killed.
    pub async fn end(mut self, limit: Duration, mut log: PluginLog) -> Option<String> {
        let farewell = async {
            // It waits for an event, and meets the end of the stream.
            let _ = self.socket.shutdown().await;
            while let Ok(message) = self.next().await {
                if let FromChild::Log { level, line } = message {
                    log.line(level, &line);
                }
            }
            self.child.wait().await.ok().map(in_words)
        };
        match tokio::time::timeout(limit, farewell).await {
            Ok(status) => status,
            Err(_) => {
                self.kill().await;
                None
            }
        }
    }
}

/// The process of a plugin has another working directory than the daemon, whose paths these are.
fn absolute(load: &Load) -> io::Result<Load> {
    let all = |paths: &[PathBuf]| paths.iter().map(std::path::absolute).collect::<io::Result<Vec<_>>>();
    Ok(Load {
        library: std::path::absolute(&load.library)?,
        hidden: all(&load.hidden)?,
        writable: all(&load.writable)?,
        ..load.clone()
    })
}

fn in_words(status: ExitStatus) -> String {
    let Some(signal) = status.signal() else {
        return format!("exited with status {}", status.code().unwrap_or_default());
    };
    let name = match signal {
        libc::SIGSEGV => " (SIGSEGV)",
        libc::SIGABRT => " (SIGABRT, as on a failed assertion, or where `memory_limit` refuses memory)",
        libc::SIGBUS => " (SIGBUS)",
        libc::SIGILL => " (SIGILL)",
        libc::SIGFPE => " (SIGFPE)",
        libc::SIGKILL => " (SIGKILL)",
        libc::SIGSYS => " (SIGSYS)",
        libc::SIGXFSZ => " (SIGXFSZ, its `memory_limit` holds for each file too)",
        _ => "",
    };
    format!("was ended by signal {signal}{name}")
}
