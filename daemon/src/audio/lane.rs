//! Listens to one lane of a recording, a channel or the mixed ones: its speech, its level, its pieces.

use std::collections::VecDeque;

use super::lanes::Block;
use super::plan::{Piece, Planner};
use super::silence::Skipper;
use super::speech::{FRAME_MS, Frame, Framer, SpeechDetector};
use super::survey::SurveyPlan;
use super::{ProbeError, Span};

/// Speech with a gap of at most so many milliseconds is one: the gap is within a word, or between two of a phrase.
const GAP_MS: u64 = 250;

/// Shorter sound that the detector takes for speech, in milliseconds, is a click.
const SHORTEST_MS: u64 = 64;

/// A lane that is being listened to.
pub(super) struct Lane {
    framer: Framer,
    detector: SpeechDetector,
    /// Frames of which the detector has not said whether they are speech, and what it said of frames that are not complete.
    frames: VecDeque<Frame>,
    speech: VecDeque<bool>,
    heard: Heard,
}

/// What follows once it is known of a frame whether it is speech.
struct Heard {
    sound: Sound,
    next: u64,
    skipper: Option<Skipper>,
    planner: Option<Planner>,
}

/// What was heard on a lane.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Sound {
    /// In order of time.
    pub(super) speech: Vec<Span>,
    /// Something is above -55 dBFS.
    pub(super) is_loud: bool,
    /// The energies of the frames with speech, and how many they are.
    energy: f64,
    frames: u64,
    /// Samples at full scale, and all samples.
    full: u64,
    samples: u64,
}

impl Lane {
    pub(super) fn new(plan: SurveyPlan, full_scale: f32) -> Lane {
        let heard = Heard {
            sound: Sound::default(),
            next: 0,
            skipper: plan.skip_silence.then(Skipper::default),
            planner: plan.longest_ms.map(Planner::new),
        };
        let (framer, detector) = (Framer::new(full_scale), SpeechDetector::new());
        Lane { framer, detector, frames: VecDeque::new(), speech: VecDeque::new(), heard }
    }

    /// Takes the next samples; hands the pieces that they complete to `found`.
    ///
    /// # Errors
    /// For a rate that cannot be resampled.
    pub(super) fn push(
        &mut self,
        block: &Block<'_>,
        lane: usize,
        mut found: impl FnMut(Piece),
    ) -> Result<(), ProbeError> {
        let Lane { framer, detector, frames, speech, heard } = self;
        framer.push(block, lane, |frame| frames.push_back(frame));
        detector.push(block.lane(lane), block.rate, |is_speech| speech.push_back(is_speech))?;
        while let (Some(frame), Some(is_speech)) = (frames.front(), speech.front()) {
            heard.push(Frame { is_speech: *is_speech, ..*frame }, &mut found);
            frames.pop_front();
            speech.pop_front();
        }
        Ok(())
    }

    /// Ends a recording of this length.
    pub(super) fn finish(mut self, duration_ms: u64, mut found: impl FnMut(Piece)) -> Sound {
        self.frames.extend(self.framer.rest());
        self.detector.finish(|is_speech| self.speech.push_back(is_speech));
        for frame in self.frames {
            let is_speech = self.speech.pop_front().unwrap_or(false);
            self.heard.push(Frame { is_speech, ..frame }, &mut found);
        }
        if let Some(piece) = self.heard.planner.as_mut().and_then(Planner::finish) {
            found(piece);
        }
        self.heard.sound.finish(duration_ms)
    }
}

impl Heard {
    fn push(&mut self, frame: Frame, found: &mut impl FnMut(Piece)) {
        let Heard { sound, next, skipper, planner } = self;
        let at = *next;
        *next += 1;
        sound.add(at, frame);
        let Some(planner) = planner else { return };
        let mut keep = |at, frame| {
            if let Some(piece) = planner.push(at, frame) {
                found(piece);
            }
        };
        match skipper {
            Some(skipper) => skipper.push(frame, keep),
            None => keep(at, frame),
        }
    }
}

impl Sound {
    fn add(&mut self, at: u64, frame: Frame) {
        self.is_loud |= frame.is_loud;
        self.full += u64::from(frame.full);
        self.samples += u64::from(frame.samples);
        if !frame.is_speech {
            return;
        }
        self.energy += f64::from(frame.energy);
        self.frames += 1;
        let span = Span { begin_ms: at * FRAME_MS, end_ms: (at + 1) * FRAME_MS };
        match self.speech.last_mut() {
            Some(last) if span.begin_ms - last.end_ms <= GAP_MS => last.end_ms = span.end_ms,
            Some(click) if click.length() < SHORTEST_MS => *click = span,
            _ => self.speech.push(span),
        }
    }

    fn finish(mut self, duration_ms: u64) -> Sound {
        if let Some(last) = self.speech.last_mut() {
            last.end_ms = last.end_ms.min(duration_ms);
        }
        self.speech.pop_if(|last| last.length() < SHORTEST_MS.min(duration_ms));
        self
    }

    /// The root mean square of the speech, to a tenth of a decibel; `None`: there is none.
    pub(super) fn level_dbfs(&self) -> Option<f64> {
        let mean = self.energy / self.frames as f64;
        (!self.speech.is_empty() && mean > 0.0).then(|| (mean.log10() * 100.0).round() / 10.0)
    }

    /// The share of the samples at full scale, to a millionth.
    pub(super) fn clipped(&self) -> f64 {
        (self.full as f64 / self.samples.max(1) as f64 * 1e6).round() / 1e6
    }
}
