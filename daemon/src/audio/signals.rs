//! What the channels of a recording become: mixed to one stream of samples, or a stream for each. Such a stream is a signal.

use std::ops::Range;

use super::time::Time;

/// Mixed channels with less of the energy of the first one (-30 dB) cancel each other out.
const INVERTED: f32 = 0.001;

/// What a recording with several channels is decoded to. Each stream of samples is a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signals {
    /// One signal: the channels mixed.
    Mixed,
    /// A signal for each of this many channels.
    Each(usize),
    /// One signal: this channel, from 0.
    Only(usize),
}

impl Signals {
    /// How many there are.
    pub(super) fn count(self) -> usize {
        match self {
            Signals::Each(count) => count.max(1),
            Signals::Mixed | Signals::Only(_) => 1,
        }
    }
}

/// Consecutive samples of the recording.
#[derive(Debug)]
pub(super) struct Block<'d> {
    /// When the first sample is heard, from the recording's begin.
    pub(super) begin: Time,
    /// In hertz.
    pub(super) rate: u32,
    /// One for silence, which all signals share.
    signals: &'d [Vec<f32>],
    /// Of several mixed channels; else empty.
    levels: &'d [f32],
    range: Range<usize>,
}

impl<'d> Block<'d> {
    /// Silence on all signals.
    pub(super) fn silent(begin: Time, rate: u32, silence: &'d [Vec<f32>; 1], count: usize) -> Block<'d> {
        Block { begin, rate, signals: silence, levels: &[], range: 0..count }
    }

    /// How many samples each signal has.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.range.len()
    }

    /// The samples of a signal.
    pub(super) fn signal(&self, signal: usize) -> &[f32] {
        &self.signals[signal.min(self.signals.len() - 1)][self.range.clone()]
    }

    /// For each sample of a signal the highest level of its channels.
    pub(super) fn levels(&self, signal: usize) -> &[f32] {
        if self.levels.is_empty() { self.signal(signal) } else { &self.levels[self.range.clone()] }
    }
}

/// The decoded samples of a packet, signal by signal.
pub(super) struct Samples {
    kind: Signals,
    /// At least one; all of the same length.
    signals: Vec<Vec<f32>>,
    /// Of several mixed channels; else empty.
    levels: Vec<f32>,
}

impl Samples {
    pub(super) fn new(kind: Signals) -> Samples {
        Samples { kind, signals: vec![Vec::new(); kind.count()], levels: Vec::new() }
    }

    /// How many each signal has.
    pub(super) fn len(&self) -> usize {
        self.signals[0].len()
    }

    pub(super) fn clear(&mut self) {
        self.signals.iter_mut().for_each(Vec::clear);
        self.levels.clear();
    }

    /// Shortens the signals, or adds silence.
    pub(super) fn resize(&mut self, count: usize) {
        self.signals.iter_mut().for_each(|signal| signal.resize(count, 0.0));
        self.levels.truncate(count);
    }

    /// These of them, which begin at this time.
    pub(super) fn block(&self, begin: Time, rate: u32, range: Range<usize>) -> Block<'_> {
        Block { begin, rate, signals: &self.signals, levels: &self.levels, range }
    }

    /// Makes the signals of the interleaved channels.
    pub(super) fn spread(&mut self, interleaved: &mut Vec<f32>, channels: usize) {
        match self.kind {
            Signals::Mixed | Signals::Only(_) if channels == 1 => {
                self.levels.clear();
                std::mem::swap(&mut self.signals[0], interleaved);
            }
            Signals::Mixed => self.mix(interleaved, channels),
            Signals::Only(channel) => pick(interleaved, channels, channel, &mut self.signals[0]),
            Signals::Each(_) => {
                for (channel, signal) in self.signals.iter_mut().enumerate() {
                    pick(interleaved, channels, channel, signal);
                }
            }
        }
    }

    /// Makes one channel of the interleaved ones, and the levels of the loudest.
    fn mix(&mut self, interleaved: &[f32], channels: usize) {
        self.levels.clear();
        let samples = &mut self.signals[0];
        samples.clear();
        let share = 1.0 / channels as f32;
        let (mut together, mut apart) = (0.0, 0.0);
        for frame in interleaved.chunks_exact(channels) {
            let mixed = frame.iter().sum::<f32>() * share;
            together += mixed * mixed;
            apart += frame[0] * frame[0];
            samples.push(mixed);
            self.levels.push(frame.iter().fold(0.0, |level: f32, sample| level.max(sample.abs())));
        }
        // One channel is the other inverted, as by a swapped wire: mixed they would be silent.
        if together < INVERTED * apart {
            samples.clear();
            samples.extend(interleaved.iter().step_by(channels));
        }
    }
}

/// One of the interleaved channels. A part of a recording that has one channel only is heard on all; a channel that a part has not is
/// silent in it.
fn pick(interleaved: &[f32], channels: usize, channel: usize, signal: &mut Vec<f32>) {
    signal.clear();
    if channel >= channels && channels > 1 {
        signal.resize(interleaved.len() / channels, 0.0);
        return;
    }
    let first = if channels == 1 { 0 } else { channel };
    signal.extend(interleaved.chunks_exact(channels).map(|frame| frame[first]));
}
