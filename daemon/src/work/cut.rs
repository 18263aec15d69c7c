//! Listens through a recording before it is sent, finds where it is cut into pieces, and adds each piece to the job as soon as it is found: the
//! first ones are sent while the rest of a long recording is still decoded. Pieces of single channels wait for the end, when it is known
//! which channels repeat others.

use std::pin::pin;
use std::time::Instant;

use hark_sdk::event::{AnnotationSpeech, Blame, ChannelSpeech, Interruption, Recording};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::Tools;
use super::recordings::unusable;
use crate::audio::{Analysis, AnalysisPlan, ProbeError, Section};
use crate::job::job_machine::CutEnd;
use crate::job::ledger::{LedgerError, advance};
use crate::job::{Job, Plan, Saved, Span, Stage};

/// The most pieces that one transaction adds.
const BATCH: usize = 64;

/// Carries out `Duty::Cut`. After a restart the recording is listened to from its begin; the pieces that the ledger has are passed over.
///
/// # Errors
/// When the ledger is closed or damaged.
pub async fn cut(job: Job, tools: Tools) -> Result<(), LedgerError> {
    // After a takeover the audio of a URL or an object is not on this machine: the former owner had fetched it.
    let Some(job) = tools.with_bytes(job, None).await? else { return Ok(()) };
    let (Stage::Cutting { to_ms, pieces }, Some(plan)) = (&job.stage, &job.plan) else { return Ok(()) };
    let (to_ms, pieces) = (*to_ms, *pieces);
    let file = match tools.open(&job).await {
        Ok(file) => file,
        Err(unopened) => return tools.not_opened(&job, None, unopened).await,
    };
    let begun = Instant::now();
    // Holds at most what the analysis finds while the ledger commits.
    let (found, mut sections) = mpsc::unbounded_channel();
    let found = move |section: Section| {
        // `send` fails once the receiver is dropped: then the job is no longer being cut, and the analysis is dropped as well.
        if section.begin_ms() >= to_ms {
            let _ = found.send(span(section));
        }
    };
    let mut analysis = pin!(tools.workers.analyze(&file, job.extension(), analysis_plan(plan), found));
    let mut waiting = Vec::new();
    let mut has_several = pieces > 1;
    let is_streamed = plan.split.is_none();
    let outcome = loop {
        tokio::select! {
            count = sections.recv_many(&mut waiting, BATCH), if is_streamed && !sections.is_closed() => {
                // Events number a piece only where the job has several, so the first is added together with the second, or at the end.
                has_several |= waiting.len() > 1;
                if count > 0 && has_several && !tools.add_spans(&job, std::mem::take(&mut waiting), None).await? {
                    return Ok(());
                }
            }
            outcome = &mut analysis => break outcome,
            () = tools.stop.cancelled() => return Ok(()),
        }
    };
    while let Ok(span) = sections.try_recv() {
        waiting.push(span);
    }
    if let Ok(analysis) = &outcome {
        let milliseconds = begun.elapsed().as_millis() as u64;
        info!(
            pieces = analysis.sections.len(),
            speech_ms = analysis.speech_ms,
            milliseconds,
            "the recording was analyzed"
        );
    }
    tools.end_cut(&job, plan, has_several, waiting, outcome).await
}

/// How a recording with this plan is listened to.
pub fn analysis_plan(plan: &Plan) -> AnalysisPlan {
    AnalysisPlan {
        longest_ms: plan.cut.map(|cut| cut.longest_ms),
        split: plan.split.is_some(),
        skip_silence: plan.cut.is_some_and(|cut| cut.skip_silence),
    }
}

/// What a piece of this section carries.
fn span(section: Section) -> Span {
    let (begin_ms, end_ms) = (section.begin_ms(), section.end_ms());
    let parts = match section.parts.len() {
        // An empty list means that all of the span is sent.
        1 => Vec::new(),
        _ => section.parts.iter().map(|part| (part.begin_ms, part.end_ms)).collect(),
    };
    Span { channels: vec![section.channel.unwrap_or(0)], begin_ms, end_ms: Some(end_ms), parts }
}

impl Tools {
    /// Adds pieces that the analysis has found to a job. `end`: set once the analysis has reached the end of the recording. `false`: the job is
    /// no longer being cut.
    pub(super) async fn add_spans(
        &self,
        job: &Job,
        spans: Vec<Span>,
        end: Option<CutEnd>,
    ) -> Result<bool, LedgerError> {
        let now = Timestamp::now();
        let (id, plan, policy) = (job.id, job.plan.clone(), self.settings.policy.clone());
        let write = move |connection: &_| {
            advance::cut(connection, id, plan.as_ref(), spans.clone(), end.clone(), &policy, now)
        };
        let advanced = self.ledger.step(write).await?;
        Ok(advanced.is_some_and(|advanced| matches!(advanced.job.stage, Stage::Cutting { .. })))
    }

    /// Adds the last pieces and ends the cutting. If the recording cannot be decoded to its end, the pieces found until then are recognized.
    async fn end_cut(
        &self,
        job: &Job,
        plan: &Plan,
        has_pieces: bool,
        mut rest: Vec<Span>,
        outcome: Result<Analysis, ProbeError>,
    ) -> Result<(), LedgerError> {
        let recording = job.recording.clone();
        let end = match outcome {
            Ok(analysis) => {
                if plan.cut.is_none() {
                    rest = whole(&analysis);
                }
                CutEnd {
                    recording: Recording {
                        duration_ms: analysis.probe.duration_ms,
                        truncated: recording.truncated || analysis.probe.truncated,
                        ..recording
                    },
                    speech_ms: Some(analysis.speech_ms),
                    saved: Some(self.saved(plan, &analysis)),
                    speech: annotation(plan, analysis),
                }
            }
            Err(error) if error.blame() != Blame::Hark && (has_pieces || !rest.is_empty()) => {
                warn!(%error, "the recording is damaged and is recognized as far as it can be decoded");
                let recording = Recording { truncated: true, ..recording };
                CutEnd { recording, speech_ms: None, speech: None, saved: None }
            }
            Err(error) => return self.not_opened(job, None, unusable(job, &error)).await,
        };
        self.add_spans(job, rest, Some(end)).await.map(drop)
    }

    /// How much of a recording is not sent, and what sending it would have cost.
    fn saved(&self, plan: &Plan, analysis: &Analysis) -> Saved {
        let duration = analysis.probe.duration_ms.unwrap_or(0);
        let sent: u64 = match plan.cut {
            Some(_) => analysis.sections.iter().map(Section::length).sum(),
            None => {
                analysis.channels.iter().filter(|channel| channel.is_to_be_sent()).count() as u64 * duration
            }
        };
        let ms = (analysis.channels.len() as u64 * duration).saturating_sub(sent);
        let price = self.settings.policy.prices.of(plan.engine.as_str(), &plan.model);
        // Computed as if each millisecond were a second and divided by 1,000 afterwards, so that rounding loses nothing.
        Saved { ms, cost_micro: (price.cost_micro(price.estimate(ms)) + 500) / 1_000 }
    }
}

/// The channels that are sent: those that are neither silent nor copies of another channel.
pub fn channels_to_send(analysis: &Analysis) -> Vec<u32> {
    let numbered = (0..).zip(&analysis.channels).filter(|(_, channel)| channel.is_to_be_sent());
    numbered.map(|(number, _)| number).collect()
}

/// One piece with all channels that are sent, for a recognizer that takes the recording as it is.
fn whole(analysis: &Analysis) -> Vec<Span> {
    let channels = channels_to_send(analysis);
    let span = Span { channels, ..Span::whole(analysis.probe.duration_ms) };
    if span.channels.is_empty() { Vec::new() } else { vec![span] }
}

/// What was measured, for the event; `None`: only a sample was heard.
fn annotation(plan: &Plan, analysis: Analysis) -> Option<AnnotationSpeech> {
    let talk = analysis.talk?;
    let channel = |((channel, sound), turns): ((u32, &crate::audio::ChannelSound), &crate::audio::Turns)| {
        ChannelSpeech {
            channel,
            role: plan.role(channel),
            speech_ms: turns.speech_ms,
            turns: turns.count,
            longest_turn_ms: turns.longest_ms,
            level_dbfs: sound.level_dbfs,
            clipped: sound.clipped,
            doubles: sound.doubles,
        }
    };
    let interruption = |(channel, begin_ms)| Interruption { channel, role: plan.role(channel), begin_ms };
    Some(AnnotationSpeech {
        channels: (0..).zip(&analysis.channels).zip(&talk.turns).map(channel).collect(),
        overlap_ms: talk.overlap_ms,
        silence_ms: talk.silence_ms,
        longest_silence: talk.longest_silence,
        interruptions: talk.interruptions.into_iter().map(interruption).collect(),
    })
}
