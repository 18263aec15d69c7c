//! A job that another daemon had, or that we claimed before we fell: under the same id, behind the events that are stored.

use std::sync::Arc;

use futures::future::BoxFuture;
use hark_sdk::event::{Body, Event, Fault, TranscriptFinal};
use jiff::Timestamp;
use tracing::{info, warn};

use super::Subject;
use super::claim::Claim;
use super::held::Sign;
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
    /// Annotations before the final.
    pub annotations: usize,
    /// The final, if it is stored.
    pub transcript: Option<TranscriptFinal>,
    /// What plugins said after it.
    pub emitted: usize,
}

impl Told {
    /// The next event of the job, from this place in the stream.
    pub fn hear(&mut self, event: Event, stream_seq: u64) {
        let kind = event.kind();
        self.sequence = event.sequence.unwrap_or(self.sequence);
        self.stream_seq = stream_seq;
        self.over |= kind.is_last();
        // What plugins say before the final is about partials; after it they may annotate as well.
        let is_after = self.transcript.is_some();
        match kind.family() {
            "annotation" | "alert" | "plugin" if is_after => self.emitted += 1,
            "annotation" => self.annotations += 1,
            _ => {}
        }
        if let Body::TranscriptFinal(transcript) = event.body {
            self.transcript = Some(transcript);
        }
    }
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
        sign: Sign,
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
            self.held.hold(over.id, sign);
            self.settle(over.id, false).await;
            return Ok(());
        }
        let stream_seq = told.stream_seq;
        let job = go_on(job, told, claim.plan());
        info!(job = %job.id, source = job.source, sequence = job.sequence, duty = job.state.duty().as_str(), "taken over");
        self.held.hold(job.id, sign);
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
    job.annotations_told = told.annotations;
    job.final_told = told.transcript.is_some();
    job.emitted_told = told.emitted;
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

#[cfg(test)]
mod tests {
    use hark_sdk::event::{Engine, Kind, Recording, Segment, Timing, Usage};
    use proptest::prelude::*;
    use serde_json::{Map, json};
    use uuid::Uuid;

    use super::*;
    use crate::job::Origin;
    use crate::job::machine::{self, Policy};

    fn heard(languages: &[&str]) -> Transcript {
        let segment = |language: &&str| Segment {
            channel: 0,
            role: None,
            begin_ms: None,
            end_ms: None,
            timing: Timing::None,
            text: "text".into(),
            language: Some((*language).to_owned()),
            emotion: None,
        };
        Transcript { segments: languages.iter().map(segment).collect(), ..Transcript::default() }
    }

    /// What a daemon tells of a job that it has heard, with so many words of a plugin.
    fn pipe(job: &Job, alerts: usize) -> Vec<Body> {
        let State::Heard { transcript, .. } = &job.state else { panic!("{:?}", job.state) };
        let event = TranscriptFinal {
            engine: Engine::Flash,
            model: "model".into(),
            text: String::new(),
            language: None,
            emotion: None,
            truncated: false,
            segments: Some(transcript.segments.clone()),
            segments_object: None,
            usage: Usage { seconds: 1 },
        };
        let alert =
            |number: usize| hark_sdk::emission::emitted("p", "plugin", json!(number).to_string().as_bytes());
        let emitted = (0..alerts).map(|number| alert(number).unwrap()).collect();
        let policy = Policy { ambiguous_retries: 1, price: 0.0 };
        let fact = Fact::Piped { event: Box::new(event), emitted };
        machine::advance(job, fact, &policy, Timestamp::now()).events
    }

    fn after(events: &[Body]) -> Told {
        let mut told = Told::default();
        for (body, sequence) in events.iter().zip(1..) {
            let event = Event {
                job: Uuid::nil(),
                source: "inbox".into(),
                sequence: Some(sequence),
                time: Timestamp::now(),
                recording: Recording::default(),
                metadata: Map::new(),
                body: body.clone(),
            };
            told.hear(event, sequence);
        }
        told
    }

    fn languages() -> impl Strategy<Value = Vec<&'static str>> {
        prop::collection::vec(prop::sample::select(vec!["de", "en", "fr"]), 0..4)
    }

    proptest! {
        /// A second request may bring another answer than the first, of which any part is told.
        #[test]
        fn a_final_and_each_word_of_a_plugin_is_told_once_whatever_two_daemons_heard(
            first in languages(), second in languages(), alerts in 0_usize..4, cut: prop::sample::Index,
        ) {
            let plan = || Plan {
                engine: Engine::Flash,
                model: "model".into(),
                delivery: Delivery::Inline,
                reason: "dice".into(),
            };
            let of = |transcript| State::Heard { plan: plan(), transcript };
            let job = Job::new(Uuid::nil(), "inbox", "default", Origin::Nothing, Recording::default(), Map::new());
            let mut told = pipe(&Job { state: of(heard(&first)), ..job.clone() }, alerts);
            told.truncate(cut.index(told.len()));
            let mut taken_over = go_on(job, after(&told), Some(&plan()));
            if !matches!(taken_over.state, State::Heard { .. }) {
                taken_over.state = of(heard(&second));
            }
            told.extend(pipe(&taken_over, alerts));
            let kinds: Vec<Kind> = told.iter().map(Body::kind).collect();
            let count = |family: &str| kinds.iter().filter(|kind| kind.family() == family).count();
            prop_assert_eq!((count("transcript"), count("plugin"), count("job")), (1, alerts, 1), "{:?}", kinds);
        }
    }
}
