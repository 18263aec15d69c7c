//! The pool of audio workers: a few child processes, each of which is busy with one file at a time.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::warn;

use super::ProbeError;
use super::child::Child;
use super::wire::{Reply, Task};
use crate::telemetry::metrics::Metrics;

/// After this many files a worker is replaced, in case the parsers leak memory.
const FILES_PER_WORKER: u32 = 1_000;

/// After so much CPU time a worker is replaced, well before its limit ends it.
const CPU_PER_WORKER: Duration = Duration::from_secs(300);

/// How long a child that made a piece waits for the next one with the recording open.
const KEPT_OPEN: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Pool {
    executable: PathBuf,
    ffmpeg: Option<PathBuf>,
    metrics: Metrics,
    free: Semaphore,
    idle: Mutex<Vec<Idle>>,
    patience: Duration,
}

#[derive(Debug)]
struct Idle {
    child: Child,
    /// The recording that the child is decoding, and how far it is.
    recording: Option<(u64, u64)>,
    since: Instant,
}

impl Pool {
    /// At most `count` children, at least one; each is given up after `patience` without a message.
    pub(super) fn new(
        executable: PathBuf,
        ffmpeg: Option<PathBuf>,
        count: usize,
        metrics: Metrics,
        patience: Duration,
    ) -> Pool {
        let (free, idle) = (Semaphore::new(count.max(1)), Mutex::new(Vec::new()));
        Pool { executable, ffmpeg, metrics, free, idle, patience }
    }

    /// Has a child carry out a task. `take` receives the messages before the last one, with spans and bytes numbered from 0 at each try;
    /// `answer` receives the last one. Both return `None` for a message that the parser cannot produce.
    pub(super) async fn ask<T>(
        self: &Arc<Self>,
        file: &File,
        hint_extension: Option<&str>,
        task: Task,
        mut take: impl FnMut(usize, Reply) -> Option<()> + Send,
        answer: impl Fn(Reply) -> Option<Result<T, ProbeError>> + Send,
    ) -> Result<T, ProbeError> {
        let closed = |_| ProbeError::NoWorker("the pool is closed".into());
        let _turn = self.free.acquire().await.map_err(closed)?;
        // A worker may die for another reason than the file: another process killed it, or the machine ran out of memory.
        let mut last_try = false;
        loop {
            let mut child = self.child(&task).await?;
            if !task.is_piece() {
                // The child decoded another recording before.
                child.decoding = None;
            }
            let last = self.exchange(&mut child, file, hint_extension, &task, &mut take).await;
            let broken = match last.map(&answer) {
                Ok(Some(answer)) => return self.answered(child, &task, answer).await,
                Ok(None) => Broken::Died(dishonest()),
                Err(broken) => broken,
            };
            let error = match broken {
                Broken::Died(error) => died(child, &error, last_try).await,
                Broken::Hung { worked } => self.hung(worked, last_try),
            };
            if last_try {
                return Err(error);
            }
            last_try = true;
        }
    }

    /// Sends the task and takes the child's messages; returns the last one.
    async fn exchange(
        &self,
        child: &mut Child,
        file: &File,
        hint_extension: Option<&str>,
        task: &Task,
        take: &mut (impl FnMut(usize, Reply) -> Option<()> + Send),
    ) -> Result<Reply, Broken> {
        let mut before = child.cpu_time();
        let mut outcome = timeout(self.patience, child.ask(file, hint_extension, task)).await;
        let (mut count, mut decoded) = (0, 0);
        loop {
            let Ok(reply) = outcome else {
                let worked = child.cpu_time().zip(before).map(|(now, before)| now.saturating_sub(before));
                return Err(Broken::Hung { worked });
            };
            let reply = reply.map_err(Broken::Died)?;
            if reply.is_last() {
                return Ok(reply);
            }
            if let Reply::Decode(demuxer) = &reply {
                decoded += 1;
                // ffmpeg may start twice: once for the recording, and again if a piece lies before the position that was decoded.
                if decoded > 2 {
                    return Err(Broken::Died(dishonest()));
                }
                let start = child.decode(&self.executable, self.ffmpeg.as_deref(), file, demuxer);
                outcome = timeout(self.patience, start).await;
                continue;
            }
            let is_counted = !matches!(reply, Reply::Until(_) | Reply::Interruptions(..));
            take(count, reply).ok_or_else(|| Broken::Died(dishonest()))?;
            count += usize::from(is_counted);
            before = child.cpu_time();
            outcome = timeout(self.patience, child.receive()).await;
        }
    }

    /// Gives the child back. The answer counts unless ffmpeg was killed while it decoded; for a piece the worker itself reports that.
    async fn answered<T>(
        self: &Arc<Self>,
        mut child: Child,
        task: &Task,
        answer: Result<T, ProbeError>,
    ) -> Result<T, ProbeError> {
        if !task.is_piece()
            && let Some(decoding) = child.decoding.take()
            && let Some((fate, was_killed)) = decoding.was_killed().await
        {
            self.give_back(child, task, false);
            return Err(if was_killed { ProbeError::NoWorker(fate) } else { ProbeError::ParserFailed(fate) });
        }
        self.give_back(child, task, answer.is_ok());
        answer
    }

    /// A parser that loops uses CPU time throughout. A worker that used little was stopped or waited for a disk, which proves nothing about
    /// the file.
    fn hung(&self, worked: Option<Duration>, last_try: bool) -> ProbeError {
        let limit = self.patience;
        warn!(seconds = limit.as_secs(), ?worked, last_try, "an audio worker hangs and is replaced");
        let reason = format!("no answer within {} s", limit.as_secs_f32());
        match worked {
            Some(worked) if worked < limit / 4 => ProbeError::NoWorker(reason),
            _ => ProbeError::ParserFailed(reason),
        }
    }

    /// An idle child, or a new one. A piece prefers the child that decodes its recording and is not yet past the piece.
    async fn child(&self, task: &Task) -> Result<Child, ProbeError> {
        let idle = {
            let mut idle = self.idle.lock();
            let follows = |it: &Idle| match (task, it.recording) {
                (Task::Piece { recording, section, .. }, Some((known, until))) => {
                    known == *recording && until <= section.begin_ms()
                }
                _ => false,
            };
            let chosen = idle.iter().position(follows);
            let unused = || idle.iter().position(|it| it.recording.is_none());
            let chosen = chosen.or_else(unused).or(idle.len().checked_sub(1));
            chosen.map(|at| idle.remove(at))
        };
        if let Some(Idle { child, .. }) = idle {
            return Ok(child);
        }
        let start = Child::start(&self.executable);
        let started =
            timeout(self.patience, start).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let child = started.map_err(|error| ProbeError::NoWorker(error.to_string()))?;
        self.metrics.audio_worker_starts.inc();
        Ok(child)
    }

    fn give_back(self: &Arc<Self>, mut child: Child, task: &Task, has_succeeded: bool) {
        child.files += 1;
        let is_worn =
            child.files >= FILES_PER_WORKER || child.cpu_time().is_none_or(|used| used > CPU_PER_WORKER);
        if is_worn {
            return;
        }
        let recording = match task {
            Task::Piece { recording, section, .. } if has_succeeded => Some((*recording, section.end_ms())),
            _ => None,
        };
        if recording.is_none() {
            child.decoding = None;
        }
        self.idle.lock().push(Idle { child, recording, since: Instant::now() });
        if recording.is_some() {
            // The child keeps the file open. If the file is deleted meanwhile, its disk space stays in use until the child closes it.
            let pool = Arc::downgrade(self);
            tokio::spawn(async move {
                tokio::time::sleep(KEPT_OPEN).await;
                let Some(pool) = pool.upgrade() else { return };
                pool.idle.lock().retain(|it| it.recording.is_none() || it.since.elapsed() < KEPT_OPEN);
            });
        }
    }
}

/// A SIGKILL comes neither from a crash of the parser nor from the worker's limits, so the file is then not the cause.
async fn died(mut child: Child, error: &io::Error, last_try: bool) -> ProbeError {
    let (fate, was_killed) = child.fate().await;
    warn!(%error, fate, last_try, "an audio worker died and is replaced");
    if was_killed { ProbeError::NoWorker(fate) } else { ProbeError::ParserFailed(fate) }
}

/// Why a child gave no answer.
enum Broken {
    Died(io::Error),
    /// It sent no message for too long, and used this much CPU time meanwhile.
    Hung {
        worked: Option<Duration>,
    },
}

fn dishonest() -> io::Error {
    io::Error::other("the answer is not one that the parser gives")
}
