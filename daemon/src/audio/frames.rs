//! Streams of frames without a container: MPEG audio (MP3) and AAC in ADTS. Frames are counted, never decoded.

use super::source::Source;
use super::wav::milliseconds;
use super::{Probe, ProbeError};

/// The kind of frames that is searched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Mpeg,
    Adts,
}

/// After this many bytes (nine hours at 64 kbit/s) counting stops, and the length is projected from the frames that were counted.
const MOST_COUNTED: u64 = 256 << 20;

/// How far counting searches for the next frame after bytes that are not a frame.
const RESYNC: u64 = 64 << 10;

/// The offset of the first frame within `search` bytes of `start`. A frame counts if two frames of the same kind, or the end of the file,
/// follow.
pub(super) fn find(
    source: &mut Source,
    stream: Stream,
    start: u64,
    search: u64,
) -> Result<Option<u64>, ProbeError> {
    let mut offset = start;
    let end = start.saturating_add(search).min(source.length());
    while offset < end {
        let block = source.peek(offset, 4096)?;
        let Some(at) = block.iter().position(|byte| *byte == 0xff) else {
            offset += block.len().max(1) as u64;
            continue;
        };
        offset += at as u64;
        if offset < end && is_followed(source, stream, offset)? {
            return Ok(Some(offset));
        }
        offset += 1;
    }
    Ok(None)
}

fn is_followed(source: &mut Source, stream: Stream, offset: u64) -> Result<bool, ProbeError> {
    let Some(first) = Frame::at(source, stream, offset)? else { return Ok(false) };
    let mut next = offset + first.bytes;
    for _ in 0..2 {
        if next == source.length() {
            return Ok(true);
        }
        match Frame::at(source, stream, next)? {
            Some(frame) if frame.kind == first.kind => next += frame.bytes,
            // The last frame may be cut off.
            None if next > source.length() && next > offset + first.bytes => return Ok(true),
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// Counts the frames from offset `first` on.
///
/// # Errors
/// [`ProbeError::Truncated`] when not one frame is complete.
pub(super) fn probe(source: &mut Source, stream: Stream, first: u64) -> Result<Probe, ProbeError> {
    let nothing = || ProbeError::Truncated("not one frame is complete".into());
    let head = Frame::at(source, stream, first)?.ok_or_else(nothing)?;
    let end = before_tags(source)?;
    let tag = if stream == Stream::Mpeg { Tag::read(source, first, &head)? } else { None };
    let from = if tag.is_some() { first + head.bytes } else { first };

    let trusted = match &tag {
        Some(tag) => tag.trusted_frames(source, first, end, &head)?,
        None => None,
    };
    let counted = match trusted {
        Some(frames) => Counted { samples: frames * head.samples, truncated: false },
        None => count(source, stream, from, end, &head)?,
    };
    if counted.samples == 0 {
        return Err(nothing());
    }
    let silence = if counted.truncated { 0 } else { tag.map_or(0, |tag| tag.padding) };
    let samples = if silence < counted.samples { counted.samples - silence } else { counted.samples };
    Ok(Probe {
        format: head.name.into(),
        codec: Some(head.name.into()),
        duration_ms: Some(milliseconds(samples, head.rate)),
        channels: Some(head.channels),
        sample_rate: Some(head.rate),
        bytes: source.length(),
        truncated: counted.truncated,
    })
}

struct Counted {
    samples: u64,
    truncated: bool,
}

fn count(
    source: &mut Source,
    stream: Stream,
    from: u64,
    end: u64,
    head: &Frame,
) -> Result<Counted, ProbeError> {
    let mut counted = Counted { samples: 0, truncated: false };
    let mut offset = from;
    while offset < end {
        if offset - from > MOST_COUNTED {
            let projected = u128::from(counted.samples) * u128::from(end - from) / u128::from(offset - from);
            counted.samples = projected as u64;
            break;
        }
        match Frame::at(source, stream, offset)? {
            Some(frame) if frame.kind == head.kind => {
                if offset + frame.bytes > end {
                    counted.truncated = true;
                    break;
                }
                counted.samples += frame.samples;
                offset += frame.bytes;
            }
            _ => match find(source, stream, offset + 1, RESYNC.min(end - offset))? {
                Some(next) => offset = next,
                None => break,
            },
        }
    }
    Ok(counted)
}

/// The end of the audio: before an ID3v1 tag and an APE tag.
fn before_tags(source: &mut Source) -> Result<u64, ProbeError> {
    let mut end = source.length();
    if end >= 128 && source.peek(end - 128, 3)? == b"TAG" {
        end -= 128;
    }
    if end >= 32 {
        let footer = source.peek(end - 32, 32)?;
        if footer.starts_with(b"APETAGEX") {
            let number =
                |at: usize| u32::from_le_bytes([footer[at], footer[at + 1], footer[at + 2], footer[at + 3]]);
            let header = if number(20) & 0x8000_0000 != 0 { 32 } else { 0 };
            end = end.saturating_sub(u64::from(number(12)) + header);
        }
    }
    Ok(end)
}

struct Frame {
    name: &'static str,
    bytes: u64,
    samples: u64,
    rate: u32,
    channels: u32,
    /// The bits of the header that stay the same in one stream.
    kind: u32,
    /// Offset of the encoder's tag within the first frame of an MP3.
    tag_offset: usize,
}

impl Frame {
    fn at(source: &mut Source, stream: Stream, offset: u64) -> Result<Option<Frame>, ProbeError> {
        let bytes = source.peek(offset, 7)?;
        Ok(match stream {
            Stream::Mpeg => bytes.first_chunk().and_then(|four| Frame::mpeg(u32::from_be_bytes(*four))),
            Stream::Adts => bytes.first_chunk().and_then(Frame::adts),
        })
    }

    fn mpeg(header: u32) -> Option<Frame> {
        if header >> 21 != 0x7ff {
            return None;
        }
        let (version, layer) = (header >> 19 & 3, 4 - (header >> 17 & 3));
        let (bit_rate, sample_rate) = ((header >> 12 & 15) as usize, (header >> 10 & 3) as usize);
        // Reserved values, and the free bit rate, which encoders do not use.
        if version == 1 || layer == 4 || bit_rate == 0 || bit_rate == 15 || sample_rate == 3 {
            return None;
        }
        let first_version = version == 3;
        let row = match (first_version, layer) {
            (true, layer) => layer as usize - 1,
            (false, 1) => 3,
            (false, _) => 4,
        };
        let bit_rate = 1000 * BIT_RATES[row][bit_rate - 1];
        // MPEG 2 halves the rate, 2.5 halves it again.
        let rate = [44_100, 48_000, 32_000][sample_rate] >> [2, 0, 1, 0][version as usize];
        let padding = header >> 9 & 1;
        let samples = match layer {
            1 => 384,
            3 if !first_version => 576,
            _ => 1152,
        };
        let bytes = if layer == 1 {
            (12 * bit_rate / rate + padding) * 4
        } else {
            samples / 8 * bit_rate / rate + padding
        };
        let mono = header >> 6 & 3 == 3;
        Some(Frame {
            name: ["mp1", "mp2", "mp3"][layer as usize - 1],
            bytes: u64::from(bytes),
            samples: u64::from(samples),
            rate,
            channels: if mono { 1 } else { 2 },
            kind: header & 0xfffe_0c00,
            tag_offset: match (first_version, mono) {
                (true, false) => 36,
                (true, true) | (false, false) => 21,
                (false, true) => 13,
            },
        })
    }

    fn adts(header: &[u8; 7]) -> Option<Frame> {
        let &[sync, second, third, fourth, fifth, sixth, seventh] = header;
        if sync != 0xff || second & 0xf6 != 0xf0 {
            return None;
        }
        let rate = *ADTS_RATES.get((third >> 2 & 15) as usize)?;
        let bytes = u64::from(fourth & 3) << 11 | u64::from(fifth) << 3 | u64::from(sixth >> 5);
        let configuration = u32::from(third & 1) << 2 | u32::from(fourth >> 6);
        (bytes > 7).then_some(Frame {
            name: "aac",
            bytes,
            samples: 1024 * (u64::from(seventh & 3) + 1),
            rate,
            channels: if configuration == 7 { 8 } else { configuration.max(1) },
            kind: u32::from_be_bytes([sync, second, third & 0xfd, fourth & 0xc0]),
            tag_offset: 0,
        })
    }
}

/// kbit/s by version and layer: MPEG 1 layers 1 to 3, MPEG 2 layer 1, MPEG 2 layers 2 and 3.
const BIT_RATES: [[u32; 14]; 5] = [
    [32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
    [32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
    [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
    [32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
    [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];

const ADTS_RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

/// A tag that an encoder wrote into the first frame, which then holds no audio: Xing, Info or VBRI.
struct Tag {
    frames: Option<u64>,
    /// Bytes from the tag's frame to the end of the last frame.
    bytes: Option<u64>,
    /// Samples of silence that the encoder added before and after.
    padding: u64,
}

impl Tag {
    fn read(source: &mut Source, first: u64, head: &Frame) -> Result<Option<Tag>, ProbeError> {
        let frame = source.peek(first, head.bytes as usize)?;
        let number = |at: usize| {
            frame
                .get(at..at + 4)
                .map(|four| u64::from(u32::from_be_bytes([four[0], four[1], four[2], four[3]])))
        };
        if frame.get(36..40) == Some(b"VBRI") {
            return Ok(Some(Tag { frames: number(50), bytes: number(46), padding: 0 }));
        }
        let at = head.tag_offset;
        if !matches!(frame.get(at..at + 4), Some(b"Xing" | b"Info")) {
            return Ok(None);
        }
        let flags = number(at + 4).unwrap_or(0);
        let mut next = at + 8;
        let mut field = |bit: u64, size: usize| {
            let here = next;
            let there = flags & bit != 0;
            next += if there { size } else { 0 };
            there.then_some(here)
        };
        let frames = field(1, 4).and_then(number);
        let bytes = field(2, 4).and_then(number);
        field(4, 100);
        field(8, 4);
        let encoder =
            frame.get(next..next + 24).filter(|tag| tag.starts_with(b"LAME") || tag.starts_with(b"Lav"));
        let padding = encoder.map_or(0, |tag| {
            let before = u64::from(tag[21]) << 4 | u64::from(tag[22]) >> 4;
            let after = u64::from(tag[22] & 15) << 8 | u64::from(tag[23]);
            before + after
        });
        Ok(Some(Tag { frames, bytes, padding }))
    }

    /// The tag's count of frames, if the file is as long as the tag states: not shorter, and without a second stream after it.
    fn trusted_frames(
        &self,
        source: &mut Source,
        first: u64,
        end: u64,
        head: &Frame,
    ) -> Result<Option<u64>, ProbeError> {
        let (Some(frames), Some(bytes)) = (self.frames, self.bytes) else { return Ok(None) };
        let stated_end = first + bytes;
        // No frame is shorter than 24 bytes, so a count of more than a frame per 24 bytes is false.
        if stated_end > end || frames == 0 || frames > bytes / 24 {
            return Ok(None);
        }
        let more = Frame::at(source, Stream::Mpeg, stated_end)?.is_some_and(|frame| frame.kind == head.kind);
        Ok((!more).then_some(frames))
    }
}
