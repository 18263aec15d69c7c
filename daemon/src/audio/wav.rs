//! WAV, RF64 and BW64: lengths by the bytes that are in the file, not by those that its header states.

use super::source::Source;
use super::{Probe, ProbeError};

/// The most chunks that are read. Files have a few; a crafted one could have a chunk every eight bytes.
const MOST_CHUNKS: usize = 1_000;

/// Sizes that mean "I could not know": of a recorder that wrote to a pipe, or died before it went back to fill the size in.
fn is_placeholder(size: u64) -> bool {
    matches!(size, 0 | 0x7fff_0000..=0x8000_0000 | 0xffff_0000..=0xffff_ffff)
}

/// Reads the chunks up to the audio. `start` is the offset of `RIFF`.
///
/// # Errors
/// [`ProbeError::Truncated`] when there is not one frame of audio, or a header that makes no sense.
pub(super) fn probe(source: &mut Source, start: u64) -> Result<Probe, ProbeError> {
    let chunks = Chunks::read(source, start)?;
    let format = chunks.format.ok_or_else(|| truncated("it has no fmt chunk"))?;
    let data = chunks.data.ok_or_else(|| truncated("it has no data chunk"))?;
    let frames = format.frames(data.present, chunks.fact.filter(|_| !data.truncated))?;
    if frames == 0 {
        return Err(truncated("its data chunk holds no audio"));
    }
    Ok(Probe {
        format: "wav".into(),
        codec: format.codec().map(str::to_owned),
        duration_ms: Some(milliseconds(frames, format.rate)),
        channels: Some(u32::from(format.channels)),
        sample_rate: Some(format.rate),
        truncated: data.truncated,
        bytes: source.length(),
    })
}

/// `frames / rate` in milliseconds, rounded.
pub(super) fn milliseconds(frames: u64, rate: u32) -> u64 {
    let rate = u128::from(rate.max(1));
    ((u128::from(frames) * 1000 + rate / 2) / rate).min(u128::from(u64::MAX)) as u64
}

fn truncated(why: &str) -> ProbeError {
    ProbeError::Truncated(why.into())
}

#[derive(Default)]
struct Chunks {
    format: Option<Format>,
    /// The number of frames by the `fact` chunk, for formats whose blocks do not determine it.
    fact: Option<u64>,
    data: Option<Data>,
}

struct Data {
    /// Bytes that are in the file.
    present: u64,
    truncated: bool,
}

impl Chunks {
    fn read(source: &mut Source, start: u64) -> Result<Chunks, ProbeError> {
        let length = source.length();
        let mut chunks = Chunks::default();
        let mut long_size = None;
        let mut offset = start + 12;
        for _ in 0..MOST_CHUNKS {
            let &[a, b, c, d, e, f, g, h] = source.peek(offset, 8)? else { break };
            let size = u64::from(u32::from_le_bytes([e, f, g, h]));
            offset += 8;
            match &[a, b, c, d] {
                b"fmt " => chunks.format = Some(Format::parse(source.peek(offset, 40.min(size as usize))?)?),
                // A recorder that did not fill the size in left 0 or all ones: open-ended, like a size of 0 in a plain WAV file.
                b"ds64" => {
                    let told = source.peek(offset, 16)?.get(8..16).map(little_endian);
                    long_size = told.filter(|size| !matches!(*size, 0 | u64::MAX));
                }
                b"fact" => chunks.fact = source.peek(offset, 4)?.get(..4).map(little_endian),
                b"data" => {
                    let declared = if size == 0xffff_ffff { long_size.unwrap_or(size) } else { size };
                    let there = length.saturating_sub(offset);
                    let open_ended = long_size.is_none() && is_placeholder(declared);
                    let present = if open_ended { there } else { declared.min(there) };
                    let truncated = !open_ended && declared > there;
                    chunks.data = Some(Data { present, truncated });
                    if chunks.format.is_some() {
                        break;
                    }
                }
                _ => {}
            }
            offset = offset.saturating_add(size + (size & 1));
        }
        Ok(chunks)
    }
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

struct Format {
    tag: u16,
    channels: u16,
    rate: u32,
    bytes_per_second: u32,
    block: u16,
    bits: u16,
    frames_per_block: Option<u16>,
}

impl Format {
    fn parse(bytes: &[u8]) -> Result<Format, ProbeError> {
        let short = |at: usize| bytes.get(at..at + 2).map(|two| u16::from_le_bytes([two[0], two[1]]));
        let long = |at: usize| bytes.get(at..at + 4).map(|four| little_endian(four) as u32);
        let parse = || {
            let tag = short(0)?;
            // WAVE_FORMAT_EXTENSIBLE: the first two bytes of its GUID are the plain format tag.
            let tag = if tag == 0xfffe { short(24)? } else { tag };
            Some(Format {
                tag,
                channels: short(2)?,
                rate: long(4)?,
                bytes_per_second: long(8)?,
                block: short(12)?,
                bits: short(14).unwrap_or(0),
                frames_per_block: short(18).filter(|frames| *frames > 0),
            })
        };
        let format = parse().ok_or_else(|| truncated("its fmt chunk is too short"))?;
        if format.channels == 0 || format.rate == 0 {
            return Err(truncated("its header states 0 channels or 0 Hz"));
        }
        Ok(format)
    }

    fn codec(&self) -> Option<&'static str> {
        Some(match self.tag {
            0x01 | 0x03 => "pcm",
            0x06 => "alaw",
            0x07 => "mulaw",
            0x02 | 0x11 => "adpcm",
            0x31 => "gsm",
            0x50 => "mp2",
            0x55 => "mp3",
            0xff | 0x1600 | 0x1610 => "aac",
            _ => return None,
        })
    }

    /// Number of audio frames in `bytes` bytes.
    fn frames(&self, bytes: u64, fact: Option<u64>) -> Result<u64, ProbeError> {
        if matches!(self.tag, 0x01 | 0x03 | 0x06 | 0x07) {
            let computed = u64::from(self.channels) * u64::from(self.bits.div_ceil(8));
            let block = if self.block > 0 { u64::from(self.block) } else { computed };
            return bytes.checked_div(block).ok_or_else(|| truncated("its header states 0 bytes a frame"));
        }
        let by_rate = match self.bytes_per_second {
            0 => None,
            rate => Some((u128::from(bytes) * u128::from(self.rate) / u128::from(rate)) as u64),
        };
        let by_block = match (self.frames_per_block, self.block) {
            (Some(frames), block) if block > 0 && matches!(self.tag, 0x02 | 0x11 | 0x31) => {
                Some(bytes.div_ceil(u64::from(block)) * u64::from(frames))
            }
            _ => None,
        };
        match (by_block.or(by_rate), fact) {
            // The `fact` chunk is exact, unless it is wrong: if it differs from the bytes by more than a tenth, the bytes decide.
            (Some(measured), Some(fact)) if fact.abs_diff(measured) <= measured / 10 => Ok(fact),
            (Some(measured), _) => Ok(measured),
            (None, Some(fact)) => Ok(fact),
            (None, None) => Err(truncated("its header has no data rate")),
        }
    }
}
