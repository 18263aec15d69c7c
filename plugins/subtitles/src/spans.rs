//! The time that each segment has for its cues: its own, without what others of its channel need of it.

use hark_sdk::event::{Segment, TimeSpan};

use crate::speaker::Speaker;

/// A segment with text and a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// Index of the segment.
    pub(crate) segment: usize,
    /// Spans of a channel do not overlap.
    pub(crate) time: TimeSpan,
    /// When the next segment of the channel begins; `None`: it is the last one.
    pub(crate) next_ms: Option<u64>,
    /// Whether another speaker spoke before it, or it is the first one.
    pub(crate) is_change: bool,
    /// Whether another speaker speaks at the same time.
    pub(crate) is_overlapped: bool,
}

/// The spans, by begin and channel, and the number of segments with text that have no time.
pub(crate) fn of(segments: &[Segment]) -> (Vec<Span>, usize) {
    let said =
        || segments.iter().enumerate().filter(|(_, segment)| segment.error.is_none() && has_text(segment));
    let timed = said().filter_map(|(index, segment)| {
        let time = TimeSpan { begin_ms: segment.begin_ms?, end_ms: segment.end_ms? };
        (time.begin_ms < time.end_ms).then_some((index, time))
    });
    let mut timed: Vec<(usize, TimeSpan)> = timed.collect();
    timed.sort_by_key(|(index, time)| (time.begin_ms, segments[*index].channel, time.end_ms));
    let mut spans: Vec<Span> = Vec::with_capacity(timed.len());
    for (place, (segment, time)) in timed.iter().enumerate() {
        let speaker = |segment: &usize| Speaker::of(&segments[*segment]);
        let before = place.checked_sub(1).map(|before| &timed[before].0);
        let is_change = before.is_none_or(|before| speaker(before) != speaker(segment));
        spans.push(Span { segment: *segment, time: *time, next_ms: None, is_change, is_overlapped: false });
    }
    for place in 0..spans.len() {
        for other in place + 1..spans.len() {
            if spans[other].time.begin_ms >= spans[place].time.end_ms {
                break;
            }
            if Speaker::of(&segments[spans[other].segment]) != Speaker::of(&segments[spans[place].segment]) {
                (spans[place].is_overlapped, spans[other].is_overlapped) = (true, true);
            }
        }
    }
    let mut channels: Vec<u32> = spans.iter().map(|span| segments[span.segment].channel).collect();
    channels.sort_unstable();
    channels.dedup();
    for channel in channels {
        let mut of_channel: Vec<&mut Span> =
            spans.iter_mut().filter(|span| segments[span.segment].channel == channel).collect();
        divide(&mut of_channel);
    }
    spans.retain(|span| span.time.begin_ms < span.time.end_ms);
    let untimed = said().count() - spans.len();
    (spans, untimed)
}

fn has_text(segment: &Segment) -> bool {
    segment.text.chars().any(|character| !character.is_whitespace() && !character.is_control())
}

/// Ends each span where the next one of the channel begins. Spans of the same begin share the time that they have in common.
fn divide(spans: &mut [&mut Span]) {
    let mut earliest = 0;
    for place in 0..spans.len() {
        let (now, later) = spans[place..].split_at_mut(1);
        let Span { time, next_ms, .. } = &mut *now[0];
        time.begin_ms = time.begin_ms.max(earliest);
        let sharing = later.iter().take_while(|other| other.time.begin_ms <= time.begin_ms).count();
        let common = later[..sharing].iter().map(|other| other.time.end_ms);
        let next = later.get(sharing).map(|other| other.time.begin_ms);
        let limit = common.chain(next).fold(time.end_ms, u64::min);
        time.end_ms = time.begin_ms + limit.saturating_sub(time.begin_ms) / (sharing as u64 + 1);
        *next_ms = if sharing > 0 { Some(time.end_ms) } else { next };
        earliest = time.end_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(given: &[(u32, u64, u64)]) -> Vec<(u64, u64)> {
        let segment = |&(channel, begin, end): &(u32, u64, u64)| Segment {
            channel,
            begin_ms: Some(begin),
            end_ms: Some(end),
            text: "x".to_owned(),
            ..Segment::default()
        };
        let segments: Vec<Segment> = given.iter().map(segment).collect();
        let (spans, untimed) = of(&segments);
        assert_eq!(spans.len() + untimed, segments.len());
        spans.iter().map(|span| (span.time.begin_ms, span.time.end_ms)).collect()
    }

    #[test]
    fn spans_of_a_channel_do_not_overlap() {
        for (given, expected) in [
            (&[(0, 0, 10), (0, 10, 20)][..], &[(0, 10), (10, 20)][..]),
            (&[(0, 0, 10), (0, 8, 20)], &[(0, 8), (8, 20)]),
            (&[(0, 0, 10), (1, 8, 20)], &[(0, 10), (8, 20)]),
            (&[(0, 0, 30), (0, 0, 30), (0, 0, 30)], &[(0, 10), (10, 20), (20, 30)]),
            (&[(0, 0, 30), (0, 0, 2), (0, 10, 12)], &[(0, 1), (1, 10), (10, 12)]),
            (&[(0, 5, 5), (0, 7, 6)], &[]),
        ] {
            assert_eq!(times(given), expected, "{given:?}");
        }
    }
}
