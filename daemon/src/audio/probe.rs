//! Finds the audio in a file, measures it and opens it.

use std::fs::File;
use std::ops::Range;

use symphonia::core::codecs::audio::AudioDecoder;
use symphonia::core::formats::{FormatOptions, FormatReader, Track};
use symphonia::core::units::Timestamp;
use symphonia::default::formats::WavReader;

use super::codec::{codec, undecodable};
use super::frames::Stream;
use super::last_frame::is_incomplete;
use super::signature::{ASF_HEADER, HEAD, Kind, has_pictures, looks_like};
use super::source::Source;
use super::stated_end::stated_end;
use super::wav::Wav;
use super::{Probe, ProbeError, containers, ffmpeg, frames, layer2, raw_speech};

/// Probes a regular file that is open for reading. Memory is bounded for any file; time is not: parsers loop and crash on crafted files, so
/// outside tests this runs in the audio worker only.
///
/// `hint_extension` (of the file's name, without the dot) only decides about files whose format has no signature: how far to search for
/// frames (`mp3`, `aac`), and what speech without a header is (`g729`, `g723`).
///
/// # Errors
/// See [`ProbeError`]; never [`ProbeError::ParserFailed`] or [`ProbeError::NoWorker`].
pub fn probe(file: File, hint_extension: Option<&str>) -> Result<Probe, ProbeError> {
    let mut source = Source::new(file)?;
    Content::find(&mut source, hint_extension)?.probe(&mut source)
}

const NOTHING_KNOWN: &str = "nothing in its first bytes is the beginning of an audio format";

/// How many bytes are searched for frames if the file's name does not suggest any.
const SEARCH: u64 = 64 << 10;
/// How many bytes are searched if the name does: some recorders write data of their own before the frames.
const SEARCH_WHEN_NAMED: u64 = 1 << 20;

/// Where and what the audio in a file is.
pub(super) enum Content {
    Wav(Wav),
    /// A container that symphonia reads, and its place in the file.
    Container(&'static str, Range<u64>),
    /// Frames from this offset on.
    Frames(Stream, u64),
    /// Frames of MPEG audio from this offset on that symphonia refuses.
    Layer2(u64),
    /// A format that is known by its first bytes, or its name, only.
    Unread(&'static str),
    /// What ffmpeg makes of the file with this demuxer.
    Decoded(&'static str),
}

impl Content {
    /// Finds the audio. `hint` as for [`probe`].
    ///
    /// # Errors
    /// As for [`probe`].
    pub(super) fn find(source: &mut Source, hint: Option<&str>) -> Result<Content, ProbeError> {
        if source.length() == 0 {
            return Err(ProbeError::Empty);
        }
        let start = after_id3(source)?;
        Ok(match Kind::of(source.peek(start, HEAD)?) {
            Kind::Wav => Content::Wav(Wav::read(source, start)?),
            Kind::Container(format) => Content::Container(format, containers::place(source, start, format)?),
            Kind::FirstBytesOnly("wma") if has_pictures(source.peek(start, ASF_HEADER)?) => {
                Content::Unread("wmv")
            }
            Kind::FirstBytesOnly(format) => Content::Unread(format),
            Kind::NotAudio(what) => return Err(ProbeError::NotAudio(what.into())),
            Kind::Unknown => bare_frames(source, start, hint)?,
        })
    }

    /// Measures the audio.
    ///
    /// # Errors
    /// As for [`probe`].
    pub(super) fn probe(&self, source: &mut Source) -> Result<Probe, ProbeError> {
        match self {
            Content::Wav(wav) => Ok(wav.probe(source.length())),
            Content::Container(format, place) => containers::probe(source, place.clone(), format),
            Content::Frames(stream, first) => frames::probe(source, *stream, *first),
            Content::Layer2(first) => layer2::probe(source, *first),
            Content::Unread(format) | Content::Decoded(format) => Ok(Probe {
                format: (*format).into(),
                // Ogg is read, unless its codec is Speex.
                codec: (*format == "ogg").then(|| "speex".into()),
                bytes: source.length(),
                truncated: stated_end(source, 0, format)?.is_some_and(|end| end > source.length())
                    || is_incomplete(source, 0, format)?,
                ..Probe::default()
            }),
        }
    }

    /// A reader of the packets, from the first one on.
    ///
    /// # Errors
    /// [`ProbeError::Undecodable`] when symphonia cannot read the format; for [`Content::Decoded`] the errors of [`Source::decoded`].
    pub(super) fn open(&self, source: &Source) -> Result<Box<dyn FormatReader>, ProbeError> {
        let unsupported = |why: &str| Err(ProbeError::Undecodable(why.into()));
        match self {
            Content::Wav(wav) if wav.is_mpeg() => Stream::Mpeg.open(source.part(wav.audio.clone())),
            Content::Wav(wav) => {
                let stream = source.part_behind(wav.header(), wav.audio.clone());
                WavReader::try_new(stream, FormatOptions::default())
                    .map(|it| Box::new(it) as Box<dyn FormatReader>)
            }
            Content::Container(format, place) => containers::open(source, place.clone(), format),
            Content::Frames(stream, first) => stream.open(source.part(*first..source.length())),
            Content::Layer2(_) => {
                return unsupported("its bit rate is none of its standard's for its channels");
            }
            Content::Unread("g723") => {
                return unsupported("its files have several forms that cannot be told apart");
            }
            Content::Unread(_) => return unsupported("no reader for this format"),
            Content::Decoded(demuxer) => return source.decoded(demuxer),
        }
        .map_err(undecodable)
    }

    /// The time of the track that is the begin of the recording; `None`: that of its first packet.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn begin(&self, source: &Source, track: &Track) -> std::io::Result<Option<Timestamp>> {
        match self {
            Content::Container(format, place) => containers::begin(source, place.start, format, track),
            _ => Ok(None),
        }
    }

    /// A decoder for the audio track that the reader has now.
    ///
    /// # Errors
    /// [`ProbeError::Undecodable`] for codecs that are not decoded here, and when the file cannot be read.
    pub(super) fn codec(
        &self,
        source: &Source,
        reader: &dyn FormatReader,
    ) -> Result<Box<dyn AudioDecoder>, ProbeError> {
        let corrected = match (self, containers::sound_track(reader)) {
            (Content::Container(format, place), Some(track)) => {
                containers::corrected(source, place.start, format, track)?
            }
            _ => None,
        };
        codec(reader, corrected)
    }

    /// The demuxer with which ffmpeg reads the file.
    pub(super) fn demuxer(&self) -> Option<&'static str> {
        match self {
            Content::Wav(_) => ffmpeg::demuxer("wav"),
            Content::Container(format, _) | Content::Unread(format) => ffmpeg::demuxer(format),
            Content::Layer2(_) => ffmpeg::demuxer("mp2"),
            Content::Frames(..) | Content::Decoded(_) => None,
        }
    }

    /// Whether symphonia's reader finds a time without reading all before it.
    pub(super) fn can_seek(&self) -> bool {
        match self {
            // In blocks of several frames it looks for the wrong place.
            Content::Wav(wav) => wav.is_pcm(),
            Content::Decoded(_) => false,
            content => !content.is_mpeg(),
        }
    }

    /// Whether the packets are frames of MPEG audio, which have no times of their own and may differ in rate.
    pub(super) fn is_mpeg(&self) -> bool {
        match self {
            Content::Wav(wav) => wav.is_mpeg(),
            Content::Frames(stream, _) => *stream == Stream::Mpeg,
            _ => false,
        }
    }
}

fn bare_frames(source: &mut Source, start: u64, hint: Option<&str>) -> Result<Content, ProbeError> {
    if raw_speech::is_gsm(source, start)? {
        return Ok(Content::Unread("gsm"));
    }
    let named = |extension: &str| hint.is_some_and(|hint| hint.eq_ignore_ascii_case(extension));
    let search = if named("mp3") || named("aac") { SEARCH_WHEN_NAMED } else { SEARCH };
    if let Some((stream, first)) = frames::find(source, start, search)? {
        return Ok(Content::Frames(stream, first));
    }
    if layer2::is_at(source, start)? {
        return Ok(Content::Layer2(start));
    }
    if start >= source.length() {
        return Err(ProbeError::Truncated("there is a title tag and nothing after it".into()));
    }
    match (raw_speech::named(hint), looks_like(source.peek(start, 4096)?)) {
        (Some(format), None) => Ok(Content::Unread(format)),
        (_, known) => Err(ProbeError::NotAudio(known.unwrap_or(NOTHING_KNOWN).into())),
    }
}

/// The offset of the content after any ID3v2 tags; some programs put tags even before FLAC and WAV.
fn after_id3(source: &mut Source) -> Result<u64, ProbeError> {
    let mut start = 0;
    // Some taggers add a second tag; a file with more than four was crafted.
    for _ in 0..4 {
        let &[b'I', b'D', b'3', major, _, flags, a, b, c, d] = source.peek(start, 10)? else { break };
        let digits = [a, b, c, d];
        if major == 0xff || digits.iter().any(|digit| *digit >= 0x80) {
            break;
        }
        let size = digits.iter().fold(0, |size, digit| size << 7 | u64::from(*digit));
        let footer = if flags & 0x10 != 0 { 10 } else { 0 };
        start += 10 + size + footer;
    }
    Ok(start)
}
