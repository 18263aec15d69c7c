//! Makes the bytes of a piece: 16 kHz, one channel, 16 bits, as FLAC or WAV.

use hark_sdk::event::TimeSpan;

use super::ProbeError;
use super::decode::Decoder;
use super::flac::{BLOCK, Flac};
use super::resample::{RATE, To16k};
use super::time::Time;
use crate::config::PieceFormat;

/// Nanoseconds of a millisecond.
const MILLISECOND: Time = 1_000_000;

/// Decodes parts of a recording (the decoder's first signal) and passes the bytes of a file that holds the parts one after another to `send`.
/// If the recording ends before a part does, silence fills the rest.
///
/// # Errors
/// When the file cannot be read or decoded.
pub(super) fn piece(
    decoder: &mut Decoder,
    parts: &[TimeSpan],
    format: PieceFormat,
    send: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
) -> Result<(), ProbeError> {
    let count = |part: &TimeSpan| (part.length_ms() * u64::from(RATE) / 1000) as usize;
    let total = parts.iter().map(count).sum();
    let mut encoder = Encoder::new(format, total)?;
    encoder.begin(send)?;
    let (mut samples, mut left) = (Vec::new(), total);
    for part in parts {
        // Samples of the parts before that are not encoded yet.
        let mut rest = samples.len() + count(part);
        let mut encode = |samples: &mut Vec<f32>, rest: &mut usize| {
            let whole = samples.len().min(*rest) / BLOCK * BLOCK;
            encoder.push(&samples[..whole], send)?;
            samples.drain(..whole);
            (left, *rest) = (left - whole, *rest - whole);
            Ok::<_, ProbeError>(())
        };
        let [begin, end] =
            [part.begin_ms, part.end_ms].map(|time| Time::try_from(time).unwrap_or(0) * MILLISECOND);
        decoder.go_to(begin)?;
        let mut to_16k: Option<To16k> = None;
        while let Some(block) = decoder.next(end)? {
            if to_16k.as_ref().is_some_and(|it| it.rate() != block.rate)
                && let Some(mut before) = to_16k.take()
            {
                before.finish(&mut samples);
            }
            let resampler = match &mut to_16k {
                Some(resampler) => resampler,
                none => none.insert(To16k::new(block.rate)?),
            };
            resampler.push(block.signal(0), &mut samples);
            encode(&mut samples, &mut rest)?;
        }
        if let Some(mut resampler) = to_16k {
            resampler.finish(&mut samples);
        }
        samples.resize(rest, 0.0);
        encode(&mut samples, &mut rest)?;
    }
    samples.resize(left, 0.0);
    encoder.push(&samples, send)
}

enum Encoder {
    /// With the number of bytes of the samples.
    Wav(u32),
    Flac(Box<Flac>),
}

impl Encoder {
    fn new(format: PieceFormat, total: usize) -> Result<Encoder, ProbeError> {
        Ok(match format {
            PieceFormat::Wav => Encoder::Wav(u32::try_from(total * 2).unwrap_or(u32::MAX)),
            PieceFormat::Flac => Encoder::Flac(Box::new(Flac::new(total)?)),
        })
    }

    fn begin(&self, send: &mut dyn FnMut(&[u8]) -> std::io::Result<()>) -> Result<(), ProbeError> {
        match self {
            Encoder::Wav(length) => {
                let rate = RATE.to_le_bytes();
                let bytes_a_second = (RATE * 2).to_le_bytes();
                let header = [
                    &b"RIFF"[..],
                    &length.saturating_add(36).to_le_bytes(),
                    b"WAVEfmt \x10\0\0\0\x01\0\x01\0",
                    &rate,
                    &bytes_a_second,
                    b"\x02\0\x10\0data",
                    &length.to_le_bytes(),
                ];
                send(&header.concat())?;
            }
            Encoder::Flac(flac) => send(&flac.head()?)?,
        }
        Ok(())
    }

    /// Takes whole blocks, and at last what remains.
    fn push(
        &mut self,
        samples: &[f32],
        send: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<(), ProbeError> {
        for block in samples.chunks(BLOCK) {
            let numbers = block.iter().map(|sample| to_16_bits(*sample));
            match self {
                Encoder::Wav(_) => {
                    let bytes: Vec<u8> = numbers.flat_map(|number| (number as i16).to_le_bytes()).collect();
                    send(&bytes)?;
                }
                Encoder::Flac(flac) => send(flac.block(&numbers.collect::<Vec<_>>())?)?,
            }
        }
        Ok(())
    }
}

/// Rounds to the nearest number. Without `round`, which is a call of a function for each sample where the processor need not have an
/// instruction for it.
fn to_16_bits(sample: f32) -> i32 {
    let scaled = sample * 32_768.0;
    // The cast cuts off towards 0.
    ((scaled + 0.5_f32.copysign(scaled)) as i32).clamp(i16::MIN.into(), i16::MAX.into())
}

#[cfg(test)]
mod tests {
    use super::to_16_bits;

    #[test]
    fn samples_become_the_nearest_number_of_16_bits() {
        for number in i16::MIN..=i16::MAX {
            assert_eq!(to_16_bits(f32::from(number) / 32_768.0), i32::from(number));
        }
        for (sample, number) in
            [(0.5, 1), (-0.5, -1), (0.25, 0), (-1.75, -2), (40_000.0, 32_767), (-4e9, -32_768)]
        {
            assert_eq!(to_16_bits(sample / 32_768.0), number, "{sample}");
        }
        assert_eq!(to_16_bits(f32::NAN), 0);
    }
}
