//! The job machine: a pure function from (job, fact) to (job, events). No clock, no socket, no disk.
//!
//! The piece machine handles the facts of pieces. The job machine turns the results into events, and ends the job's stage `Recognizing`
//! when the last piece has ended. A fact that does not fit the stage changes nothing: the same fact may be reported twice.

use std::time::Duration;

use hark_sdk::event::{
    Bill, Blame, Body, Fault, JobAccepted, JobCompleted, JobFailed, JobRetrying, JobSubmitted, Recording,
    TranscriptFinal,
};
use jiff::Timestamp;

use uuid::Uuid;

use super::piece_machine::Report;
use super::{Attempt, Job, Origin, Piece, Plan, Span, Stage, annotate};

/// Something that happened to a job.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// The recording was probed and has a plan. Each of `spans` becomes one piece.
    Prepared { recording: Box<Recording>, plan: Plan, spans: Vec<Span> },
    /// The input is no recording that can be recognized. `recording`: what the daemon found out about it.
    Unusable { recording: Box<Recording>, fault: Fault },
    /// The audio of a URL is on this machine now.
    Fetched { recording: Box<Recording>, origin: Origin },
    /// The recording is not at its path; it may have been moved, and the source may not have noticed yet.
    Missing { fault: Fault },
    /// The present config gives the job another plan, and no attempt may have cost anything: the job is planned anew.
    Replanned,
    /// Something happened to a piece. `found`: its recording was opened. `revision`: of its last partial. `left`: the state of all pieces
    /// after this.
    Piece { number: u32, found: bool, reports: Vec<Report>, revision: u64, left: Recognized },
    /// A plugin with `on_failure = "hold"` could not process the transcript. `level`: see [`Job::hold_told`].
    Held { level: u32, fault: Fault, retry_in: Duration },
    /// The plugins have processed the transcript. `event`: the final; `emitted`: the plugins' events.
    Piped { event: Box<TranscriptFinal>, emitted: Vec<Body> },
    /// JetStream has the last event.
    Stored,
    /// The source is settled. `missed`: the file was not there to be moved or deleted.
    Settled { missed: bool },
}

/// The state of all pieces of a job.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recognized {
    /// Pieces that have not ended.
    pub open: u32,
    /// Pieces that have a transcript.
    pub heard: u32,
    /// All pieces.
    pub pieces: u32,
    /// The fault of the last piece that failed for good.
    pub fault: Option<Fault>,
}

/// Sums over the attempts of all pieces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Tries that failed.
    pub failures: u32,
    /// Seconds that were billed.
    pub billed_seconds: u64,
    /// Their price in millionths of a dollar.
    pub cost_micro: u64,
    /// A piece has more than one attempt that may have cost something.
    pub possible_duplicate_charge: bool,
}

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

/// How long after it was missing a file is looked for again. By then the source has found a renamed file at its new path: an event of the
/// filesystem takes a fraction of a second; without such events, this is half of a rescan's interval.
pub const TIME_TO_FIND: Duration = Duration::from_secs(5);

/// The first event of a job.
pub fn accepted(job: &Job) -> Body {
    Body::JobAccepted(JobAccepted { route: job.route.clone() })
}

/// What becomes of a job when `fact` happens at `now`; `totals` over its attempts, the fact's included.
pub fn advance(job: &Job, fact: Fact, totals: Totals, now: Timestamp) -> Step {
    let mut step = Step { job: job.clone(), events: Vec::new(), due: now, pieces: Pieces::Stay };
    match (job.stage.clone(), fact) {
        (Stage::Accepted, Fact::Prepared { recording, plan, spans }) => {
            step.job.missing = false;
            step.job.recording = *recording;
            step.job.pieces = u32::try_from(spans.len()).unwrap_or(u32::MAX);
            step.pieces = Pieces::Made(pieces(job, &plan, spans, now));
            step.job.plan = Some(plan);
            step.job.stage = Stage::Recognizing;
        }
        (Stage::Accepted, Fact::Unusable { recording, fault }) => {
            step.job.recording = *recording;
            step.fail(fault, totals, now);
        }
        (Stage::Accepted | Stage::Recognizing, Fact::Fetched { recording, origin }) => {
            step.job.recording = *recording;
            step.job.origin = origin;
        }
        (Stage::Accepted, Fact::Missing { fault }) => {
            if std::mem::replace(&mut step.job.missing, true) {
                step.fail(fault, totals, now);
            } else {
                step.due = now + TIME_TO_FIND;
            }
        }
        (Stage::Recognizing, Fact::Missing { .. }) => step.job.missing = true,
        (Stage::Recognizing, Fact::Replanned) => {
            step.job.plan = None;
            step.job.stage = Stage::Accepted;
            step.pieces = Pieces::Gone;
        }
        (Stage::Recognizing, Fact::Piece { number, found, reports, revision, left }) => {
            step.job.missing &= !found;
            step.job.revision = step.job.revision.max(revision);
            step.report(number, reports, left.pieces, totals);
            if left.open == 0 {
                match left.fault {
                    Some(fault) if left.heard == 0 => step.fail(fault, totals, now),
                    _ => step.job.stage = Stage::Heard,
                }
            }
        }
        (Stage::Heard, Fact::Held { level, fault, retry_in }) if level > job.hold_told => {
            step.job.hold_told = level;
            step.retrying(None, totals.failures + 1, fault, retry_in);
            step.due = now + retry_in;
        }
        (Stage::Heard, Fact::Piped { event, emitted }) => {
            let stored = &job.stored;
            // A former owner may have received another answer, with another number of annotations. So once the final is stored, none is
            // added.
            if !stored.has_final {
                let annotations = annotate::annotations(event.segments.as_deref().unwrap_or_default());
                step.events.extend(annotations.into_iter().skip(stored.annotations));
                step.events.push(Body::TranscriptFinal(*event));
            }
            step.events.extend(stored.emissions.clone().new_ones(emitted));
            step.events.push(Body::JobCompleted(JobCompleted { bill: step.bill(totals, now) }));
            step.job.stage = Stage::Ended { failed: false, bad_input: false };
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

/// One piece per span.
fn pieces(job: &Job, plan: &Plan, spans: Vec<Span>, now: Timestamp) -> Vec<Piece> {
    let piece = |(number, span)| Piece::new(number, span, plan.engine.as_str(), &plan.model);
    let mut pieces: Vec<Piece> = (1..).zip(spans).map(piece).collect();
    if job.maybe_paid
        && let Some(first) = pieces.first_mut()
    {
        // It is not known which daemon sent the attempt, and when.
        first.attempts.push(Attempt::of_unknown_fate(Uuid::nil(), now));
    }
    pieces
}

impl Step {
    /// Turns what a piece reports into events. A job of several pieces is submitted once, with its first piece.
    fn report(&mut self, number: u32, reports: Vec<Report>, pieces: u32, totals: Totals) {
        let piece = (pieces > 1).then_some(number);
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
                        pieces: piece.map(|_| pieces),
                        possible_duplicate_charge: totals.possible_duplicate_charge,
                    }));
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
            billed_seconds: totals.billed_seconds,
            cost_usd: totals.cost_micro as f64 / 1e6,
            elapsed_ms: u64::try_from(now.duration_since(job.accepted_at).as_millis()).unwrap_or(0),
            possible_duplicate_charge: totals.possible_duplicate_charge,
        }
    }
}
