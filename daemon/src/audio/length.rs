//! How long the audio in a file is, measured by its packets: what a container states may be wrong.

use std::io::ErrorKind;

use symphonia::core::errors::{Error, Result};
use symphonia::core::formats::{FormatReader, SeekMode, SeekTo, Track};
use symphonia::core::packet::Packet;
use symphonia::core::units::{Duration, TimeBase, Timestamp};

use super::containers::sound_track;

/// After this many bytes (nine hours at 64 kbit/s) a walk stops; the rest is projected.
const MOST_WALKED: u64 = 256 << 20;

/// How many unreadable places a walk passes over.
const MOST_DAMAGE: u32 = 1_000;

/// How many seconds before the stated end [`measure`] begins to walk.
const TAIL: u64 = 2;

const SECOND: u128 = 1_000_000_000;

/// What a walk over the packets of a file found.
#[derive(Debug, Default)]
pub(super) struct Walk {
    nanoseconds: u128,
    /// Bytes in all packets.
    pub(super) bytes: u64,
    /// The file ends within a packet.
    pub(super) breaks_off: bool,
    /// The walk reached the end of the file.
    pub(super) is_complete: bool,
}

impl Walk {
    /// Length of the audio from the first packet to the end of the last one, rounded; `None` without a packet.
    pub(super) fn milliseconds(&self) -> Option<u64> {
        let milliseconds = (self.nanoseconds + 500_000) / 1_000_000;
        u64::try_from(milliseconds).ok().filter(|milliseconds| *milliseconds > 0)
    }

    /// The same walk without this many samples, if it has more.
    pub(super) fn without(self, samples: u64, rate: u32) -> Walk {
        let silence = u128::from(samples) * SECOND / u128::from(rate.max(1));
        let left = self.nanoseconds.saturating_sub(silence);
        Walk { nanoseconds: if left > 0 { left } else { self.nanoseconds }, ..self }
    }

    /// For a walk that stopped early: the length of `total` bytes with as much audio a byte.
    pub(super) fn projected(self, total: u64) -> Walk {
        let walked = u128::from(self.bytes.max(1));
        Walk { nanoseconds: self.nanoseconds * u128::from(total.max(self.bytes)) / walked, ..self }
    }
}

/// Consecutive packets of one track with one time base.
struct Run {
    track: Option<u32>,
    base: Option<TimeBase>,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    end: Timestamp,
}

impl Run {
    fn of(reader: &dyn FormatReader) -> Run {
        let track = sound_track(reader);
        let (id, base) = (track.map(|track| track.id), track.and_then(|track| track.time_base));
        Run { track: id, base, first: None, last: None, end: Timestamp::ZERO }
    }

    fn push(&mut self, packet: &Packet) {
        // Blocks of Matroska often have no duration; they follow each other at equal distances.
        let spacing = self.last.and_then(|last| last.duration_to(packet.pts)).unwrap_or_default();
        let duration = if packet.dur.get() == 0 { spacing } else { packet.dur };
        // What an encoder added in front has negative times.
        self.first.get_or_insert(packet.pts.max(Timestamp::ZERO));
        self.last = Some(packet.pts);
        self.end = self.end.max(packet.pts.saturating_add(duration));
    }

    fn nanoseconds(&self) -> u128 {
        let length = self.last.and(self.first).and_then(|first| first.duration_to(self.end));
        let time = self.base.zip(length).and_then(|(base, length)| base.calc_duration(length));
        time.and_then(|time| u128::try_from(time.as_nanos()).ok()).unwrap_or(0)
    }
}

/// Measures the first audio track of a container. Where the container states a length and can be searched, only the packets near that end
/// are read, and those behind it; otherwise all packets, of the `reopened` container if needed.
///
/// # Errors
/// The errors of `reopened`.
pub(super) fn measure<'s>(
    mut reader: Box<dyn FormatReader + 's>,
    reopened: impl FnOnce() -> Result<Box<dyn FormatReader + 's>>,
) -> Result<Walk> {
    // Symphonia's search in Ogg does not end where two streams are interleaved.
    if let [track] = reader.tracks()
        && let Some(near_end) = near_end(track)
    {
        let first = Some(track.start_ts.max(Timestamp::ZERO));
        if reader.seek(SeekMode::Accurate, near_end).is_ok() {
            let run = Run { first, ..Run::of(reader.as_ref()) };
            let walk = walk_on(reader.as_mut(), run, |_| None);
            if walk.nanoseconds > 0 {
                return Ok(walk);
            }
        }
        reader = reopened()?;
    }
    Ok(walk(reader.as_mut(), |_| None))
}

fn near_end(track: &Track) -> Option<SeekTo> {
    let (base, duration) = (track.time_base?, track.duration?);
    let tail = u64::from(base.denom.get()) * TAIL / u64::from(base.numer.get());
    let ts = track.start_ts.checked_add(Duration::from(duration.get().checked_sub(tail)?))?;
    Some(SeekTo::Timestamp { ts, track_id: track.id })
}

/// Reads the packets of the first audio track from where the reader stands. `samples_of` tells number and rate of a packet's samples where
/// the packets have no times of their own.
pub(super) fn walk(
    reader: &mut dyn FormatReader,
    samples_of: impl Fn(&Packet) -> Option<(u32, u32)>,
) -> Walk {
    let run = Run::of(reader);
    walk_on(reader, run, samples_of)
}

fn walk_on(
    reader: &mut dyn FormatReader,
    mut run: Run,
    samples_of: impl Fn(&Packet) -> Option<(u32, u32)>,
) -> Walk {
    let (mut walk, mut damage) = (Walk::default(), 0);
    while walk.bytes < MOST_WALKED && damage < MOST_DAMAGE && !walk.is_complete {
        match reader.next_packet() {
            Ok(Some(packet)) => {
                walk.bytes += packet.data.len() as u64;
                if Some(packet.track_id) != run.track {
                    continue;
                }
                match samples_of(&packet) {
                    Some((samples, rate)) => {
                        walk.nanoseconds += u128::from(samples) * SECOND / u128::from(rate.max(1));
                    }
                    None => run.push(&packet),
                }
            }
            // The next of several streams that were joined.
            Err(Error::ResetRequired) => {
                walk.nanoseconds += run.nanoseconds();
                run = Run::of(reader);
            }
            Ok(None) => walk.is_complete = true,
            // The packet of another track may be the first that is missing.
            Err(error) => {
                damage += 1;
                walk.breaks_off |=
                    matches!(error, Error::IoError(error) if error.kind() == ErrorKind::UnexpectedEof);
            }
        }
    }
    walk.is_complete |= walk.breaks_off;
    walk.nanoseconds += run.nanoseconds();
    walk
}
