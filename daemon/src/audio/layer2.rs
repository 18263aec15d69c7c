//! MPEG audio of layer II whose bit rate symphonia refuses for its channels, as ffmpeg writes it for one channel unless told otherwise
//! (384 kbit/s). It is measured here and not decoded.

use super::source::Source;
use super::{Probe, ProbeError};

/// How many frames must follow each other.
const ENOUGH: u64 = 3;

/// In kbit/s, of MPEG 1; then of MPEG 2 and 2.5.
const RATES: [[u64; 15]; 2] = [
    [0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
    [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];

/// What a frame's header says.
struct Frame {
    bytes: u64,
    sample_rate: u32,
    channels: u32,
}

impl Frame {
    fn read(header: &[u8]) -> Option<Frame> {
        let &[0xff, second, third, fourth] = header else { return None };
        let (version, layer, rate) = (second >> 3 & 3, second >> 1 & 3, usize::from(third >> 4));
        if second >> 5 != 7 || version == 1 || layer != 2 || rate == 0 {
            return None;
        }
        let bits = RATES[usize::from(version != 3)].get(rate)? * 1_000;
        // MPEG 2 halves the rate, 2.5 halves it again.
        let base = [44_100, 48_000, 32_000].get(usize::from(third >> 2 & 3))?;
        let sample_rate = base >> [2, 0, 1, 0][usize::from(version)];
        let bytes = 144 * bits / u64::from(sample_rate) + u64::from(third >> 1 & 1);
        Some(Frame { bytes, sample_rate, channels: if fourth >> 6 == 3 { 1 } else { 2 } })
    }

    fn at(source: &mut Source, offset: u64) -> std::io::Result<Option<Frame>> {
        Ok(Frame::read(source.peek(offset, 4)?))
    }
}

/// Whether several frames follow each other from here on, or frames up to the end of the file.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn is_at(source: &mut Source, first: u64) -> std::io::Result<bool> {
    let (mut offset, mut count) = (first, 0);
    while count < ENOUGH
        && let Some(frame) = Frame::at(source, offset)?
    {
        offset += frame.bytes;
        count += 1;
    }
    Ok(count == ENOUGH || count > 0 && offset == source.length())
}

/// Measures the frames that follow each other from here on.
///
/// # Errors
/// [`ProbeError::Truncated`] when not one frame is complete.
pub(super) fn probe(source: &mut Source, first: u64) -> Result<Probe, ProbeError> {
    const SAMPLES: u64 = 1_152;
    let (mut offset, mut nanoseconds, mut truncated, mut kind) = (first, 0, false, None);
    while let Some(frame) = Frame::at(source, offset)? {
        offset += frame.bytes;
        truncated = offset > source.length();
        if truncated {
            break;
        }
        nanoseconds += SAMPLES * 1_000_000_000 / u64::from(frame.sample_rate);
        kind.get_or_insert(frame);
    }
    let frame = kind.ok_or_else(|| ProbeError::Truncated("not one frame is complete".into()))?;
    Ok(Probe {
        // The service's name of the frames' family.
        format: "mpeg".into(),
        codec: Some("mp2".into()),
        duration_ms: Some((nanoseconds + 500_000) / 1_000_000),
        channels: Some(frame.channels),
        sample_rate: Some(frame.sample_rate),
        bytes: source.length(),
        truncated,
        ..Probe::default()
    })
}
