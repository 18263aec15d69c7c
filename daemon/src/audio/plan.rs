//! Decides where a long recording is cut into pieces. It uses the sound alone, so a second pass cuts at the same places.

use std::cmp::Reverse;
use std::ops::Range;

use super::speech::{FRAME_MS, Frame};

/// The shortest pause that is cut at, in frames: 208 ms.
const PAUSE: usize = (200_usize).div_ceil(FRAME_MS as usize);

/// The most frames before the limit in which the longest pause is searched: 20 s.
const LONGEST_REACH: usize = 1_250;

/// The most parts of a piece: a message to the audio worker has place for more.
const MOST_PARTS: usize = 512;

/// The most frames that are left out between two parts of a piece, half an hour: the worker reports no progress while it decodes them.
const FARTHEST: u64 = 30 * 60 * 1_000 / FRAME_MS;

/// How much louder than the background a frame may be and still be a pause, as a ratio of energies (6 dB).
const ABOVE_BACKGROUND: f32 = 4.0;

/// By how much a pause is less loud than the piece, as a ratio of energies (10 dB).
const BELOW_MEAN: f32 = 10.0;

/// By how much a loud background is less loud than the piece, as a ratio of energies (6 dB).
const BELOW_SPEECH: f32 = 4.0;

/// The energy of noise at -60 dBFS: a frame up to this level is a pause, except in very quiet recordings.
const QUIET: f32 = 1e-6;

/// A piece of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    /// What it is made of, in frames from the recording's begin. Between two parts lies silence that is left out.
    pub(super) parts: Vec<Range<u64>>,
    /// Nothing in it is above -55 dBFS.
    pub(super) is_silent: bool,
}

/// Returns which frames of this range are speech. The slice holds the frames of the current piece so far.
pub(super) type Listen<'l> = &'l mut dyn FnMut(&[Frame], Range<usize>) -> Vec<bool>;

/// Cuts while the frames of a signal pass.
pub(super) struct Planner {
    longest: usize,
    frames: Vec<Frame>,
    /// The parts of the present piece.
    parts: Vec<Range<u64>>,
}

impl Planner {
    /// No piece gets longer than `longest_ms`, which is at least a second.
    pub(super) fn new(longest_ms: u64) -> Planner {
        let longest = (longest_ms.max(1_000) / FRAME_MS) as usize;
        Planner { longest, frames: Vec::new(), parts: Vec::new() }
    }

    /// How many frames of the present piece there are.
    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether [`Self::push`] may ask for the frame that comes next.
    pub(super) fn is_within_reach(&self) -> bool {
        self.frames.len() + self.reach() >= self.longest
    }

    /// How many of the present piece's last frames are searched for a pause at its limit.
    fn reach(&self) -> usize {
        (self.longest / 8).clamp(2 * PAUSE, LONGEST_REACH)
    }

    /// Takes the next frame that is to be sent, the recording's frame number `at`; returns the piece that it completes.
    pub(super) fn push(&mut self, at: u64, frame: Frame, listen: Listen<'_>) -> Option<Piece> {
        let is_next = self.parts.last().is_some_and(|last| last.end == at);
        let is_far = self.parts.last().is_some_and(|last| at.saturating_sub(last.end) > FARTHEST);
        let is_full = !is_next && self.parts.len() >= MOST_PARTS;
        let completed = if is_far || is_full { self.finish() } else { None };
        match self.parts.last_mut() {
            Some(last) if last.end == at => last.end += 1,
            _ => self.parts.push(at..at + 1),
        }
        self.frames.push(frame);
        if self.frames.len() < self.longest {
            return completed;
        }
        let count = cut(&self.frames, self.frames.len() - self.reach(), listen);
        Some(self.take(count))
    }

    /// The last piece.
    pub(super) fn finish(&mut self) -> Option<Piece> {
        let rest = self.frames.len();
        (rest > 0).then(|| self.take(rest))
    }

    fn take(&mut self, count: usize) -> Piece {
        let is_silent = self.frames.drain(..count).all(|frame| !frame.is_loud);
        let (mut parts, mut left) = (Vec::new(), count as u64);
        while left > 0
            && let Some(first) = self.parts.first_mut()
        {
            let end = first.end.min(first.start + left);
            parts.push(first.start..end);
            left -= end - first.start;
            first.start = end;
            if first.is_empty() {
                self.parts.remove(0);
            }
        }
        Piece { parts, is_silent }
    }
}

/// Where to cut: after how many frames, at least one and at most all.
fn cut(frames: &[Frame], reach: usize, listen: Listen<'_>) -> usize {
    let levels = Levels::of(frames);
    let quiet = runs(frames.len(), |at| frames[at].energy <= levels.pause);
    // The longest pause within reach that holds no speech.
    let mut within: Vec<Range<usize>> =
        quiet.iter().filter_map(|run| pause(run.start.max(reach)..run.end)).collect();
    within.sort_by_key(|run| Reverse(run.len()));
    let mut found: Option<Range<usize>> = None;
    for run in within {
        let longest = found.as_ref().map_or(0, Range::len);
        // The detector costs most of the CPU time, so it does not hear pauses that are shorter than the one found.
        if run.len() <= longest {
            break;
        }
        found = silent(frames, run, listen).filter(|pause| pause.len() > longest).or(found);
    }
    if let Some(found) = found {
        return quietest(frames, found);
    }
    // No pause stands out. Here the detector takes some noise for speech, and misses speech that is very quiet or in noise. So the order is:
    // background without speech, any background, the last pause before the reach, and only then loud frames without speech.
    let speech = listen(frames, reach..frames.len());
    let place = |belongs: &dyn Fn(usize) -> bool| {
        let found = longest(runs(speech.len(), belongs))?;
        Some(reach + found.start..reach + found.end)
    };
    let is_background = |at: usize| frames[reach + at].energy <= levels.background;
    let before =
        || quiet.iter().rev().filter(|run| run.start > frames.len() / 8).find_map(|run| pause(run.clone()));
    let found = place(&|at| !speech[at] && is_background(at))
        .or_else(|| place(&is_background))
        .or_else(before)
        .or_else(|| place(&|at| !speech[at]));
    quietest(frames, found.unwrap_or(reach.saturating_sub(1)..frames.len()))
}

/// The longest pause without speech among these frames.
fn silent(frames: &[Frame], run: Range<usize>, listen: Listen<'_>) -> Option<Range<usize>> {
    let speech = listen(frames, run.clone());
    let found = longest(runs(speech.len(), |at| !speech[at]))?;
    Some(run.start + found.start..run.start + found.end)
}

/// Limits of energy by which the frames of a piece are classified.
struct Levels {
    /// A pause: no louder than the background, and much less loud than the rest.
    pause: f32,
    /// The background, and less loud than the rest.
    background: f32,
}

impl Levels {
    fn of(frames: &[Frame]) -> Levels {
        let mut energies: Vec<f32> = frames.iter().map(|frame| frame.energy).collect();
        let mean = energies.iter().sum::<f32>() / energies.len().max(1) as f32;
        let tenth = energies.len() / 10;
        let (_, background, _) = energies.select_nth_unstable_by(tenth, f32::total_cmp);
        let background = *background * ABOVE_BACKGROUND;
        // Of very quiet speech much is below -60 dBFS.
        let quiet = QUIET.min(mean / BELOW_MEAN);
        Levels {
            pause: background.min(mean / BELOW_MEAN).max(quiet),
            background: background.min(mean / BELOW_SPEECH).max(quiet),
        }
    }
}

/// The runs of consecutive numbers below `count` that `belongs` takes.
fn runs(count: usize, belongs: impl Fn(usize) -> bool) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for at in (0..count).filter(|at| belongs(*at)) {
        match runs.last_mut() {
            Some(run) if run.end == at => run.end += 1,
            _ => runs.push(at..at + 1),
        }
    }
    runs
}

fn pause(run: Range<usize>) -> Option<Range<usize>> {
    (run.len() >= PAUSE).then_some(run)
}

fn longest(runs: Vec<Range<usize>>) -> Option<Range<usize>> {
    runs.into_iter().filter_map(pause).max_by_key(Range::len)
}

/// The end of the quietest frame in the middle half of a run, and of several the one nearest to its middle.
fn quietest(frames: &[Frame], run: Range<usize>) -> usize {
    let quarter = run.len() / 4;
    let middle = run.start + run.len() / 2;
    let inner = run.start + quarter..(run.end - quarter).max(run.start + quarter + 1);
    let distance = |at: &usize| at.abs_diff(middle);
    let quietest = inner.min_by(|one, other| {
        let by_energy = frames[*one].energy.total_cmp(&frames[*other].energy);
        by_energy.then(distance(one).cmp(&distance(other)))
    });
    quietest.map_or(frames.len(), |at| at + 1)
}
