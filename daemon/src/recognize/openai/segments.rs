//! The times that a server tells, and whether they can be true.

use hark_sdk::event::Word;
use hark_sdk::joined::is_unspaced;

use super::dialects::{Timed, TimedWord};

/// A part of the text with its times within the audio that was sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TimedText {
    pub(super) begin_ms: u64,
    pub(super) end_ms: u64,
    pub(super) text: String,
    /// `None`: the server told none.
    pub(super) words: Option<Vec<Word>>,
}

/// Whisper works on windows of this length, and the last segment may reach to the end of its window.
const WINDOW_SECONDS: f64 = 30.0;

/// No piece is this long: larger numbers are nanoseconds, which LocalAI wrote into `start` and `end`.
const LONGEST_SECONDS: f64 = 1e6;

/// The unit of a server's times and the length that they have to be within.
#[derive(Debug, Clone, Copy)]
struct Clock {
    /// Seconds of one.
    unit: f64,
    /// Of the audio that was sent.
    duration_ms: Option<u64>,
}

impl Clock {
    /// Begin and end in milliseconds, within the audio's length. `None`: they cannot be true.
    fn within(self, start: Option<f64>, end: Option<f64>) -> Option<(u64, u64)> {
        let longest =
            self.duration_ms.map_or(LONGEST_SECONDS, |duration| duration as f64 / 1e3 + WINDOW_SECONDS);
        let (start, end) = (start? * self.unit, end? * self.unit);
        if !(0.0..=longest).contains(&start) || !(start..=longest).contains(&end) {
            return None;
        }
        let milliseconds = |seconds: f64| {
            let milliseconds = (seconds * 1e3).round() as u64;
            self.duration_ms.map_or(milliseconds, |duration| milliseconds.min(duration))
        };
        Some((milliseconds(start), milliseconds(end)))
    }

    /// The words whose times can be true.
    fn words(self, told: &[TimedWord]) -> Vec<Word> {
        let word = |TimedWord { start, end, word }: TimedWord| {
            let (begin_ms, end_ms) = self.within(start, end)?;
            let text = word.trim();
            (!text.is_empty()).then(|| Word { begin_ms, end_ms, text: text.to_owned() })
        };
        whole_words(told).into_iter().filter_map(word).collect()
    }
}

/// Puts together what belongs to one word: whisper.cpp tells the parts that its model writes, " con", "tract", ".", and the space before a
/// part begins a word. Servers that write no spaces tell whole words.
fn whole_words(told: &[TimedWord]) -> Vec<TimedWord> {
    let has_spaces = told.iter().any(|part| part.word.starts_with(' '));
    let mut words: Vec<TimedWord> = Vec::new();
    for part in told {
        let begins = |text: &str| text.starts_with(|first: char| first == ' ' || is_unspaced(first));
        match words.last_mut() {
            Some(word)
                if has_spaces
                    && !begins(&part.word)
                    && !word.word.chars().next_back().is_some_and(is_unspaced) =>
            {
                word.word.push_str(&part.word);
                word.end = part.end.or(word.end);
            }
            _ => words.push(part.clone()),
        }
    }
    words
}

/// The segments of a verbose answer, within the audio's length, with their words. `None`: the answer has none, or their times cannot be true;
/// a time that was not measured is never invented. `words`: those that the answer tells beside the segments.
pub(super) fn believable(
    segments: Vec<Timed>,
    words: Option<&[TimedWord]>,
    duration_ms: Option<u64>,
) -> Option<Vec<TimedText>> {
    let clock = Clock { unit: unit(segments.iter().map(|segment| segment.end)), duration_ms };
    let mut parts = Vec::new();
    for Timed { start, end, text, words } in segments {
        let (begin_ms, end_ms) = clock.within(start, end)?;
        let text = text.trim();
        if !text.is_empty() {
            let words = words.map(|words| clock.words(&words));
            parts.push(TimedText { begin_ms, end_ms, text: text.to_owned(), words });
        }
    }
    if let Some(words) = words.filter(|_| parts.iter().all(|part| part.words.is_none())) {
        share_out(believable_words(words, duration_ms), &mut parts);
    }
    (!parts.is_empty()).then_some(parts)
}

/// The words that an answer tells beside its segments, within the audio's length.
pub(super) fn believable_words(words: &[TimedWord], duration_ms: Option<u64>) -> Vec<Word> {
    Clock { unit: unit(words.iter().map(|word| word.end)), duration_ms }.words(words)
}

/// Gives each word to the last segment that begins before the word's middle.
fn share_out(words: Vec<Word>, parts: &mut [TimedText]) {
    for part in parts.iter_mut() {
        part.words = Some(Vec::new());
    }
    for word in words {
        let middle = word.begin_ms.midpoint(word.end_ms);
        let at = parts.iter().rposition(|part| part.begin_ms <= middle).unwrap_or(0);
        if let Some(TimedText { words: Some(of_part), .. }) = parts.get_mut(at) {
            of_part.push(word);
        }
    }
}

/// Seconds, or the nanoseconds of LocalAI.
fn unit(ends: impl Iterator<Item = Option<f64>>) -> f64 {
    let last = ends.flatten().fold(0.0_f64, f64::max);
    if last > LONGEST_SECONDS { 1e-9 } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timed(times: &[(f64, f64)]) -> Vec<Timed> {
        let timed = |(start, end): &(f64, f64)| Timed {
            start: Some(*start),
            end: Some(*end),
            text: " so".into(),
            words: None,
        };
        times.iter().map(timed).collect()
    }

    fn times(segments: &[(f64, f64)], duration_ms: u64) -> Option<Vec<(u64, u64)>> {
        let parts = believable(timed(segments), None, Some(duration_ms))?;
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
        let without_times = vec![Timed { start: None, end: None, text: "so".into(), words: None }];
        assert_eq!(believable(without_times, None, Some(4_000)), None);
        assert_eq!(believable(timed(&[(0.0, 90.0)]), None, None).unwrap()[0].end_ms, 90_000);
    }

    fn word(start: f64, end: f64, word: &str) -> TimedWord {
        TimedWord { start: Some(start), end: Some(end), word: word.into() }
    }

    fn shown(parts: Option<Vec<TimedText>>) -> Vec<Vec<(u64, u64, String)>> {
        let of = |word: Word| (word.begin_ms, word.end_ms, word.text);
        let words = |part: TimedText| part.words.unwrap().into_iter().map(of).collect();
        parts.unwrap().into_iter().map(words).collect()
    }

    #[test]
    fn words_are_those_of_their_segment_or_of_its_time() {
        let told = || vec![word(0.0, 0.4, " Good"), word(0.4, 1.6, " morning."), word(1.5, 2.0, " Bye.")];
        let expected = vec![
            vec![(0, 400, "Good".to_owned()), (400, 1_600, "morning.".to_owned())],
            vec![(1_500, 2_000, "Bye.".to_owned())],
        ];
        let segments = || timed(&[(0.0, 1.6), (1.6, 2.0)]);
        assert_eq!(shown(believable(segments(), Some(&told()), Some(2_000))), expected);
        let mut with_words = segments();
        let mut words = told();
        with_words[1].words = Some(words.split_off(2));
        with_words[0].words = Some(words);
        assert_eq!(shown(believable(with_words, None, Some(2_000))), expected);
        assert!(believable(segments(), None, None).unwrap().iter().all(|part| part.words.is_none()));
    }

    #[test]
    fn a_word_whose_time_cannot_be_true_is_not_told() {
        let words =
            [word(0.0, 0.4e9, "so"), word(2e9, 1e9, "it"), TimedWord { start: None, ..word(0.0, 1e9, "is") }];
        let found = believable_words(&words, Some(2_000));
        assert_eq!(found, [Word { begin_ms: 0, end_ms: 400, text: "so".into() }]);
    }

    #[test]
    fn the_parts_of_a_word_are_one_word() {
        let of = |parts: &[&str]| {
            let parts: Vec<TimedWord> = parts
                .iter()
                .zip(0..)
                .map(|(part, at)| word(f64::from(at), f64::from(at + 1), part))
                .collect();
            let words = believable_words(&parts, Some(9_000)).into_iter();
            words.map(|word| format!("{} {}-{}", word.text, word.begin_ms, word.end_ms)).collect::<Vec<_>>()
        };
        assert_eq!(of(&[" My", " con", "tract", "."]), ["My 0-1000", "contract. 1000-4000"]);
        assert_eq!(of(&["My", "contract"]), ["My 0-1000", "contract 1000-2000"]);
        assert_eq!(of(&["你", "好", " OK"]), ["你 0-1000", "好 1000-2000", "OK 2000-3000"]);
    }
}
