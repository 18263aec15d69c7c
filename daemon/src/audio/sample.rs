//! Runs the speech detector on a sample of a long signal: on a fortieth of it, to estimate its speech, and on the pauses where it may be cut.

use super::ProbeError;
use super::speech::SpeechDetector;

/// Frames of a stretch that is heard for the estimate, and from one such stretch to the next.
const STRETCH: usize = 16;
const EVERY: usize = 640;

/// How many frames the detector hears before its scores mean something.
const WARM_UP: usize = 8;

/// A signal that is heard in samples.
pub(super) struct Sample {
    detector: SpeechDetector,
    rate: u32,
    /// The samples of the last frames, and where in them each frame ends.
    samples: Vec<f32>,
    ends: Vec<usize>,
    /// The number of the next frame.
    next: usize,
    /// The next frame is kept.
    is_kept: bool,
    /// Frames of the stretches that are speech, and all of them.
    speech: u64,
    heard: u64,
}

impl Sample {
    pub(super) fn new() -> Sample {
        Sample {
            detector: SpeechDetector::new(),
            rate: 0,
            samples: Vec::new(),
            ends: Vec::new(),
            next: 0,
            is_kept: true,
            speech: 0,
            heard: 0,
        }
    }

    /// What follows has this rate, in hertz.
    ///
    /// # Errors
    /// For a rate that cannot be resampled.
    pub(super) fn set_rate(&mut self, rate: u32) -> Result<(), ProbeError> {
        if self.rate != rate {
            self.detector.set_rate(rate)?;
            self.rate = rate;
            self.samples.clear();
            self.ends.clear();
        }
        Ok(())
    }

    /// Takes samples of the next frame.
    pub(super) fn push(&mut self, samples: &[f32]) {
        if self.is_kept {
            self.samples.extend_from_slice(samples);
        }
    }

    /// Ends a frame. The next one may be asked for if it `is_within_reach` of a cut.
    pub(super) fn end_frame(&mut self) {
        if self.is_kept {
            self.ends.push(self.samples.len());
        }
        self.next += 1;
        if self.next % EVERY == STRETCH {
            let counted = self.hear(STRETCH - WARM_UP, STRETCH - WARM_UP);
            self.heard += counted.len() as u64;
            self.speech += counted.into_iter().filter(|is_speech| *is_speech).count() as u64;
        }
    }

    /// Drops all kept frames except the last `count`; drops all if the next frame is neither wanted nor part of a stretch.
    pub(super) fn keep(&mut self, count: usize, is_next_wanted: bool) {
        self.is_kept = is_next_wanted || self.next % EVERY < STRETCH;
        if !self.is_kept {
            self.samples.clear();
            self.ends.clear();
        } else if self.ends.len() > count {
            let less = self.ends.len() - count;
            let begin = self.ends[less - 1];
            self.samples.drain(..begin);
            self.ends.drain(..less);
            self.ends.iter_mut().for_each(|end| *end -= begin);
        }
    }

    /// Which of the first `count` of the last `from_end` frames are speech. Frames from before a change of the rate are not kept and count as
    /// speech.
    pub(super) fn hear(&mut self, from_end: usize, count: usize) -> Vec<bool> {
        let mut speech = vec![true; count];
        let kept = self.ends.len();
        let unknown = from_end.saturating_sub(kept).min(count);
        let first = kept.saturating_sub(from_end);
        let end = first + count - unknown;
        let warm = first.saturating_sub(WARM_UP);
        let place = |frame: usize| frame.checked_sub(1).map_or(0, |before| self.ends[before]);
        let mut heard = self.detector.hear(&self.samples[place(warm)..place(end)], end - warm);
        // The detector is not warm at the first frames; they get the result of the frames after them.
        let (cold, known) = heard.split_at_mut(WARM_UP.min(end - warm));
        cold.fill(known.iter().take(WARM_UP).any(|is_speech| *is_speech));
        speech[unknown..].copy_from_slice(&heard[first - warm..]);
        speech
    }

    /// An estimate of the speech in a recording of this length, in milliseconds.
    pub(super) fn speech_ms(&self, duration_ms: u64) -> u64 {
        (duration_ms * self.speech).checked_div(self.heard).unwrap_or(0)
    }
}
