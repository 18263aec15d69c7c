//! Formats that symphonia demuxes: FLAC, ISO media, Ogg, Matroska, AIFF, CAF.

use std::ops::Range;

use symphonia::core::codecs::audio::well_known as codec;
use symphonia::core::codecs::audio::{AudioCodecId, AudioCodecParameters};
use symphonia::core::errors::Error;
use symphonia::core::formats::{FormatOptions, FormatReader, Track, TrackType};
use symphonia::core::io::ReadBytes;
use symphonia::core::units::{Duration, TimeBase, Timestamp};
use symphonia::default::formats::{AiffReader, CafReader, FlacReader, IsoMp4Reader, MkvReader, OggReader};

use super::frames::mpeg_channels;
use super::last_frame::is_incomplete;
use super::length::measure;
use super::matroska::without_size;
use super::source::Source;
use super::stated_end::stated_end;
use super::{Probe, ProbeError, boxes, byte_order, chunks, edits, unknown_codec};

/// Milliseconds by which the length that a container states may differ from that of its packets.
const A_PACKET: u64 = 60;

/// Packets of pictures that may come before the first one of sound.
const MOST_BEFORE_SOUND: usize = 1_000;

/// Where the container that begins at offset `start` is in the file.
///
/// # Errors
/// [`ProbeError::Truncated`] where it lacks what it takes to play it: ISO media without its index, CAF without the sizes of its packets.
pub(super) fn place(source: &mut Source, start: u64, format: &str) -> Result<Range<u64>, ProbeError> {
    let boxes = if is_iso(format) { Boxes::read(source, start)? } else { Boxes::default() };
    let missing = match format {
        _ if boxes.lacks_index => Some("its index (moov)"),
        "caf" if chunks::lacks_packets(source, start)? => Some("the table of its packets (pakt)"),
        _ => None,
    };
    if let Some(missing) = missing {
        return Err(ProbeError::Truncated(format!("{missing} is missing, which a recorder writes last")));
    }
    // Symphonia passes over a box that ends behind the stream.
    Ok(start..before_id3v1(source)?.max(boxes.end))
}

/// Measures the first audio track of the container at this place.
///
/// # Errors
/// [`ProbeError::NotAudio`] without an audio track, [`ProbeError::Truncated`] when the container cannot be read to its tracks or has no
/// audio.
pub(super) fn probe(source: &mut Source, bytes: Range<u64>, format: &str) -> Result<Probe, ProbeError> {
    let stated_end = stated_end(source, bytes.start, format)?.unwrap_or(0);
    let is_cut = bytes.end.max(stated_end) > source.length() || is_incomplete(source, bytes.start, format)?;
    let unknown = Probe { format: format.into(), bytes: source.length(), ..Probe::default() };
    let reader = match open(source, bytes.clone(), format) {
        Ok(reader) => reader,
        Err(error) => {
            let codec = unknown_codec::name(source, bytes.start, format)?;
            // A variant that symphonia cannot decode and ffmpeg may decode: old QuickTime, an AIFF codec, QuickTime samples on more than two
            // channels. A QuickTime file that breaks off may be damaged instead.
            let is_variant = match error {
                Error::Unsupported(_) => !is_cut || !is_iso(format),
                Error::DecodeError(_) => !is_cut && is_iso(format) && codec.as_deref() == Some("pcm"),
                _ => false,
            };
            if !is_variant {
                return Err(explain(error));
            }
            return Ok(Probe { codec, truncated: is_cut, ..unknown });
        }
    };
    let sound = sound_track(reader.as_ref()).cloned();
    let parameters = sound.as_ref().and_then(|track| track.codec_params.as_ref()?.audio());
    let codec = match parameters.and_then(codec_name) {
        Some(name) => Some(name.to_owned()),
        None => unknown_codec::name(source, bytes.start, format)?,
    };
    let Some(track) = sound.as_ref().filter(|_| parameters.is_some() || codec.is_some()) else {
        return Err(ProbeError::NotAudio(format!("it is {format} without an audio track")));
    };
    let has_pictures = reader.first_track(TrackType::Video).is_some();
    let reopened = || open(source, bytes.clone(), format);
    let mut channels = parameters.and_then(|it| it.channels.as_ref()).map(|channels| channels.count() as u32);
    if channels.is_none() && codec.as_deref() == Some("mp3") {
        // ISO media describes MP3 without them.
        channels = first_packet(reopened().map_err(explain)?, track.id).and_then(|it| mpeg_channels(&it));
    }
    // What an encoder put in front counts in neither length.
    let begin = begin(source, bytes.start, format, track)?.map_or(0, |begin| begin.get().unsigned_abs());
    let early = track.time_base.and_then(|base| milliseconds(base, begin.into())).unwrap_or(0);
    let stated = stated_milliseconds(reader.as_ref(), track).map(|stated| stated.saturating_sub(early));
    let walk = measure(reader, reopened).map_err(explain)?;
    let walk = walk.without(begin, track.time_base.map_or(1, |base| base.denom.get()));
    // In Matroska and WebM a missing length is no sign of a cut file: the reader simply meets the end of the file.
    let mut truncated = is_cut || walk.breaks_off && !matches!(format, "mkv" | "webm");
    if format == "flac" && stated.is_none() {
        // What follows the last complete frame is part of another.
        truncated |= reopened().map_err(explain)?.into_inner().pos() + walk.bytes < bytes.end - bytes.start;
    }
    let duration_ms = match (walk.milliseconds(), stated) {
        (None, _) if truncated || format == "flac" => {
            return Err(ProbeError::Truncated("not one frame is complete".into()));
        }
        (None, stated) => stated,
        (Some(counted), Some(stated)) if !walk.is_complete && stated > counted => Some(stated),
        // Packets have no exact ends in every container.
        (Some(counted), Some(stated)) if counted.abs_diff(stated) <= A_PACKET => Some(stated),
        (Some(_), _) if !walk.is_complete => walk.projected(bytes.end - bytes.start).milliseconds(),
        (counted, _) => counted,
    };
    Ok(Probe {
        format: match (format, codec.as_deref()) {
            // Ogg with the Opus codec counts as a format of its own, `opus`.
            ("ogg", Some("opus")) => "opus",
            // Recorders write various brands into the header of files that are commonly called m4a.
            ("mp4" | "3gp", Some("aac" | "alac")) if !has_pictures => "m4a",
            _ => format,
        }
        .into(),
        codec,
        duration_ms,
        channels,
        sample_rate: parameters.and_then(|it| it.sample_rate),
        truncated,
        ..unknown
    })
}

/// The time of the track that is the begin of the recording; `None`: that of its first packet.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn begin(
    source: &Source,
    start: u64,
    format: &str,
    track: &Track,
) -> std::io::Result<Option<Timestamp>> {
    if is_iso(format) { edits::begin(source, start, track) } else { Ok(None) }
}

/// The codec of the track where symphonia names another one.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn corrected(
    source: &Source,
    start: u64,
    format: &str,
    track: &Track,
) -> std::io::Result<Option<AudioCodecId>> {
    if is_iso(format) { byte_order::big_endian(source, start, track) } else { Ok(None) }
}

/// The first packet of a track, if it is among the first ones.
fn first_packet(mut reader: Box<dyn FormatReader>, track: u32) -> Option<Box<[u8]>> {
    let packets = std::iter::from_fn(|| reader.next_packet().ok().flatten());
    packets.take(MOST_BEFORE_SOUND).find(|it| it.track_id == track).map(|it| it.data)
}

/// The first audio track, or the first one whose codec symphonia does not know.
pub(super) fn sound_track(reader: &dyn FormatReader) -> Option<&Track> {
    let unknown = || reader.tracks().iter().find(|track| track.codec_params.is_none());
    reader.first_track(TrackType::Audio).or_else(unknown)
}

/// The end of the file without an ID3v1 tag, which the last frame of FLAC would include.
fn before_id3v1(source: &mut Source) -> Result<u64, ProbeError> {
    let end = source.length();
    let tag = end.saturating_sub(128);
    Ok(if source.peek(tag, 128)?.starts_with(b"TAG") { tag } else { end })
}

/// A reader of the container at this place.
///
/// # Errors
/// When it is damaged, or symphonia does not know the variant.
pub(super) fn open(
    source: &Source,
    bytes: Range<u64>,
    format: &str,
) -> symphonia::core::errors::Result<Box<dyn FormatReader + 'static>> {
    let stream = match format {
        "mkv" | "webm" => match without_size(source, bytes.start)? {
            // Its index is behind the end of the file.
            Some((head, rest)) => source.forward_behind(head, rest..bytes.end),
            None => source.part(bytes),
        },
        "aiff" | "caf" => {
            let (head, rest) = chunks::mended(source, bytes.clone(), format)?.unwrap_or((Vec::new(), bytes));
            source.part_behind(head, rest)
        }
        _ => source.part(bytes),
    };
    let options = FormatOptions::default();
    Ok(match format {
        "flac" => Box::new(FlacReader::try_new(stream, options)?),
        "ogg" => Box::new(OggReader::try_new(stream, options)?),
        "mkv" | "webm" => Box::new(MkvReader::try_new(stream, options)?),
        "aiff" => Box::new(AiffReader::try_new(stream, options)?),
        "caf" => Box::new(CafReader::try_new(stream, options)?),
        _ => Box::new(IsoMp4Reader::try_new(stream, options)?),
    })
}

pub(super) fn explain(error: Error) -> ProbeError {
    match error {
        Error::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            ProbeError::Truncated("it ends within its header".into())
        }
        Error::IoError(error) if error.kind() == std::io::ErrorKind::OutOfMemory => {
            ProbeError::ParserFailed("it asks for more memory than the parser may have".into())
        }
        Error::IoError(error) if error.raw_os_error().is_some() => error.into(),
        error => ProbeError::Truncated(error.to_string()),
    }
}

fn stated_milliseconds(reader: &dyn FormatReader, track: &Track) -> Option<u64> {
    let media = reader.media_info();
    let of = |base: Option<TimeBase>, duration: Option<Duration>| milliseconds(base?, duration?);
    of(track.time_base, track.duration).or_else(|| of(media.time_base, media.duration))
}

fn milliseconds(base: TimeBase, duration: Duration) -> Option<u64> {
    let milliseconds = u64::try_from(base.calc_duration(duration)?.as_millis()).ok()?;
    (milliseconds > 0).then_some(milliseconds)
}

fn codec_name(parameters: &AudioCodecParameters) -> Option<&'static str> {
    let names = [
        (codec::CODEC_ID_AAC, "aac"),
        (codec::CODEC_ID_ALAC, "alac"),
        (codec::CODEC_ID_FLAC, "flac"),
        (codec::CODEC_ID_MP3, "mp3"),
        (codec::CODEC_ID_OPUS, "opus"),
        (codec::CODEC_ID_SPEEX, "speex"),
        (codec::CODEC_ID_VORBIS, "vorbis"),
        (codec::CODEC_ID_AC3, "ac3"),
        (codec::CODEC_ID_EAC3, "eac3"),
        (codec::CODEC_ID_PCM_ALAW, "alaw"),
        (codec::CODEC_ID_PCM_MULAW, "mulaw"),
        (codec::CODEC_ID_ADPCM_IMA_QT, "adpcm"),
        (codec::CODEC_ID_PCM_S16BE, "pcm"),
        (codec::CODEC_ID_PCM_S16LE, "pcm"),
        (codec::CODEC_ID_PCM_S24BE, "pcm"),
        (codec::CODEC_ID_PCM_S24LE, "pcm"),
        (codec::CODEC_ID_PCM_S32BE, "pcm"),
        (codec::CODEC_ID_PCM_S32LE, "pcm"),
        (codec::CODEC_ID_PCM_F32BE, "pcm"),
        (codec::CODEC_ID_PCM_F32LE, "pcm"),
        (codec::CODEC_ID_PCM_S8, "pcm"),
        (codec::CODEC_ID_PCM_U8, "pcm"),
    ];
    names.iter().find(|(id, _)| *id == parameters.codec).map(|(_, name)| *name)
}

fn is_iso(format: &str) -> bool {
    matches!(format, "m4a" | "mp4" | "mov" | "3gp")
}

/// What the outermost boxes of ISO media show.
#[derive(Default)]
struct Boxes {
    /// The end of the last one, behind the end of the file if it breaks off.
    end: u64,
    /// The index of the recording is not among them.
    lacks_index: bool,
}

impl Boxes {
    fn read(source: &mut Source, start: u64) -> Result<Boxes, ProbeError> {
        let (mut offset, mut has_index) = (start, false);
        for _ in 0..10_000 {
            if offset >= source.length() {
                break;
            }
            let rest = source.length() - offset;
            let head = source.peek(offset, 16)?;
            has_index |= head.get(4..8) == Some(b"moov");
            let Some((size, _)) = boxes::size(head, rest) else {
                return Ok(Boxes { end: source.length() + 1, lacks_index: false });
            };
            offset = offset.saturating_add(size);
        }
        Ok(Boxes { end: offset, lacks_index: !has_index })
    }
}
