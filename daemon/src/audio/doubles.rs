//! Finds channels that are copies of another channel: the same sound, perhaps louder or quieter, some milliseconds earlier or later, and
//! with noise.
//!
//! A channel counts as a copy only if every half second of it matches with one and the same gain, because words on one channel alone must
//! not be lost. If the two speakers of a call hear each other faintly, the gain differs between the directions, so this is no copy.

use super::signals::Block;

/// The most milliseconds that a channel may be later or earlier.
const MOST_SHIFT_MS: usize = 40;

/// Milliseconds that are compared at once.
const WINDOW_MS: usize = 500;

/// The energy below which (-46 dBFS) a window is not used to compare two channels.
const EVIDENCE: f64 = 2.5e-5;

/// The energy of noise (-44 dBFS) that a copy may have in addition to its original.
const NOISE: f64 = 4e-5;

/// The share of a channel's energy that may differ from its original: what codecs of music leave.
const DIFFERENCE: f64 = 0.1;

/// The squared correlation of two channels of which one repeats the other.
const ALIKE: f64 = 0.8;

/// The search prefers no shift if the correlation without it is almost as high: a pure tone correlates at many shifts.
const AS_GOOD: f64 = 0.98;

/// By how much a gain may differ from the one that was found before, as a factor.
const SAME_GAIN: f64 = 1.4;

/// The most by which a copy may be louder than its original (24 dB). A fainter "original" is crosstalk of poor quality.
const MOST_GAIN: f64 = 16.0;

/// Changes slower than this, in hertz, are not sound but the constant offset that cheap sound cards add.
const OFFSET_HZ: f32 = 20.0;

/// The rate of the first, coarse search for the shift.
const COARSE: usize = 4_000;

/// Compares the signals of a recording.
pub(super) struct Doubles {
    rate: usize,
    /// By signal: the samples of the next window, and before and after it as many as the largest shift.
    buffers: Vec<Vec<f32>>,
    /// By signal: its constant offset. It is subtracted, because two equal offsets would correlate whatever the sound is.
    offsets: Vec<Option<f32>>,
    pairs: Vec<Pair>,
}

struct Pair {
    earlier: usize,
    later: usize,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    /// Nothing was loud enough yet.
    Unknown,
    /// The later channel is the earlier one, this many samples later and multiplied by this.
    Same(Fit),
    Different,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Fit {
    shift: isize,
    gain: f64,
    /// The squared correlation.
    alike: f64,
}

impl Doubles {
    pub(super) fn new(signals: usize) -> Doubles {
        let pair = |later| (0..later).map(move |earlier| Pair { earlier, later, state: State::Unknown });
        Doubles {
            rate: 0,
            buffers: vec![Vec::new(); signals],
            offsets: vec![None; signals],
            pairs: (0..signals).flat_map(pair).collect(),
        }
    }

    /// Takes the next samples of all signals.
    pub(super) fn push(&mut self, block: &Block<'_>) {
        if self.is_decided() {
            return;
        }
        let rate = block.rate as usize;
        if rate != self.rate {
            self.compare_rest();
            self.rate = rate;
            let shift = self.shift();
            self.buffers.iter_mut().for_each(|buffer| buffer.resize(shift, 0.0));
            for pair in &mut self.pairs {
                // The shift has another number of samples now.
                if let State::Same(_) = pair.state {
                    pair.state = State::Unknown;
                }
            }
        }
        let share = OFFSET_HZ * std::f32::consts::TAU / rate.max(1) as f32;
        for (signal, (buffer, offset)) in self.buffers.iter_mut().zip(&mut self.offsets).enumerate() {
            let samples = block.signal(signal);
            let Some(first) = samples.first() else { continue };
            let mean = offset.get_or_insert(*first);
            buffer.extend(samples.iter().map(|sample| {
                *mean += share * (sample - *mean);
                sample - *mean
            }));
        }
        let window = rate * WINDOW_MS / 1_000;
        while window > 0 && self.buffers[0].len() >= window + 2 * self.shift() {
            self.compare(window);
        }
    }

    /// By signal, the earlier signal that it repeats, if it does.
    pub(super) fn finish(&mut self) -> Vec<Option<usize>> {
        self.compare_rest();
        let mut doubles: Vec<Option<usize>> = vec![None; self.buffers.len()];
        for pair in &self.pairs {
            let is_same = matches!(pair.state, State::Same(_));
            if is_same && doubles[pair.later].is_none() && doubles[pair.earlier].is_none() {
                doubles[pair.later] = Some(pair.earlier);
            }
        }
        doubles
    }

    fn is_decided(&self) -> bool {
        self.pairs.iter().all(|pair| pair.state == State::Different)
    }

    /// The largest shift in samples.
    fn shift(&self) -> usize {
        self.rate * MOST_SHIFT_MS / 1_000
    }

    /// Compares the remaining samples, with silence behind them.
    fn compare_rest(&mut self) {
        let shift = self.shift();
        if let Some(rest) = self.buffers.first().and_then(|buffer| buffer.len().checked_sub(shift))
            && rest > 2 * shift
        {
            self.buffers.iter_mut().for_each(|buffer| buffer.resize(rest + 2 * shift, 0.0));
            self.compare(rest);
        }
        self.buffers.iter_mut().for_each(Vec::clear);
    }

    /// Compares the next this many samples and forgets them.
    fn compare(&mut self, window: usize) {
        let (shift, rate) = (self.shift(), self.rate);
        for pair in self.pairs.iter_mut().filter(|pair| pair.state != State::Different) {
            let [earlier, later] =
                [pair.earlier, pair.later].map(|signal| &self.buffers[signal][..window + 2 * shift]);
            pair.state = next(pair.state, earlier, &later[shift..shift + window], shift, rate);
        }
        self.buffers.iter_mut().for_each(|buffer| drop(buffer.drain(..window)));
    }
}

/// What a window says. `earlier` has `shift` samples more before and behind.
fn next(state: State, earlier: &[f32], later: &[f32], shift: usize, rate: usize) -> State {
    let count = later.len() as f64;
    let [first, second] = [&earlier[shift..shift + later.len()], later].map(|it| product(it, it) / count);
    if first < EVIDENCE && second < EVIDENCE {
        return state;
    }
    if let State::Same(fit) = state {
        let from = shift.saturating_add_signed(fit.shift);
        let original = &earlier[from..from + later.len()];
        let [energy, common] = [original, later].map(|it| product(it, original) / count);
        let apart = second - 2.0 * fit.gain * common + fit.gain * fit.gain * energy;
        // The difference also holds noise of the original, multiplied by the gain; at most as much as the original has in this window.
        let noise = NOISE.max(fit.gain * fit.gain * NOISE.min(2.0 * energy));
        if apart <= (DIFFERENCE * second).max(noise) {
            return state;
        }
    } else if second < NOISE && first < NOISE * 10.0 {
        return state;
    }
    let found = search(earlier, later, shift, rate);
    let is_as_before = match state {
        State::Same(before) => {
            let change = found.gain / before.gain;
            (1.0 / SAME_GAIN..=SAME_GAIN).contains(&change)
        }
        _ => true,
    };
    let is_double = found.alike >= ALIKE && found.gain.abs() <= MOST_GAIN && is_as_before;
    if is_double { State::Same(found) } else { State::Different }
}

/// The shift at which the two are most alike.
fn search(earlier: &[f32], later: &[f32], shift: usize, rate: usize) -> Fit {
    let fit = |earlier: &[f32], later: &[f32], own: f64, most: usize, shift: isize| {
        let from = most.saturating_add_signed(shift);
        let original = &earlier[from..from + later.len()];
        let [energy, common] = [original, later].map(|it| product(it, original));
        let gain = if energy > 0.0 { common / energy } else { 0.0 };
        let alike = if energy > 0.0 && own > 0.0 { common * common / (energy * own) } else { 0.0 };
        Fit { shift, gain, alike }
    };
    let best = |fits: &mut dyn Iterator<Item = Fit>, none: Fit| {
        let best = fits.fold(none, |best, fit| if fit.alike > best.alike { fit } else { best });
        if none.alike >= AS_GOOD * best.alike { none } else { best }
    };
    let step = (rate / COARSE).max(1);
    let (most, range) = (shift / step, (shift / step) as isize);
    let [coarse_earlier, coarse_later] = [&earlier[shift - most * step..], later].map(|it| thinned(it, step));
    let coarse_later = &coarse_later[..coarse_later.len().min(coarse_earlier.len().saturating_sub(2 * most))];
    let own = product(coarse_later, coarse_later);
    let coarse = |shift| fit(&coarse_earlier, coarse_later, own, most, shift);
    let near = best(&mut (-range..=range).map(coarse), coarse(0)).shift * step as isize;
    let limit = shift as isize;
    let own = product(later, later);
    let fine = |at| fit(earlier, later, own, shift, at);
    let around = (near - step as isize..=near + step as isize).filter(|at| at.abs() <= limit);
    best(&mut around.map(fine), fine(near.clamp(-limit, limit)))
}

/// The means of this many samples at a time.
fn thinned(samples: &[f32], step: usize) -> Vec<f32> {
    samples.chunks_exact(step).map(|chunk| chunk.iter().sum::<f32>() / step as f32).collect()
}

/// The sum of the products, added up in lanes as compilers like it.
fn product(one: &[f32], other: &[f32]) -> f64 {
    const LANES: usize = 8;
    let ((ones, one), (others, other)) = (one.as_chunks::<LANES>(), other.as_chunks::<LANES>());
    let rest: f32 = one.iter().zip(other).map(|(a, b)| a * b).sum();
    let mut sums = [0.0_f32; LANES];
    for (ones, others) in ones.iter().zip(others) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum += ones[lane] * others[lane];
        }
    }
    f64::from(rest) + sums.iter().map(|sum| f64::from(*sum)).sum::<f64>()
}
