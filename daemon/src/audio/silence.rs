//! Leaves long silence out of what is sent: quiet times without speech. Music and noise are not silence.

use std::collections::VecDeque;

use super::speech::{FRAME_MS, Frame};

/// The shortest silence that is left out: 1 s. A shorter pause belongs to the speech around it.
const SHORTEST: usize = (1_000_u64).div_ceil(FRAME_MS) as usize;

/// How much silence stays before and after sound: 64 ms, since speech begins and ends quietly.
const MARGIN: usize = 4;

/// The energy of -45 dBFS: what is louder is no silence, whether it is speech or not.
const QUIET: f32 = 3.162e-5;

/// Passes on the frames of a signal that are sent.
#[derive(Default)]
pub(super) struct Skipper {
    /// The number of the next frame.
    next: u64,
    /// Frames of a silence whose length is not known yet. The margin behind the sound before it is passed on already.
    waiting: VecDeque<Frame>,
    /// Whether the silence is long: then only its last frames wait.
    is_long: bool,
    /// How many frames of the margin behind the last sound are still to be passed on.
    margin: usize,
}

impl Skipper {
    /// Takes the next frame; hands the frames that are to be sent to `keep`, with their numbers.
    pub(super) fn push(&mut self, frame: Frame, mut keep: impl FnMut(u64, Frame)) {
        let at = self.next;
        self.next += 1;
        if frame.is_speech || frame.energy > QUIET {
            let first = at - self.waiting.len() as u64;
            for (number, waited) in (first..).zip(self.waiting.drain(..)) {
                keep(number, waited);
            }
            (self.is_long, self.margin) = (false, MARGIN);
            keep(at, frame);
        } else if self.margin > 0 {
            self.margin -= 1;
            keep(at, frame);
        } else {
            self.waiting.push_back(frame);
            // The silence before the first sound is left out whatever its length.
            let begins = at + 1 == self.waiting.len() as u64;
            self.is_long |= self.waiting.len() + MARGIN >= SHORTEST;
            while (self.is_long || begins) && self.waiting.len() > MARGIN {
                self.waiting.pop_front();
                self.is_long = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The numbers of the frames that are kept.
    fn kept(frames: &[Frame]) -> Vec<usize> {
        let (mut skipper, mut kept) = (Skipper::default(), Vec::new());
        for frame in frames {
            skipper.push(*frame, |at, same| {
                assert_eq!(frames[at as usize], same);
                kept.push(at as usize);
            });
        }
        kept
    }

    fn frames(runs: &[(bool, usize)]) -> Vec<Frame> {
        let frame = |is_speech| Frame { is_speech, energy: 1e-6, ..Frame::default() };
        runs.iter().flat_map(|(is_speech, count)| vec![frame(*is_speech); *count]).collect()
    }

    proptest! {
        /// What is kept by its definition: sound, what is near to it, and pauses shorter than a second between two sounds.
        #[test]
        fn all_sound_its_margins_and_short_pauses_are_kept_and_nothing_else(
            runs in prop::collection::vec((any::<bool>(), 1_usize..150), 0..20),
        ) {
            let frames = frames(&runs);
            let sounds: Vec<usize> = (0..frames.len()).filter(|at| frames[*at].is_speech).collect();
            let is_kept = |at: usize| {
                let before = sounds.iter().rev().find(|sound| **sound <= at);
                let after = sounds.iter().find(|sound| **sound >= at);
                let is_near = |sound: Option<&usize>| sound.is_some_and(|sound| sound.abs_diff(at) <= MARGIN);
                let is_pause = before.zip(after).is_some_and(|(before, after)| after - before <= SHORTEST);
                is_near(before) || is_near(after) || is_pause
            };
            let expected: Vec<usize> = (0..frames.len()).filter(|at| is_kept(*at)).collect();
            prop_assert_eq!(kept(&frames), expected);
        }
    }

    #[test]
    fn what_is_loud_is_no_silence_though_nobody_speaks() {
        let mut frames = frames(&[(true, 50), (false, 500), (true, 50)]);
        for music in &mut frames[100..400] {
            music.energy = 1e-3;
        }
        let kept = kept(&frames);
        assert!((100..400).all(|at| kept.contains(&at)));
        assert!(frames.len() - kept.len() > 100 - 2 * MARGIN, "the silence after the music is left out");
    }
}
