//! The job that a daemon takes over: the state from its claim, joined with the events that the stream already has of it.

use hark_sdk::event::{About, Body, Kind, TranscriptFinal, TranscriptSegment, Usage};
use hark_sdk::joined::joined;
use jiff::Timestamp;
use uuid::Uuid;

use crate::job::ledger::outbox::Stored;
use crate::job::{
    Attempt, Delivery, Fate, Job, Piece, PieceState, Plan, Prices, Span, Stage, StoredBefore, Transcript,
    paid,
};

/// What the stream of events has of a job.
#[derive(Debug, Clone, Default)]
pub struct StoredEvents {
    /// The `sequence` of the newest stored event; 0 if there is none.
    pub sequence: u64,
    /// Stream sequence of that event; 0 if there is none.
    pub stream_seq: u64,
    /// The job's last event (`job.completed` or `job.failed`) is stored.
    pub over: bool,
    /// A `job.submitted` is stored.
    pub submitted: bool,
    /// What the job has to know of them.
    pub before: StoredBefore,
    /// What plugins emitted, and the `annotation.speech`.
    pub published: Vec<Body>,
    /// The pieces that are stored as heard.
    pub segments: Vec<TranscriptSegment>,
    /// The final, if it is stored.
    pub transcript: Option<TranscriptFinal>,
    /// All stored events that this daemon can read, in order.
    pub events: Vec<Stored>,
}

impl StoredEvents {
    /// Adds the job's next event, at stream sequence `stream_seq`. An event without a kind, or without a body, is one that this version
    /// does not know.
    pub fn add(&mut self, kind: Option<&Kind>, sequence: Option<u64>, body: Option<Body>, stream_seq: u64) {
        self.sequence = sequence.unwrap_or(self.sequence);
        self.stream_seq = stream_seq;
        let Some(kind) = kind else { return };
        self.over |= kind.is_last();
        // Annotations before the final are the daemon's own, but for those that tell which segment or partial they are about.
        let is_about_a_part =
            body.as_ref().and_then(Body::about).is_some_and(|about| about != About::default());
        match kind.family() {
            "annotation" if *kind == Kind::AnnotationSpeech => {
                self.before.has_speech = true;
                self.published.extend(body.clone());
            }
            "annotation" if !self.before.has_final && !is_about_a_part => self.before.annotations += 1,
            "annotation" | "alert" | "plugin" => self.published.extend(body.clone()),
            _ => {}
        }
        match body {
            Some(Body::TranscriptFinal(transcript)) => {
                self.before.has_final = true;
                self.transcript = Some(transcript);
            }
            Some(Body::TranscriptSegment(segment)) => self.segments.push(segment),
            Some(Body::JobSubmitted(_)) => self.submitted = true,
            _ => {}
        }
    }
}

/// Continues a job and its pieces behind its stored events. If the final is stored, it is the transcript: no recognizer is asked again.
pub fn continue_job(
    mut job: Job,
    mut pieces: Vec<Piece>,
    stored: StoredEvents,
    prices: &Prices,
) -> (Job, Vec<Piece>) {
    job.sequence = stored.sequence;
    job.submitted |= stored.submitted;
    job.speech_reported |= stored.before.has_speech;
    job.stored = stored.before;
    // [`Fence::append_fence_event`] has stored a `job.retrying`, which counts as a failed try, unless its event was the job's first one (`job.accepted`).
    if stored.sequence > 1
        && let Some(first) = pieces.first_mut()
    {
        first.failures += 1;
    }
    let Some(heard) = stored.transcript else {
        for segment in stored.segments {
            adopt(&job, &mut pieces, segment, prices);
        }
        return (job, pieces);
    };
    let plan = job.plan.get_or_insert_with(|| Plan {
        engine: heard.engine.clone(),
        model: heard.model.clone(),
        delivery: Delivery::Inline,
        cut: None,
        split: None,
        reason: "another daemon has heard it".into(),
    });
    if pieces.is_empty() {
        // The recording was cut, or the claim with the job's attempts is lost. One piece stands for all; it has the most attempts that any piece
        // had, which tells whether a charge may be a duplicate.
        let mut piece =
            Piece::new(1, Span::whole(job.recording.duration_ms), plan.engine.as_str(), &plan.model);
        let most = job.paid.iter().max_by_key(|run| run.fates.len()).map_or(1, |run| run.first);
        piece.attempts = attempts(&job, most);
        pieces.push(piece);
    }
    let transcript = Transcript {
        text: heard.text,
        segments: heard.segments.unwrap_or_default(),
        truncated: heard.truncated,
        billed: heard.usage,
    };
    hold_heard(&mut pieces, transcript, prices);
    job.stage = Stage::Heard;
    (job, pieces)
}

/// Takes over a piece whose segment is stored: it is not sent again, and its text stays as the former owner published it. The plugins get it
/// once more, because the former owner may not have stored all of their emissions about it.
fn adopt(job: &Job, pieces: &mut Vec<Piece>, stored: TranscriptSegment, prices: &Prices) {
    let TranscriptSegment { engine, model, piece: number, begin_ms, end_ms, truncated, segments, .. } =
        stored;
    let at = pieces.iter().position(|piece| piece.number == number).unwrap_or_else(|| {
        let mut piece = Piece::new(number, Span::part(begin_ms, end_ms), engine.as_str(), &model);
        piece.attempts = attempts(job, number);
        pieces.push(piece);
        pieces.len() - 1
    });
    let piece = &mut pieces[at];
    // The bill is not in the event; the service bills whole seconds and cuts off the rest (the provider's documentation).
    let is_free = prices.is_free(engine.as_str());
    let billed = Usage::seconds(if is_free { 0 } else { end_ms.saturating_sub(begin_ms) / 1_000 });
    let text = joined(segments.iter().map(|segment| segment.text.as_str()));
    hold_heard(std::slice::from_mut(piece), Transcript { text, segments, truncated, billed }, prices);
    piece.state = PieceState::Piping { published: true };
}

/// The attempts of a piece that was heard, at least one.
fn attempts(job: &Job, piece: u32) -> Vec<Attempt> {
    let now = Timestamp::now();
    match paid::attempts(&job.paid, piece, now) {
        none if none.is_empty() => vec![Attempt::open(1, Uuid::nil(), now, None)],
        known => known,
    }
}

/// Gives the stored transcript to the first piece and ends the others without text: the final contains the text of all pieces.
fn hold_heard(pieces: &mut [Piece], transcript: Transcript, prices: &Prices) {
    let mut stored = Some(transcript);
    for piece in pieces {
        piece.state = PieceState::Heard;
        let heard = stored.take().unwrap_or_default();
        if let Some(last) = piece.attempts.last_mut() {
            last.fate = Fate::Taken;
            last.billed = last.billed.max(heard.billed);
            last.cost_micro = prices.of(&piece.recognizer, &piece.model).cost_micro(last.billed);
        }
        piece.heard = Some(heard);
    }
}

#[cfg(test)]
mod tests {
    use hark_sdk::event::{Engine, Kind, PluginEvent, Recording, Segment};
    use proptest::prelude::*;
    use serde_json::Map;

    use super::*;
    use crate::job::Origin;
    use crate::job::history::transcript_final;
    use crate::job::job_machine::{self, Fact, Totals};

    fn heard(languages: &[&str]) -> Vec<Segment> {
        let segment = |language: &&str| Segment {
            text: "text".into(),
            language: Some((*language).to_owned()),
            ..Segment::default()
        };
        languages.iter().map(segment).collect()
    }

    /// The events that a daemon publishes of a recognized job.
    fn pipe(job: &Job, segments: Vec<Segment>) -> Vec<Body> {
        let emitted = vec![Body::Plugin(PluginEvent { plugin: "a".into(), ..PluginEvent::default() })];
        let fact = Fact::Piped { event: Box::new(transcript_final(segments)), emitted };
        job_machine::advance(job, fact, Totals::default(), Timestamp::now()).events
    }

    fn after(events: &[Body]) -> StoredEvents {
        let mut stored = StoredEvents::default();
        for (body, sequence) in events.iter().zip(1..) {
            stored.add(Some(&body.kind()), Some(sequence), Some(body.clone()), sequence);
        }
        stored
    }

    #[test]
    fn a_piece_whose_text_the_service_cut_is_cut_after_a_takeover_too() {
        let job =
            Job::new(Uuid::nil(), "inbox", "default", Origin::Nothing, Recording::default(), Map::new());
        let stored = TranscriptSegment {
            engine: Engine::FLASH,
            model: "qwen3-asr-flash".into(),
            piece: 1,
            pieces: None,
            begin_ms: 0,
            end_ms: 5_000,
            truncated: true,
            segments: heard(&["en"]),
        };
        let (_, pieces) =
            continue_job(job, Vec::new(), after(&[Body::TranscriptSegment(stored)]), &Prices::default());
        assert!(pieces[0].heard.as_ref().is_some_and(|heard| heard.truncated));
    }

    fn languages() -> impl Strategy<Value = Vec<&'static str>> {
        prop::collection::vec(prop::sample::select(vec!["de", "en", "fr"]), 0..4)
    }

    proptest! {
        /// A second request may bring another answer than the first, and any part of the first answer's events may be stored.
        #[test]
        fn a_final_is_published_once_whatever_two_daemons_received(
            first in languages(), second in languages(), cut: prop::sample::Index,
        ) {
            let job = Job::new(Uuid::nil(), "inbox", "default", Origin::Nothing, Recording::default(), Map::new());
            let job = Job { stage: Stage::Heard, ..job };
            let mut events = pipe(&job, heard(&first));
            events.truncate(cut.index(events.len()));
            let stored = after(&events);
            let is_stored = events.iter().any(|event| event.kind().family() == "plugin");
            prop_assert_eq!(stored.published.len(), usize::from(is_stored));
            let (mut job, pieces) = continue_job(job, Vec::new(), stored, &Prices::default());
            let again = match pieces.first() {
                Some(piece) => piece.heard.clone().unwrap().segments,
                None => heard(&second),
            };
            job.stage = Stage::Heard;
            events.extend(pipe(&job, again));
            let kinds: Vec<Kind> = events.iter().map(Body::kind).collect();
            let count = |name: &str| kinds.iter().filter(|kind| kind.to_string() == name).count();
            let counts = [count("transcript.final"), count("job.completed")];
            prop_assert_eq!(counts, [1, 1], "{:?}", kinds);
        }
    }
}
