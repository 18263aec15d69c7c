//! A job that another daemon had, or that we claimed before we fell: under the same id, behind the events that are stored.

use std::sync::Arc;

use async_nats::jetstream::message::Acker;
use futures::future::BoxFuture;
use hark_sdk::event::{Fault, TranscriptFinal};
use jiff::Timestamp;
use tracing::{info, warn};

use super::Subject;
use super::claim::Claim;
use crate::job::ledger::{LedgerError, intake, jobs};
use crate::job::machine::Fact;
use crate::job::{Delivery, Duty, Job, Plan, State, Transcript};

/// What the stream of events has of a job.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// Of the last event; 0 for none.
    pub sequence: u64,
    /// Of that event in the stream.
    pub stream_seq: u64,
    /// It was the job's last.
    pub over: bool,
    /// Events of the transcript and of what plugins made of it.
    pub of_transcript: usize,
    /// The final, if it is stored.
    pub transcript: Option<TranscriptFinal>,
}

/// Puts an event behind those that are stored of a job, so that no other daemon's can follow, and tells what there is. Handed in: the
/// subjects of events are known to the right of here.
pub type StepIn = Arc<dyn Fn(Job) -> BoxFuture<'static, Result<Told, String>> + Send + Sync>;

impl Subject {
    /// Goes on with a job that the bucket says is ours and the ledger does not know. `job` is what the message alone would become.
    pub(super) async fn take_over(
        &self,
        claim: &Claim,
        key: String,
        job: Job,
        refusal: Option<Fault>,
        acker: Arc<Acker>,
    ) -> Result<(), LedgerError> {
        let job = claim.resume(job);
        let told = match (self.step_in)(job.clone()).await {
            Ok(told) => told,
            Err(reason) => {
                warn!(job = %job.id, reason, "the job cannot be gone on with now; it is looked at again at the next delivery");
                super::spool::remove(&self.state_directory, job.id).await;
                return Ok(());
            }
        };
        if told.over {
            info!(job = %job.id, "its last event is stored already");
            let over = Job { state: State::Settled { failed: false }, ..job };
            if let Err(unconfirmed) = self.claims.write(&over).await {
                warn!(job = %over.id, %unconfirmed, "other daemons do not know that this job is over");
            }
            self.held.hold(over.id, acker);
            self.settle(over.id, false).await;
            return Ok(());
        }
        let stream_seq = told.stream_seq;
        let job = go_on(job, told, claim.plan());
        info!(job = %job.id, source = job.source, sequence = job.sequence, duty = job.state.duty().as_str(), "taken over");
        self.held.hold(job.id, acker);
        self.held.mark(job.id, matches!(job.state, State::Submitted { .. }));
        let (id, policy) = (job.id, self.policy);
        let adopted = self.ledger.write(move |connection| {
            let now = Timestamp::now();
            jobs::adopt(connection, &job, stream_seq)?;
            intake::remember(connection, &key, job.id)?;
            let fact = match (&job.state, &refusal) {
                (State::Submitting { .. }, _) => Some(Fact::Restarted),
                (State::Accepted, Some(fault)) => {
                    Some(Fact::Unusable { recording: Box::new(job.recording.clone()), fault: fault.clone() })
                }
                _ => None,
            };
            fact.map(|fact| jobs::advance(connection, job.id, fact, &policy, now)).transpose()?;
            jobs::find(connection, job.id)
        });
        let duty = adopted.await?.map_or(Duty::Nothing, |job| job.state.duty());
        info!(job = %id, duty = duty.as_str(), "goes on here");
        self.metrics.source_accepted.with_label_values(&[&self.config.name]).inc();
        self.ledger.wake(duty);
        self.ledger.wake(Duty::Publish);
        Ok(())
    }
}

/// The job behind what is stored of it. A stored final is the transcript: nothing is asked of the service again.
fn go_on(mut job: Job, told: Told, plan: Option<&Plan>) -> Job {
    // The event that took the place says so of a try, unless it was the first of all.
    job.attempts += u32::from(told.sequence > 1);
    job.sequence = told.sequence;
    job.told = told.of_transcript;
    if let Some(heard) = told.transcript {
        let plan = plan.cloned().unwrap_or_else(|| Plan {
            engine: heard.engine,
            model: heard.model.clone(),
            delivery: Delivery::Inline,
            reason: "it is heard already".into(),
        });
        job.billed_seconds += heard.usage.seconds;
        let transcript = Transcript {
            text: heard.text,
            segments: heard.segments.unwrap_or_default(),
            truncated: heard.truncated,
            billed_seconds: heard.usage.seconds,
        };
        job.state = State::Heard { plan, transcript };
    }
    job
}
