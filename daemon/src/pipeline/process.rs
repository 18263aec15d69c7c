//! The daemon's end of one plugin process: start, write, read, end.

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

/// Time after which a process that has not loaded its plugin counts as hanging. Loading takes milliseconds; a `create` that reads a model
/// takes seconds.
const LOADING_LIMIT: Duration = Duration::from_secs(10);
/// How long the exit status may come after the socket's end of file: meanwhile the kernel cleans up.
pub const EXIT_LIMIT: Duration = Duration::from_millis(500);
/// How long to wait for the exit after SIGKILL, which takes effect in milliseconds unless the kernel is blocked, as by a file server that
/// does not answer or a debugger.
const KILL_LIMIT: Duration = Duration::from_millis(50);
/// Bytes per read; an answer takes some hundred.
const READ_SIZE: usize = 16 << 10;
/// Descriptors that a plugin may have open.
const DESCRIPTORS: u64 = 256;
/// Threads and processes of the daemon's user up to which a plugin can start another thread: more than a daemon and all its plugins need,
/// fewer than the unit's `TasksMax`, so that some are left for the daemon.
const TASKS: u64 = 4_096;

/// What is needed to start a process for a plugin, any number of times.
#[derive(Debug, Clone)]
pub struct Launch {
    pub executable: PathBuf,
    pub load: Load,
    /// Bytes.
    pub memory_limit: u64,
    /// The plugin's own folder below the state directory, which it may write to.
    pub own_folder: PathBuf,
}

/// Why a plugin cannot be loaded; the message names the library and what to do.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct LoadError(pub String);

/// A process that has loaded its plugin. Dropping the value kills the process.
#[derive(Debug)]
pub struct Process {
    child: Child,
    socket: UnixStream,
    received: BytesMut,
    unsent: BytesMut,
    pub description: Description,
}

/// Why the process cannot be used any more.
#[derive(Debug)]
pub enum Gone {
    /// It closed the socket: the process is dead, or about to die.
    Ended,
    /// It sent bytes that are not a valid message; the text names the error.
    Rubbish(String),
}

impl Process {
    /// Starts a process and waits until it has loaded the plugin, for at most ten seconds.
    ///
    /// # Errors
    /// When the process cannot be started, or the plugin cannot be loaded.
    pub async fn start(launch: &Launch, log: &mut PluginLog) -> Result<Process, LoadError> {
        let library = launch.load.library.display();
        let command = ChildCommand::new(&launch.executable, "plugin-host").limits(Limits {
            memory: Some(launch.memory_limit),
            descriptors: Some(DESCRIPTORS),
            tasks: Some(TASKS),
            // A file can be memory (memfd), and the plugin's files lie on a disk that the daemon uses too.
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

    /// The process id, while the process lives.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Queues a frame; [`Process::next`] writes it as the process reads.
    pub fn send(&mut self, frame: &[u8]) {
        self.unsent.extend_from_slice(frame);
    }

    /// Receives the next message, and writes queued frames meanwhile. Cancelling the future loses nothing.
    ///
    /// # Errors
    /// When no further message can come.
    pub async fn next(&mut self) -> Result<FromChild, Gone> {
        loop {
            match wire::split_frame(&mut self.received) {
                Ok(Some(frame)) => {
                    // Otherwise the buffer of a long answer would stay allocated as long as the process lives.
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
                    // The same for the buffer of a long transcript.
                    if self.unsent.is_empty() {
                        self.unsent = BytesMut::new();
                    }
                    true
                }),
            };
            // A write to a socket pair fails only when the other end is closed. Then drop the unsent frames and read what the process still
            // sent.
            match outcome {
                Ok(true) => {}
                Ok(false) => return Err(Gone::Ended),
                Err(_) if !self.unsent.is_empty() => self.unsent.clear(),
                Err(_) => return Err(Gone::Ended),
            }
        }
    }

    /// Waits for the process to end and describes how it ended; kills the process if it has not ended within `limit`.
    pub async fn exit(&mut self, limit: Duration) -> String {
        match tokio::time::timeout(limit, self.child.wait()).await {
            Ok(Ok(status)) => in_words(status),
            Ok(Err(error)) => format!("ended with an unknown status ({error})"),
            Err(_) => {
                self.kill().await;
                "closed its socket but did not exit".to_owned()
            }
        }
    }

    /// Sends SIGKILL and waits for 50 ms at most; the runtime collects a process that dies later.
    pub async fn kill(&mut self) {
        // Errors mean that the process is gone already.
        let _ = tokio::time::timeout(KILL_LIMIT, self.child.kill()).await;
    }

    /// Has the process end in good order (the plugin's `destroy`); kills it after `limit`.
    pub async fn retire(self, limit: Duration, log: PluginLog) {
        self.end(limit, log).await;
    }

    /// As [`Process::retire`]; describes how the process ended, or returns `None` if it had to be killed.
    pub async fn end(mut self, limit: Duration, mut log: PluginLog) -> Option<String> {
        let ended = async {
            // The process waits for the next event and reads the end of the stream instead.
            let _ = self.socket.shutdown().await;
            while let Ok(message) = self.next().await {
                if let FromChild::Log { level, line } = message {
                    log.line(level, &line);
                }
            }
            self.child.wait().await.ok().map(in_words)
        };
        match tokio::time::timeout(limit, ended).await {
            Ok(status) => status,
            Err(_) => {
                self.kill().await;
                None
            }
        }
    }
}

/// Makes the paths absolute: they are relative to the daemon's working directory, and the plugin's process has another one.
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
