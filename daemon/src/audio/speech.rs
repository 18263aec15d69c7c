//! Where sound and speech are in a recording.

use super::ProbeError;
use super::decode::Block;
use super::resample::{RATE, To16k};
use super::time::samples_in;

/// Nanoseconds of a frame.
const FRAME: i64 = 16_000_000;

/// Milliseconds of a frame.
pub(super) const FRAME_MS: u64 = 16;

/// Nothing above this level, -55 dBFS, is silence.
const SILENCE: f32 = 0.001_778_279_4;

/// The score from which the detector takes a frame for speech.
const SPEECH: f32 = 0.5;

/// How many frames the detector needs to hear before its scores mean something.
pub(super) const WARM_UP: usize = 8;

/// 16 ms of sound.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Frame {
    /// The mean square of its samples.
    pub(super) energy: f32,
    /// Its highest level, of any channel, is above -55 dBFS.
    pub(super) is_loud: bool,
}

/// Divides blocks into frames.
#[derive(Default)]
pub(super) struct Framer {
    count: u64,
    square: f32,
    peak: f32,
    samples: u32,
}

impl Framer {
    /// Hands each frame that the block completes to `complete`, with the number of the block's samples up to the frame's end.
    pub(super) fn push(&mut self, block: &Block<'_>, mut complete: impl FnMut(Frame, usize)) {
        let mut at = 0;
        while at < block.samples.len() {
            let boundary = (self.count as i64 + 1) * FRAME - block.begin;
            let end = samples_in(boundary, block.rate).min(block.samples.len() as u64) as usize;
            let end = end.max(at);
            self.square += square(&block.samples[at..end]);
            self.peak = self.peak.max(peak(&block.levels[at..end]));
            self.samples += (end - at) as u32;
            at = end;
            if samples_in(boundary, block.rate) <= end as u64 {
                complete(self.take(), end);
            }
        }
    }

    /// The last frame, however short.
    pub(super) fn rest(&mut self) -> Option<Frame> {
        (self.samples > 0).then(|| self.take())
    }

    fn take(&mut self) -> Frame {
        let frame = Frame { energy: self.square / self.samples.max(1) as f32, is_loud: self.peak > SILENCE };
        *self = Framer { count: self.count + 1, ..Framer::default() };
        frame
    }
}

/// Samples that are added up side by side, which compilers do with one instruction.
const LANES: usize = 8;

/// The sum of the squares.
fn square(samples: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    let lanes = samples.chunks_exact(LANES);
    let rest: f32 = lanes.remainder().iter().map(|sample| sample * sample).sum();
    for lane in lanes {
        for (sum, sample) in sums.iter_mut().zip(lane) {
            *sum += sample * sample;
        }
    }
    rest + sums.iter().sum::<f32>()
}

/// The highest level.
fn peak(samples: &[f32]) -> f32 {
    let mut peaks = [0.0_f32; LANES];
    let lanes = samples.chunks_exact(LANES);
    let rest = lanes.remainder().iter().fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
    for lane in lanes {
        for (peak, sample) in peaks.iter_mut().zip(lane) {
            *peak = peak.max(sample.abs());
        }
    }
    peaks.into_iter().fold(rest, f32::max)
}

/// The voice activity detector, for samples of any rate.
pub(super) struct SpeechDetector {
    detector: Box<earshot::Detector>,
    to_16k: Option<To16k>,
    samples: Vec<f32>,
}

impl SpeechDetector {
    pub(super) fn new() -> SpeechDetector {
        SpeechDetector { detector: earshot::Detector::default_boxed(), to_16k: None, samples: Vec::new() }
    }

    /// Which frames of these samples are speech. The first ones, which the detector warms up with, count as speech if they are near it.
    ///
    /// # Errors
    /// For a rate that cannot be resampled.
    pub(super) fn hear(&mut self, samples: &[f32], rate: u32) -> Result<Vec<bool>, ProbeError> {
        let to_16k = match &mut self.to_16k {
            Some(to_16k) if to_16k.rate() == rate => to_16k,
            other => other.insert(To16k::new(rate)?),
        };
        self.samples.clear();
        to_16k.push(samples, &mut self.samples);
        to_16k.finish(&mut self.samples);
        self.detector.reset();
        let length = (RATE as u64 * FRAME_MS / 1000) as usize;
        for sample in &mut self.samples {
            *sample = sample.clamp(-1.0, 1.0);
        }
        let score = |frame: &[f32]| self.detector.predict_f32(frame);
        let mut speech: Vec<bool> =
            self.samples.chunks_exact(length).map(score).map(|it| it >= SPEECH).collect();
        let warm = WARM_UP.min(speech.len());
        let is_near = speech[warm..].iter().take(WARM_UP).any(|it| *it);
        speech[..warm].fill(is_near);
        Ok(speech)
    }
}
