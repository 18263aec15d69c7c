//! Listens to one signal of a recording, a channel or the mixed ones: its speech, its level, its pieces.

use std::collections::VecDeque;
use std::ops::Range;

use hark_sdk::event::TimeSpan;

use super::ProbeError;
use super::analysis::AnalysisPlan;
use super::plan::{Listen, Piece, Planner};
use super::sample::Sample;
use super::signals::Block;
use super::silence::Skipper;
use super::speech::{FRAME_MS, Frame, Framer, SpeechDetector};

/// Speech with a gap of at most this many milliseconds is one: the gap is within a word, or between two of a phrase.
const GAP_MS: u64 = 250;

/// Shorter sound that the detector takes for speech, in milliseconds, is a click.
const SHORTEST_MS: u64 = 64;

/// How much of a signal the detector hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coverage {
    /// All of it: what it says is measured.
    All,
    /// A sample: how much it says is estimated.
    Sample,
}

/// A signal that is being listened to.
pub(super) struct Listener {
    framer: Framer,
    ear: Detection,
    heard: Findings,
}

enum Detection {
    All {
        detector: SpeechDetector,
        /// Frames that wait for the result of the detector; `speech` holds results for frames that are not complete yet.
        frames: VecDeque<Frame>,
        speech: VecDeque<bool>,
    },
    Sample(Sample),
}

/// Collects what follows from each frame once the detector has decided about it, or at once if only a sample is analyzed.
struct Findings {
    sound: Sound,
    next: u64,
    skipper: Option<Skipper>,
    planner: Option<Planner>,
}

/// What was heard on a signal.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Sound {
    /// In order of time. Empty if only a sample was heard.
    pub(super) speech: Vec<TimeSpan>,
    /// Milliseconds of speech, estimated from a sample; `None`: all was heard.
    pub(super) estimate_ms: Option<u64>,
    /// Something is above -55 dBFS.
    pub(super) is_loud: bool,
    /// The energies of the frames with speech, and how many they are.
    energy: f64,
    frames: u64,
    /// Samples at full scale, and all samples.
    full: u64,
    samples: u64,
}

impl Listener {
    pub(super) fn new(plan: AnalysisPlan, hearing: Coverage, full_scale: f32) -> Listener {
        let heard = Findings {
            sound: Sound::default(),
            next: 0,
            skipper: plan.skip_silence.then(Skipper::default),
            planner: plan.longest_ms.map(Planner::new),
        };
        let ear = match hearing {
            Coverage::All => Detection::All {
                detector: SpeechDetector::new(),
                frames: VecDeque::new(),
                speech: VecDeque::new(),
            },
            Coverage::Sample => Detection::Sample(Sample::new()),
        };
        Listener { framer: Framer::new(full_scale), ear, heard }
    }

    /// Takes the next samples; hands the pieces that they complete to `found`.
    ///
    /// # Errors
    /// For a rate that cannot be resampled.
    pub(super) fn push(
        &mut self,
        block: &Block<'_>,
        signal: usize,
        mut found: impl FnMut(Piece),
    ) -> Result<(), ProbeError> {
        let Listener { framer, ear, heard } = self;
        let samples = block.signal(signal);
        match ear {
            Detection::All { detector, frames, speech } => {
                framer.push(block, signal, |frame, _| frames.push_back(frame));
                detector.set_rate(block.rate)?;
                detector.push(samples, |is_speech| speech.push_back(is_speech));
                while let (Some(frame), Some(is_speech)) = (frames.front(), speech.front()) {
                    heard.push(Frame { is_speech: *is_speech, ..*frame }, &mut known, &mut found);
                    frames.pop_front();
                    speech.pop_front();
                }
            }
            Detection::Sample(sample) => {
                sample.set_rate(block.rate)?;
                let mut begin = 0;
                framer.push(block, signal, |frame, end| {
                    sample.push(&samples[begin..end]);
                    begin = end;
                    heard.push_sampled(frame, sample, &mut found);
                });
                sample.push(&samples[begin..]);
            }
        }
        Ok(())
    }

    /// Ends a recording of this length.
    pub(super) fn finish(self, duration_ms: u64, mut found: impl FnMut(Piece)) -> Sound {
        let Listener { mut framer, ear, mut heard } = self;
        let rest = framer.rest();
        match ear {
            Detection::All { mut detector, mut frames, mut speech } => {
                frames.extend(rest);
                detector.finish(|is_speech| speech.push_back(is_speech));
                for frame in frames {
                    let is_speech = speech.pop_front().unwrap_or(false);
                    heard.push(Frame { is_speech, ..frame }, &mut known, &mut found);
                }
            }
            Detection::Sample(mut sample) => {
                if let Some(rest) = rest {
                    heard.push_sampled(rest, &mut sample, &mut found);
                }
                heard.sound.estimate_ms = Some(sample.speech_ms(duration_ms));
            }
        }
        if let Some(piece) = heard.planner.as_mut().and_then(Planner::finish) {
            found(piece);
        }
        heard.sound.finish(duration_ms)
    }
}

/// The detector's results for frames in this range; it has decided about all of them.
pub(super) fn known(frames: &[Frame], range: Range<usize>) -> Vec<bool> {
    frames[range].iter().map(|frame| frame.is_speech).collect()
}

impl Findings {
    fn push(&mut self, frame: Frame, listen: Listen<'_>, found: &mut impl FnMut(Piece)) {
        let Findings { sound, next, skipper, planner } = self;
        let at = *next;
        *next += 1;
        sound.add(at, frame);
        let Some(planner) = planner else { return };
        let mut keep = |at, frame| {
            if let Some(piece) = planner.push(at, frame, listen) {
                found(piece);
            }
        };
        match skipper {
            Some(skipper) => skipper.push(frame, keep),
            None => keep(at, frame),
        }
    }

    /// Takes a frame whose samples the sample has.
    fn push_sampled(&mut self, frame: Frame, sample: &mut Sample, found: &mut impl FnMut(Piece)) {
        sample.end_frame();
        let mut listen =
            |frames: &[Frame], range: Range<usize>| sample.hear(frames.len() - range.start, range.len());
        self.push(frame, &mut listen, found);
        let (count, is_within_reach) = self
            .planner
            .as_ref()
            .map_or((usize::MAX, false), |planner| (planner.len(), planner.is_within_reach()));
        sample.keep(count, is_within_reach);
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
        let span = TimeSpan { begin_ms: at * FRAME_MS, end_ms: (at + 1) * FRAME_MS };
        match self.speech.last_mut() {
            Some(last) if span.begin_ms - last.end_ms <= GAP_MS => last.end_ms = span.end_ms,
            Some(click) if click.length_ms() < SHORTEST_MS => *click = span,
            _ => self.speech.push(span),
        }
    }

    fn finish(mut self, duration_ms: u64) -> Sound {
        if let Some(last) = self.speech.last_mut() {
            last.end_ms = last.end_ms.min(duration_ms);
        }
        self.speech.pop_if(|last| last.length_ms() < SHORTEST_MS.min(duration_ms));
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
