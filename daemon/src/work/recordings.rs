//! Opens the recordings of jobs, and decides what follows where one cannot be opened.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use hark_sdk::event::{Blame, Fault, Recording, TimeSpan};
use jiff::Timestamp;
use tracing::warn;

use super::{PieceTask, Tools};
use crate::audio::{ProbeError, Section};
use crate::job::audio::{self, Unopened};
use crate::job::job_machine::{CutEnd, Fact};
use crate::job::ledger::{LedgerError, advance};
use crate::job::{Job, PieceFormat, Span, Stage, fault, spool};
use crate::recognize::Content;

/// How soon a job is tried again after the machine lacked a file descriptor or a process for it.
const SHORTAGE: Duration = Duration::from_secs(2);

/// How soon a recording is looked for again after its whole folder was unreachable.
const AWAY: Duration = Duration::from_secs(10);

impl Tools {
    /// Opens the file of a job's recording.
    pub(super) async fn open(&self, job: &Job) -> Result<File, Unopened> {
        let (opened, folder) = (job.clone(), Arc::clone(&self.state_directory));
        let open = move || audio::open(&opened, &folder);
        self.files.run_for(&job.source, open).await.map_err(Unopened::NotNow)?
    }

    /// Decodes a part of a recording and encodes it anew, into a file without a name: a kill leaves nothing behind.
    pub(super) async fn part(&self, job: &Job, span: &Span, format: PieceFormat) -> Result<File, Unopened> {
        let file = self.open(job).await?;
        let is_split = job.plan.as_ref().is_some_and(|plan| plan.split.is_some());
        let section = Section {
            channel: span.channels.first().copied().filter(|_| is_split),
            parts: span.sent().into_iter().map(|(begin_ms, end_ms)| TimeSpan { begin_ms, end_ms }).collect(),
        };
        let part = self.workers.piece(&file, job.extension(), section, format).await;
        let bytes = part.map_err(|error| unusable(job, &error))?;
        let state_directory = Arc::clone(&self.state_directory);
        let write = move || {
            let mut file = spool::unnamed_file(&state_directory)?;
            file.write_all(&bytes)?;
            Ok(file)
        };
        let written = tokio::task::spawn_blocking(write).await.map_err(io::Error::other);
        written.and_then(|file| file).map_err(Unopened::NotNow)
    }

    /// Opens a job's recording.
    pub(super) async fn content(&self, job: &Job) -> Result<Content, Unopened> {
        let (opened, folder) = (job.clone(), Arc::clone(&self.state_directory));
        let kept = self.files.take(job.id);
        let open = move || match kept {
            Some(file) => Content::from_open(&opened, file),
            None => Content::of(&opened, &folder),
        };
        let content = self.files.run_for(&job.source, open).await;
        content.unwrap_or_else(|hangs| Err(Unopened::NotNow(hangs)))
    }

    /// Handles a recording that could not be opened: a fault of the recording ends its job, or its piece; if the machine lacks a resource,
    /// the job keeps its state and the daemon waits.
    pub(super) async fn not_opened(
        &self,
        job: &Job,
        piece: Option<&PieceTask>,
        unopened: Unopened,
    ) -> Result<(), LedgerError> {
        match unopened {
            Unopened::Fault(fault) => match piece {
                Some(task) => self.fail_for_good(task, fault).await,
                // The pieces that exist may be heard, and paid for.
                None if has_pieces(job) => self.end_cut_early(job).await,
                None => {
                    let recording = Box::new(job.recording.clone());
                    self.ledger.advance(job.id, Fact::Unusable { recording, fault }).await.map(drop)
                }
            },
            Unopened::Missing(fault) => self.missing(job, piece, fault).await,
            Unopened::NotNow(error) if error.kind() == io::ErrorKind::TimedOut => {
                self.wait_for_folder(job, piece, &error.to_string()).await
            }
            Unopened::NotNow(error) => {
                self.wait_for_machine(error.to_string()).await;
                Ok(())
            }
        }
    }

    /// Handles a recording that is not at its path: it is looked for once more. If its whole folder is unreachable, the job waits until the
    /// folder is back.
    async fn missing(&self, job: &Job, piece: Option<&PieceTask>, fault: Fault) -> Result<(), LedgerError> {
        let looked_at = job.clone();
        let away = self.files.run_for(&job.source, move || audio::is_away(&looked_at)).await;
        if !matches!(away, Ok(false)) {
            return self.wait_for_folder(job, piece, "it is not there").await;
        }
        let Some(task) = piece else {
            if job.missing && has_pieces(job) {
                return self.end_cut_early(job).await;
            }
            return self.ledger.advance(job.id, Fact::Missing { fault }).await.map(drop);
        };
        let (id, policy, now) = (task.id(), self.settings.policy.clone(), Timestamp::now());
        let write = move |connection: &_| advance::missing(connection, id, fault.clone(), &policy, now);
        self.ledger.step(write).await.map(drop)
    }

    /// Ends the cutting of a recording that can no longer be read: the pieces that exist are recognized.
    async fn end_cut_early(&self, job: &Job) -> Result<(), LedgerError> {
        warn!("the recording cannot be read to its end and is recognized as far as it was cut");
        let recording = Recording { truncated: true, ..job.recording.clone() };
        let end = CutEnd { recording, speech_ms: None, speech: None, saved: None };
        self.add_spans(job, Vec::new(), Some(end)).await.map(drop)
    }

    /// Puts off a job, or a piece, whose folder is not there or does not answer.
    async fn wait_for_folder(
        &self,
        job: &Job,
        piece: Option<&PieceTask>,
        reason: &str,
    ) -> Result<(), LedgerError> {
        if self.shortage.is_time() {
            warn!(
                source = job.source,
                reason, "the folder of recordings is away and their jobs wait; mount it, or put it back"
            );
        }
        self.put_off(job, piece).await
    }

    /// Puts off a job, or a piece, whose recording cannot be reached now.
    pub(super) async fn put_off(&self, job: &Job, piece: Option<&PieceTask>) -> Result<(), LedgerError> {
        let until = Timestamp::now() + AWAY;
        match piece {
            Some(task) => self.ledger.postpone_piece(task.id(), until).await,
            None => self.ledger.postpone(job.id, until).await,
        }
    }

    /// Waits before the next try. The job keeps its place in the lane meanwhile, so that the lane does not start more work.
    pub(super) async fn wait_for_machine(&self, shortage: String) {
        if self.shortage.is_time() {
            warn!(
                shortage,
                "the machine lacks a resource that the work needs, and jobs wait; see the limit of open files (LimitNOFILE=), memory, processes"
            );
        }
        self.stop.run_until_cancelled(tokio::time::sleep(SHORTAGE)).await;
    }
}

/// Whether the job is being cut and has pieces already.
fn has_pieces(job: &Job) -> bool {
    matches!(job.stage, Stage::Cutting { pieces: 1.., .. })
}

/// Why the audio of a job cannot be used. If the fault is the daemon's and not the recording's, the job waits instead of failing.
pub(super) fn unusable(job: &Job, error: &ProbeError) -> Unopened {
    match error.blame() {
        Blame::Hark => Unopened::NotNow(io::Error::other(error.to_string())),
        blame => {
            let name = job.recording.name.as_deref().unwrap_or("the recording");
            Unopened::Fault(fault(error.code(), blame, format!("{name}: {error}")))
        }
    }
}
