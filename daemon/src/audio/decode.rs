//! Decodes a recording to samples whose times are exact, however it was cut, joined or interrupted: its channels mixed, or each by itself.

use symphonia::core::codecs::audio::AudioDecoder;
use symphonia::core::codecs::audio::well_known::CODEC_ID_PCM_S16LE;
use symphonia::core::errors::Error;
use symphonia::core::formats::{FormatReader, SeekMode, SeekTo};
use symphonia::core::packet::Packet;
use symphonia::core::units::{Duration, TimeBase, Timestamp};

use super::ProbeError;
use super::codec::undecodable;
use super::containers::sound_track;
use super::frames::{mpeg_channels, mpeg_samples};
use super::outside::Opened;
use super::probe::Content;
use super::resample::RATE;
use super::signals::{Block, Samples, Signals};
use super::source::Source;
use super::time::{LONGEST, SECOND, Time, length, samples_in, samples_time, time};

/// How much is decoded before a place that is jumped to, so that the decoder is in step there.
const RUN_UP: Time = SECOND / 2;

/// The time of a packet may differ by so much from the end of the samples before it; more is a gap in the recording.
const JITTER: Time = SECOND / 25;

/// How many unreadable places of a file are passed over.
const MOST_DAMAGE: u32 = 1_000;

/// A recording that is being decoded, in order of time.
pub(super) struct Decoder {
    source: Source,
    content: Content,
    reader: Box<dyn FormatReader>,
    codec: Box<dyn AudioDecoder>,
    track: u32,
    base: Option<TimeBase>,
    /// The begin of the current stream, if several streams are joined; `first` is the time stamp of its first packet.
    stream_begin: Time,
    first: Option<Timestamp>,
    /// Samples, rate and channels of an MPEG frame; when they change, the decoder is created anew.
    kind: Option<(u32, u32, Option<u32>)>,
    /// The end of what was decoded.
    position: Time,
    /// `position` is only an estimate from a packet that may yield no samples; the next decoded samples correct it.
    is_rough: bool,
    /// Nothing before this is delivered.
    from: Time,
    rate: u32,
    /// Rate and channels of 16-bit PCM, which this module decodes itself. Symphonia takes five times the CPU for it: as much as all other work
    /// on such a recording together.
    plain: Option<(u32, usize)>,
    interleaved: Vec<f32>,
    samples: Samples,
    silent: [Vec<f32>; 1],
    /// How many of the samples were delivered.
    taken: usize,
    /// Samples of silence to deliver before them.
    silence: u64,
    damage: u32,
}

impl Decoder {
    /// # Errors
    /// When the file has no audio ([`Content::find`]), or audio that cannot be decoded.
    pub(super) fn open(source: Source, content: Content, signals: Signals) -> Result<Decoder, ProbeError> {
        let opened = Opened::new(&source, content)?;
        Decoder::of(source, opened, signals)
    }

    /// As [`Self::open`], of audio that is opened.
    pub(super) fn of(source: Source, opened: Opened, signals: Signals) -> Result<Decoder, ProbeError> {
        let Opened { content, reader, codec } = opened;
        let mut decoder = Decoder {
            source,
            content,
            reader,
            codec,
            track: 0,
            base: None,
            stream_begin: 0,
            first: None,
            kind: None,
            position: 0,
            is_rough: false,
            from: 0,
            rate: RATE,
            plain: None,
            interleaved: Vec::new(),
            samples: Samples::new(signals),
            silent: [Vec::new()],
            taken: 0,
            silence: 0,
            damage: 0,
        };
        decoder.begin_stream()?;
        Ok(decoder)
    }

    /// The end of what was delivered.
    pub(super) fn delivered(&self) -> Time {
        self.position - samples_time(self.silence + self.rest() as u64, self.rate)
    }

    /// As [`Self::delivered`], in milliseconds.
    pub(super) fn delivered_ms(&self) -> u64 {
        self.delivered().max(0) as u64 / 1_000_000
    }

    /// Whether it is decoded outside, from its begin on.
    pub(super) fn is_outside(&self) -> bool {
        matches!(self.content, Content::Decoded(_))
    }

    /// The next samples before `until`; `None` where that, or the end of the recording, is reached.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn next(&mut self, until: Time) -> Result<Option<Block<'_>>, ProbeError> {
        while self.silence == 0 && self.rest() == 0 {
            if self.position >= until.min(LONGEST) || self.damage > MOST_DAMAGE {
                return Ok(None);
            }
            match self.reader.next_packet() {
                Ok(Some(packet)) if packet.track_id == self.track => self.decode(packet)?,
                Ok(Some(_)) => {}
                Ok(None) => return Ok(None),
                Err(Error::ResetRequired) => {
                    self.stream_begin = self.position;
                    self.codec = self.content.codec(&self.source, self.reader.as_ref())?;
                    self.begin_stream()?;
                }
                Err(Error::IoError(error)) if error.raw_os_error().is_some() => return Err(error.into()),
                // Later packets may be readable. A file that ends within a packet has none, and the next call returns the end.
                Err(_) => self.damage += 1,
            }
        }
        let begin = self.delivered();
        let most = samples_in(until.saturating_sub(begin), self.rate);
        if self.silence > 0 {
            let count = self.silence.min(u64::from(self.rate)).min(most);
            self.silence -= count;
            let count = count as usize;
            let silent = &mut self.silent[0];
            silent.resize(silent.len().max(count), 0.0);
            return Ok((count > 0).then(|| Block::silent(begin, self.rate, &self.silent, count)));
        }
        let taken = self.taken;
        self.taken += (self.rest() as u64).min(most) as usize;
        let range = taken..self.taken;
        Ok((!range.is_empty()).then(|| self.samples.block(begin, self.rate, range)))
    }

    /// Goes to a place: the next samples are those from there on. Cheap forward; back, the file is opened again.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub(super) fn go_to(&mut self, to: Time) -> Result<(), ProbeError> {
        if to < self.delivered() {
            self.restart()?;
        }
        self.from = to;
        let early = samples_in(to - self.delivered(), self.rate);
        let silence = self.silence.min(early);
        self.silence -= silence;
        self.taken += self.rest().min((early - silence) as usize);
        // A reader cannot seek among frames without times, nor behind the first of several joined streams; it reads up to the place instead.
        let is_far = to - self.position > 4 * RUN_UP;
        if is_far && self.content.can_seek() && self.stream_begin == 0 && !self.jump(to) {
            self.restart()?;
            self.from = to;
        }
        Ok(())
    }

    /// How many decoded samples are not delivered yet.
    fn rest(&self) -> usize {
        self.samples.len() - self.taken
    }

    /// Has the reader seek to shortly before a time; false: its state is unknown now.
    fn jump(&mut self, to: Time) -> bool {
        let (Some(base), Some(track)) = (self.base, sound_track(self.reader.as_ref())) else { return true };
        // Symphonia's search in Ogg does not end where two streams are interleaved.
        if self.reader.tracks().len() > 1 && matches!(self.content, Content::Container("ogg", _)) {
            return true;
        }
        let start = track.start_ts.max(Timestamp::ZERO);
        let first = *self.first.get_or_insert(start);
        let ticks = i128::from(to - RUN_UP) * i128::from(base.denom.get())
            / (i128::from(base.numer.get()) * i128::from(SECOND));
        let Ok(ticks) = u64::try_from(ticks) else { return true };
        let Some(ts) = first.checked_add(Duration::from(ticks)) else { return true };
        match self.reader.seek(SeekMode::Accurate, SeekTo::Timestamp { ts, track_id: self.track }) {
            Ok(seeked) => {
                self.codec.reset();
                self.position = time(base, first, seeked.actual_ts);
                self.is_rough = true;
                self.position <= to
            }
            Err(_) => false,
        }
    }

    fn restart(&mut self) -> Result<(), ProbeError> {
        self.reader = self.content.open(&self.source)?;
        self.codec = self.content.codec(&self.source, self.reader.as_ref())?;
        self.samples.clear();
        (self.stream_begin, self.from, self.kind) = (0, 0, None);
        (self.taken, self.silence, self.damage) = (0, 0, 0);
        self.begin_stream()
    }

    /// Begins the first stream, or the next of several that were joined.
    fn begin_stream(&mut self) -> Result<(), ProbeError> {
        let track =
            sound_track(self.reader.as_ref()).ok_or_else(|| undecodable(Error::DecodeError("no track")))?;
        let first = self.content.begin(&self.source, track)?;
        (self.track, self.base, self.first) = (track.id, track.time_base, first);
        let sound = track.codec_params.as_ref().and_then(|it| it.audio());
        let rate = sound.and_then(|it| it.sample_rate).unwrap_or(RATE);
        self.plain = sound.filter(|it| it.codec == CODEC_ID_PCM_S16LE).and_then(|it| {
            let channels = it.channels.as_ref()?.count();
            (channels > 0 && it.bits_per_coded_sample.is_none_or(|bits| bits == 16))
                .then_some((rate, channels))
        });
        let delay = if self.content.is_mpeg() { track.delay.unwrap_or(0) } else { 0 };
        self.position = self.stream_begin - samples_time(u64::from(delay), rate);
        self.is_rough = true;
        Ok(())
    }

    fn decode(&mut self, mut packet: Packet) -> Result<(), ProbeError> {
        let frame = self.content.is_mpeg().then(|| mpeg_samples(&packet.data)).flatten();
        let (begin, end) = match (frame, self.base) {
            (Some((samples, rate)), _) => {
                (self.position, self.position + samples_time(u64::from(samples), rate))
            }
            (None, Some(base)) => {
                let first = *self.first.get_or_insert(packet.pts.max(Timestamp::ZERO));
                let begin = self.stream_begin.saturating_add(time(base, first, packet.pts));
                (begin, begin.saturating_add(length(base, packet.dur)))
            }
            (None, None) => (self.position, self.position),
        };
        if end < self.from - RUN_UP {
            self.position = self.position.max(end);
            return Ok(());
        }
        self.taken = 0;
        self.samples.clear();
        self.follow(&packet, frame)?;
        // Samples that an encoder added are removed below, by time: the counts that readers state are sometimes wrong.
        let added = packet.trim_end;
        (packet.trim_start, packet.trim_end) = (Duration::ZERO, Duration::ZERO);
        match self.interleave(&packet) {
            Ok((rate, channels)) => {
                self.rate = rate;
                self.samples.spread(&mut self.interleaved, channels.max(1));
            }
            Err(_) => {
                self.damage += 1;
                // Without samples, a frame that has no time of its own would shorten the recording; so it becomes silence.
                let Some((samples, rate)) = frame else { return Ok(()) };
                self.rate = rate;
                self.samples.clear();
                self.samples.resize(samples as usize);
            }
        }
        if !(1_000..=768_000).contains(&self.rate) {
            return Err(ProbeError::Undecodable(format!("it has {} samples a second", self.rate)));
        }
        if frame.is_none() {
            let added = self.base.map_or(0, |base| length(base, added));
            self.samples.resize(self.samples.len().saturating_sub(samples_in(added, self.rate) as usize));
        }
        self.place(begin);
        Ok(())
    }

    /// Decodes the interleaved samples of a packet; returns their rate and channels.
    fn interleave(&mut self, packet: &Packet) -> symphonia::core::errors::Result<(u32, usize)> {
        if let Some(plain @ (_, channels)) = self.plain {
            self.interleaved.clear();
            let whole = packet.data.len() / (2 * channels) * (2 * channels);
            let (samples, _) = packet.data[..whole].as_chunks();
            self.interleaved
                .extend(samples.iter().map(|bytes| f32::from(i16::from_le_bytes(*bytes)) / 32_768.0));
            return Ok(plain);
        }
        let buffer = self.codec.decode(packet)?;
        buffer.copy_to_vec_interleaved(&mut self.interleaved);
        Ok((buffer.spec().rate(), buffer.spec().channels().count()))
    }

    /// Creates the decoder anew when the kind of frames changes, since symphonia does not.
    fn follow(&mut self, packet: &Packet, frame: Option<(u32, u32)>) -> Result<(), ProbeError> {
        let Some((samples, rate)) = frame else { return Ok(()) };
        let kind = Some((samples, rate, mpeg_channels(&packet.data)));
        if self.kind != kind && self.kind.is_some() {
            self.codec = self.content.codec(&self.source, self.reader.as_ref())?;
        }
        self.kind = kind;
        Ok(())
    }

    /// Gives the decoded samples their time: a gap before them becomes silence; samples before `from` or before the stream's begin are dropped.
    fn place(&mut self, begin: Time) {
        let gap = begin - self.position;
        let is_told = self.is_rough && self.samples.len() > 0 || gap > JITTER;
        let begin = if is_told && gap < LONGEST { begin } else { self.position };
        self.is_rough &= self.samples.len() == 0;
        // What an encoder added in front has times before its stream.
        let wanted = self.from.max(self.stream_begin);
        let count = self.samples.len() as u64;
        let early = samples_in((wanted - begin).max(0), self.rate).min(count);
        self.silence = samples_in((begin - self.position.max(wanted)).max(0), self.rate);
        self.taken = early as usize;
        self.position = begin + samples_time(count, self.rate);
        if self.rest() == 0 {
            self.silence = 0;
        }
    }
}
