//! Where sound and speech are in a recording.

use super::ProbeError;
use super::resample::{RATE, To16k};
use super::signals::Block;
use super::time::samples_in;

/// Nanoseconds of a frame.
const FRAME: i64 = 16_000_000;

/// Milliseconds of a frame.
pub(super) const FRAME_MS: u64 = 16;

/// Sound whose highest level is not above this one, -55 dBFS, is silence.
const SILENCE: f32 = 0.001_778_279_4;

/// The score from which the detector takes a frame for speech.
const SPEECH: f32 = 0.5;

/// From this level on a sample is at full scale: the highest one of 16 bits is.
const FULL: f32 = 0.9999;

/// Mu-law and A-law have no samples above 0.98.
const FULL_LAW: f32 = 0.98;

/// After this many frames without sound the detector is no longer called; the frames count as without speech.
const QUIET_FRAMES: usize = 16;

/// The level from which on a sample of this codec is at full scale.
pub(super) fn full_scale(codec: Option<&str>) -> f32 {
    if matches!(codec, Some("mulaw" | "alaw")) { FULL_LAW } else { FULL }
}

/// 16 ms of sound.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Frame {
    /// The variance of its samples: their mean square without the constant offset that cheap sound cards add.
    pub(super) energy: f32,
    /// Its highest level, of any channel, is above -55 dBFS.
    pub(super) is_loud: bool,
    /// The detector takes it for speech.
    pub(super) is_speech: bool,
    /// How many samples are at full scale, and how many there are.
    pub(super) full: u32,
    pub(super) samples: u32,
}

/// Divides the samples of a signal into frames.
pub(super) struct Framer {
    full_scale: f32,
    count: u64,
    sum: f32,
    square: f32,
    peak: f32,
    samples: u32,
    full: u32,
}

impl Framer {
    pub(super) fn new(full_scale: f32) -> Framer {
        Framer { full_scale, count: 0, sum: 0.0, square: 0.0, peak: 0.0, samples: 0, full: 0 }
    }

    /// Hands each frame that the signal's samples in a block complete to `complete`, with the number of those samples up to the frame's end.
    pub(super) fn push(&mut self, block: &Block<'_>, signal: usize, mut complete: impl FnMut(Frame, usize)) {
        let (samples, levels) = (block.signal(signal), block.levels(signal));
        let mut at = 0;
        while at < samples.len() {
            let boundary = (self.count as i64 + 1) * FRAME - block.begin;
            let end = samples_in(boundary, block.rate).min(samples.len() as u64) as usize;
            let end = end.max(at);
            self.sum += sum(&samples[at..end], |sample| sample);
            self.square += sum(&samples[at..end], |sample| sample * sample);
            let highest = peak(&levels[at..end]);
            if highest >= self.full_scale {
                self.full +=
                    levels[at..end].iter().filter(|level| level.abs() >= self.full_scale).count() as u32;
            }
            self.peak = self.peak.max(highest);
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
        let Framer { sum, square, peak, samples, full, .. } = *self;
        *self = Framer { count: self.count + 1, ..Framer::new(self.full_scale) };
        let count = samples.max(1) as f32;
        let mean = sum / count;
        let energy = (square / count - mean * mean).max(0.0);
        Frame { energy, is_loud: peak > SILENCE, is_speech: false, full, samples }
    }
}

/// Samples that are added up side by side, which compilers do with one instruction.
const LANES: usize = 8;

/// The sum of what `of` makes of each sample.
fn sum(samples: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0; LANES];
    let lanes = samples.chunks_exact(LANES);
    let rest: f32 = lanes.remainder().iter().map(|sample| of(*sample)).sum();
    for lane in lanes {
        for (sum, sample) in sums.iter_mut().zip(lane) {
            *sum += of(*sample);
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

/// Samples of a frame that the detector hears.
const LENGTH: usize = (RATE as u64 * FRAME_MS / 1000) as usize;

/// The voice activity detector for a signal, for samples of any rate.
pub(super) struct SpeechDetector {
    detector: Box<earshot::Detector>,
    to_16k: Option<To16k>,
    samples: Vec<f32>,
    /// Frames without sound so far.
    quiet: usize,
}

impl SpeechDetector {
    pub(super) fn new() -> SpeechDetector {
        let detector = earshot::Detector::default_boxed();
        SpeechDetector { detector, to_16k: None, samples: Vec::new(), quiet: 0 }
    }

    /// What follows has this rate, in hertz.
    ///
    /// # Errors
    /// For a rate that cannot be resampled.
    pub(super) fn set_rate(&mut self, rate: u32) -> Result<(), ProbeError> {
        if self.to_16k.as_ref().is_none_or(|it| it.rate() != rate)
            && let Some(mut before) = self.to_16k.replace(To16k::new(rate)?)
        {
            before.finish(&mut self.samples);
        }
        Ok(())
    }

    /// Takes the samples that follow, and hands `complete` for each frame that they complete whether it is speech.
    pub(super) fn push(&mut self, samples: &[f32], complete: impl FnMut(bool)) {
        if let Some(to_16k) = &mut self.to_16k {
            to_16k.push(samples, &mut self.samples);
        }
        self.listen(complete);
    }

    /// The frames that are complete only at the recording's end.
    pub(super) fn finish(&mut self, complete: impl FnMut(bool)) {
        if let Some(to_16k) = &mut self.to_16k {
            to_16k.finish(&mut self.samples);
        }
        self.listen(complete);
    }

    /// Which of these frames are speech, whatever was heard before.
    pub(super) fn hear(&mut self, samples: &[f32], frames: usize) -> Vec<bool> {
        self.detector.reset();
        self.quiet = 0;
        self.samples.clear();
        let mut speech = Vec::with_capacity(frames);
        if let Some(to_16k) = &mut self.to_16k {
            to_16k.push(samples, &mut self.samples);
            to_16k.finish(&mut self.samples);
        }
        // Where a frame is no whole number of samples, the last one may miss one.
        self.samples.resize(frames * LENGTH, 0.0);
        self.listen(|is_speech| speech.push(is_speech));
        speech
    }

    fn listen(&mut self, mut complete: impl FnMut(bool)) {
        let frames = self.samples.len() / LENGTH;
        for frame in self.samples[..frames * LENGTH].chunks_exact_mut(LENGTH) {
            self.quiet = if peak(frame) > SILENCE { 0 } else { self.quiet + 1 };
            if self.quiet >= QUIET_FRAMES {
                if self.quiet == QUIET_FRAMES {
                    self.detector.reset();
                }
                complete(false);
                continue;
            }
            for sample in frame.iter_mut() {
                *sample = sample.clamp(-1.0, 1.0);
            }
            complete(self.detector.predict_f32(frame) >= SPEECH);
        }
        self.samples.drain(..frames * LENGTH);
    }
}
