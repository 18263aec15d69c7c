//! Brings samples of any rate to 16 kHz.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler};

use super::ProbeError;

/// The rate that all audio is brought to. Opus decodes to it by itself.
pub(super) const RATE: u32 = 16_000;

/// How many samples are resampled at once.
const CHUNK: usize = 256;

/// A stream of samples that is brought to [`RATE`], without delay and to the exact number of samples.
pub(super) struct To16k {
    rate: u32,
    /// `None`: the samples have the rate already.
    resampler: Option<Fft<f32>>,
    pending: Vec<f32>,
    chunk: Vec<f32>,
    /// Samples of the resampler's delay that are still to be left out.
    delay: usize,
    taken: u64,
    made: u64,
}

impl To16k {
    /// # Errors
    /// For a rate that cannot be resampled.
    pub(super) fn new(rate: u32) -> Result<To16k, ProbeError> {
        let refused = |error| ProbeError::Undecodable(format!("{rate} samples a second: {error}"));
        let resampler = match rate {
            RATE => None,
            _ => Some(
                Fft::new(rate as usize, RATE as usize, CHUNK, 1, FixedSync::Input)
                    .map_err(|error| refused(error.to_string()))?,
            ),
        };
        let delay = resampler.as_ref().map_or(0, Resampler::output_delay);
        let chunk = vec![0.0; resampler.as_ref().map_or(0, Resampler::output_frames_max)];
        Ok(To16k { rate, resampler, pending: Vec::new(), chunk, delay, taken: 0, made: 0 })
    }

    pub(super) fn rate(&self) -> u32 {
        self.rate
    }

    /// Takes samples; appends the resampled ones that are ready to `out`.
    pub(super) fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        self.taken += samples.len() as u64;
        let Some(resampler) = &mut self.resampler else {
            out.extend_from_slice(samples);
            self.made += samples.len() as u64;
            return;
        };
        self.pending.extend_from_slice(samples);
        let mut used = 0;
        let capacity = self.chunk.len();
        loop {
            let needed = resampler.input_frames_next();
            let Some(input) = self.pending.get(used..used + needed) else { break };
            // The lengths are those that the resampler asks for, so it has no reason to refuse.
            let Ok(input) = InterleavedSlice::new(input, 1, needed) else { break };
            let Ok(mut output) = InterleavedSlice::new_mut(&mut self.chunk, 1, capacity) else { break };
            let Ok((_, made)) = resampler.process_into_buffer(&input, &mut output, None) else { break };
            used += needed;
            let late = self.delay.min(made);
            self.delay -= late;
            out.extend_from_slice(&self.chunk[late..made]);
            self.made += (made - late) as u64;
        }
        self.pending.drain(..used);
    }

    /// Appends the rest, up to as many samples as the input has time for, and is ready for another stream.
    pub(super) fn finish(&mut self, out: &mut Vec<f32>) {
        let total = (self.taken * u64::from(RATE) + u64::from(self.rate / 2)) / u64::from(self.rate);
        let silence = [0.0; CHUNK];
        while self.made < total && self.resampler.is_some() {
            self.push(&silence, out);
        }
        // The caller may have taken earlier samples out of `out` already.
        let more = self.made.saturating_sub(total) as usize;
        out.truncate(out.len().saturating_sub(more));
        self.reset();
    }

    fn reset(&mut self) {
        if let Some(resampler) = &mut self.resampler {
            resampler.reset();
            self.delay = resampler.output_delay();
        }
        self.pending.clear();
        (self.taken, self.made) = (0, 0);
    }
}
