//! The job machine: a pure function from (job, fact) to (job, events). No clock, no socket, no disk.
//!
//! The ledger feeds it and stores what comes out in one transaction. A fact that does not fit the state (a late answer, a second
//! acknowledgement) changes nothing: whoever reports may report twice.

use std::time::Duration;

use hark_sdk::event::{
    Bill, Blame, Body, Fault, JobAccepted, JobCompleted, JobFailed, JobRetrying, JobSubmitted, Recording,
    TranscriptFinal,
};
use jiff::Timestamp;

use super::{Consequence, Failure, Job, Plan, State, Transcript, annotate};

/// Something that happened to a job.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// Someone looked inside and made a plan.
    Prepared { recording: Box<Recording>, plan: Plan },
    /// The input is no recording that can be recognized. What was learned of it stands in `recording`.
    Unusable { recording: Box<Recording>, fault: Fault },
    /// The next thing that leaves costs money. `object` names the upload, if there is one.
    Sending { object: Option<String> },
    /// Nothing left after all.
    Unsent,
    /// The service has it; filetrans gave it a task.
    Taken { task_id: Option<String> },
    /// The transcript is here; `revision` of its last partial.
    Heard { transcript: Transcript, revision: u64 },
    /// A try failed. `billed_seconds` and `revision`: what was heard and published before it did.
    Failed { failure: Failure, billed_seconds: u64, revision: u64 },
    /// The task's result has not come, and the service will delete it. `warnings`: how many this makes.
    Expiring { warnings: u32, fault: Fault, retry_in: Duration },
    /// The service does not speak of the task for now (a refused account, a list that does not answer); the task is as it was.
    Hindered { fault: Fault, retry_in: Duration },
    /// The recording is not where it was; it may have been moved, and the source may not have noticed yet.
    Missing { fault: Fault },
    /// The config has another plan for it now.
    Replanned { plan: Plan },
    /// The daemon started and found the job like this: nobody is at work on it.
    Restarted,
    /// What the service's task list says about a request of unknown fate.
    Listed(Listing),
    /// A plugin has to look at the transcript and cannot; `told` as [`Job::hold_told`].
    Held { told: u32, fault: Fault, retry_in: Duration },
    /// The plugins have had their say.
    Piped { event: Box<TranscriptFinal>, emitted: Vec<Body> },
    /// JetStream has the last event.
    Stored,
    /// The source knows. `missed`: the file was not there to be put away.
    Settled { missed: bool },
}

/// What the task list says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listing {
    /// The task is ours: its result names our upload.
    Found { task_id: String },
    /// It is provably not there.
    Absent,
    /// Not decided yet (a candidate is still running); ask again later.
    Undecided,
    /// It can never be told.
    CannotTell,
}

/// What the machine has to know of the config.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// `dashscope.ambiguous_retries`.
    pub ambiguous_retries: u32,
    /// USD per second of audio.
    pub price: f64,
}

/// What follows from a fact.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The job as it is now.
    pub job: Job,
    /// To be stored, in this order.
    pub events: Vec<Body>,
    /// When the next duty may start.
    pub due: Timestamp,
}

/// ServerRefusals of one job that the service may answer for reasons of its own (5xx) before the job fails: with the backoff of
/// `recognize::error` (doubling to five minutes) an outage of about an hour.
const REFUSAL_BUDGET: u32 = 18;

/// A task list may lag behind a submit that it has taken; the second look comes this long after the first.
const LIST_LAG: Duration = Duration::from_secs(5);

/// A file that was renamed is found under its new name by then: a hint of the filesystem takes a fraction of a second, and where there
/// are none, this is half of a rescan.
const TIME_TO_FIND: Duration = Duration::from_secs(5);

/// A stream's revisions are not on disk while it runs. After a crash the next ones start this much higher, so that no id is used
/// twice: five minutes of speech stream in fewer pieces than that.
const REVISION_LEAP: u64 = 10_000;

/// The first event of a job.
pub fn accepted(job: &Job) -> Body {
    Body::JobAccepted(JobAccepted { route: job.route.clone() })
}

/// What becomes of a job when `fact` happens at `now`.
pub fn advance(job: &Job, fact: Fact, policy: &Policy, now: Timestamp) -> Step {
    let mut step = Step { job: job.clone(), events: Vec::new(), due: now };
    let state = job.state.clone();
    match (state, fact) {
        (State::Accepted, Fact::Prepared { recording, plan }) => {
            step.job.missing = false;
            step.job.recording = *recording;
            step.job.state = State::Queued { plan };
        }
        (State::Accepted, Fact::Unusable { recording, fault }) => {
            step.job.recording = *recording;
            step.fail(fault, policy, now);
        }
        (State::Queued { plan }, Fact::Sending { object }) => {
            // A try that was charged and brought no transcript counts as well.
            let is_repeat = job.ambiguous > 0 || job.inherited || job.unsure || job.billed_seconds > 0;
            step.job.marks = is_repeat && !job.possible_duplicate_charge;
            step.job.possible_duplicate_charge |= is_repeat;
            step.job.missing = false;
            step.job.state = State::Submitting { plan, object, sent_at: now };
        }
        (State::Submitting { plan, .. }, Fact::Unsent) => {
            step.unmark();
            step.job.state = State::Queued { plan };
        }
        (State::Submitting { plan, .. }, Fact::Taken { task_id }) => step.submitted(plan, task_id, now),
        (
            State::Submitting { plan, .. } | State::Submitted { plan, .. },
            Fact::Heard { transcript, revision },
        ) => {
            step.job.revision = step.job.revision.max(revision);
            step.job.billed_seconds += transcript.billed_seconds;
            step.job.marks = false;
            step.job.state = State::Heard { plan, transcript };
        }
        (
            State::Accepted | State::Queued { .. } | State::Submitting { .. } | State::Submitted { .. },
            Fact::Failed { failure, billed_seconds, revision },
        ) => {
            step.job.billed_seconds += billed_seconds;
            step.job.revision = step.job.revision.max(revision);
            step.failed(failure, billed_seconds > 0, policy, now);
        }
        (
            State::Submitted { plan, task_id, submitted_at, warned },
            Fact::Expiring { warnings, fault, retry_in },
        ) if warnings > warned => {
            // The task is as it was: what failed is a download, which costs nothing.
            step.say_retrying(job.attempts + 1, fault, retry_in);
            step.job.state = State::Submitted { plan, task_id, submitted_at, warned: warnings };
        }
        (State::Submitted { .. }, Fact::Hindered { fault, retry_in }) => {
            step.say_retrying(job.attempts + 1, fault, retry_in);
        }
        // The try that is looked for has failed already.
        (State::Reconciling { .. }, Fact::Hindered { fault, retry_in }) => {
            step.say_retrying(job.attempts, fault, retry_in);
            step.due = now + LIST_LAG;
        }
        (State::Accepted | State::Queued { .. }, Fact::Missing { fault }) => {
            if std::mem::replace(&mut step.job.missing, true) {
                step.fail(fault, policy, now);
            } else {
                step.due = now + TIME_TO_FIND;
            }
        }
        (State::Queued { .. }, Fact::Replanned { plan }) => step.job.state = State::Queued { plan },
        (State::Submitting { .. }, Fact::Restarted) => {
            step.job.revision += REVISION_LEAP;
            step.failed(interrupted(), false, policy, now);
        }
        (State::Reconciling { plan, object, absences, sent_at, until, fault }, Fact::Listed(listing)) => {
            let why = fault.clone().unwrap_or_else(|| interrupted().fault);
            match listing {
                Listing::Found { task_id } => step.submitted(plan, Some(task_id), now),
                Listing::Absent if absences == 0 => {
                    step.job.state = State::Reconciling { plan, object, absences: 1, sent_at, until, fault };
                    step.due = now + LIST_LAG;
                }
                // The service never had it: the next try costs nothing twice. Its upload is not free either.
                Listing::Absent => {
                    step.unmark();
                    if job.refusals + 1 >= REFUSAL_BUDGET {
                        step.fail(why, policy, now);
                    } else {
                        step.job.refusals += 1;
                        step.retry(why, absent_again(job.refusals), now);
                    }
                }
                Listing::Undecided => step.due = now + LIST_LAG,
                Listing::CannotTell => step.repeat_unknown(why, policy, now),
            }
        }
        (State::Heard { .. }, Fact::Held { told, fault, retry_in }) if told > job.hold_told => {
            step.job.hold_told = told;
            step.say_retrying(job.attempts + 1, fault, retry_in);
            step.due = now + retry_in;
        }
        (State::Heard { .. }, Fact::Piped { event, emitted }) => {
            // A former owner may have heard another answer: what is stored of each kind says nothing of how many there are of it now.
            if !job.final_told {
                let annotations = annotate::annotations(event.segments.as_deref().unwrap_or_default());
                step.events.extend(annotations.into_iter().skip(job.annotations_told));
                step.events.push(Body::TranscriptFinal(*event));
            }
            step.events.extend(emitted.into_iter().skip(job.emitted_told));
            step.events.push(Body::JobCompleted(JobCompleted { bill: step.bill(policy, now) }));
            step.job.state = State::Ended { failed: false, bad_input: false };
        }
        (State::Ended { failed, bad_input }, Fact::Stored) => {
            step.job.missing = false;
            step.job.state = State::Stored { failed, bad_input };
        }
        (State::Stored { failed, .. }, Fact::Settled { missed }) => {
            step.job.missing = missed;
            step.job.state = State::Settled { failed };
        }
        _ => {}
    }
    step
}

/// How long the next try waits after so many others came to nothing: not at all first (a crash fell between, say), then as after a refusal.
fn absent_again(refusals: u32) -> Duration {
    const FIRST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(300);
    match refusals {
        0 => Duration::ZERO,
        more => (FIRST * (1 << (more - 1).min(10))).min(LONGEST),
    }
}

/// What a crash between intent and answer looks like from the next start.
fn interrupted() -> Failure {
    Failure {
        fault: Fault {
            code: "Interrupted".into(),
            blame: Blame::Service,
            message: "the daemon ended between sending a request and hearing its answer; whether the service took it is unknown"
                .into(),
            attempts: None,
        },
        consequence: Consequence::Unknown,
        unsure: false,
    }
}

impl Step {
    /// The service has it: if it repeats another one, that has happened and is told.
    fn submitted(&mut self, plan: Plan, task_id: Option<String>, now: Timestamp) {
        self.job.marks = false;
        self.events.push(Body::JobSubmitted(JobSubmitted {
            engine: plan.engine.clone(),
            model: plan.model.clone(),
            task_id: task_id.clone(),
            possible_duplicate_charge: self.job.possible_duplicate_charge,
        }));
        // Flash has no task: the request itself is still under way, and its intent stays on disk until the answer is.
        if let Some(task_id) = task_id {
            self.job.state = State::Submitted { plan, task_id, submitted_at: now, warned: 0 };
        }
    }

    /// The request under way was not sent, or was refused and not charged, or is absent: a mark that it set tells of no repeat.
    /// Whatever set it before stays known, and marks the next one.
    fn unmark(&mut self) {
        if std::mem::take(&mut self.job.marks) {
            self.job.possible_duplicate_charge = false;
        }
    }

    /// `is_charged`: the try told a bill before it failed.
    fn failed(&mut self, failure: Failure, is_charged: bool, policy: &Policy, now: Timestamp) {
        self.job.attempts += 1;
        let Failure { fault, consequence, unsure } = failure;
        let consequence = match (&self.job.state, consequence) {
            // The list can tell whether it was handed on.
            (State::Submitting { object: Some(_), .. }, Consequence::Retry { .. }) if unsure => {
                Consequence::Unknown
            }
            (State::Submitting { .. }, consequence) => {
                self.job.unsure |= unsure;
                consequence
            }
            (_, consequence) => consequence,
        };
        match consequence {
            // It may be told yet.
            Consequence::Unknown => {}
            _ if unsure || is_charged => self.job.marks = false,
            _ => self.unmark(),
        }
        match consequence {
            Consequence::GiveUp => self.fail(fault, policy, now),
            Consequence::Retry { counts: true, .. } if self.job.refusals + 1 >= REFUSAL_BUDGET => {
                self.fail(fault, policy, now)
            }
            Consequence::Retry { after, counts } => {
                self.job.refusals += u32::from(counts);
                self.retry(fault, after, now);
            }
            Consequence::Hold { after, announce } => {
                let events = self.events.len();
                self.retry(fault, after, now);
                if !announce {
                    self.events.truncate(events);
                }
                // The queue itself is held; the job need not wait once it opens.
                self.due = now;
            }
            Consequence::Unknown => match self.job.state.clone() {
                State::Submitting { plan, object: Some(object), sent_at } => {
                    // One that its former daemon sends later than that is marked, for this one is inherited.
                    let (until, fault) = (Some(now), Some(fault));
                    self.job.state = State::Reconciling { plan, object, absences: 0, sent_at, until, fault };
                    self.due = now + LIST_LAG;
                }
                _ => self.repeat_unknown(fault, policy, now),
            },
        }
    }

    /// A request of unknown fate may be repeated within its budget.
    fn repeat_unknown(&mut self, fault: Fault, policy: &Policy, now: Timestamp) {
        self.job.marks = false;
        self.job.ambiguous += 1;
        if self.job.ambiguous > policy.ambiguous_retries {
            // Whoever was to blame for the failure: that it cannot be tried again is because nobody can tell what became of it.
            self.fail(Fault { blame: Blame::Service, ..fault }, policy, now);
        } else {
            self.retry(fault, Duration::from_secs(1 << self.job.ambiguous.min(6)), now);
        }
    }

    fn retry(&mut self, fault: Fault, after: Duration, now: Timestamp) {
        if let Some(plan) = self.job.state.plan().cloned() {
            self.job.state = State::Queued { plan };
        }
        self.say_retrying(self.job.attempts, fault, after);
        self.due = now + after;
    }

    fn say_retrying(&mut self, attempt: u32, error: Fault, after: Duration) {
        let retry_in_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        self.events.push(Body::JobRetrying(JobRetrying { attempt, error, retry_in_ms }));
    }

    fn fail(&mut self, fault: Fault, policy: &Policy, now: Timestamp) {
        // An ending always made at least one try, if only at looking inside.
        let error = Fault { attempts: Some(self.job.attempts.max(1)), ..fault };
        let bad_input = error.blame == Blame::Audio;
        self.events.push(Body::JobFailed(JobFailed { error, bill: self.bill(policy, now) }));
        self.job.state = State::Ended { failed: true, bad_input };
    }

    fn bill(&self, policy: &Policy, now: Timestamp) -> Bill {
        let job = &self.job;
        Bill {
            audio_seconds: job.recording.duration_ms.map(|ms| ms as f64 / 1000.0),
            billed_seconds: job.billed_seconds,
            cost_usd: round_micro(job.billed_seconds as f64 * policy.price),
            elapsed_ms: u64::try_from(now.duration_since(job.accepted_at).as_millis()).unwrap_or(0),
            possible_duplicate_charge: job.possible_duplicate_charge,
        }
    }
}

/// A millionth of a dollar is below any price of a second; more digits would be the float's, not the bill's.
fn round_micro(usd: f64) -> f64 {
    (usd * 1e6).round() / 1e6
}
