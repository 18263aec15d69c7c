//! Analyzes a recording in one pass: how long it is, who speaks when, which channels are copies of others, and where it is cut.

use hark_sdk::event::TimeSpan;
use serde::{Deserialize, Serialize};

use super::decode::Decoder;
use super::doubles::Doubles;
use super::listener::{Coverage, Listener, Sound};
use super::outside::Opened;
use super::plan::Piece;
use super::probe::Content;
use super::signals::Signals;
use super::source::Source;
use super::speech::{FRAME_MS, full_scale};
use super::talk::{Spoken, Talk, talk};
use super::time::Time;
use super::{MOST_CHANNELS, Probe, ProbeError, Section};

/// What an analysis is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnalysisPlan {
    /// Milliseconds of the longest piece; `None`: the recording is not cut.
    pub longest_ms: Option<u64>,
    /// Each channel by itself; else they are mixed.
    pub split: bool,
    /// Long silence is left out of the pieces.
    pub skip_silence: bool,
}

/// What listening through a recording found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// Container, codec and so on; `duration_ms` is the length of what was decoded.
    pub probe: Probe,
    /// The pieces to send, in order of time and channel. Together they are the recording without: pieces that have no sound above -55 dBFS,
    /// channels that are copies of others, and, if the plan leaves it out, long silence.
    pub sections: Vec<Section>,
    /// Milliseconds of speech, over all channels that repeat no other. An estimate if only a sample was heard.
    pub speech_ms: u64,
    /// Nothing in the recording is above -55 dBFS.
    pub silent: bool,
    /// Each channel, or the mixed ones as one.
    pub channels: Vec<ChannelSound>,
    /// How the channels share the time; `None`: only a sample was heard, of mixed channels longer than five minutes.
    pub talk: Option<Talk>,
}

/// What a channel sounds like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct ChannelSound {
    /// The root mean square of its speech; `None`: it has none, or only a sample was heard.
    pub level_dbfs: Option<f64>,
    /// The share of its samples at full scale, 0 to 1.
    pub clipped: f64,
    /// The earlier channel that it repeats.
    pub doubles: Option<u32>,
    /// Nothing on it is above -55 dBFS.
    pub is_silent: bool,
}

impl ChannelSound {
    /// Whether the channel is sent: it has sound, and it is no copy of another channel.
    pub fn is_to_be_sent(&self) -> bool {
        !self.is_silent && self.doubles.is_none()
    }
}

/// A recording of up to this length is always run through the speech detector as a whole, in milliseconds.
const HEARD_WHOLE: u64 = 300_000;

impl AnalysisPlan {
    /// How much of a recording the speech detector analyzes. The detector takes several times the CPU of decoding, so of a long recording it
    /// analyzes all only if the plan needs that: to split the channels, or to leave out silence.
    fn hearing(self, probe: &Probe) -> Coverage {
        let is_long = probe.duration_ms.is_some_and(|duration| duration > HEARD_WHOLE);
        if is_long && !self.split && !self.skip_silence { Coverage::Sample } else { Coverage::All }
    }
}

/// What an analysis reports while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    /// A piece to send.
    Piece(Section),
    /// The recording is decoded so far, in milliseconds.
    Until(u64),
}

/// How often an analysis reports its progress, in milliseconds of the recording. Even a busy machine decodes half a minute of audio well
/// within the time after which a worker counts as hanging.
pub(super) const PROGRESS_INTERVAL: u64 = 30_000;

/// Receives the reports of an analysis.
pub(super) type Report<'t> = &'t mut dyn FnMut(Progress) -> std::io::Result<()>;

/// Analyzes a recording. If the channels are mixed, the analysis reports each piece when it finds it. If they are split, it reports all
/// pieces at the end, when it knows which channels are copies of others.
///
/// # Errors
/// As for [`super::probe()`], and [`ProbeError::Undecodable`].
pub(super) fn analyze(
    mut source: Source,
    hint: Option<&str>,
    plan: AnalysisPlan,
    tell: Report<'_>,
) -> Result<Analysis, ProbeError> {
    let content = Content::find(&mut source, hint)?;
    let mut probe = content.probe(&mut source)?;
    let opened = Opened::new(&source, content).map_err(|error| error.of_codec(&probe))?;
    probe.channels = probe.channels.or(opened.sound().0);
    let kind = match probe.channels {
        Some(count @ 2..) if plan.split => Signals::Each(count.min(MOST_CHANNELS) as usize),
        _ => Signals::Mixed,
    };
    let is_split = kind != Signals::Mixed;
    let mut decoder = Decoder::of(source, opened, kind)?;
    let full_scale = full_scale(probe.codec.as_deref());
    let hearing = plan.hearing(&probe);
    let mut listeners: Vec<Listener> =
        (0..kind.count()).map(|_| Listener::new(plan, hearing, full_scale)).collect();
    let mut doubles = Doubles::new(kind.count());
    let mut analysis = Analysis { probe, silent: true, ..Analysis::default() };
    let (mut found, mut told) = (Vec::new(), 0);
    while let Some(block) = decoder.next(Time::MAX)? {
        for (number, listener) in (0..).zip(&mut listeners) {
            listener.push(&block, number, |piece| found.push((number, piece)))?;
        }
        doubles.push(&block);
        let until = decoder.delivered_ms();
        if !is_split {
            analysis.add(std::mem::take(&mut found), is_split, u64::MAX, tell)?;
        }
        if until >= told + PROGRESS_INTERVAL {
            told = until;
            tell(Progress::Until(until))?;
        }
    }
    let duration = decoder.delivered_ms();
    if duration == 0 {
        return Err(ProbeError::nothing().of_codec(&analysis.probe));
    }
    let sounds: Vec<Sound> = (0..)
        .zip(listeners)
        .map(|(number, listener)| listener.finish(duration, |piece| found.push((number, piece))))
        .collect();
    analysis.measure(&sounds, &doubles.finish(), duration);
    analysis.add(found, is_split, duration, tell)?;
    Ok(analysis)
}

impl Analysis {
    /// Adds pieces of a recording that ends at `end_ms` at the latest, by the signals that they belong to.
    fn add(
        &mut self,
        found: Vec<(usize, Piece)>,
        is_split: bool,
        end_ms: u64,
        tell: Report<'_>,
    ) -> Result<(), ProbeError> {
        let is_sent = |signal: usize| self.channels.get(signal).is_none_or(ChannelSound::is_to_be_sent);
        let found = found.into_iter().filter(|(signal, piece)| !piece.is_silent && is_sent(*signal));
        let mut sections: Vec<Section> = found
            .map(|(signal, piece)| {
                let parts = piece.parts.iter().map(|part| {
                    let [begin_ms, end_ms] =
                        [part.start, part.end].map(|frames| end_ms.min(frames * FRAME_MS));
                    TimeSpan { begin_ms, end_ms }
                });
                let parts = parts.filter(|part| part.begin_ms < part.end_ms).collect();
                Section { channel: is_split.then_some(signal as u32), parts }
            })
            .filter(|section: &Section| !section.parts.is_empty())
            .collect();
        sections.sort_by_key(|section| (section.begin_ms(), section.channel));
        for section in sections {
            tell(Progress::Piece(section.clone()))?;
            self.sections.push(section);
        }
        Ok(())
    }

    /// Adds what the signals heard.
    fn measure(&mut self, sounds: &[Sound], doubles: &[Option<usize>], duration_ms: u64) {
        let doubles = doubles.iter().map(|double| double.map(|earlier| earlier as u32));
        let channels = sounds.iter().zip(doubles).map(|(sound, doubles)| ChannelSound {
            level_dbfs: sound.level_dbfs(),
            clipped: sound.clipped(),
            // A silent channel is not sent. So no channel may count as its copy, or the copy would not be sent either; nor is it a copy itself.
            doubles: doubles.filter(|earlier| sound.is_loud && sounds[*earlier as usize].is_loud),
            is_silent: !sound.is_loud,
        });
        self.channels = channels.collect();
        self.silent = self.channels.iter().all(|channel| channel.is_silent);
        self.probe.duration_ms = Some(duration_ms);
        if let [Sound { estimate_ms: Some(estimate), .. }] = sounds {
            self.speech_ms = *estimate;
            return;
        }
        let spoken = sounds.iter().zip(&self.channels).map(|(sound, channel)| Spoken {
            speech: sound.speech.clone(),
            is_double: channel.doubles.is_some(),
        });
        let spoken: Vec<Spoken> = spoken.collect();
        let talk = talk(&spoken, duration_ms);
        let own = talk.turns.iter().zip(&spoken).filter(|(_, spoken)| !spoken.is_double);
        self.speech_ms = own.map(|(turns, _)| turns.speech_ms).sum();
        self.talk = Some(talk);
    }
}
