//! The job machine: a pure function from (job, fact) to (job, events). No clock, no socket, no disk.
//!
//! The piece machine handles the facts of pieces. The job machine turns the results into events, and ends the job's stage `Recognizing`
//! when the last piece has ended. A fact that does not fit the stage changes nothing: the same fact may be reported twice.

mod facts;

use std::time::Duration;

use hark_sdk::event::{
    Bill, Blame, Body, Fault, JobAccepted, JobCompleted, JobFailed, JobRetrying, JobSubmitted, Tokens, Usage,
    Warning,
};
use jiff::Timestamp;
use uuid::Uuid;

pub use self::facts::{CutEnd, Fact, Recognized, Totals};
use super::piece_machine::Report;
use super::transcript::segment;
use super::{Attempt, Fate, Job, Piece, PieceState, Plan, Span, Stage, annotate, paid};

/// What follows from a fact.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The job as it is now.
    pub job: Job,
    /// The events to be stored, in this order.
    pub events: Vec<Body>,
    /// When the next duty may start.
    pub due: Timestamp,
    /// What happens to the job's pieces.
    pub pieces: Pieces,
}

/// What a step does to the pieces of a job.
#[derive(Debug, Clone, PartialEq)]
pub enum Pieces {
    /// The pieces are unchanged.
    Stay,
    /// These pieces are added.
    Made(Vec<Piece>),
    /// All pieces are deleted: the job is planned anew.
    Gone,
}

/// How long the daemon waits before it looks again for a missing file. By then the source has found a renamed file at its new path: an event of
/// the filesystem takes a fraction of a second; without such events, this is half of a rescan's interval.
pub const TIME_TO_FIND: Duration = Duration::from_secs(5);

/// The first event of a job. `warnings`: what the source could not use of what came with the recording.
pub fn accepted(job: &Job, warnings: Vec<Warning>) -> Body {
    Body::JobAccepted(JobAccepted { route: job.route.clone(), retry_of: job.retry_of, warnings })
}

/// What becomes of a job when `fact` happens at `now`; `totals` over its attempts, the fact's included.
pub fn advance(job: &Job, fact: Fact, totals: Totals, now: Timestamp) -> Step {
    let mut step = Step { job: job.clone(), events: Vec::new(), due: now, pieces: Pieces::Stay };
    match (job.stage.clone(), fact) {
        (Stage::Accepted, Fact::Prepared { recording, plan, spans }) => {
            step.job.missing = false;
            step.job.recording = *recording;
            if plan.is_surveyed() {
                step.job.stage = Stage::Cutting { to_ms: 0, pieces: 0 };
            } else {
                step.job.pieces = u32::try_from(spans.len()).unwrap_or(u32::MAX);
                step.pieces = Pieces::Made(pieces(job, &plan, 1, spans, now));
                step.job.stage = Stage::Recognizing;
            }
            step.job.plan = Some(plan);
        }
        (Stage::Cutting { to_ms, pieces }, Fact::Cut { spans, end, mut left }) => {
            step.job.missing = false;
            // Pieces that were taken over as heard exist before they are cut.
            let known = left.pieces.saturating_sub(pieces);
            left.open += step.add(to_ms, pieces, spans, now).saturating_sub(known);
            if let Some(end) = end {
                step.job.probed_ms = job.recording.duration_ms;
                step.job.recording = end.recording;
                step.job.speech_ms = end.speech_ms;
                step.job.saved = end.saved;
                if let Some(speech) = end.speech.filter(|_| !job.speech_reported) {
                    step.job.speech_reported = true;
                    step.events.push(Body::AnnotationSpeech(speech));
                }
                step.job.stage = Stage::Recognizing;
                step.end_if_recognized(left, totals, now);
            }
        }
        (Stage::Accepted | Stage::Cutting { .. }, Fact::Unusable { recording, fault }) => {
            step.job.recording = *recording;
            step.fail(fault, totals, now);
        }
        (
            Stage::Accepted | Stage::Cutting { .. } | Stage::Recognizing,
            Fact::Fetched { recording, origin },
        ) => {
            step.job.recording = *recording;
            step.job.origin = origin;
        }
        (Stage::Accepted | Stage::Cutting { pieces: 0, .. }, Fact::Missing { fault }) => {
            if std::mem::replace(&mut step.job.missing, true) {
                step.fail(fault, totals, now);
            } else {
                step.due = now + TIME_TO_FIND;
            }
        }
        (Stage::Cutting { .. }, Fact::Missing { .. }) if !job.missing => {
            step.job.missing = true;
            step.due = now + TIME_TO_FIND;
        }
        (Stage::Recognizing, Fact::Missing { .. }) => step.job.missing = true,
        (Stage::Cutting { .. } | Stage::Recognizing, Fact::Replanned) => {
            step.job.plan = None;
            step.job.stage = Stage::Accepted;
            step.job.pieces = 0;
            step.job.speech_ms = None;
            step.job.probed_ms = None;
            step.job.saved = None;
            step.pieces = Pieces::Gone;
        }
        (
            // A job that was taken over has pieces before it is prepared.
            Stage::Accepted | Stage::Cutting { .. } | Stage::Recognizing,
            Fact::Piece { number, found, reports, revision, left },
        ) => {
            step.job.missing &= !found;
            step.job.revision = step.job.revision.max(revision);
            step.report(number, reports, left.pieces, totals);
            if step.job.stage == Stage::Recognizing {
                step.end_if_recognized(left, totals, now);
            }
        }
        (Stage::Cutting { .. } | Stage::Recognizing, Fact::Emitted { emitted }) => {
            step.events.extend(emitted)
        }
        (
            Stage::Accepted | Stage::Cutting { .. } | Stage::Recognizing | Stage::Heard,
            Fact::Held { level, fault, retry_in },
        ) if level > job.hold_reported => {
            step.job.hold_reported = level;
            step.retrying(None, totals.failures + 1, fault, retry_in);
            if job.stage == Stage::Heard {
                step.due = now + retry_in;
            }
        }
        (Stage::Heard, Fact::Piped { event, emitted }) => {
            let stored = &job.stored;
            let incomplete = event.quality.failed_ms > 0;
            // A former owner may have received another answer, with another number of annotations. So once the final is stored, none is
            // added.
            if !stored.has_final {
                let annotations = annotate::annotations(event.segments.as_deref().unwrap_or_default());
                step.events.extend(annotations.into_iter().skip(stored.annotations));
                step.events.push(Body::TranscriptFinal(*event));
            }
            step.events.extend(emitted);
            step.events.push(Body::JobCompleted(JobCompleted { incomplete, bill: step.bill(totals, now) }));
            step.job.stage = Stage::Ended { failed: false, bad_input: false };
        }
        (_, Fact::Canceled { fault }) if job.can_be_canceled() => {
            step.job.canceled = true;
            step.fail(fault, totals, now);
        }
        (Stage::Ended { failed, bad_input }, Fact::Stored) => {
            step.job.missing = false;
            step.job.stage = match job.owes_source {
                true => Stage::Stored { failed, bad_input },
                false => Stage::Settled { failed },
            };
        }
        (Stage::Stored { failed, .. }, Fact::Settled { missed }) => {
            step.job.missing = missed;
            step.job.stage = Stage::Settled { failed };
        }
        _ => {}
    }
    step
}

/// The tokens of a bill; `None`: no model was billed by tokens.
fn tokens(billed: Usage) -> Option<Tokens> {
    let Usage { input_tokens, output_tokens, .. } = billed;
    (input_tokens.is_some() || output_tokens.is_some())
        .then(|| Tokens { input: input_tokens.unwrap_or(0), output: output_tokens.unwrap_or(0) })
}

/// One piece per span, numbered from `first`.
fn pieces(job: &Job, plan: &Plan, first: u32, spans: Vec<Span>, now: Timestamp) -> Vec<Piece> {
    let piece = |(number, span)| {
        let mut piece = Piece::new(number, span, plan.engine.as_str(), &plan.model);
        piece.attempts = paid::attempts(&job.paid, number, now);
        if piece.last_attempt().is_some_and(|last| last.fate == Fate::Open || last.fate.is_lost()) {
            // Found by `Restarted`, which decides what follows.
            piece.state = PieceState::Sending;
        }
        piece
    };
    let mut pieces: Vec<Piece> = (first..).zip(spans).map(piece).collect();
    if job.maybe_paid
        && first == 1
        && let Some(first) = pieces.first_mut()
    {
        // It is not known which daemon sent the attempt, and when.
        first.attempts.push(Attempt::of_unknown_fate(Uuid::nil(), now));
    }
    pieces
}

impl Step {
    /// Adds the pieces that were found behind `to_ms`, the end of the job's `cut` pieces; returns how many.
    fn add(&mut self, to_ms: u64, cut: u32, mut spans: Vec<Span>, now: Timestamp) -> u32 {
        let Some(plan) = self.job.plan.clone() else { return 0 };
        spans.retain(|span| span.begin_ms >= to_ms);
        let to_ms = spans.last().and_then(|last| last.end_ms).unwrap_or(to_ms);
        let added = u32::try_from(spans.len()).unwrap_or(u32::MAX);
        self.pieces = Pieces::Made(pieces(&self.job, &plan, cut + 1, spans, now));
        self.job.pieces = self.job.pieces.max(cut + added);
        self.job.stage = Stage::Cutting { to_ms, pieces: cut + added };
        added
    }

    /// Ends the job's recognizing if no piece is open. The job fails if pieces failed and none was heard.
    fn end_if_recognized(&mut self, left: Recognized, totals: Totals, now: Timestamp) {
        match left.fault {
            _ if left.open > 0 => {}
            Some(fault) if left.heard == 0 => self.fail(fault, totals, now),
            _ => self.job.stage = Stage::Heard,
        }
    }

    /// Turns what a piece reports into events. A job of several pieces is submitted once, with its first piece.
    fn report(&mut self, number: u32, reports: Vec<Report>, pieces: u32, totals: Totals) {
        let is_cutting = matches!(self.job.stage, Stage::Cutting { .. });
        let piece = (pieces > 1 || is_cutting).then_some(number);
        let pieces = (self.job.stage == Stage::Recognizing).then_some(pieces);
        for report in reports {
            match report {
                Report::Submitted { .. } if piece.is_some() && self.job.submitted => {}
                Report::Submitted { handle } => {
                    let Some(plan) = self.job.plan.clone() else { continue };
                    self.job.submitted = true;
                    self.events.push(Body::JobSubmitted(JobSubmitted {
                        engine: plan.engine,
                        model: plan.model,
                        task_id: handle,
                        pieces: piece.and(pieces),
                        possible_duplicate_charge: totals.possible_duplicate_charge,
                    }));
                }
                Report::Heard { span, transcript } => {
                    let (Some(piece), Some(plan)) = (piece, &self.job.plan) else { continue };
                    self.events.push(segment(plan, piece, pieces, &span, &transcript));
                }
                Report::Emitted(emitted) => self.events.extend(emitted),
                Report::OverBudget { .. } if self.job.reported_over_budget => {}
                Report::OverBudget { attempt, fault, retry_in } => {
                    self.job.reported_over_budget = true;
                    self.retrying(piece, attempt, fault, retry_in);
                }
                Report::Retrying { attempt, fault, retry_in } => {
                    self.retrying(piece, attempt, fault, retry_in)
                }
            }
        }
    }

    fn retrying(&mut self, piece: Option<u32>, attempt: u32, error: Fault, after: Duration) {
        let retry_in_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        self.events.push(Body::JobRetrying(JobRetrying { attempt, error, retry_in_ms, piece }));
    }

    fn fail(&mut self, fault: Fault, totals: Totals, now: Timestamp) {
        // A job that ends has made at least one try: at least the probe.
        let error = Fault { attempts: Some(totals.failures.max(1)), ..fault };
        let bad_input = error.blame == Blame::Audio;
        self.events.push(Body::JobFailed(JobFailed { error, bill: self.bill(totals, now) }));
        self.job.stage = Stage::Ended { failed: true, bad_input };
    }

    fn bill(&self, totals: Totals, now: Timestamp) -> Bill {
        let job = &self.job;
        Bill {
            audio_seconds: job.recording.duration_ms.map(|ms| ms as f64 / 1000.0),
            billed_seconds: totals.billed.seconds,
            billed_tokens: tokens(totals.billed),
            cost_usd: totals.cost_micro as f64 / 1e6,
            saved_seconds: job.saved.filter(|saved| saved.ms > 0).map(|saved| saved.ms as f64 / 1000.0),
            saved_usd: job.saved.filter(|saved| saved.ms > 0).map(|saved| saved.cost_micro as f64 / 1e6),
            elapsed_ms: u64::try_from(now.duration_since(job.accepted_at).as_millis()).unwrap_or(0),
            possible_duplicate_charge: totals.possible_duplicate_charge,
        }
    }
}
