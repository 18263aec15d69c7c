//! The job that a daemon takes over: what its claim tells, behind what the stream has stored of it.

use hark_sdk::event::{Kind, TranscriptFinal};

use crate::job::{Delivery, Job, Plan, State, Transcript};

/// What the stream of events has of a job.
#[derive(Debug, Clone, Default)]
pub struct StoredEvents {
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

impl StoredEvents {
    /// The next event of the job, from this place in the stream. Without a kind: of one that this version does not know.
    pub fn hear(
        &mut self,
        kind: Option<&Kind>,
        sequence: Option<u64>,
        transcript: Option<TranscriptFinal>,
        stream_seq: u64,
    ) {
        self.sequence = sequence.unwrap_or(self.sequence);
        self.stream_seq = stream_seq;
        let Some(kind) = kind else { return };
        self.over |= kind.is_last();
        // What plugins say before the final is about partials; after it they may annotate as well.
        let is_after = self.transcript.is_some();
        match kind.family() {
            "annotation" | "alert" | "plugin" if is_after => self.emitted += 1,
            "annotation" => self.annotations += 1,
            _ => {}
        }
        self.transcript = transcript.or(self.transcript.take());
    }
}

/// The job behind what is stored of it. A stored final is the transcript: nothing is asked of the service again.
pub fn go_on(mut job: Job, told: StoredEvents, plan: Option<&Plan>) -> Job {
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
    use hark_sdk::event::{Body, Engine, Recording, Segment, Timing, Usage};
    use proptest::prelude::*;
    use serde_json::{Map, json};
    use uuid::Uuid;

    use jiff::Timestamp;

    use super::*;
    use crate::job::Origin;
    use crate::job::machine::{self, Fact, Policy};

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

    fn after(events: &[Body]) -> StoredEvents {
        let mut told = StoredEvents::default();
        for (body, sequence) in events.iter().zip(1..) {
            let transcript = match body {
                Body::TranscriptFinal(transcript) => Some(transcript.clone()),
                _ => None,
            };
            told.hear(Some(&body.kind()), Some(sequence), transcript, sequence);
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
