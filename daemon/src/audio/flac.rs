//! FLAC: the header states the length that the file should have, the last frame the length that it has.

use super::source::Source;
use super::wav::milliseconds;
use super::{Probe, ProbeError};

/// The most metadata blocks that are read: a crafted file could have any number.
const MOST_BLOCKS: usize = 1_000;

/// The tail that is searched for the last frame, in growing steps; the largest holds the largest frame there can be.
const TAILS: [usize; 3] = [64 << 10, 512 << 10, 4 << 20];

/// Measures a FLAC file. `start` is the offset of `fLaC`.
///
/// # Errors
/// [`ProbeError::Truncated`] when the header is broken or no frame is complete.
pub(super) fn probe(source: &mut Source, start: u64) -> Result<Probe, ProbeError> {
    let (info, audio) = StreamInfo::read(source, start)?;
    let (samples, truncated) = match measure(source, &info, audio)? {
        Measured::UpTo(samples) => (Some(samples), info.samples.is_some_and(|stated| samples < stated)),
        Measured::CutAfter(samples) => (Some(samples), true),
        Measured::Unknown => (info.samples, false),
    };
    if samples == Some(0) {
        return Err(truncated_error("not one frame is complete"));
    }
    Ok(Probe {
        format: "flac".into(),
        codec: Some("flac".into()),
        duration_ms: samples.map(|samples| milliseconds(samples, info.rate)),
        channels: Some(info.channels),
        sample_rate: Some(info.rate),
        bytes: source.length(),
        truncated,
    })
}

fn truncated_error(why: &str) -> ProbeError {
    ProbeError::Truncated(why.into())
}

struct StreamInfo {
    largest_block: u64,
    rate: u32,
    channels: u32,
    /// The stated number of samples; `None` if the encoder did not know it.
    samples: Option<u64>,
}

impl StreamInfo {
    /// Reads the metadata; returns it with the offset of the first frame.
    fn read(source: &mut Source, start: u64) -> Result<(StreamInfo, u64), ProbeError> {
        let head = source.peek(start + 8, 18)?;
        let &[_, _, large, small, _, _, _, _, _, _, r, s, t, a, b, c, d, e] = head else {
            return Err(truncated_error("its header is cut off"));
        };
        let info = StreamInfo {
            largest_block: u64::from(large) << 8 | u64::from(small),
            rate: u32::from(r) << 12 | u32::from(s) << 4 | u32::from(t) >> 4,
            channels: u32::from(t >> 1 & 7) + 1,
            samples: Some(u64::from(a & 15) << 32 | u64::from(u32::from_be_bytes([b, c, d, e])))
                .filter(|samples| *samples > 0),
        };
        if info.rate == 0 {
            return Err(truncated_error("its header states 0 Hz"));
        }
        let mut offset = start + 4;
        for _ in 0..MOST_BLOCKS {
            let &[kind, a, b, c] = source.peek(offset, 4)? else { break };
            offset += 4 + u64::from(u32::from_be_bytes([0, a, b, c]));
            if kind & 0x80 != 0 {
                return Ok((info, offset));
            }
        }
        Err(truncated_error("its header does not end"))
    }
}

enum Measured {
    /// The last frame is complete and ends at this sample.
    UpTo(u64),
    /// The last frame is incomplete; the last complete one ends at this sample.
    CutAfter(u64),
    /// The searched tail has no frame.
    Unknown,
}

fn measure(source: &mut Source, info: &StreamInfo, audio: u64) -> Result<Measured, ProbeError> {
    let mut end = source.length();
    if end >= 128 && source.peek(end - 128, 3)? == b"TAG" {
        end -= 128;
    }
    for tail in TAILS {
        let from = end.saturating_sub(tail as u64).max(audio);
        let bytes = source.copy(from, end.saturating_sub(from) as usize)?;
        if let Some(measured) = measure_tail(&bytes, info) {
            return Ok(measured);
        }
        if from == audio {
            return Ok(Measured::CutAfter(0));
        }
    }
    Ok(Measured::Unknown)
}

fn measure_tail(bytes: &[u8], info: &StreamInfo) -> Option<Measured> {
    let headers: Vec<(usize, FrameHeader)> = (0..bytes.len())
        .filter(|&at| bytes[at] == 0xff)
        .filter_map(|at| Some((at, FrameHeader::parse(&bytes[at..], info)?)))
        .collect();
    // Bytes inside a frame rarely look like a header; the checksum of the whole frame decides.
    let complete = |(at, header): &(usize, FrameHeader), end: usize| {
        (crc16(&bytes[*at..end]) == 0).then_some(header.end)
    };
    if let Some(samples) = headers.iter().rev().take(8).find_map(|header| complete(header, bytes.len())) {
        return Some(Measured::UpTo(samples));
    }
    let mut later: Vec<usize> = Vec::new();
    for header in headers.iter().rev() {
        if let Some(samples) = later.iter().rev().take(4).find_map(|&end| complete(header, end)) {
            return Some(Measured::CutAfter(samples));
        }
        later.push(header.0);
    }
    None
}

struct FrameHeader {
    /// The number of the sample after the frame's last one.
    end: u64,
}

impl FrameHeader {
    fn parse(bytes: &[u8], info: &StreamInfo) -> Option<FrameHeader> {
        let &[0xff, sync, sizes, channels, ..] = bytes else { return None };
        if sync & 0xfe != 0xf8 || channels & 1 != 0 {
            return None;
        }
        let count = match channels >> 4 {
            single @ 0..=7 => u32::from(single) + 1,
            8..=10 => 2,
            _ => return None,
        };
        if count != info.channels {
            return None;
        }
        let (number, mut at) = coded_number(bytes, 4)?;
        let block = match sizes >> 4 {
            0 => return None,
            1 => 192,
            code @ 2..=5 => 576 << (code - 2),
            6 => {
                at += 1;
                u64::from(*bytes.get(at - 1)?) + 1
            }
            7 => {
                at += 2;
                (u64::from(*bytes.get(at - 2)?) << 8 | u64::from(*bytes.get(at - 1)?)) + 1
            }
            code => 256 << (code - 8),
        };
        at += match sizes & 15 {
            12 => 1,
            13 | 14 => 2,
            15 => return None,
            _ => 0,
        };
        if crc8(bytes.get(..at)?) != *bytes.get(at)? {
            return None;
        }
        let variable = sync & 1 != 0;
        let first = if variable { number } else { number.checked_mul(info.largest_block)? };
        Some(FrameHeader { end: first.checked_add(block)? })
    }
}

/// A number in FLAC's extended UTF-8 coding (up to seven bytes), and the offset of the next field.
fn coded_number(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let first = *bytes.get(at)?;
    let (mut number, more) = match first.leading_ones() {
        0 => (u64::from(first), 0),
        ones @ 2..=7 => (u64::from(first) & (0x7f >> ones), ones as usize - 1),
        _ => return None,
    };
    for next in bytes.get(at + 1..at + 1 + more)? {
        if next >> 6 != 2 {
            return None;
        }
        number = number << 6 | u64::from(next & 0x3f);
    }
    Some((number, at + 1 + more))
}

fn crc8(bytes: &[u8]) -> u8 {
    const TABLE: [u8; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let mut value = index as u8;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 0x80 != 0 { value << 1 ^ 0x07 } else { value << 1 };
                bit += 1;
            }
            table[index] = value;
            index += 1;
        }
        table
    };
    bytes.iter().fold(0, |crc, byte| TABLE[usize::from(crc ^ byte)])
}

/// The result is 0 over a complete frame, which ends with its own checksum.
fn crc16(bytes: &[u8]) -> u16 {
    const TABLE: [u16; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let mut value = (index as u16) << 8;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 0x8000 != 0 { value << 1 ^ 0x8005 } else { value << 1 };
                bit += 1;
            }
            table[index] = value;
            index += 1;
        }
        table
    };
    bytes.iter().fold(0, |crc, byte| crc << 8 ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}
