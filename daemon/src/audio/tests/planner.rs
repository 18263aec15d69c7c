//! Where recordings are cut: properties over random sound, and a few places by hand.

use std::ops::Range;

use proptest::prelude::*;

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
    (0..speech.len()).map(|at| Frame { energy: energy(at), is_loud: energy(at) > 1e-5 }).collect()
}

fn plan(frames: &[Frame], speech: &[bool], longest_ms: u64) -> Vec<Piece> {
    let mut planner = Planner::new(longest_ms);
    let mut pieces: Vec<Piece> = Vec::new();
    let mut begin = 0;
    for frame in frames {
        let mut listen = |range: Range<usize>| speech[begin + range.start..begin + range.end].to_vec();
        if let Some(piece) = planner.push(*frame, &mut listen) {
            begin = piece.frames.end as usize;
            pieces.push(piece);
        }
    }
    pieces.extend(planner.finish());
    pieces
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
        let pieces = plan(&frames, &speech, longest_ms);
        let longest = (longest_ms / 16) as usize;
        let mut end = 0;
        for piece in &pieces {
            prop_assert_eq!(piece.frames.start, end);
            end = piece.frames.end;
            let range = piece.frames.start as usize..end as usize;
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
        prop_assert_eq!(pieces, plan(&frames, &speech, longest_ms));
    }
}

#[test]
fn a_recording_within_the_limit_is_one_piece_and_none_is_none() {
    let speech = vec![true; 100];
    let pieces = plan(&frames(&speech, 0.0), &speech, 30_000);
    assert_eq!(pieces, [Piece { frames: 0..100, is_silent: false }]);
    assert!(plan(&[], &[], 30_000).is_empty());
}

#[test]
fn the_longest_pause_within_reach_is_cut_in_its_middle() {
    // 30 s of speech with pauses of 15 frames at 27 s and of 40 frames at 28 s.
    let mut speech = vec![true; 3_000];
    speech[1_690..1_705].fill(false);
    speech[1_750..1_790].fill(false);
    let pieces = plan(&frames(&speech, 1e-7), &speech, 30_000);
    assert!((1_765..=1_775).contains(&pieces[0].frames.end), "{pieces:?}");
}

#[test]
fn a_pause_before_the_reach_is_better_than_a_cut_within_speech() {
    let mut speech = vec![true; 3_000];
    speech[900..920].fill(false);
    let pieces = plan(&frames(&speech, 1e-7), &speech, 30_000);
    assert!((905..=915).contains(&pieces[0].frames.end), "{pieces:?}");
}

#[test]
fn quiet_speech_that_the_detector_hears_is_no_pause() {
    let mut energy = frames(&vec![true; 3_000], 0.0);
    // As quiet as a pause, and one; the first is longer.
    for at in (1_700..1_740).chain(1_800..1_820) {
        energy[at].energy = 1e-8;
    }
    let mut speech = vec![true; 3_000];
    speech[1_800..1_820].fill(false);
    let pieces = plan(&energy, &speech, 30_000);
    assert!((1_805..=1_815).contains(&pieces[0].frames.end), "{pieces:?}");
}

#[test]
fn silence_makes_silent_pieces() {
    let mut speech = vec![false; 10_000];
    speech[..500].fill(true);
    let pieces = plan(&frames(&speech, 1e-8), &speech, 30_000);
    let silent: Vec<bool> = pieces.iter().map(|piece| piece.is_silent).collect();
    assert_eq!(silent.iter().filter(|silent| !**silent).count(), 1, "{pieces:?}");
    assert!(!silent[0]);
}
