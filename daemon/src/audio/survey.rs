//! Listens through a long recording once: how long it is, where it is cut, how much of it is speech.

use std::fs::File;

use serde::{Deserialize, Serialize};

use super::decode::Decoder;
use super::plan::{Piece, Planner};
use super::probe::Content;
use super::source::Source;
use super::speech::{FRAME_MS, Frame, Framer, SpeechDetector, WARM_UP};
use super::time::Time;
use super::{Probe, ProbeError, Span};

/// What listening through a recording found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// Container, codec and so on; `duration_ms` is the length of what was decoded.
    pub probe: Probe,
    /// The pieces to send, in order of time. Together they are the recording without the pieces in which nothing is above -55 dBFS.
    pub spans: Vec<Span>,
    /// Milliseconds of speech. In recordings of more than five minutes the detector listens to a fortieth of the time.
    pub speech_ms: u64,
    /// Nothing in the recording is above -55 dBFS.
    pub silent: bool,
}

/// Up to this length the detector listens to everything, in milliseconds.
const HEARD_WHOLE: u64 = 300_000;

/// Frames that the detector hears at once, and from one such place to the next: in long recordings a sample.
const WHOLE: (usize, usize) = (128, 128);
const SAMPLE: (usize, usize) = (16, 640);

/// What a survey tells while it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// A piece to send.
    Piece(Span),
    /// The recording is decoded so far, in milliseconds.
    Until(u64),
}

/// How often a survey tells how far it is, in milliseconds of the recording: on a busy machine the audio of half a minute is decoded well
/// within the time after which a worker counts as hanging.
const TOLD_EVERY: u64 = 30_000;

/// Listens through a recording. `longest_ms` is the length of the longest piece.
///
/// # Errors
/// As for [`super::probe()`], and [`ProbeError::Undecodable`].
pub(super) fn survey(
    file: File,
    hint: Option<&str>,
    longest_ms: u64,
    heard: &mut dyn FnMut(Progress) -> std::io::Result<()>,
) -> Result<Survey, ProbeError> {
    let mut source = Source::new(file)?;
    let content = Content::find(&mut source, hint)?;
    let probe = content.probe(&mut source)?;
    let mut decoder = Decoder::open(source, content).map_err(|error| error.of_codec(&probe))?;
    let is_short = probe.duration_ms.is_some_and(|duration| duration <= HEARD_WHOLE);
    let mut listener = Listener::new(longest_ms, if is_short { WHOLE } else { SAMPLE });
    let (mut framer, mut told) = (Framer::default(), 0);
    let mut survey = Survey { probe, silent: true, ..Survey::default() };
    while let Some(block) = decoder.next(Time::MAX)? {
        let (mut begin, mut outcome) = (0, Ok(()));
        framer.push(&block, |frame, end| {
            if outcome.is_ok() {
                outcome = listener
                    .push(frame, &block.samples[begin..end], block.rate)
                    .and_then(|piece| piece.map_or(Ok(()), |piece| survey.add(piece, u64::MAX, heard)));
            }
            begin = end;
        });
        listener.keep(&block.samples[begin..], block.rate);
        outcome?;
        let until = decoder.delivered() as u64 / 1_000_000;
        if until >= told + TOLD_EVERY {
            told = until;
            heard(Progress::Until(until))?;
        }
    }
    let duration = decoder.delivered().max(0) as u64 / 1_000_000;
    if duration == 0 {
        return Err(
            ProbeError::Undecodable("none of its audio can be decoded".into()).of_codec(&survey.probe)
        );
    }
    let completed = match framer.rest() {
        Some(rest) => listener.push(rest, &[], 0)?,
        None => None,
    };
    for piece in completed.into_iter().chain(listener.planner.finish()) {
        survey.add(piece, duration, heard)?;
    }
    survey.speech_ms = listener.speech_ms(duration)?;
    survey.probe.duration_ms = Some(duration);
    Ok(survey)
}

impl Survey {
    /// Adds a piece of a recording that ends at `end_ms` at the latest.
    fn add(
        &mut self,
        piece: Piece,
        end_ms: u64,
        heard: &mut dyn FnMut(Progress) -> std::io::Result<()>,
    ) -> Result<(), ProbeError> {
        self.silent &= piece.is_silent;
        let [begin_ms, end_ms] = [piece.frames.start, piece.frames.end].map(|it| end_ms.min(it * FRAME_MS));
        if !piece.is_silent && begin_ms < end_ms {
            let span = Span { begin_ms, end_ms };
            self.spans.push(span);
            heard(Progress::Piece(span))?;
        }
        Ok(())
    }
}

/// Hears the frames of a recording: keeps the samples that the planner may ask for, and listens for speech.
struct Listener {
    planner: Planner,
    detector: SpeechDetector,
    /// The samples of the present piece's last frames, and where in them each frame ends.
    samples: Vec<f32>,
    ends: Vec<usize>,
    rate: u32,
    /// Frames of a sample, and frames from sample to sample.
    sampling: (usize, usize),
    sample: Vec<f32>,
    sample_is_loud: bool,
    count: usize,
    speech: u64,
    listened: u64,
    failure: Option<ProbeError>,
}

impl Listener {
    fn new(longest_ms: u64, sampling: (usize, usize)) -> Listener {
        Listener {
            planner: Planner::new(longest_ms),
            detector: SpeechDetector::new(),
            samples: Vec::new(),
            ends: Vec::new(),
            rate: 0,
            sampling,
            sample: Vec::new(),
            sample_is_loud: false,
            count: 0,
            speech: 0,
            listened: 0,
            failure: None,
        }
    }

    /// Keeps samples of a frame that is not complete.
    fn keep(&mut self, samples: &[f32], rate: u32) {
        if rate != self.rate && rate != 0 {
            self.samples.clear();
            self.ends.clear();
            self.sample.clear();
            self.rate = rate;
        }
        if self.planner.is_within_reach() {
            self.samples.extend_from_slice(samples);
        }
        if self.count % self.sampling.1 < self.sampling.0 {
            self.sample.extend_from_slice(samples);
        }
    }

    /// Takes a frame and the rest of its samples.
    fn push(&mut self, frame: Frame, samples: &[f32], rate: u32) -> Result<Option<Piece>, ProbeError> {
        self.keep(samples, rate);
        self.sample(frame)?;
        if !self.planner.is_within_reach() {
            self.samples.clear();
            self.ends.clear();
            return Ok(self.planner.push(frame, &mut |range| vec![true; range.len()]));
        }
        self.ends.push(self.samples.len());
        let Listener { planner, detector, samples, ends, rate, failure, .. } = self;
        let longest = planner.longest();
        let known = ends.len();
        let piece = planner.push(frame, &mut |range| {
            // What was not kept, because the rate changed, counts as speech.
            let first = longest.saturating_sub(known).max(range.start);
            let mut speech = vec![true; range.len()];
            let at = |frame: usize| (frame + known).checked_sub(longest + 1).map_or(0, |index| ends[index]);
            if first < range.end {
                match detector.hear(&samples[at(first)..at(range.end)], *rate) {
                    Ok(heard) => {
                        let from = first - range.start;
                        for (known, heard) in speech[from..].iter_mut().zip(heard) {
                            *known = heard;
                        }
                    }
                    Err(error) => *failure = Some(error),
                }
            }
            speech
        });
        if piece.is_some() {
            self.samples.clear();
            self.ends.clear();
        }
        match self.failure.take() {
            Some(error) => Err(error),
            None => Ok(piece),
        }
    }

    /// Listens for speech at some places, to all frames in short recordings.
    fn sample(&mut self, frame: Frame) -> Result<(), ProbeError> {
        let (length, every) = self.sampling;
        let at = self.count % every;
        self.count += 1;
        self.sample_is_loud |= frame.is_loud;
        if at + 1 == length { self.listen(length) } else { Ok(()) }
    }

    /// Listens to the last so many frames.
    fn listen(&mut self, frames: usize) -> Result<(), ProbeError> {
        // Of what is no longer than that, all counts.
        let warm = if self.listened == 0 && frames < 2 * WARM_UP { 0 } else { WARM_UP.min(frames) };
        self.listened += (frames - warm) as u64;
        if self.sample_is_loud {
            let speech = self.detector.hear(&self.sample, self.rate.max(1))?;
            self.speech += speech.iter().take(frames).skip(warm).filter(|speech| **speech).count() as u64;
        }
        self.sample.clear();
        self.sample_is_loud = false;
        Ok(())
    }

    fn speech_ms(&mut self, duration: u64) -> Result<u64, ProbeError> {
        let rest = self.count % self.sampling.1;
        if rest < self.sampling.0 {
            self.listen(rest)?;
        }
        Ok((duration * self.speech).checked_div(self.listened).unwrap_or(0))
    }
}
