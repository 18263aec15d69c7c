//! Streams of frames without a container: MPEG audio (MP3) and AAC in ADTS.

use std::ops::Range;

use symphonia::core::codecs::audio::well_known as codec;
use symphonia::core::errors::Result as Opened;
use symphonia::core::formats::{FormatOptions, FormatReader};
use symphonia::core::io::{MediaSourceStream, ReadBytes};
use symphonia::default::formats::{AdtsReader, MpaReader};

use super::length::walk;
use super::source::Source;
use super::wav::milliseconds;
use super::{Probe, ProbeError, containers};

/// The kind of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Mpeg,
    Adts,
}

/// How many frames must follow each other without a gap: less also occurs in files that hold no audio.
const ENOUGH: u64 = 3;

/// More than [`ENOUGH`] of the longest frames.
const ENOUGH_BYTES: u64 = 32 << 10;

/// How many places that look like a frame are examined: a crafted file may have one at every third byte.
const MOST_EXAMINED: usize = 1_000;

impl Stream {
    /// A reader of the stream that begins with this frame.
    ///
    /// # Errors
    /// When there is no frame.
    pub(super) fn open<'s>(self, bytes: MediaSourceStream<'s>) -> Opened<Box<dyn FormatReader + 's>> {
        let options = FormatOptions::default();
        Ok(match self {
            Stream::Mpeg => Box::new(MpaReader::try_new(bytes, options)?),
            Stream::Adts => Box::new(AdtsReader::try_new(bytes, options)?),
        })
    }

    /// Which frame might begin so.
    fn of(first: &[u8]) -> Option<Stream> {
        match *first {
            [0xff, second, third] if second & 0xf6 == 0xf0 && third >> 2 & 15 < 13 => Some(Stream::Adts),
            // Neither reserved values nor the free bit rate, which encoders do not use.
            [0xff, second, third] => {
                let (version, layer) = (second >> 3 & 3, second >> 1 & 3);
                let is_possible = second >> 5 == 7 && version != 1 && layer != 0;
                (is_possible && (1..15).contains(&(third >> 4)) && third >> 2 & 3 != 3)
                    .then_some(Stream::Mpeg)
            }
            _ => None,
        }
    }

    /// Whether frames follow each other without a gap from the first of these bytes to their end, or [`ENOUGH`] of them.
    fn is_at(self, source: &mut Source, bytes: Range<u64>) -> std::io::Result<bool> {
        let (start, length) = (bytes.start, bytes.end - bytes.start);
        let head = source.peek(start, 64)?;
        let has_tag = self == Stream::Mpeg && has_tag(head);
        // What symphonia leaves out of a packet; with a checksum it is longer.
        let header = match (self, head.get(1)) {
            (Stream::Mpeg, _) => 0,
            (Stream::Adts, Some(second)) if second & 1 == 0 => 9,
            (Stream::Adts, _) => 7,
        };
        let Ok(mut reader) = self.open(source.part(bytes)) else { return Ok(false) };
        let (mut count, mut sum) = (0, 0);
        while count < ENOUGH
            && let Ok(Some(packet)) = reader.next_packet()
        {
            count += 1;
            sum += packet.data.len() as u64 + header;
        }
        Ok(match count {
            // The frame with the tag is no packet.
            1.. if has_tag => true,
            ENOUGH => reader.into_inner().pos() == sum,
            1.. if sum == length => true,
            // The last frame is cut off.
            2.. if sum < length => self.is_at(source, start..start + sum)?,
            _ => false,
        })
    }
}

/// Searches for the first frame within `search` bytes of `start`.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn find(source: &mut Source, start: u64, search: u64) -> std::io::Result<Option<(Stream, u64)>> {
    let end = start.saturating_add(search).min(source.length());
    let (mut offset, mut examined) = (start, 0);
    while offset < end && examined < MOST_EXAMINED {
        let block = source.peek(offset, 4096)?;
        let Some((at, stream)) =
            block.windows(3).enumerate().find_map(|(at, it)| Some((at, Stream::of(it)?)))
        else {
            offset += block.len().saturating_sub(2).max(1) as u64;
            continue;
        };
        offset += at as u64;
        let enough = (offset + ENOUGH_BYTES).min(source.length());
        if offset < end && stream.is_at(source, offset..enough)? {
            return Ok(Some((stream, offset)));
        }
        examined += 1;
        offset += 1;
    }
    Ok(None)
}

/// Measures the stream whose first frame is at offset `first`.
///
/// # Errors
/// [`ProbeError::Truncated`] when not one frame is complete.
pub(super) fn probe(source: &mut Source, stream: Stream, first: u64) -> Result<Probe, ProbeError> {
    let nothing = || ProbeError::Truncated("not one frame is complete".into());
    let has_tag = stream == Stream::Mpeg && has_tag(source.peek(first, 64)?);
    let end = source.length();
    let open = || stream.open(source.part(first..end)).map_err(containers::explain);
    // The tag of an encoder is no packet.
    let audio = first + open()?.into_inner().pos();
    let mut reader = open()?;
    let track = reader.tracks().first().cloned().ok_or_else(nothing)?;
    let parameters = track.codec_params.as_ref().and_then(|it| it.audio()).ok_or_else(nothing)?;
    let rate = parameters.sample_rate.ok_or_else(nothing)?;
    let mut found = match stream {
        Stream::Mpeg => walk(reader.as_mut(), |packet| mpeg_samples(&packet.data)),
        Stream::Adts => walk(reader.as_mut(), |_| None),
    };
    let counted = found.milliseconds().ok_or_else(nothing)?;
    // Silence that the encoder added before and after.
    let added = u64::from(track.delay.unwrap_or(0)) + u64::from(track.padding.unwrap_or(0));
    let stated = track.num_frames.filter(|_| has_tag).map(|frames| milliseconds(frames + added, rate));
    let mut truncated = found.breaks_off || stated.is_some_and(|stated| counted + 1 < stated);
    if !found.is_complete {
        found = found.projected(end - first);
        truncated = false;
    } else if stream == Stream::Mpeg && stated.is_none() {
        // The reader passes over an incomplete frame at the end.
        truncated = Stream::of(source.peek(audio + found.bytes, 3)?) == Some(Stream::Mpeg);
    }
    if !truncated {
        found = found.without(added, rate);
    }
    let name = match parameters.codec {
        codec::CODEC_ID_MP1 => "mp1",
        codec::CODEC_ID_MP2 => "mp2",
        codec::CODEC_ID_MP3 => "mp3",
        _ => "aac",
    };
    Ok(Probe {
        format: name.into(),
        codec: Some(name.into()),
        duration_ms: found.milliseconds(),
        channels: parameters.channels.as_ref().map(|channels| channels.count() as u32),
        sample_rate: Some(rate),
        bytes: end,
        truncated,
        ..Probe::default()
    })
}

/// Whether a frame holds the tag of an encoder and no audio.
fn has_tag(frame: &[u8]) -> bool {
    frame.windows(4).any(|four| matches!(four, b"Xing" | b"Info" | b"VBRI"))
}

/// How many channels a frame of MPEG audio has.
pub(super) fn mpeg_channels(frame: &[u8]) -> Option<u32> {
    frame.get(3).map(|fourth| if fourth >> 6 == 3 { 1 } else { 2 })
}

/// Number and rate of the samples of a frame of MPEG audio: symphonia tells the rate of a stream's first frame only.
pub(super) fn mpeg_samples(frame: &[u8]) -> Option<(u32, u32)> {
    let &[_, second, third, ..] = frame else { return None };
    let (version, layer) = (second >> 3 & 3, 4 - (second >> 1 & 3));
    let rate = [44_100, 48_000, 32_000].get(usize::from(third >> 2 & 3))?;
    let samples = match layer {
        1 => 384,
        3 if version != 3 => 576,
        _ => 1152,
    };
    // MPEG 2 halves the rate, 2.5 halves it again.
    Some((samples, rate >> [2, 0, 1, 0][usize::from(version)]))
}
