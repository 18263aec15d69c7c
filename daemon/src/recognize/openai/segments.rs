//! The times that a server tells, and whether they can be true.

use super::dialects::Timed;

/// A part of the text with its times within the audio that was sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) begin_ms: u64,
    pub(super) end_ms: u64,
    pub(super) text: String,
}

/// Whisper works on windows of this length, and the last segment may reach to the end of its window.
const WINDOW_SECONDS: f64 = 30.0;

/// No piece is this long: larger numbers are nanoseconds, which LocalAI wrote into `start` and `end`.
const LONGEST_SECONDS: f64 = 1e6;

/// The segments of a verbose answer, within the audio's length. `None`: the answer has none, or their times cannot be true; a time that was
/// not measured is never invented.
pub(super) fn believable(segments: Vec<Timed>, duration_ms: Option<u64>) -> Option<Vec<Part>> {
    let last = segments.iter().filter_map(|segment| segment.end).fold(0.0_f64, f64::max);
    let unit = if last > LONGEST_SECONDS { 1e-9 } else { 1.0 };
    let duration = duration_ms.map(|duration| duration as f64 / 1e3);
    let longest = duration.map_or(LONGEST_SECONDS, |duration| duration + WINDOW_SECONDS);
    let mut parts = Vec::new();
    for Timed { start, end, text } in segments {
        let (start, end) = (start? * unit, end? * unit);
        if !(0.0..=longest).contains(&start) || !(start..=longest).contains(&end) {
            return None;
        }
        let within = |seconds: f64| {
            let milliseconds = (seconds * 1e3).round() as u64;
            duration_ms.map_or(milliseconds, |duration| milliseconds.min(duration))
        };
        let text = text.trim();
        if !text.is_empty() {
            parts.push(Part { begin_ms: within(start), end_ms: within(end), text: text.to_owned() });
        }
    }
    (!parts.is_empty()).then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timed(times: &[(f64, f64)]) -> Vec<Timed> {
        let timed =
            |(start, end): &(f64, f64)| Timed { start: Some(*start), end: Some(*end), text: " so".into() };
        times.iter().map(timed).collect()
    }

    fn times(segments: &[(f64, f64)], duration_ms: u64) -> Option<Vec<(u64, u64)>> {
        let parts = believable(timed(segments), Some(duration_ms))?;
        Some(parts.iter().map(|part| (part.begin_ms, part.end_ms)).collect())
    }

    #[test]
    fn seconds_and_nanoseconds_are_told_apart_by_the_audio_s_length() {
        let expected = Some(vec![(0, 1_480), (1_480, 4_000)]);
        assert_eq!(times(&[(0.0, 1.48), (1.48, 4.0)], 4_000), expected);
        assert_eq!(times(&[(0.0, 1.48e9), (1.48e9, 4e9)], 4_000), expected);
        assert_eq!(times(&[(0.0, 30.0)], 4_000), Some(vec![(0, 4_000)]), "the end of whisper's window");
    }

    #[test]
    fn times_that_cannot_be_true_are_not_told() {
        for segments in
            [&[(0.0, 90.0)][..], &[(2.0, 1.0)], &[(-1.0, 1.0)], &[(f64::NAN, 1.0)], &[(0.0, 90e9)], &[]]
        {
            assert_eq!(times(segments, 4_000), None, "{segments:?}");
        }
        let without_times = vec![Timed { start: None, end: None, text: "so".into() }];
        assert_eq!(believable(without_times, Some(4_000)), None);
        assert_eq!(believable(timed(&[(0.0, 90.0)]), None).unwrap()[0].end_ms, 90_000);
    }
}
