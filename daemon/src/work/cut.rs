//! Finds where a recording is cut into pieces, and adds each piece to the job as soon as it is found: the first ones are sent while the rest
//! of a long recording is still decoded.

use std::pin::pin;

use hark_sdk::event::{Blame, Recording};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tracing::warn;
use uuid::Uuid;

use super::Tools;
use super::recordings::unusable;
use crate::audio::{ProbeError, Span, Survey};
use crate::job::job_machine::CutEnd;
use crate::job::ledger::{LedgerError, advance};
use crate::job::{Job, Stage};

/// The most pieces that one transaction adds.
const BATCH: usize = 64;

/// Carries out `Duty::Cut`. After a restart the recording is listened to from its begin; the pieces that the ledger has are passed over.
///
/// # Errors
/// When the ledger is closed or damaged.
pub async fn cut(job: Job, tools: Tools) -> Result<(), LedgerError> {
    let Stage::Cutting { to_ms, pieces } = job.stage else { return Ok(()) };
    let Some(cut) = job.plan.as_ref().and_then(|plan| plan.cut) else { return Ok(()) };
    let file = match tools.open(&job).await {
        Ok(file) => file,
        Err(unopened) => return tools.not_opened(&job, None, unopened).await,
    };
    // Holds at most what the survey finds while the ledger commits: sixteen bytes a piece.
    let (found, mut spans) = mpsc::unbounded_channel();
    let found = move |span: Span| {
        // A receiver that is gone means that the job is not cut any more; then the survey is dropped as well.
        if span.begin_ms >= to_ms {
            let _ = found.send(span);
        }
    };
    let mut survey = pin!(tools.workers.survey(&file, job.extension(), cut.longest(), found));
    let mut waiting = Vec::new();
    let mut has_several = pieces > 1;
    let outcome = loop {
        tokio::select! {
            count = spans.recv_many(&mut waiting, BATCH), if !spans.is_closed() => {
                // Events number a piece only where the job has several, so the first is added together with the second, or at the end.
                has_several |= waiting.len() > 1;
                if count > 0 && has_several && !tools.add_spans(job.id, std::mem::take(&mut waiting), None).await? {
                    return Ok(());
                }
            }
            outcome = &mut survey => break outcome,
            () = tools.stop.cancelled() => return Ok(()),
        }
    };
    while let Ok(span) = spans.try_recv() {
        waiting.push(span);
    }
    tools.end_cut(&job, has_several, waiting, outcome).await
}

impl Tools {
    /// Adds pieces that were found to a job. `end`: the recording is listened to to its end. False: the job is not being cut any more.
    pub(super) async fn add_spans(
        &self,
        job: Uuid,
        spans: Vec<Span>,
        end: Option<CutEnd>,
    ) -> Result<bool, LedgerError> {
        let now = Timestamp::now();
        let spans: Vec<(u64, u64)> = spans.iter().map(|span| (span.begin_ms, span.end_ms)).collect();
        let policy = self.policy.clone();
        let write =
            move |connection: &_| advance::cut(connection, job, spans.clone(), end.clone(), &policy, now);
        let advanced = self.ledger.write(write).await?;
        if let Some(advanced) = &advanced {
            self.ledger.announce_step(advanced);
        }
        Ok(advanced.is_some_and(|advanced| matches!(advanced.job.stage, Stage::Cutting { .. })))
    }

    /// Adds the last pieces. What was found of a recording that cannot be decoded to its end is recognized.
    async fn end_cut(
        &self,
        job: &Job,
        has_pieces: bool,
        rest: Vec<Span>,
        outcome: Result<Survey, ProbeError>,
    ) -> Result<(), LedgerError> {
        let recording = job.recording.clone();
        let end = match outcome {
            Ok(survey) => CutEnd {
                recording: Recording {
                    duration_ms: survey.probe.duration_ms,
                    truncated: recording.truncated || survey.probe.truncated,
                    ..recording
                },
                speech_ms: Some(survey.speech_ms),
            },
            Err(error) if error.blame() != Blame::Hark && (has_pieces || !rest.is_empty()) => {
                warn!(%error, "the recording is damaged and is recognized as far as it can be decoded");
                CutEnd { recording: Recording { truncated: true, ..recording }, speech_ms: None }
            }
            Err(error) => return self.not_opened(job, None, unusable(job, &error)).await,
        };
        self.add_spans(job.id, rest, Some(end)).await.map(drop)
    }
}
