//! The transcript of a job, made from the transcripts of its pieces. Pure.

use hark_sdk::event::{Quality, Segment, Timing, TranscriptFinal};

use super::annotate::prevailing;
use super::joined::joined;
use super::repetition::repeats;
use super::{Job, Piece, PieceState, Plan, Transcript};

/// The final of a job whose pieces have ended. A piece that failed is a segment with an error and without text. `None` only for a job
/// without a plan; a job whose pieces have ended has one.
pub fn final_of(job: &Job, pieces: &[Piece]) -> Option<TranscriptFinal> {
    let Plan { engine, model, .. } = job.plan.clone()?;
    let heard: Vec<&Transcript> = pieces.iter().filter_map(|piece| piece.heard.as_ref()).collect();
    let segments: Vec<Segment> = pieces.iter().flat_map(segments).collect();
    let text = joined(heard.iter().map(|transcript| transcript.text.as_str()));
    let failed: Vec<&Segment> = segments.iter().filter(|segment| segment.error.is_some()).collect();
    let length = |segment: &&Segment| segment.end_ms.unwrap_or(0) - segment.begin_ms.unwrap_or(0);
    let repetition = segments.iter().filter(|segment| repeats(&segment.text)).count();
    let value = |of: fn(&Segment) -> Option<&str>| prevailing(&segments, of);
    Some(TranscriptFinal {
        engine,
        model,
        language: value(|segment| segment.language.as_deref()),
        emotion: value(|segment| segment.emotion.as_deref()),
        speech: (failed.is_empty() || !text.is_empty()).then_some(!text.is_empty()),
        text,
        truncated: heard.iter().any(|transcript| transcript.truncated),
        segments_object: None,
        usage: heard.iter().map(|transcript| transcript.billed).sum(),
        quality: Quality {
            speech_ms: job.speech_ms,
            repetition: u32::try_from(repetition).unwrap_or(u32::MAX),
            failed_ms: failed.iter().map(length).sum(),
        },
        segments: Some(segments),
    })
}

/// What a piece adds to the segments.
fn segments(piece: &Piece) -> Vec<Segment> {
    let PieceState::Failed { fault } = &piece.state else {
        return piece.heard.as_ref().map_or_else(Vec::new, |heard| heard.segments.clone());
    };
    let end_ms = piece.span.end_ms.filter(|end| *end >= piece.span.begin_ms);
    vec![Segment {
        channel: piece.span.channels.first().copied().unwrap_or(0),
        role: None,
        begin_ms: end_ms.map(|_| piece.span.begin_ms),
        end_ms,
        timing: if end_ms.is_some() { Timing::Chunk } else { Timing::None },
        text: String::new(),
        language: None,
        emotion: None,
        error: Some(fault.clone()),
    }]
}

#[cfg(test)]
mod tests {
    use hark_sdk::event::{Blame, Engine, Fault};

    use super::*;
    use crate::job::{Delivery, Span};

    fn piece(number: u32, state: PieceState, text: &str) -> Piece {
        let (begin, end) = (u64::from(number - 1) * 1_000, u64::from(number) * 1_000);
        let mut piece = Piece::new(number, Span::part(begin, end), "flash", "model");
        let segment = Segment {
            channel: 0,
            role: None,
            begin_ms: Some(begin),
            end_ms: Some(end),
            timing: Timing::Chunk,
            text: text.into(),
            language: Some("en".into()),
            emotion: None,
            error: None,
        };
        piece.heard = (state == PieceState::Heard).then(|| Transcript {
            text: text.into(),
            segments: vec![segment],
            truncated: false,
            billed: hark_sdk::event::Usage::seconds(1),
        });
        piece.state = state;
        piece
    }

    fn of(pieces: &[Piece]) -> TranscriptFinal {
        let (model, reason) = ("model".into(), "test".into());
        let plan = Plan { engine: Engine::FLASH, model, delivery: Delivery::Inline, cut: None, reason };
        final_of(&Job { plan: Some(plan), ..Job::default() }, pieces).unwrap()
    }

    fn failed() -> PieceState {
        let fault = Fault { code: "X".into(), blame: Blame::Service, message: "x".into(), attempts: None };
        PieceState::Failed { fault }
    }

    #[test]
    fn a_piece_that_failed_is_a_segment_with_an_error_and_costs_only_itself() {
        let made = of(&[
            piece(1, PieceState::Heard, "Good morning."),
            piece(2, failed(), ""),
            piece(4, PieceState::Heard, "Goodbye."),
        ]);
        assert_eq!(made.text, "Good morning. Goodbye.");
        assert_eq!((made.speech, made.quality.failed_ms, made.usage.seconds), (Some(true), 1_000, 2));
        let shape: Vec<_> = made
            .segments
            .unwrap()
            .iter()
            .map(|segment| (segment.begin_ms, segment.error.is_some()))
            .collect();
        assert_eq!(shape, [(Some(0), false), (Some(1_000), true), (Some(3_000), false)]);
    }

    #[test]
    fn whether_anything_was_said_is_unknown_only_where_a_part_failed() {
        let nothing = || piece(1, PieceState::Heard, "");
        assert_eq!(of(&[nothing()]).speech, Some(false));
        assert_eq!(of(&[]).speech, Some(false), "silent throughout");
        assert_eq!(of(&[nothing(), piece(2, failed(), "")]).speech, None);
        assert_eq!(of(&[piece(1, PieceState::Heard, "Yes."), piece(2, failed(), "")]).speech, Some(true));
    }

    #[test]
    fn a_text_that_repeats_itself_is_counted() {
        let looped = "Thank you. ".repeat(30);
        let made = of(&[piece(1, PieceState::Heard, &looped), piece(2, PieceState::Heard, "Thank you.")]);
        assert_eq!(made.quality.repetition, 1);
    }
}
