//! Formats that symphonia demuxes: ISO media, Ogg, Matroska, AIFF, CAF.

use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::codecs::audio::well_known as codec;
use symphonia::core::errors::Error;
use symphonia::core::formats::{FormatOptions, FormatReader, Track, TrackType};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::units::{Duration, TimeBase, Timestamp};
use symphonia::default::formats::{AiffReader, CafReader, IsoMp4Reader, MkvReader, OggReader};

use super::source::Source;
use super::{Probe, ProbeError};

/// Reads what the container states about its first audio track.
///
/// # Errors
/// [`ProbeError::NotAudio`] without an audio track, [`ProbeError::Truncated`] when the container cannot be read to its tracks.
pub(super) fn probe(mut source: Source, format: &'static str) -> Result<Probe, ProbeError> {
    let truncated = is_iso(format) && breaks_off(&mut source)?;
    let bytes = source.length();
    let stream = MediaSourceStream::new(Box::new(source), MediaSourceStreamOptions::default());
    let mut reader = match open(stream, format) {
        Ok(reader) => reader,
        // The file is ISO media that symphonia does not support and the service may: old QuickTime, several descriptions of a track.
        Err(Error::Unsupported(_)) if is_iso(format) && !truncated => {
            return Ok(Probe { format: format.into(), bytes, truncated, ..Probe::default() });
        }
        Err(error) => return Err(explain(error)),
    };
    let Some(track) = reader.first_track(TrackType::Audio) else {
        return Err(ProbeError::NotAudio(format!("it is {format} without an audio track")));
    };
    let parameters = match &track.codec_params {
        Some(CodecParameters::Audio(parameters)) => Some(parameters),
        _ => None,
    };
    let codec = parameters.and_then(codec_name);
    let has_pictures = reader.first_track(TrackType::Video).is_some();
    let format = match (format, codec) {
        // Ogg with the Opus codec counts as a format of its own, `opus`.
        ("ogg", Some("opus")) => "opus",
        // Recorders write various brands into the header of files that are commonly called m4a.
        ("mp4" | "3gp", Some("aac" | "alac")) if !has_pictures => "m4a",
        _ => format,
    };
    let found = Probe {
        format: format.into(),
        codec: codec.map(str::to_owned),
        duration_ms: duration_ms(reader.as_ref(), track),
        channels: parameters.and_then(|it| it.channels.as_ref()).map(|channels| channels.count() as u32),
        sample_rate: parameters.and_then(|it| it.sample_rate),
        bytes,
        truncated,
    };
    if found.duration_ms.is_some() {
        return Ok(found);
    }
    // The container states no length: the file was written to a pipe or in fragments, or is cut off.
    let (id, base) = (track.id, track.time_base);
    let walked = base.and_then(|base| walk(reader.as_mut(), id, base));
    Ok(Probe { duration_ms: walked, ..found })
}

/// The time from the track's first packet to the end of its last one. Reads the file to its end; an error of the reader counts as the end,
/// because no decoder gets further.
fn walk(reader: &mut dyn FormatReader, track: u32, base: TimeBase) -> Option<u64> {
    let (mut first, mut end): (Option<Timestamp>, Option<Timestamp>) = (None, None);
    while let Ok(Some(packet)) = reader.next_packet() {
        if packet.track_id == track {
            first = Some(first.map_or(packet.pts, |first| first.min(packet.pts)));
            end = end.max(packet.pts.checked_add(packet.dur));
        }
    }
    milliseconds(base, first?.duration_to(end?)?)
}

fn open<'s>(
    stream: MediaSourceStream<'s>,
    format: &str,
) -> symphonia::core::errors::Result<Box<dyn FormatReader + 's>> {
    let options = FormatOptions::default();
    Ok(match format {
        "ogg" => Box::new(OggReader::try_new(stream, options)?),
        "mkv" | "webm" => Box::new(MkvReader::try_new(stream, options)?),
        "aiff" => Box::new(AiffReader::try_new(stream, options)?),
        "caf" => Box::new(CafReader::try_new(stream, options)?),
        _ => Box::new(IsoMp4Reader::try_new(stream, options)?),
    })
}

fn explain(error: Error) -> ProbeError {
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

fn duration_ms(reader: &dyn FormatReader, track: &Track) -> Option<u64> {
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

/// Whether the last box of an ISO media file reaches beyond the end of the file.
fn breaks_off(source: &mut Source) -> Result<bool, ProbeError> {
    let mut offset = 0;
    for _ in 0..10_000 {
        if offset >= source.length() {
            return Ok(offset > source.length());
        }
        let head = source.peek(offset, 16)?;
        let Some(size) = head.first_chunk().map(|four| u64::from(u32::from_be_bytes(*four))) else {
            return Ok(true);
        };
        let size = match (size, head.get(8..16)) {
            (0, _) => return Ok(false),
            (1, Some(long)) => long.iter().fold(0, |size, byte| size << 8 | u64::from(*byte)),
            _ => size,
        };
        if size < 8 {
            return Ok(true);
        }
        offset = offset.saturating_add(size);
    }
    Ok(false)
}
