//! Where recordings are cut: properties over random sound, and a few places by hand.

use std::ops::Range;

use proptest::prelude::*;

use super::super::listener::known;
use super::super::plan::{Piece, Planner};
use super::super::speech::Frame;

/// Frames of 16 ms in the shortest pause that is cut at.
const PAUSE: usize = 13;

/// Runs of speech and of pauses by turns: frames in each.
fn sound() -> impl Strategy<Value = Vec<(bool, usize)>> {
    prop::collection::vec((any::<bool>(), 1_usize..400), 1..60)
}

/// The speech of these runs, frame by frame.
fn speech(runs: &[(bool, usize)]) -> Vec<bool> {
    runs.iter().flat_map(|(speech, count)| vec![*speech; *count]).collect()
}

fn frames(speech: &[bool], background: f32) -> Vec<Frame> {
    let energy = |at: usize| if speech[at] { 0.01 + (at % 7) as f32 * 0.001 } else { background };
    let frame = |at: usize| Frame {
        energy: energy(at),
        is_loud: energy(at) > 1e-5,
        is_speech: speech[at],
        ..Frame::default()
    };
    (0..speech.len()).map(frame).collect()
}

fn plan(frames: &[Frame], longest_ms: u64) -> Vec<Piece> {
    let mut planner = Planner::new(longest_ms);
    let mut pieces: Vec<Piece> =
        (0..).zip(frames).filter_map(|(at, frame)| planner.push(at, *frame, &mut known)).collect();
    pieces.extend(planner.finish());
    pieces
}

/// The frames of a piece of which nothing is left out.
fn range(piece: &Piece) -> Range<u64> {
    let [range] = &piece.parts[..] else { panic!("{piece:?}") };
    range.clone()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn pieces_are_the_whole_recording_none_too_long_and_none_cut_within_speech(
        runs in sound(),
        longest_ms in prop_oneof![Just(1_000_u64), Just(5_000), Just(30_000)],
        background in prop_oneof![Just(0.0_f32), Just(1e-7), Just(1e-4), Just(0.02)],
    ) {
        let speech = speech(&runs);
        let frames = frames(&speech, background);
        let pieces = plan(&frames, longest_ms);
        let longest = (longest_ms / 16) as usize;
        let mut end = 0;
        for piece in &pieces {
            let frames_of = super::planner::range(piece);
            prop_assert_eq!(frames_of.start, end);
            end = frames_of.end;
            let range = frames_of.start as usize..end as usize;
            prop_assert!(!range.is_empty() && range.len() <= longest);
            prop_assert_eq!(piece.is_silent, frames[range.clone()].iter().all(|frame| !frame.is_loud));
            if range.end == frames.len() {
                break;
            }
            // A cut within speech: then no pause is within reach of the limit.
            if speech[range.end - 1] && speech[range.end] {
                let reach = (longest / 8).clamp(2 * PAUSE, 1_250);
                let limit = range.start + longest;
                let within = &speech[limit - reach..limit];
                let pause = within.split(|speech| *speech).map(<[bool]>::len).max().unwrap();
                prop_assert!(pause < PAUSE, "cut at {} of {:?}, with a pause of {pause} frames", range.end, range);
            }
        }
        prop_assert_eq!(end as usize, frames.len());
        prop_assert_eq!(pieces, plan(&frames, longest_ms));
    }
}

#[test]
fn a_recording_within_the_limit_is_one_piece_and_none_is_none() {
    let speech = vec![true; 100];
    let pieces = plan(&frames(&speech, 0.0), 30_000);
    assert_eq!((pieces.len(), range(&pieces[0]), pieces[0].is_silent), (1, 0..100, false));
    assert!(plan(&[], 30_000).is_empty());
}

#[test]
fn the_longest_pause_within_reach_is_cut_in_its_middle() {
    // 30 s of speech with pauses of 15 frames at 27 s and of 40 frames at 28 s.
    let mut speech = vec![true; 3_000];
    speech[1_690..1_705].fill(false);
    speech[1_750..1_790].fill(false);
    let pieces = plan(&frames(&speech, 1e-7), 30_000);
    assert!((1_765..=1_775).contains(&range(&pieces[0]).end), "{pieces:?}");
}

#[test]
fn a_pause_before_the_reach_is_better_than_a_cut_within_speech() {
    let mut speech = vec![true; 3_000];
    speech[900..920].fill(false);
    let pieces = plan(&frames(&speech, 1e-7), 30_000);
    assert!((905..=915).contains(&range(&pieces[0]).end), "{pieces:?}");
}

#[test]
fn quiet_speech_that_the_detector_hears_is_no_pause() {
    let mut speech = vec![true; 3_000];
    speech[1_800..1_820].fill(false);
    let mut energy = frames(&speech, 0.0);
    // As quiet as a pause, and one; the first is longer.
    for at in (1_700..1_740).chain(1_800..1_820) {
        energy[at].energy = 1e-8;
    }
    let pieces = plan(&energy, 30_000);
    assert!((1_805..=1_815).contains(&range(&pieces[0]).end), "{pieces:?}");
}

#[test]
fn what_the_detector_misses_of_quiet_speech_is_no_pause() {
    // Within reach of the limit, and before.
    for pause in [1_750..1_770, 1_500..1_520] {
        let mut quiet = frames(&vec![true; 3_000], 0.0);
        quiet.iter_mut().for_each(|frame| frame.energy *= 1e-3);
        // The detector hears speech in the pause, and none in the speech that follows.
        quiet[pause.clone()].iter_mut().for_each(|frame| frame.energy = 1e-9);
        quiet[1_800..1_840].iter_mut().for_each(|frame| frame.is_speech = false);
        let end = range(&plan(&quiet, 30_000)[0]).end as usize;
        assert!(pause.contains(&end), "cut at {end} for {pause:?}");
    }
}

#[test]
fn silence_makes_silent_pieces() {
    let mut speech = vec![false; 10_000];
    speech[..500].fill(true);
    let pieces = plan(&frames(&speech, 1e-8), 30_000);
    let silent: Vec<bool> = pieces.iter().map(|piece| piece.is_silent).collect();
    assert_eq!(silent.iter().filter(|silent| !**silent).count(), 1, "{pieces:?}");
    assert!(!silent[0]);
}

#[test]
fn a_piece_is_as_long_as_what_is_sent_of_it_and_keeps_its_parts() {
    let speech = vec![true; 3_000];
    let mut planner = Planner::new(10_000);
    // Every second hundred of frames is left out.
    let sent = (0..).zip(frames(&speech, 0.0)).filter(|(at, _)| at / 100 % 2 == 0);
    let mut pieces: Vec<Piece> = sent.filter_map(|(at, frame)| planner.push(at, frame, &mut known)).collect();
    pieces.extend(planner.finish());
    let parts: Vec<Range<u64>> = pieces.iter().flat_map(|piece| piece.parts.clone()).collect();
    let frames: Vec<u64> = parts.iter().cloned().flatten().collect();
    assert_eq!(frames, (0..3_000).filter(|at| at / 100 % 2 == 0).collect::<Vec<_>>());
    let lengths: Vec<u64> =
        pieces.iter().map(|it| it.parts.iter().map(|part| part.end - part.start).sum()).collect();
    assert!(lengths.iter().all(|length| *length <= 625) && lengths.len() == 3, "{lengths:?}");
}

#[test]
fn a_piece_of_too_many_parts_ends() {
    let mut planner = Planner::new(3_600_000);
    let sent = (0..2_000_u64).map(|at| 2 * at);
    let mut pieces: Vec<Piece> =
        sent.filter_map(|at| planner.push(at, Frame::default(), &mut known)).collect();
    pieces.extend(planner.finish());
    assert_eq!(pieces.iter().map(|piece| piece.parts.len()).collect::<Vec<_>>(), [512, 512, 512, 464]);
}
