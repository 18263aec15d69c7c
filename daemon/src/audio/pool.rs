//! The pool of audio workers: a few child processes, each of which is busy with one file at a time.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::warn;

use super::child::Child;
use super::survey::{Survey, SurveyPlan};
use super::wire::{Reply, Task};
use super::{MOST_CHANNELS, Probe, ProbeError, Section, ffmpeg};
use hark_sdk::event::Blame;

use crate::config::PieceFormat;
use crate::telemetry::metrics::Metrics;

/// Longest time between two messages of a busy worker: long enough for a gigabyte of frames from a slow disk.
const PATIENCE: Duration = Duration::from_secs(20);

/// After this many files a worker is replaced, in case the parsers leak memory.
const FILES_PER_WORKER: u32 = 1_000;

/// After so much CPU time a worker is replaced, well before its limit ends it.
const CPU_PER_WORKER: Duration = Duration::from_secs(300);

/// How long a child that made a piece waits for the next one with the recording open.
const KEPT_OPEN: Duration = Duration::from_secs(60);

/// The most pieces of a recording: two days in seconds.
const MOST_PIECES: usize = 48 * 3_600;

/// The longest piece in bytes: an hour of WAV.
const LARGEST_PIECE: usize = 128 << 20;

/// Probes and decodes audio files in child processes. Clones share the children.
///
/// A child is started when it is first needed, and replaced when it crashes, hangs or has served 1,000 files. Any number of callers may
/// wait; a waiting caller costs only its future and the file that it holds open. Dropping a future ends the child that was busy with it.
///
/// Each file must be a regular file open for reading; its position is not changed. `hint_extension` is the extension of its name.
#[derive(Debug, Clone)]
pub struct Workers {
    /// For answers within milliseconds.
    probing: Arc<Pool>,
    /// For surveys and pieces, which must not keep probes waiting.
    decoding: Arc<Pool>,
}

#[derive(Debug)]
struct Pool {
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

impl Workers {
    /// Two pools of at most `count` children (at least one) of `executable` (see [`crate::os::spawn::this_executable`]): one for probes,
    /// one for surveys and pieces. Starts none yet.
    pub fn start(executable: PathBuf, count: usize, metrics: Metrics) -> Self {
        Workers::with_patience(executable, count, metrics, PATIENCE)
    }

    /// As [`Self::start`], with another limit on the time for one file.
    pub fn with_patience(executable: PathBuf, count: usize, metrics: Metrics, patience: Duration) -> Self {
        let ffmpeg = ffmpeg::find();
        let pool = || {
            Arc::new(Pool {
                executable: executable.clone(),
                ffmpeg: ffmpeg.clone(),
                metrics: metrics.clone(),
                free: Semaphore::new(count.max(1)),
                idle: Mutex::new(Vec::new()),
                patience,
            })
        };
        Workers { probing: pool(), decoding: pool() }
    }

    /// Finds out format, length and channels.
    ///
    /// Waits for a free child, then at most 20 s (40 s if a child crashed or hung and another retries). Length and channels of what ffmpeg alone
    /// can read are those of what it decodes, some hundred times faster than the recording plays.
    ///
    /// # Errors
    /// See [`ProbeError`].
    pub async fn probe(&self, file: &File, hint_extension: Option<&str>) -> Result<Probe, ProbeError> {
        let answer = |reply| match reply {
            Reply::Probed(answer) => Some(answer),
            _ => None,
        };
        let probe = self.probing.ask(file, hint_extension, Task::Probe, |_, _| None, answer).await?;
        if probe.duration_ms.is_some() && probe.channels.is_some() {
            return Ok(probe);
        }
        let take = |_, reply| matches!(reply, Reply::Until(_)).then_some(());
        match self.decoding.ask(file, hint_extension, Task::Measure, take, answer).await {
            Ok(measured) => Ok(measured),
            Err(error) if error.blame() == Blame::Hark => Err(error),
            // Some recognizers take it as it is.
            Err(error) => Ok(Probe { undecodable: Some(error.to_string()), ..probe }),
        }
    }

    /// Listens through a recording once, and finds where to cut it if `plan` says so. `found` is told each section as soon as it is found,
    /// so that pieces can be made and sent while the survey goes on: sections of mixed channels one after another in order of time, those
    /// of single channels at the end. If a child crashes and another one retries, the sections are the same, and those that were told are
    /// not told again.
    ///
    /// Decodes some hundred times faster than the recording plays; never waits more than 20 s for a sign of progress.
    ///
    /// # Errors
    /// See [`ProbeError`]; [`ProbeError::Undecodable`] for audio that can only be sent as it is.
    pub async fn survey(
        &self,
        file: &File,
        hint_extension: Option<&str>,
        plan: SurveyPlan,
        mut found: impl FnMut(Section) + Send,
    ) -> Result<Survey, ProbeError> {
        let (mut sections, mut interruptions) = (Vec::<Section>::new(), Vec::new());
        let take = |count: usize, reply| match reply {
            Reply::Until(_) => Some(()),
            Reply::Interruptions(first, further) => {
                interruptions.truncate(first);
                interruptions.extend(further);
                Some(())
            }
            Reply::Piece(section) => {
                if sections.len() > count {
                    // A retry finds the same ones again.
                    return (sections[count] == section).then_some(());
                }
                if !is_possible(&sections, &section) || sections.len() >= MOST_PIECES {
                    return None;
                }
                sections.push(section.clone());
                found(section);
                Some(())
            }
            _ => None,
        };
        let answer = |reply| match reply {
            Reply::Surveyed(answer) => Some(answer),
            _ => None,
        };
        let mut survey = self.decoding.ask(file, hint_extension, Task::Survey(plan), take, answer).await?;
        if let Some(talk) = &mut survey.talk {
            talk.interruptions = interruptions;
        }
        Ok(Survey { sections, ..survey })
    }

    /// The bytes of a piece: 16 kHz, one channel, 16 bits. Pieces of one recording and channel that are asked for in order of time are
    /// decoded in one pass; any other place is searched in the file.
    ///
    /// # Errors
    /// As for [`Self::survey`].
    pub async fn piece(
        &self,
        file: &File,
        hint_extension: Option<&str>,
        section: Section,
        format: PieceFormat,
    ) -> Result<Vec<u8>, ProbeError> {
        let recording = identity(file, section.channel)?;
        let mut bytes: Vec<u8> = Vec::new();
        let take = |count: usize, reply| match reply {
            Reply::Bytes(more) => {
                if count == 0 {
                    bytes.clear();
                }
                bytes.extend_from_slice(&more);
                (bytes.len() <= LARGEST_PIECE).then_some(())
            }
            Reply::Until(_) => Some(()),
            _ => None,
        };
        let answer = |reply| match reply {
            Reply::Made(answer) => Some(answer),
            _ => None,
        };
        let task = Task::Piece { recording, section, format };
        self.decoding.ask(file, hint_extension, task, take, answer).await?;
        Ok(bytes)
    }
}

/// Whether a section may follow those before: none begins before the one before it of its channel ends.
fn is_possible(before: &[Section], section: &Section) -> bool {
    let last = before.iter().rev().find(|other| other.channel == section.channel);
    let mut end = last.map_or(0, Section::end_ms);
    let follows = |part: &super::Span| {
        let is_next = end <= part.begin_ms && part.begin_ms < part.end_ms;
        end = part.end_ms;
        is_next
    };
    let is_known = section.channel.is_none_or(|channel| channel < MOST_CHANNELS);
    is_known && !section.parts.is_empty() && section.parts.iter().all(follows)
}

/// Tells recordings, and their channels, apart while a child decodes one.
fn identity(file: &File, channel: Option<u32>) -> io::Result<u64> {
    let status = file.metadata()?;
    let mut hasher = DefaultHasher::new();
    (status.dev(), status.ino(), status.size(), status.mtime(), status.mtime_nsec()).hash(&mut hasher);
    channel.hash(&mut hasher);
    Ok(hasher.finish())
}

impl Pool {
    /// Has a child carry out a task. `take` is given the messages before the last one, spans and bytes numbered from 0 at each try, and `answer`
    /// the last one; they return `None` for a message that an honest child does not send.
    async fn ask<T>(
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
        for last_try in [false, true] {
            let mut child = self.child(&task).await?;
            let mut before = child.cpu_time();
            let mut outcome = timeout(self.patience, child.ask(file, hint_extension, &task)).await;
            let (mut count, mut decoded) = (0, 0);
            let outcome = loop {
                let reply = match outcome {
                    Ok(Ok(reply)) => reply,
                    Ok(Err(error)) => break Ok(error),
                    Err(elapsed) => break Err(elapsed),
                };
                if reply.is_last() {
                    match answer(reply) {
                        Some(answer) => {
                            // A worker that makes a piece tells by itself.
                            let is_piece = matches!(task, Task::Piece { .. });
                            if !is_piece
                                && let Some(decoding) = child.decoding.take()
                                && let Some((fate, was_killed)) = decoding.was_killed().await
                            {
                                self.give_back(child, &task, false);
                                return Err(match was_killed {
                                    true => ProbeError::NoWorker(fate),
                                    false => ProbeError::ParserFailed(fate),
                                });
                            }
                            self.give_back(child, &task, answer.is_ok());
                            return answer;
                        }
                        None => break Ok(dishonest()),
                    }
                }
                let is_counted = !matches!(reply, Reply::Until(_) | Reply::Interruptions(..));
                if let Reply::Decode(demuxer) = &reply {
                    decoded += 1;
                    // One for the recording, and another if a piece lies before what was decoded.
                    if decoded > 2 {
                        break Ok(dishonest());
                    }
                    let start = child.decode(&self.executable, self.ffmpeg.as_deref(), file, demuxer);
                    outcome = timeout(self.patience, start).await;
                    continue;
                }
                if take(count, reply).is_none() {
                    break Ok(dishonest());
                }
                count += usize::from(is_counted);
                before = child.cpu_time();
                outcome = timeout(self.patience, child.receive()).await;
            };
            match outcome {
                Ok(error) => {
                    let (fate, was_killed) = child.fate().await;
                    warn!(%error, fate, last_try, "an audio worker died and is replaced");
                    match last_try {
                        // Neither a crash of the parser nor the worker's limits cause a SIGKILL, so the file is not the reason.
                        true if was_killed => return Err(ProbeError::NoWorker(fate)),
                        true => return Err(ProbeError::ParserFailed(fate)),
                        false => {}
                    }
                }
                Err(_) => {
                    let limit = self.patience;
                    let worked = child.cpu_time().zip(before).map(|(now, before)| now.saturating_sub(before));
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

    /// An idle child, or a new one. For a piece the one that is decoding its recording and has not passed it.
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
            // The child has the file open, which may have been deleted: its space would stay taken.
            let pool = Arc::downgrade(self);
            tokio::spawn(async move {
                tokio::time::sleep(KEPT_OPEN).await;
                let Some(pool) = pool.upgrade() else { return };
                pool.idle.lock().retain(|it| it.recording.is_none() || it.since.elapsed() < KEPT_OPEN);
            });
        }
    }
}

fn dishonest() -> io::Error {
    io::Error::other("the answer is not one that the parser gives")
}
