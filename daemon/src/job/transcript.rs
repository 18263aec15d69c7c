//! The transcript of a job, made from the transcripts of its pieces. Pure.

use hark_sdk::event::{Body, Quality, Segment, Timing, TranscriptFinal, TranscriptSegment};
use hark_sdk::joined::{dialogue, joined};

use super::annotate::prevailing;
use super::repetition::repeats;
use super::{Job, Piece, PieceState, Plan, Span, Transcript};

/// The final of a job whose pieces have ended. A piece that failed is a segment with an error and without text. `None` only for a job
/// without a plan; a job whose pieces have ended has one.
pub fn final_of(job: &Job, pieces: &[Piece]) -> Option<TranscriptFinal> {
    let plan = job.plan.as_ref()?;
    let heard: Vec<&Transcript> = pieces.iter().filter_map(|piece| piece.heard.as_ref()).collect();
    let mut segments: Vec<Segment> = pieces.iter().flat_map(|piece| segments(piece, plan)).collect();
    // Without segments it is a final of another daemon, whose segments are in an object.
    let text = if plan.split.is_some() && !segments.is_empty() {
        segments.sort_by_key(|segment| (segment.begin_ms.unwrap_or(u64::MAX), segment.channel));
        dialogue(segments.iter().map(|segment| (segment.channel, segment.text.as_str())))
    } else {
        joined(heard.iter().map(|transcript| transcript.text.as_str()))
    };
    let failed: Vec<&Segment> = segments.iter().filter(|segment| segment.error.is_some()).collect();
    let length = |segment: &&Segment| segment.end_ms.unwrap_or(0) - segment.begin_ms.unwrap_or(0);
    let echo = segments.iter().filter(|segment| segment.echo).count();
    let has_words = !text.is_empty()
        && (echo == 0 || segments.iter().any(|segment| !segment.echo && !segment.text.is_empty()));
    let repetition = segments.iter().filter(|segment| repeats(&segment.text)).count();
    let value = |of: fn(&Segment) -> Option<&str>| prevailing(&segments, of);
    Some(TranscriptFinal {
        engine: plan.engine.clone(),
        model: plan.model.clone(),
        language: value(|segment| segment.language.as_deref()),
        emotion: value(|segment| segment.emotion.as_deref()),
        speech: (has_words || (failed.is_empty() && echo == 0)).then_some(has_words),
        text,
        truncated: heard.iter().any(|transcript| transcript.truncated),
        segments_object: None,
        usage: heard.iter().map(|transcript| transcript.billed).sum(),
        quality: Quality {
            speech_ms: job.speech_ms,
            repetition: u32::try_from(repetition).unwrap_or(u32::MAX),
            echo: u32::try_from(echo).unwrap_or(u32::MAX),
            failed_ms: failed.iter().map(length).sum(),
        },
        segments: Some(segments),
    })
}

/// The `transcript.segment` of a piece that is heard. `pieces`: how many the recording has, once that is known.
pub fn segment(plan: &Plan, piece: u32, pieces: Option<u32>, span: &Span, heard: &Transcript) -> Body {
    Body::TranscriptSegment(TranscriptSegment {
        engine: plan.engine.clone(),
        model: plan.model.clone(),
        piece,
        pieces,
        begin_ms: span.begin_ms,
        end_ms: span.end_ms.unwrap_or(span.begin_ms),
        truncated: heard.truncated,
        segments: heard.segments.clone(),
    })
}

/// What a piece adds to the segments.
fn segments(piece: &Piece, plan: &Plan) -> Vec<Segment> {
    let PieceState::Failed { fault } = &piece.state else {
        return piece.heard.as_ref().map_or_else(Vec::new, |heard| heard.segments.clone());
    };
    let end_ms = piece.span.end_ms.filter(|end| *end >= piece.span.begin_ms);
    let segment = |channel: &u32| Segment {
        channel: *channel,
        role: plan.role(*channel),
        begin_ms: end_ms.map(|_| piece.span.begin_ms),
        end_ms,
        timing: if end_ms.is_some() { Timing::Chunk } else { Timing::None },
        error: Some(fault.clone()),
        ..Segment::default()
    };
    piece.span.channels.iter().map(segment).collect()
}

#[cfg(test)]
mod tests {
    use hark_sdk::event::{Blame, Engine, Fault};

    use super::*;
    use crate::job::{Delivery, Span, Split};

    fn piece(number: u32, state: PieceState, text: &str) -> Piece {
        let (begin, end) = (u64::from(number - 1) * 1_000, u64::from(number) * 1_000);
        let mut piece = Piece::new(number, Span::part(begin, end), "flash", "model");
        let segment = Segment {
            begin_ms: Some(begin),
            end_ms: Some(end),
            timing: Timing::Chunk,
            text: text.into(),
            language: Some("en".into()),
            ..Segment::default()
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
        let plan =
            Plan { engine: Engine::FLASH, model, delivery: Delivery::Inline, cut: None, split: None, reason };
        final_of(&Job { plan: Some(plan), ..Job::default() }, pieces).unwrap()
    }

    #[test]
    fn channels_that_were_split_are_a_dialogue() {
        let said = |channel: u32, begin: u64, text: &str| Segment {
            channel,
            begin_ms: Some(begin),
            end_ms: Some(begin + 900),
            timing: Timing::Service,
            text: text.into(),
            ..Segment::default()
        };
        let piece = |number: u32, channel: u32, segments: Vec<Segment>| {
            let span = Span { channels: vec![channel], ..Span::part(0, 9_000) };
            let mut piece = Piece::new(number, span, "own", "model");
            let transcript =
                Transcript { text: "as the server joined it".into(), segments, ..Transcript::default() };
            (piece.heard, piece.state) = (Some(transcript), PieceState::Heard);
            piece
        };
        let split = Some(Split { roles: vec!["agent".into(), "customer".into()] });
        let (model, reason) = ("model".into(), "test".into());
        let plan =
            Plan { engine: Engine::new("own"), model, delivery: Delivery::Inline, cut: None, split, reason };
        let job = Job { plan: Some(plan), ..Job::default() };
        let mut pieces = [
            piece(
                1,
                0,
                vec![said(0, 1_000, "Good morning."), said(0, 2_000, "Hello?"), said(0, 5_000, "I see.")],
            ),
            piece(
                2,
                1,
                vec![said(1, 500, "Hi."), said(1, 3_000, "I want a refund."), said(1, 8_000, "Bye.")],
            ),
        ];
        let text = final_of(&job, &pieces).unwrap().text;
        assert_eq!(text, "Hi.\nGood morning. Hello?\nI want a refund.\nI see.\nBye.");
        (pieces[1].heard, pieces[1].state) = (None, failed());
        let made = final_of(&job, &pieces).unwrap();
        assert_eq!(made.text, "Good morning. Hello? I see.");
        let error = &made.segments.unwrap()[0];
        assert_eq!((error.channel, error.role.as_deref(), error.begin_ms), (1, Some("customer"), Some(0)));
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
    fn suppressed_emotion_is_in_nothing_that_follows() {
        let said = |role: Option<&str>, emotion: &str| Segment {
            role: role.map(str::to_owned),
            emotion: Some(emotion.into()),
            text: "text".into(),
            language: Some("en".into()),
            ..Segment::default()
        };
        let segments = vec![said(Some("agent"), "angry"), said(Some("customer"), "sad"), said(None, "happy")];
        let heard = Transcript { segments, ..Transcript::default() };
        let kept = heard.without_emotion(|role| role == Some("customer"));
        let mut whole = piece(1, PieceState::Heard, "");
        whole.heard = Some(kept);
        let made = of(&[whole]);
        assert_eq!(made.emotion.as_deref(), Some("sad"));
        let segments = made.segments.unwrap();
        let emotions: Vec<_> = segments.iter().map(|segment| segment.emotion.as_deref()).collect();
        assert_eq!(emotions, [None, Some("sad"), None]);
        let annotated = crate::job::annotate::annotations(&segments);
        assert_eq!(annotated.len(), 2, "a language and an emotion: {annotated:?}");
    }

    #[test]
    fn a_text_that_repeats_itself_is_counted() {
        let looped = "Thank you. ".repeat(30);
        let made = of(&[piece(1, PieceState::Heard, &looped), piece(2, PieceState::Heard, "Thank you.")]);
        assert_eq!(made.quality.repetition, 1);
    }

    #[test]
    fn an_echo_of_the_context_is_counted_and_is_no_proof_of_speech() {
        let echo = |number: u32| {
            let mut piece = piece(number, PieceState::Heard, "Ada Lovelace, Charles Babbage");
            piece
                .heard
                .iter_mut()
                .flat_map(|heard| &mut heard.segments)
                .for_each(|segment| segment.echo = true);
            piece
        };
        let made = of(&[echo(1)]);
        assert_eq!((made.quality.echo, made.speech), (1, None));
        let made = of(&[echo(1), piece(2, PieceState::Heard, "Hello.")]);
        assert_eq!((made.quality.echo, made.speech), (1, Some(true)));
    }
}
