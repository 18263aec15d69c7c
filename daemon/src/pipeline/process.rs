//! The daemon's end of one plugin process: start, write, read, end.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use bytes::BytesMut;
use futures::StreamExt;
use hark_sdk::emission;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::Child;
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};

use super::log::PluginLog;
use super::verify::library_path;
use super::wire::{self, Answer, Description, FromChild, Load, Refusal, ToChild};
use crate::os::resource_use::ResourceUse;
use crate::os::{ChildCommand, Limits};

/// Time after which a process that has not loaded its plugin counts as hanging. Loading takes milliseconds; a `create` that reads a model
/// takes seconds.
const LOADING_LIMIT: Duration = Duration::from_secs(10);
/// How long the exit status may come after the socket's end of file: meanwhile the kernel cleans up.
pub const EXIT_LIMIT: Duration = Duration::from_millis(500);
/// How long to wait for the exit after SIGKILL, which takes effect in milliseconds unless the kernel is blocked, as by a file server that
/// does not answer or a debugger.
const KILL_LIMIT: Duration = Duration::from_millis(50);
/// Bytes of a buffer that is kept between two messages; an answer takes some hundred.
const BUFFER: usize = 16 << 10;
/// Descriptors that a plugin may have open.
const DESCRIPTORS: u64 = 256;
/// Threads and processes of the daemon's user up to which a plugin can start another thread: more than a daemon and all its plugins need,
/// fewer than the unit's `TasksMax`, so that some are left for the daemon.
const TASKS: u64 = 4_096;

/// Most characters of all files of one event in base64, each padded.
const MOST_FILE_BASE64: usize = emission::MOST_FILE_BYTES / 3 * 4 + 4 * emission::MOST_FILES;

/// What is needed to start a process for a plugin, any number of times.
#[derive(Debug, Clone, PartialEq, Eq)]
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
#[error("{message}")]
pub struct LoadError {
    message: String,
    /// If `[plugin.config]` has several mistakes, or does not fit the plugin's schema: all of them, each beginning with its key.
    mistakes: Vec<String>,
}

impl LoadError {
    pub(super) fn new(message: String) -> Self {
        LoadError { message, mistakes: Vec::new() }
    }

    /// Every mistake of `[plugin.config]`, each beginning with its key; if the plugin cannot be loaded for another reason, this reason.
    pub fn reasons(self) -> Vec<String> {
        if self.mistakes.is_empty() { vec![self.message] } else { self.mistakes }
    }
}

/// A process that has loaded its plugin. Dropping the value kills the process.
#[derive(Debug)]
pub struct Process {
    child: Child,
    reader: FramedRead<OwnedReadHalf, LengthDelimitedCodec>,
    writer: OwnedWriteHalf,
    unsent: BytesMut,
    unanswered: usize,
    /// The files that arrived for the event that is answered next.
    files: Vec<(String, String)>,
    log: PluginLog,
    pub description: Description,
}

/// What a process says first.
enum Loaded {
    Plugin(Description),
    Schema(Option<String>),
}

fn not_loaded(launch: &Launch, Refusal { error, mistakes }: Refusal) -> LoadError {
    LoadError { message: format!("library {}: {error}", launch.load.library.display()), mistakes }
}

fn too_slow() -> Refusal {
    format!("loading took more than {} s", LOADING_LIMIT.as_secs()).into()
}

/// Why the process cannot be used any more.
#[derive(Debug)]
pub enum Gone {
    /// It closed the socket: the process is dead, or about to die.
    Ended,
    /// It sent bytes that are not a valid message; the text names the error.
    BrokeProtocol(String),
}

impl Process {
    /// Starts a process and waits until it has loaded the plugin, for at most ten seconds.
    ///
    /// # Errors
    /// When the process cannot be started, or the plugin cannot be loaded.
    pub async fn start(launch: &Launch) -> Result<Process, LoadError> {
        let refused = |refusal| not_loaded(launch, refusal);
        let mut process = Process::spawn(launch)
            .await
            .map_err(|error| refused(format!("its process cannot be started: {error}").into()))?;
        match tokio::time::timeout(LOADING_LIMIT, process.loaded(launch.memory_limit)).await {
            Ok(loaded) => match loaded.map_err(refused)? {
                Loaded::Plugin(description) => process.description = description,
                Loaded::Schema(_) => {
                    return Err(refused(
                        "its process answered with a schema; expected was a loaded plugin".to_owned().into(),
                    ));
                }
            },
            Err(_) => return Err(refused(too_slow())),
        }
        Ok(process)
    }

    /// Starts a process that says which schema the plugin's config has, and nothing else.
    ///
    /// # Errors
    /// When the process cannot be started, or the library is no plugin.
    pub async fn schema(launch: &Launch) -> Result<Option<String>, LoadError> {
        let launch = &Launch { load: Load { schema_only: true, ..launch.load.clone() }, ..launch.clone() };
        let mut process =
            Process::spawn(launch).await.map_err(|error| not_loaded(launch, error.to_string().into()))?;
        let answered = tokio::time::timeout(LOADING_LIMIT, process.loaded(launch.memory_limit)).await;
        match answered {
            Ok(Ok(Loaded::Schema(schema))) => Ok(schema),
            Ok(Ok(Loaded::Plugin(_))) => {
                Err(not_loaded(launch, "it answered something else".to_owned().into()))
            }
            Ok(Err(refusal)) => Err(not_loaded(launch, refusal)),
            Err(_) => Err(not_loaded(launch, too_slow())),
        }
    }

    async fn spawn(launch: &Launch) -> io::Result<Process> {
        let load = absolute(&launch.load)?;
        let limits = Limits {
            memory: Some(launch.memory_limit),
            descriptors: Some(DESCRIPTORS),
            tasks: Some(TASKS),
            // A file can be memory (memfd), and the plugin's files lie on a disk that the daemon uses too.
            file_bytes: Some(launch.memory_limit),
            ..Limits::default()
        };
        let command = ChildCommand::new(&launch.executable, "plugin-host").limits(limits);
        let (child, socket) = command.library_path(library_path(&load.library)).spawn_stream().await?;
        let (reader, writer) = socket.into_split();
        Ok(Process {
            child,
            reader: FramedRead::new(reader, wire::codec()),
            writer,
            unsent: wire::frame(&ToChild::<()>::Load(load))?.as_slice().into(),
            unanswered: 0,
            files: Vec::new(),
            log: PluginLog::new(&launch.load.name),
            description: Description::default(),
        })
    }

    async fn loaded(&mut self, memory_limit: u64) -> Result<Loaded, Refusal> {
        loop {
            match self.next().await {
                Ok(FromChild::Loaded(description)) => return Ok(Loaded::Plugin(description.cleaned())),
                Ok(FromChild::Schema(schema)) => return Ok(Loaded::Schema(schema)),
                Ok(FromChild::NotLoaded(refusal)) => return Err(refusal.cleaned()),
                Ok(FromChild::Log { level, line }) => self.log.line(level, &line),
                Ok(FromChild::Answer(_) | FromChild::File { .. } | FromChild::Measured(_)) => {
                    return Err("it answered before it was asked".to_owned().into());
                }
                Err(Gone::BrokeProtocol(words)) => return Err(words.into()),
                Err(Gone::Ended) => {
                    let end = self.exit(EXIT_LIMIT).await;
                    return Err(format!(
                        "its process {end} while loading it; if it needs more memory than {memory_limit} bytes, raise `memory_limit`"
                    )
                    .into());
                }
            }
        }
    }

    /// The process id, while the process lives.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Queues an event's frame; [`Process::answer`] writes it as the process reads.
    pub fn send(&mut self, frame: &[u8]) {
        self.unsent.extend_from_slice(frame);
        self.unanswered += 1;
    }

    /// The events that were sent and are not answered.
    pub fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// Receives the answer to the first unanswered event; writes queued frames and logs the plugin's lines meanwhile. Cancelling the future
    /// loses nothing.
    ///
    /// # Errors
    /// When no answer can come.
    pub async fn answer(&mut self) -> Result<Answer, Gone> {
        loop {
            // While the process has no event, the daemon reads its log lines only at the rate limit of the log. So a process that logs
            // without pause blocks instead of costing the daemon a CPU. The check for zero matters: the timer rounds up to a millisecond.
            let pause = self.log.pause();
            if self.unanswered == 0 && !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            match self.next().await? {
                FromChild::Log { level, line } => self.log.line(level, &line),
                FromChild::File { suffix, base64 } if self.unanswered > 0 => {
                    self.files.push((suffix, base64));
                    let bytes: usize = self.files.iter().map(|(_, base64)| base64.len()).sum();
                    if self.files.len() > emission::MOST_FILES || bytes > MOST_FILE_BASE64 {
                        return Err(Gone::BrokeProtocol(
                            "it handed over more files than one event may have".to_owned(),
                        ));
                    }
                }
                FromChild::Answer(answer) if self.unanswered > 0 => {
                    self.unanswered -= 1;
                    return Ok(Answer { files: std::mem::take(&mut self.files), ..answer });
                }
                _ => return Err(Gone::BrokeProtocol("it answered without an event".to_owned())),
            }
        }
    }

    /// Asks what the process holds of the machine; no event may be unanswered.
    ///
    /// # Errors
    /// When no answer can come.
    pub async fn measure(&mut self) -> Result<ResourceUse, Gone> {
        let frame =
            wire::frame(&ToChild::<()>::Measure).map_err(|error| Gone::BrokeProtocol(error.to_string()))?;
        self.unsent.extend_from_slice(&frame);
        loop {
            match self.next().await? {
                FromChild::Log { level, line } => self.log.line(level, &line),
                FromChild::Measured(held) => return Ok(held),
                _ => return Err(Gone::BrokeProtocol("it answered without an event".to_owned())),
            }
        }
    }

    /// Receives the next message, and writes queued frames meanwhile.
    async fn next(&mut self) -> Result<FromChild, Gone> {
        loop {
            tokio::select! {
                frame = self.reader.next() => {
                    let rubbish = |error: &dyn std::fmt::Display| {
                        Gone::BrokeProtocol(format!("it wrote into the daemon's socket: {error}"))
                    };
                    let frame = match frame {
                        Some(Ok(frame)) => frame,
                        Some(Err(error)) if error.kind() == io::ErrorKind::InvalidData => return Err(rubbish(&error)),
                        _ => return Err(Gone::Ended),
                    };
                    // Otherwise the buffer of a long answer would stay allocated as long as the process lives.
                    if frame.len() > BUFFER && self.reader.read_buffer().is_empty() {
                        *self.reader.read_buffer_mut() = BytesMut::new();
                    }
                    return serde_json::from_slice(&frame).map_err(|error| rubbish(&error));
                }
                written = self.writer.write_buf(&mut self.unsent), if !self.unsent.is_empty() => {
                    // A write fails only when the other end is closed: then what the process still sent is read. A buffer that is empty is
                    // released, since a long transcript may have been in it.
                    if written.is_err() || self.unsent.is_empty() {
                        self.unsent = BytesMut::new();
                    }
                }
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

    /// Has the process end in good order (the plugin's `destroy`) and returns how it ended; kills it after `limit`.
    pub async fn end(mut self, limit: Duration) -> Option<ExitStatus> {
        let ended = async {
            // The process waits for the next event and reads the end of the stream instead.
            let _ = self.writer.shutdown().await;
            while let Ok(message) = self.next().await {
                if let FromChild::Log { level, line } = message {
                    self.log.line(level, &line);
                }
            }
            self.child.wait().await.ok()
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
    let cause = match status.signal() {
        Some(libc::SIGABRT) => "; as on a failed assertion, or where `memory_limit` refuses memory",
        Some(libc::SIGXFSZ) => "; its `memory_limit` holds for each file too",
        _ => "",
    };
    format!("ended ({status}{cause})")
}
