//! The pool of audio workers: a few child processes, each of which parses one file at a time.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::process::Child;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::worker::{Answer, PACKET, Ready, Request};
use super::{Probe, ProbeError};
use crate::os::{ChildCommand, Limits, PacketSocket, cpu_time};
use crate::telemetry::metrics::Metrics;

/// Deadline of a worker for one file: long enough for a gigabyte of frames from a slow disk.
const PATIENCE: Duration = Duration::from_secs(20);

/// After this many files a worker is replaced, in case the parsers leak memory.
const FILES_PER_WORKER: u32 = 1_000;

/// Resource limits of a worker. Parsing takes a few megabytes; the CPU seconds are for the worker's whole life.
const LIMITS: Limits = Limits {
    memory: Some(256 << 20),
    cpu_seconds: Some(600),
    // The standard three, the socket, a file, and some to spare.
    descriptors: Some(16),
    file_bytes: Some(0),
    tasks: None,
};

/// Probes audio files in child processes, `count` at a time. Clones share the children.
///
/// A child is started when it is first needed, and replaced when it crashes, hangs or has probed 1,000 files. Any number of callers
/// may wait; a waiting caller costs only its future and the file that it holds open.
#[derive(Debug, Clone)]
pub struct Workers {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    executable: PathBuf,
    metrics: Metrics,
    free: Semaphore,
    idle: Mutex<Vec<Worker>>,
    patience: Duration,
}

impl Workers {
    /// A pool of at most `count` children (at least one) of `executable` (see [`crate::os::spawn::this_executable`]). Starts none yet.
    pub fn start(executable: PathBuf, count: usize, metrics: Metrics) -> Self {
        Workers::with_patience(executable, count, metrics, PATIENCE)
    }

    /// As [`Self::start`], with another limit on the time for one file.
    pub fn with_patience(executable: PathBuf, count: usize, metrics: Metrics, patience: Duration) -> Self {
        let (free, idle) = (Semaphore::new(count.max(1)), Mutex::new(Vec::new()));
        Workers { shared: Arc::new(Shared { executable, metrics, free, idle, patience }) }
    }

    /// Probes a file, which must be a regular file open for reading; its position is not changed. `hint_extension` is the extension of its
    /// name.
    ///
    /// Waits for a free child, then at most 20 s (40 s if a child crashed or hung and another retries). Dropping the future ends the child
    /// that was busy with the file.
    ///
    /// # Errors
    /// See [`ProbeError`].
    pub async fn probe(&self, file: &File, hint_extension: Option<&str>) -> Result<Probe, ProbeError> {
        let closed = |_| ProbeError::NoWorker("the pool is closed".into());
        let _turn = self.shared.free.acquire().await.map_err(closed)?;
        // A worker may die for another reason than the file: another process killed it, or the machine ran out of memory.
        for last_try in [false, true] {
            let mut worker = self.shared.worker().await?;
            let before = worker.cpu_time();
            match timeout(self.shared.patience, worker.ask(file, hint_extension)).await {
                Ok(Ok(answer)) => {
                    self.shared.give_back(worker);
                    return answer;
                }
                Ok(Err(error)) => {
                    let (fate, was_killed) = worker.fate().await;
                    warn!(%error, fate, last_try, "an audio worker died and is replaced");
                    match last_try {
                        // Neither a crash of the parser nor the worker's limits cause a SIGKILL, so the file is not the reason.
                        true if was_killed => return Err(ProbeError::NoWorker(fate)),
                        true => return Err(ProbeError::ParserFailed(fate)),
                        false => {}
                    }
                }
                Err(_) => {
                    let limit = self.shared.patience;
                    let worked =
                        worker.cpu_time().zip(before).map(|(now, before)| now.saturating_sub(before));
                    warn!(
                        seconds = limit.as_secs(),
                        ?worked,
                        last_try,
                        "an audio worker hangs and is replaced"
                    );
                    let reason = format!("no answer within {} s", limit.as_secs_f32());
                    // A parser that loops uses CPU time throughout. A worker that used little was stopped or waited for a disk, which
                    // proves nothing about the file.
                    match worked {
                        Some(worked) if last_try && worked < limit / 4 => {
                            return Err(ProbeError::NoWorker(reason));
                        }
                        _ if last_try => return Err(ProbeError::ParserFailed(reason)),
                        _ => {}
                    }
                }
            }
        }
        Err(ProbeError::ParserFailed("it died twice".into()))
    }
}

impl Shared {
    async fn worker(&self) -> Result<Worker, ProbeError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(worker) = idle {
            return Ok(worker);
        }
        let start = Worker::start(&self.executable);
        let started =
            timeout(self.patience, start).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let worker = started.map_err(|error| ProbeError::NoWorker(error.to_string()))?;
        self.metrics.audio_worker_starts.inc();
        Ok(worker)
    }

    fn give_back(&self, mut worker: Worker) {
        worker.files += 1;
        if worker.files < FILES_PER_WORKER {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
        }
    }
}

#[derive(Debug)]
struct Worker {
    child: Child,
    socket: PacketSocket,
    files: u32,
}

impl Worker {
    async fn start(executable: &Path) -> io::Result<Worker> {
        let (child, socket) =
            ChildCommand::new(executable, "audio-worker").limits(LIMITS).spawn_packets().await?;
        let mut worker = Worker { child, socket, files: 0 };
        let mut buffer = [0; PACKET];
        let Some(packet) = worker.socket.receive(&mut buffer).await? else {
            return Err(io::Error::other(format!("it ended at once: {}", worker.fate().await.0)));
        };
        let ready: Ready = serde_json::from_slice(&buffer[..packet.length])?;
        for missing in ready.missing {
            debug!(missing, "the audio worker's sandbox is not complete");
        }
        Ok(worker)
    }

    /// Has the worker probe a file. The error means that the worker died, or gave an answer that the parser cannot give: then a hostile
    /// file may control the worker.
    async fn ask(&mut self, file: &File, extension: Option<&str>) -> io::Result<Answer> {
        let extension = extension.filter(|it| it.len() <= 16).map(str::to_owned);
        let request = serde_json::to_vec(&Request { extension })?;
        self.socket.send(&request, Some(file.as_fd())).await?;
        let mut buffer = [0; PACKET];
        let packet = self.socket.receive(&mut buffer).await?;
        let packet = packet.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        let answer: Answer = serde_json::from_slice(&buffer[..packet.length])?;
        if answer.as_ref().is_ok_and(|probe| !is_a_name(&probe.format) || !probe.codec.iter().all(is_a_name))
        {
            return Err(io::Error::other("the answer is not one that the parser gives"));
        }
        Ok(answer)
    }

    /// CPU time that the worker has used so far.
    fn cpu_time(&self) -> Option<Duration> {
        self.child.id().and_then(cpu_time)
    }

    /// How the worker ended, in a few words, and whether a SIGKILL ended it. Waits at most a second for its end.
    async fn fate(&mut self) -> (String, bool) {
        // The socket closes a moment before the process is gone.
        let status = timeout(Duration::from_secs(1), self.child.wait()).await;
        match status.ok().and_then(Result::ok) {
            Some(status) => (status.to_string(), status.signal() == Some(libc::SIGKILL)),
            None => ("it gave no valid answer and did not exit".into(), false),
        }
    }
}

/// Whether a text has the form of a format's or codec's name. The names go into events and logs, so a worker under a hostile file's
/// control must not be able to choose any text.
fn is_a_name(text: impl AsRef<str>) -> bool {
    let text = text.as_ref();
    (1..=16).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}
