//! The job that a daemon takes over: what its claim tells, behind what the stream has stored of it.

use hark_sdk::event::{Body, Kind, TranscriptFinal};
use jiff::Timestamp;
use uuid::Uuid;

use crate::job::{
    Attempt, Delivery, Emissions, Fate, Job, Piece, PieceState, Plan, Prices, Span, Stage, StoredBefore,
    Transcript,
};

/// What the stream of events has of a job.
#[derive(Debug, Clone, Default)]
pub struct StoredEvents {
    /// Of the last event; 0 for none.
    pub sequence: u64,
    /// Of that event in the stream.
    pub stream_seq: u64,
    /// It was the job's last.
    pub over: bool,
    /// A recognizer had the job.
    pub submitted: bool,
    /// Annotations before the final.
    pub annotations: usize,
    /// The final, if it is stored.
    pub transcript: Option<TranscriptFinal>,
    /// What plugins said after it.
    pub emissions: Emissions,
}

impl StoredEvents {
    /// The next event of the job, from this place in the stream. Without a kind, or without a body: one that this version does not know.
    pub fn hear(&mut self, kind: Option<&Kind>, sequence: Option<u64>, body: Option<Body>, stream_seq: u64) {
        self.sequence = sequence.unwrap_or(self.sequence);
        self.stream_seq = stream_seq;
        let Some(kind) = kind else { return };
        self.over |= kind.is_last();
        // What plugins say before the final is about partials; after it they may annotate as well.
        let is_after = self.transcript.is_some();
        match kind.family() {
            "annotation" | "alert" | "plugin" if is_after => {
                body.iter().for_each(|body| self.emissions.add(body));
            }
            "annotation" => self.annotations += 1,
            _ => {}
        }
        match body {
            Some(Body::TranscriptFinal(transcript)) => self.transcript = Some(transcript),
            Some(Body::JobSubmitted(_)) => self.submitted = true,
            _ => {}
        }
    }
}

/// The job and its pieces behind what is stored of it. A stored final is the transcript: no recognizer is asked again.
pub fn go_on(
    mut job: Job,
    mut pieces: Vec<Piece>,
    stored: StoredEvents,
    prices: &Prices,
) -> (Job, Vec<Piece>) {
    job.sequence = stored.sequence;
    job.submitted |= stored.submitted;
    job.stored = StoredBefore {
        annotations: stored.annotations,
        has_final: stored.transcript.is_some(),
        emissions: stored.emissions,
    };
    // The event that took the place says so of a try, unless it was the first of all.
    if stored.sequence > 1
        && let Some(first) = pieces.first_mut()
    {
        first.failures += 1;
    }
    if let Some(heard) = stored.transcript {
        let plan = job.plan.get_or_insert_with(|| Plan {
            engine: heard.engine.clone(),
            model: heard.model.clone(),
            delivery: Delivery::Inline,
            reason: "another daemon has heard it".into(),
        });
        if pieces.is_empty() {
            // The claim that told of its attempts is lost.
            let mut piece =
                Piece::new(1, Span::whole(job.recording.duration_ms), plan.engine.as_str(), &plan.model);
            piece.attempts.push(Attempt::open(1, Uuid::nil(), Timestamp::now(), None));
            pieces.push(piece);
        }
        let transcript = Transcript {
            text: heard.text,
            segments: heard.segments.unwrap_or_default(),
            truncated: heard.truncated,
            billed_seconds: heard.usage.seconds,
        };
        hold_heard(&mut pieces, transcript, prices);
        job.stage = Stage::Heard;
    }
    (job, pieces)
}

/// The first piece holds what is stored, and the others are done: the final has their words in it.
fn hold_heard(pieces: &mut [Piece], transcript: Transcript, prices: &Prices) {
    let mut words = Some(transcript);
    for piece in pieces {
        piece.state = PieceState::Heard;
        let heard = words.take().unwrap_or_default();
        if let Some(last) = piece.attempts.last_mut() {
            last.fate = Fate::Taken;
            last.seconds = last.seconds.max(heard.billed_seconds);
            last.cost_micro = prices.cost_micro(&piece.model, last.seconds);
        }
        piece.heard = Some(heard);
    }
}

#[cfg(test)]
mod tests {
    use hark_sdk::event::{Engine, Kind, PluginEvent, Recording, Segment, Timing, Usage};
    use proptest::prelude::*;
    use serde_json::{Map, json};

    use super::*;
    use crate::job::Origin;
    use crate::job::job_machine::{self, Fact, Totals};

    fn heard(languages: &[&str]) -> Vec<Segment> {
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
        languages.iter().map(segment).collect()
    }

    /// What a daemon tells of a job that it has heard, with what its plugins say.
    fn pipe(job: &Job, segments: Vec<Segment>, plugins: &[&str]) -> Vec<Body> {
        let event = TranscriptFinal {
            engine: Engine::FLASH,
            model: "model".into(),
            text: String::new(),
            language: None,
            emotion: None,
            truncated: false,
            segments: Some(segments),
            segments_object: None,
            usage: Usage { seconds: 1 },
        };
        let emitted = plugins
            .iter()
            .map(|plugin| Body::Plugin(PluginEvent { plugin: (*plugin).into(), data: json!(1) }))
            .collect();
        let fact = Fact::Piped { event: Box::new(event), emitted };
        job_machine::advance(job, fact, Totals::default(), Timestamp::now()).events
    }

    fn after(events: &[Body]) -> StoredEvents {
        let mut stored = StoredEvents::default();
        for (body, sequence) in events.iter().zip(1..) {
            stored.hear(Some(&body.kind()), Some(sequence), Some(body.clone()), sequence);
        }
        stored
    }

    fn languages() -> impl Strategy<Value = Vec<&'static str>> {
        prop::collection::vec(prop::sample::select(vec!["de", "en", "fr"]), 0..4)
    }

    proptest! {
        /// A second request may bring another answer than the first, of which any part is told; and the daemon that takes over may have
        /// other plugins.
        #[test]
        fn a_final_and_each_word_of_a_plugin_is_told_once_whatever_two_daemons_heard(
            first in languages(), second in languages(), cut: prop::sample::Index,
        ) {
            let job = Job::new(Uuid::nil(), "inbox", "default", Origin::Nothing, Recording::default(), Map::new());
            let job = Job { stage: Stage::Heard, ..job };
            let mut told = pipe(&job, heard(&first), &["a", "a", "b"]);
            told.truncate(cut.index(told.len()));
            let (mut job, pieces) = go_on(job, Vec::new(), after(&told), &Prices::default());
            let again = match pieces.first() {
                Some(piece) => piece.heard.clone().unwrap().segments,
                None => heard(&second),
            };
            job.stage = Stage::Heard;
            told.extend(pipe(&job, again, &["c", "a", "a", "b"]));
            let kinds: Vec<Kind> = told.iter().map(Body::kind).collect();
            let count = |name: &str| kinds.iter().filter(|kind| kind.to_string() == name).count();
            let counts = [count("transcript.final"), count("job.completed"), count("plugin.a"), count("plugin.b"), count("plugin.c")];
            prop_assert_eq!(counts, [1, 1, 2, 1, 1], "{:?}", kinds);
        }
    }
}
