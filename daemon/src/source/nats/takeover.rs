//! A job that another daemon had, or that we claimed before we fell: under the same id, behind the events that are stored.

use hark_sdk::event::Fault;
use jiff::Timestamp;
use tracing::{info, warn};

use super::Subject;
use super::unacked::Sign;
use crate::job::ledger::{LedgerError, intake, jobs};
use crate::job::machine::Fact;
use crate::job::{Duty, Job, State, spool};
use crate::share::claim::Claim;
use crate::share::go_on;

impl Subject {
    /// Goes on with a job that the bucket says is ours and the ledger does not know. `job` is what the message alone would become.
    pub(super) async fn take_over(
        &self,
        claim: &Claim,
        key: String,
        job: Job,
        refusal: Option<Fault>,
        sign: Sign,
    ) -> Result<(), LedgerError> {
        let job = claim.resume(job);
        let told = match self.fence.clone().step_in(job.clone()).await {
            Ok(told) => told,
            Err(reason) => {
                warn!(job = %job.id, reason, "the job cannot be gone on with now; it is looked at again at the next delivery");
                spool::remove(&self.state_directory, job.id).await;
                return Ok(());
            }
        };
        if told.over {
            info!(job = %job.id, "its last event is stored already");
            let over = Job { state: State::Settled { failed: false }, ..job };
            if let Err(unconfirmed) = self.claims.write(&over).await {
                warn!(job = %over.id, %unconfirmed, "other daemons do not know that this job is over");
            }
            self.held.hold(over.id, sign);
            self.settle(over.id, false).await;
            return Ok(());
        }
        let stream_seq = told.stream_seq;
        let job = go_on(job, told, claim.plan());
        info!(job = %job.id, source = job.source, sequence = job.sequence, duty = job.state.duty().as_str(), "taken over");
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
        self.ledger.tell(id, Some(duty));
        self.ledger.wake(Duty::Publish);
        // After the row is there: the feed says of jobs that the ledger has let go of, and this id may be one.
        self.join(id, sign).await
    }
}
