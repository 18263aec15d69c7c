//! The container of a file, its length and its number of channels: enough to validate and to bill, no decoding.

mod container;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::MetadataOptions;
use thiserror::Error;

pub use container::Container;

/// A recording as the service knows it before recognition.
#[derive(Debug, Clone, PartialEq)]
pub struct Media {
    pub container: Container,
    /// The length of the audio data in the file; a header that states more is ignored.
    pub duration: Duration,
    pub channels: u32,
    pub sample_rate: u32,
    pub has_video: bool,
}

/// Why a file is not a recording.
#[derive(Debug, Error)]
pub enum MediaError {
    #[error("the audio file cannot be read: {0}")]
    Io(#[from] std::io::Error),
    #[error("no known container of audio")]
    UnknownContainer,
    #[error("the container cannot be parsed: {0}")]
    Broken(symphonia::core::errors::Error),
    #[error("no audio in the file")]
    NoAudio,
}

impl Media {
    /// Reads the whole file once, without holding it. Blocking; parses untrusted data with a library that may
    /// panic, so call it where a panic is caught.
    pub fn probe(path: &Path) -> Result<Media, MediaError> {
        let mut file = File::open(path)?;
        let mut head = Vec::new();
        Read::by_ref(&mut file).take(container::HEAD_BYTES).read_to_end(&mut head)?;
        file.seek(SeekFrom::Start(0))?;
        let container = Container::recognize(&head).ok_or(MediaError::UnknownContainer)?;
        match container {
            Container::Amr | Container::Avi | Container::Flv | Container::Mpeg | Container::Wma => {
                Ok(Media::guess(container, file.metadata()?.len()))
            }
            _ => Media::demux(container, file),
        }
    }

    fn demux(container: Container, file: File) -> Result<Media, MediaError> {
        let stream = MediaSourceStream::new(Box::new(file), Default::default());
        let mut reader = symphonia::default::get_probe()
            .probe(&Hint::new(), stream, FormatOptions::default(), MetadataOptions::default())
            .map_err(MediaError::Broken)?;
        let has_video = reader.first_track(TrackType::Video).is_some();
        let track = reader.default_track(TrackType::Audio).ok_or(MediaError::NoAudio)?;
        let (track_id, time_base) = (track.id, track.time_base);
        let parameters = track.codec_params.as_ref().and_then(|parameters| parameters.audio());
        let sample_rate = parameters.and_then(|audio| audio.sample_rate).unwrap_or(16_000).max(1);
        let channels =
            parameters.and_then(|audio| audio.channels.as_ref()).map_or(1, |channels| channels.count());

        // Only in PCM does a packet have a fixed number of bits for each tick; in a cut-off file the last packet claims its full length.
        let bits_per_tick = match container {
            Container::Wav | Container::Aiff => parameters
                .and_then(|audio| audio.bits_per_coded_sample.or(audio.bits_per_sample))
                .map(|bits| u64::from(bits) * channels as u64),
            _ => None,
        };

        let ticks = ticks_of_packets(&mut *reader, track_id, bits_per_tick);
        let seconds = match time_base {
            Some(base) => ticks as f64 * f64::from(base.numer.get()) / f64::from(base.denom.get()),
            None => ticks as f64 / f64::from(sample_rate),
        };
        if seconds <= 0.0 {
            return Err(MediaError::NoAudio);
        }
        let duration = Duration::try_from_secs_f64(seconds).map_err(|_| MediaError::NoAudio)?;
        Ok(Media { container, duration, channels: channels as u32, sample_rate, has_video })
    }

    /// The length of containers that cannot be parsed here is estimated from their size, at a rate usual for speech in them.
    fn guess(container: Container, bytes: u64) -> Media {
        let (bytes_per_second, sample_rate) = match container {
            // 12.2 kbit/s in frames of 32 bytes, 50 a second.
            Container::Amr => (1_600, 8_000),
            _ => (16_000, 44_100),
        };
        let duration = Duration::from_millis(bytes.saturating_mul(1_000) / bytes_per_second);
        let has_video = matches!(container, Container::Avi | Container::Flv | Container::Mpeg);
        Media { container, duration, channels: 1, sample_rate, has_video }
    }
}

/// Adds up the durations of the track's packets. A packet that cannot be read ends the file, as a cut-off file ends.
fn ticks_of_packets(reader: &mut dyn FormatReader, track_id: u32, bits_per_tick: Option<u64>) -> u64 {
    let mut sum = 0_u64;
    let mut first = None;
    let mut last_end = 0_i64;
    while let Ok(Some(packet)) = reader.next_packet() {
        if packet.track_id != track_id {
            continue;
        }
        let present = bits_per_tick.map_or(u64::MAX, |bits| packet.data.len() as u64 * 8 / bits.max(1));
        let duration = packet.dur.get().min(present);
        sum = sum.saturating_add(duration);
        first.get_or_insert(packet.pts.get());
        last_end = last_end.max(packet.pts.get().saturating_add_unsigned(duration));
    }
    // Some containers do not store how long a packet lasts, only when the next one begins.
    let span = last_end.saturating_sub(first.unwrap_or(0)).max(0).unsigned_abs();
    if sum == 0 { span } else { sum }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_off_wave_file_is_as_long_as_its_data() {
        let mut wave = Vec::new();
        wave.extend(b"RIFF\xff\xff\xff\x7fWAVEfmt \x10\0\0\0\x01\0\x02\0");
        wave.extend(8_000_u32.to_le_bytes());
        wave.extend(32_000_u32.to_le_bytes());
        wave.extend(b"\x04\0\x10\0data\0\0\0\x40");
        wave.extend(vec![0; 48_000]);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &wave).unwrap();
        let media = Media::probe(file.path()).unwrap();
        assert_eq!(media.duration, Duration::from_millis(1_500));
        assert_eq!((media.channels, media.sample_rate, media.container), (2, 8_000, Container::Wav));
    }

    #[test]
    fn zeros_and_text_are_no_audio() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for bytes in [&[0_u8; 4096][..], b"<html>not found</html>", b""] {
            std::fs::write(file.path(), bytes).unwrap();
            assert!(matches!(Media::probe(file.path()), Err(MediaError::UnknownContainer)));
        }
    }
}
