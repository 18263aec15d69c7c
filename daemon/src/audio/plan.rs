//! Decides where a long recording is cut into pieces. Depends on the sound alone, so that another pass cuts at the same places.

use std::ops::Range;

use super::speech::{FRAME_MS, Frame, WARM_UP};

/// The shortest pause that is cut at, in frames: 208 ms.
const PAUSE: usize = (200_usize).div_ceil(FRAME_MS as usize);

/// The most frames before the limit in which the longest pause is searched with the detector: 20 s.
const LONGEST_REACH: usize = 1_250;

/// How many pauses are examined with the detector before all of the reach is.
const MOST_EXAMINED: usize = 3;

/// How many frames of a long pause are enough for the detector.
const ENOUGH: usize = 40;

/// How many frames are searched for a place without speech at once.
const STEP: usize = 48;

/// How much louder than the background a frame may be and still be a pause, as a ratio of energies (6 dB).
const ABOVE_BACKGROUND: f32 = 4.0;

/// By how much a pause is less loud than the piece, as a ratio of energies (10 dB).
const BELOW_MEAN: f32 = 10.0;

/// The energy of noise at -60 dBFS: what is not louder is a pause in any surroundings.
const QUIET: f32 = 1e-6;

/// A piece of a recording, in frames from its begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) frames: Range<u64>,
    /// Nothing in it is above -55 dBFS.
    pub(super) is_silent: bool,
}

/// Tells which of these frames (of the present piece) are speech.
pub(super) type Listen<'l> = &'l mut dyn FnMut(Range<usize>) -> Vec<bool>;

/// Cuts while the recording passes.
pub(super) struct Planner {
    longest: usize,
    begin: u64,
    frames: Vec<Frame>,
}

impl Planner {
    /// No piece gets longer than `longest_ms`, which is at least a second.
    pub(super) fn new(longest_ms: u64) -> Planner {
        let longest = (longest_ms.max(1_000) / FRAME_MS) as usize;
        Planner { longest, begin: 0, frames: Vec::new() }
    }

    /// Frames of the longest piece.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// How many of the present piece's last frames the planner may want to listen to at its limit.
    pub(super) fn reach(&self) -> usize {
        (self.longest / 8).clamp(2 * PAUSE, LONGEST_REACH)
    }

    /// Whether the frame that comes next is within reach of the limit.
    pub(super) fn is_within_reach(&self) -> bool {
        self.frames.len() + self.reach() >= self.longest
    }

    /// Takes the next frame; returns the piece that it completes.
    pub(super) fn push(&mut self, frame: Frame, listen: Listen<'_>) -> Option<Piece> {
        self.frames.push(frame);
        if self.frames.len() < self.longest {
            return None;
        }
        let cut = cut(&self.frames, self.frames.len() - self.reach(), listen);
        Some(self.take(cut))
    }

    /// The last piece.
    pub(super) fn finish(&mut self) -> Option<Piece> {
        let rest = self.frames.len();
        (rest > 0).then(|| self.take(rest))
    }

    fn take(&mut self, count: usize) -> Piece {
        let is_silent = self.frames.drain(..count).all(|frame| !frame.is_loud);
        let begin = self.begin;
        self.begin += count as u64;
        Piece { frames: begin..self.begin, is_silent }
    }
}

/// Where to cut: after how many frames, at least one and at most all.
fn cut(frames: &[Frame], reach: usize, listen: Listen<'_>) -> usize {
    let quiet = quiet_runs(frames);
    // The longest pause within reach that holds no speech.
    let mut within: Vec<Range<usize>> =
        quiet.iter().filter_map(|run| pause(run.start.max(reach)..run.end)).collect();
    within.sort_by_key(|run| std::cmp::Reverse(run.len()));
    for run in within.into_iter().take(MOST_EXAMINED) {
        let run = middle(&run, ENOUGH);
        if let Some(found) = silent(run.clone(), reach, listen) {
            return quietest(frames, found);
        }
    }
    // Where the background is loud: any place without speech, the last ones first.
    let mut end = frames.len();
    while end > reach {
        let begin = end.saturating_sub(STEP).max(reach);
        if let Some(found) = silent(begin..end, reach, listen) {
            return quietest(frames, found);
        }
        // A pause may lie across two steps.
        end = if begin > reach { begin + PAUSE } else { reach };
    }
    // The last pause before.
    let before =
        quiet.iter().rev().filter(|run| run.start > frames.len() / 8).find_map(|run| pause(run.clone()));
    match before {
        Some(run) => quietest(frames, run),
        None => quietest(frames, reach.saturating_sub(1)..frames.len()),
    }
}

/// The longest pause without speech among these frames. The detector warms up with those before them, within reach.
fn silent(run: Range<usize>, reach: usize, listen: Listen<'_>) -> Option<Range<usize>> {
    let from = run.start.saturating_sub(WARM_UP).max(reach);
    let speech = listen(from..run.end);
    let found = longest(runs(speech.len(), |at| !speech[at] && from + at >= run.start))?;
    Some(from + found.start..from + found.end)
}

/// The middle so many frames of a run.
fn middle(run: &Range<usize>, count: usize) -> Range<usize> {
    let less = run.len().saturating_sub(count) / 2;
    run.start + less..run.end - less
}

/// Runs of frames that are no louder than the background, and much less loud than the rest.
fn quiet_runs(frames: &[Frame]) -> Vec<Range<usize>> {
    let mut energies: Vec<f32> = frames.iter().map(|frame| frame.energy).collect();
    let mean = energies.iter().sum::<f32>() / energies.len().max(1) as f32;
    let tenth = energies.len() / 10;
    let (_, background, _) = energies.select_nth_unstable_by(tenth, f32::total_cmp);
    let limit = (*background * ABOVE_BACKGROUND).min(mean / BELOW_MEAN).max(QUIET);
    runs(frames.len(), |at| frames[at].energy <= limit)
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
