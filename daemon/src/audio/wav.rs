//! WAV, RF64 and BW64: lengths by the bytes that are in the file, not by those that its header states.

use std::ops::Range;

use super::source::Source;
use super::{Probe, ProbeError};

/// The most chunks that are read. Files have a few; a crafted one could have a chunk every eight bytes.
const MOST_CHUNKS: usize = 1_000;

/// Fewer bytes behind the stated end of the audio are not taken for audio: some recorders fill a sector.
const LEAST_REST: u64 = 4 << 10;

/// Sizes that mean "I could not know": of a recorder that wrote to a pipe, or died before it went back to fill the size in.
pub(super) fn is_placeholder(size: u64) -> bool {
    matches!(size, 0 | 0x7fff_0000..=0x8000_0000 | 0xffff_0000..=0xffff_ffff)
}

/// What the chunks of a WAV file say, mended where it is wrong.
pub(super) struct Wav {
    format: Format,
    /// Where the audio is in the file.
    pub(super) audio: Range<u64>,
    frames: u64,
    truncated: bool,
    /// The header is wrong: a reader that believes it refuses the file or reads only a part of the audio.
    misleads: bool,
}

impl Wav {
    /// Reads the chunks up to the audio. `start` is the offset of `RIFF`.
    ///
    /// # Errors
    /// [`ProbeError::Truncated`] when there is not one frame of audio, or a header that makes no sense.
    pub(super) fn read(source: &mut Source, start: u64) -> Result<Wav, ProbeError> {
        let chunks = Chunks::read(source, start)?;
        let format = chunks.format.ok_or_else(|| truncated("it has no fmt chunk"))?;
        let data = chunks.data.ok_or_else(|| truncated("it has no data chunk"))?;
        let length = data.audio.end - data.audio.start;
        let fact = chunks.fact.filter(|_| !data.is_stale);
        // If the audio is cut off, the number of frames is reduced in proportion to its bytes.
        let fact = match data.truncated {
            true => {
                fact.map(|frames| (u128::from(frames) * u128::from(length) / u128::from(data.stated)) as u64)
            }
            false => fact,
        };
        let frames = format.frames(length, fact)?;
        if frames == 0 {
            return Err(truncated("its data chunk holds no audio"));
        }
        let misleads =
            chunks.lacks_padding || chunks.has_wrong_size || data.is_stale || format.has_wrong_block();
        Ok(Wav { format, audio: data.audio, frames, truncated: data.truncated, misleads })
    }

    pub(super) fn probe(&self, bytes: u64) -> Probe {
        Probe {
            format: "wav".into(),
            codec: self.format.codec().map(str::to_owned),
            duration_ms: Some(milliseconds(self.frames, self.format.rate)),
            channels: Some(u32::from(self.format.channels)),
            sample_rate: Some(self.format.rate),
            truncated: self.truncated,
            misleading_header: self.misleads || self.format.is_of_telephones(),
            bytes,
            ..Probe::default()
        }
    }

    /// Whether the audio is a stream of MPEG frames.
    pub(super) fn is_mpeg(&self) -> bool {
        matches!(self.format.tag, 0x50 | 0x55)
    }

    /// Whether each frame has the same number of bytes.
    pub(super) fn is_pcm(&self) -> bool {
        self.format.block_of_frame().is_some()
    }

    /// A header for the audio alone that states what is there.
    pub(super) fn header(&self) -> Vec<u8> {
        let fields = match self.format.block_of_frame() {
            Some(block) => self.format.fields(block),
            None => self.format.bytes.clone(),
        };
        let length = u32::try_from(self.audio.end - self.audio.start).ok();
        let length = length.filter(|length| *length < 0xffff_0000).unwrap_or(u32::MAX).to_le_bytes();
        let format_length = (fields.len() as u32).to_le_bytes();
        [b"RIFF\xff\xff\xff\xffWAVEfmt ", &format_length[..], &fields, b"data", &length].concat()
    }
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
    /// A chunk of odd length is not padded.
    lacks_padding: bool,
    /// The audio has no size, ends behind the end that the file states, or has a size of 64 bits, which many readers do not know.
    has_wrong_size: bool,
}

struct Data {
    /// The bytes that are in the file.
    audio: Range<u64>,
    /// How many bytes the header states.
    stated: u64,
    truncated: bool,
    /// More audio follows than the header states: its recorder went on and did not come back to the header.
    is_stale: bool,
}

impl Chunks {
    fn read(source: &mut Source, start: u64) -> Result<Chunks, ProbeError> {
        let head = source.peek(start, 8)?;
        let end = start + 8 + head.get(4..8).map_or(0, little_endian);
        let is_long = !head.starts_with(b"RIFF");
        let is_open = end == start + 8 + u64::from(u32::MAX);
        let mut chunks = Chunks { has_wrong_size: is_long, ..Chunks::default() };
        let mut long_size = None;
        let mut offset = start + 12;
        for _ in 0..MOST_CHUNKS {
            let &[a, b, c, d, e, f, g, h] = source.peek(offset, 8)? else { break };
            let size = u64::from(u32::from_le_bytes([e, f, g, h]));
            offset += 8;
            match &[a, b, c, d] {
                b"fmt " => chunks.format = Some(Format::parse(source.peek(offset, 64.min(size as usize))?)?),
                // A recorder that did not fill the size in left 0 or all ones: open-ended, like a size of 0 in a plain WAV file.
                b"ds64" => {
                    let stated = source.peek(offset, 16)?.get(8..16).map(little_endian);
                    long_size = stated.filter(|size| !matches!(*size, 0 | u64::MAX));
                }
                b"fact" => chunks.fact = source.peek(offset, 4)?.get(..4).map(little_endian),
                b"data" => {
                    let stated = if size == 0xffff_ffff { long_size.unwrap_or(size) } else { size };
                    chunks.has_wrong_size |= stated == 0 || !is_open && end < offset.saturating_add(stated);
                    let is_placeholder = long_size.is_none() && is_placeholder(stated);
                    chunks.data = Some(Data::read(source, offset, stated, is_placeholder)?);
                    if chunks.format.is_some() {
                        break;
                    }
                }
                _ => {}
            }
            offset = offset.saturating_add(size);
            if size & 1 == 1 {
                let lacks_padding = is_unpadded(source.peek(offset, 4)?);
                chunks.lacks_padding |= lacks_padding;
                offset = offset.saturating_add(u64::from(!lacks_padding));
            }
        }
        Ok(chunks)
    }
}

impl Data {
    fn read(source: &mut Source, start: u64, stated: u64, is_open: bool) -> Result<Data, ProbeError> {
        let length = source.length().max(start);
        let end = if is_open { length } else { start.saturating_add(stated) };
        if end >= length {
            return Ok(Data { audio: start..length, stated, truncated: end > length, is_stale: false });
        }
        // Other chunks follow, or the rest of the audio.
        if length - end < LEAST_REST {
            return Ok(Data { audio: start..end, stated, truncated: false, is_stale: false });
        }
        let padded = end + (stated & 1);
        let next = source.peek(padded, 8)?;
        let is_chunk = next.len() < 8
            || is_name(next)
                && little_endian(&next[4..8]) <= length.saturating_sub(padded + 8).saturating_add(1);
        let is_chunk = is_chunk || stated & 1 == 1 && is_unpadded(source.peek(end, 4)?);
        Ok(Data {
            audio: start..if is_chunk { end } else { length },
            stated,
            truncated: false,
            is_stale: !is_chunk,
        })
    }
}

/// Whether a chunk follows where the padding of a chunk of odd length belongs.
fn is_unpadded(next: &[u8]) -> bool {
    next.first().is_some_and(|padding| *padding != 0) && is_name(next)
}

/// Whether a chunk's name begins these bytes.
fn is_name(bytes: &[u8]) -> bool {
    bytes.get(..4).is_some_and(|name| name.iter().all(|byte| matches!(byte, 0x20..0x7f)))
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

struct Format {
    /// The whole chunk.
    bytes: Vec<u8>,
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
                bytes: bytes.to_vec(),
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
            0x14 | 0x42 => "g723",
            0x22 => "truespeech",
            0x31 => "gsm",
            0x45 | 0x64 => "g726",
            0x65 | 0x28f => "g722",
            0x50 => "mp2",
            0x55 => "mp3",
            0x83 => "g729",
            0xff | 0x1600 | 0x1610 => "aac",
            _ => return None,
        })
    }

    /// Bytes of a frame, for codecs whose frames have a fixed length.
    fn block_of_frame(&self) -> Option<u16> {
        let bytes = self.bits.div_ceil(8);
        let bytes = if bytes == 0 && matches!(self.tag, 0x06 | 0x07) { 1 } else { bytes };
        let block = self.channels.checked_mul(bytes).filter(|block| *block > 0);
        block.filter(|_| matches!(self.tag, 0x01 | 0x03 | 0x06 | 0x07))
    }

    /// A codec that recognizers do not name among what they take, and that many decoders lack.
    fn is_of_telephones(&self) -> bool {
        matches!(self.tag, 0x14 | 0x22 | 0x31 | 0x42 | 0x45 | 0x64 | 0x65 | 0x83 | 0x28f)
    }

    fn has_wrong_block(&self) -> bool {
        self.block_of_frame().is_some_and(|block| block != self.block)
    }

    /// A plain fmt chunk for frames of this many bytes.
    fn fields(&self, block: u16) -> Vec<u8> {
        let bytes_per_second = self.rate.saturating_mul(u32::from(block));
        let bits = block / self.channels * 8;
        [
            &self.tag.to_le_bytes()[..],
            &self.channels.to_le_bytes(),
            &self.rate.to_le_bytes(),
            &bytes_per_second.to_le_bytes(),
            &block.to_le_bytes(),
            &bits.to_le_bytes(),
            &[0, 0],
        ]
        .concat()
    }

    /// Number of audio frames in `bytes` bytes.
    fn frames(&self, bytes: u64, fact: Option<u64>) -> Result<u64, ProbeError> {
        if let Some(block) = self.block_of_frame() {
            return Ok(bytes / u64::from(block));
        }
        let by_rate = match self.bytes_per_second {
            0 => None,
            rate => Some((u128::from(bytes) * u128::from(self.rate) / u128::from(rate)) as u64),
        };
        let by_block = match (self.frames_per_block, self.block) {
            (Some(frames), block) if block > 0 && matches!(self.tag, 0x02 | 0x11 | 0x31) => {
                Some(bytes.div_ceil(u64::from(block)) * u64::from(frames))
            }
            // Two samples are a byte, whatever rate of bytes a header states.
            _ if self.codec() == Some("g722") => Some(bytes * 2 / u64::from(self.channels)),
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
