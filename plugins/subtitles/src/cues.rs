//! From the segments of a transcript to cues: what is shown from when to when, in which lines.

use std::collections::HashMap;

use hark_sdk::event::{Segment, TimeSpan};
use unicode_width::UnicodeWidthStr;

use crate::clock::Clock;
use crate::config::Config;
use crate::layout::{self, Filler, FirstLine, Room};
use crate::spans;
use crate::speaker::{self, Speaker};
use crate::text::{Cut, Cutter, Text};

/// A cue is shown so long, in milliseconds, if the next one of its channel does not begin earlier: what is shown for less cannot be read.
const SHORTEST_MS: u64 = 1_000;
/// Longer than this, in milliseconds, a cue stands only if its text cannot be cut well (the longest time of common style guides).
const LONGEST_MS: u64 = 7_000;
/// A pause between words, in milliseconds, at which a cut reads as well as at a full stop.
const PAUSE_MS: u64 = 400;
/// A pause, in milliseconds, that no cue runs over.
const LONG_PAUSE_MS: u64 = 2_000;

/// A subtitle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cue {
    /// Begin in milliseconds of the recording.
    pub begin_ms: u64,
    /// End in milliseconds of the recording; later than the begin.
    pub end_ms: u64,
    /// The segment's channel.
    pub channel: u32,
    /// Who speaks; `None` where it is not known, or names are not wanted.
    pub speaker: Option<String>,
    /// Whether the name is shown: at a change of speaker, and in every cue while several speak at once.
    pub is_named: bool,
    /// At least one.
    pub lines: Vec<String>,
}

/// The cues of a transcript, in the order of time.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Cues {
    /// By begin, then by channel.
    pub cues: Vec<Cue>,
    /// Segments with text for which there is no cue, because their time is not known.
    pub untimed: usize,
}

impl Cues {
    /// Makes the cues of a transcript. `length_ms`: of the recording, where it is known.
    pub(crate) fn new(
        cutter: &Cutter,
        segments: &[Segment],
        length_ms: Option<u64>,
        config: &Config,
    ) -> Cues {
        let (spans, untimed) = spans::of(segments);
        let mut cues = Vec::new();
        // Of each channel. Segments that begin within milliseconds of each other may have more cues than milliseconds.
        let mut shown_until = HashMap::new();
        for span in &spans {
            let segment = &segments[span.segment];
            let speaker = Speaker::of(segment).name().filter(|_| config.speakers);
            let has_name = |named| named && speaker.is_some();
            let maker = Maker::new(cutter, segment, span.time, config, speaker.as_deref());
            let next_ms = span.next_ms.or(length_ms).unwrap_or(u64::MAX);
            for mut cue in maker.cues(has_name(span.is_change), has_name(span.is_overlapped), next_ms) {
                let until = shown_until.entry(cue.channel).or_insert(0);
                cue.begin_ms = cue.begin_ms.max(*until);
                cue.end_ms = cue.end_ms.max(cue.begin_ms + 1);
                *until = cue.end_ms;
                cues.push(cue);
            }
        }
        cues.sort_by_key(|cue| (cue.begin_ms, cue.channel));
        Cues { cues, untimed }
    }
}

/// Makes the cues of a segment.
struct Maker<'a> {
    text: Text,
    /// Of each part.
    times: Vec<TimeSpan>,
    span: TimeSpan,
    channel: u32,
    config: &'a Config,
    speaker: Option<&'a str>,
}

impl<'a> Maker<'a> {
    fn new(
        cutter: &Cutter,
        segment: &Segment,
        span: TimeSpan,
        config: &'a Config,
        speaker: Option<&'a str>,
    ) -> Maker<'a> {
        let text = cutter.text(&segment.text, first_line(config, speaker));
        let clock = Clock::new(&text, segment, span);
        let times = text.parts.iter().map(|part| TimeSpan {
            begin_ms: clock.begin(text.column(part.bytes.start)),
            end_ms: clock.end(text.column(part.bytes.end)),
        });
        let times = times.collect();
        Maker { text, times, span, channel: segment.channel, config, speaker }
    }

    /// `next_ms`: the time of the next cue of the channel.
    fn cues(&self, is_change: bool, is_overlapped: bool, next_ms: u64) -> Vec<Cue> {
        let is_named = |begin: usize| is_overlapped || is_change && begin == 0;
        let ends = self.ends(is_named, next_ms);
        let begins: Vec<usize> = std::iter::once(0).chain(ends.iter().copied()).take(ends.len()).collect();
        let mut times: Vec<(u64, u64)> =
            begins.iter().zip(&ends).map(|(&begin, &end)| (self.begin(begin), self.end(end))).collect();
        self.settle(&mut times, &begins, &ends, next_ms);
        let cue = |((&begin, &end), (begin_ms, end_ms)): ((&usize, &usize), (u64, u64))| {
            let parts = &self.text.parts[begin..end];
            let mut first = 0;
            let lines = layout::lines(parts, self.room(is_named(begin))).into_iter().map(|last| {
                let bytes = parts[first].bytes.start..parts[last - 1].bytes.end;
                first = last;
                self.text.line[bytes].to_owned()
            });
            let lines = lines.collect();
            let speaker = self.speaker.map(str::to_owned);
            Cue { begin_ms, end_ms, channel: self.channel, speaker, is_named: is_named(begin), lines }
        };
        begins.iter().zip(&ends).zip(times).map(cue).collect()
    }

    /// Where the cues end, as numbers of parts: of all ways to cut the text the one that costs the reader least.
    fn ends(&self, is_named: impl Fn(usize) -> bool, next_ms: u64) -> Vec<usize> {
        let parts = &self.text.parts;
        // By end: the least cost, and the begin of the last cue.
        let mut best = vec![(f64::INFINITY, 0); parts.len() + 1];
        best[0].0 = 0.0;
        for begin in 0..parts.len() {
            let before = best[begin].0;
            let room = self.room(is_named(begin));
            let (mut filler, mut first_line) = (Filler::new(room), FirstLine::new(&self.text, begin, room));
            let (mut sentences, mut pauses) = (0, 0.0);
            for end in begin + 1..=parts.len() {
                // A part that alone is too wide has nowhere else to go.
                if !filler.add(&parts[end - 1]) && end > begin + 1 {
                    break;
                }
                let cost = before + pauses + first_line.cost(end, sentences) + self.cost(begin, end, next_ms);
                if cost < best[end].0 {
                    best[end] = (cost, begin);
                }
                let pause = self.pause(end);
                if pause >= LONG_PAUSE_MS {
                    break;
                }
                pauses += if pause >= PAUSE_MS { 10.0 } else { 0.0 };
                sentences += u32::from(parts[end - 1].cut == Cut::Sentence);
            }
        }
        let mut ends = Vec::new();
        let mut end = parts.len();
        while end > 0 {
            ends.push(end);
            end = best[end].1;
        }
        ends.reverse();
        ends
    }

    /// What a cue costs the reader: that there is one more, where it is cut, that it stands too short or too long, that it is too fast.
    fn cost(&self, begin: usize, end: usize, next_ms: u64) -> f64 {
        let parts = &self.text.parts;
        let (begin_ms, end_ms) = (self.begin(begin), self.end(end));
        let next_ms = if end < parts.len() { self.begin(end) } else { next_ms };
        let shown_ms =
            end_ms.max(next_ms.min(begin_ms + self.wanted_ms(begin, end))).saturating_sub(begin_ms);
        let mut cost = 15.0;
        if end < parts.len() {
            let at_its_end = 1.6 * layout::cost(parts[end - 1].cut);
            cost += if self.pause(end) >= PAUSE_MS { at_its_end.min(4.0) } else { at_its_end };
        }
        let rate = f64::from(self.text.width(begin, end)) * 1_000.0 / shown_ms.max(1) as f64;
        cost += 60.0 * (rate / f64::from(self.config.max_cps) - 1.0).clamp(0.0, 4.0);
        cost += 30.0 * (1.0 - shown_ms as f64 / SHORTEST_MS as f64).max(0.0);
        cost + 3.0 * shown_ms.saturating_sub(LONGEST_MS) as f64 / 1_000.0
    }

    /// Gives each cue time to be read where there is room, and each at least its share where there is none.
    fn settle(&self, times: &mut [(u64, u64)], begins: &[usize], ends: &[usize], next_ms: u64) {
        let TimeSpan { begin_ms, end_ms } = self.span;
        // A quarter of a second, or what there is: cues of a segment that is too short for its text follow each other at once.
        let least = 250.min((end_ms - begin_ms) / times.len() as u64).max(1);
        let mut before = end_ms;
        for (begin, _) in times.iter_mut().rev() {
            *begin = (*begin).min(before.saturating_sub(least));
            before = *begin;
        }
        let mut earliest = begin_ms;
        for (begin, _) in times.iter_mut() {
            *begin = (*begin).max(earliest);
            earliest = *begin + least;
        }
        for index in 0..times.len() {
            let (begin, end) = times[index];
            let wanted = begin + self.wanted_ms(begins[index], ends[index]);
            let end = end.max(begin + least);
            times[index].1 = match times.get(index + 1) {
                Some((next, _)) => end.max(wanted).min(*next),
                // The segment's last cue may stay until it can be read, if the channel says nothing else meanwhile.
                None => end.max(wanted.min(next_ms)),
            };
        }
    }

    /// How long a cue should be shown, in milliseconds.
    fn wanted_ms(&self, begin: usize, end: usize) -> u64 {
        let rate = u64::from(self.text.width(begin, end)) * 1_000 / u64::from(self.config.max_cps);
        rate.max(SHORTEST_MS)
    }

    fn begin(&self, part: usize) -> u64 {
        self.times[part].begin_ms
    }

    fn end(&self, end: usize) -> u64 {
        self.times[end - 1].end_ms
    }

    /// The pause before a part, in milliseconds.
    fn pause(&self, part: usize) -> u64 {
        if part < self.text.parts.len() { self.begin(part).saturating_sub(self.end(part)) } else { 0 }
    }

    fn room(&self, is_named: bool) -> Room {
        let columns = self.config.max_chars;
        let first = if is_named { first_line(self.config, self.speaker) } else { columns };
        Room { columns, first, lines: self.config.max_lines }
    }
}

/// The columns of a first line that are left beside the speaker's name: half a line at least.
fn first_line(config: &Config, speaker: Option<&str>) -> u32 {
    let name = speaker.map_or(0, |name| speaker::short_label(name, config.max_chars).width() as u32);
    config.max_chars - name
}
