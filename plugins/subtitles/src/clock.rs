//! When each place of a segment's text is said.

use hark_sdk::event::{Segment, TimeSpan};

use crate::text::Text;

/// Most bytes of a text that are passed over to find the next word: a transform or the recognizer's own rewriting of numbers may have changed
/// some, and a word that is looked for too far away would be another one of the same letters.
const FARTHEST: usize = 40;

/// Places of a text and their times, both in order. Between two places the time goes on with the length of the text.
#[derive(Debug)]
pub(crate) struct Clock {
    knots: Vec<(u32, u64)>,
}

impl Clock {
    /// The times of the segment's words, where it has them; else its begin and its end. All are within `span`.
    pub(crate) fn new(text: &Text, segment: &Segment, span: TimeSpan) -> Clock {
        let TimeSpan { begin_ms, end_ms } = span;
        let mut knots = Vec::new();
        let (mut at, mut latest) = (0, begin_ms);
        for word in segment.words.iter().flatten() {
            let wanted = word.text.trim();
            let limit = text.line.floor_char_boundary(at + FARTHEST + wanted.len());
            let Some(found) = text.line[at..limit].find(wanted).filter(|_| !wanted.is_empty()) else {
                continue;
            };
            let begin = at + found;
            at = begin + wanted.len();
            // Punctuation that does not stand in the word belongs to it all the same.
            let rest = text.line[at..].chars().take_while(|c| !c.is_alphanumeric() && *c != ' ');
            at += rest.map(char::len_utf8).sum::<usize>();
            let begin_ms = word.begin_ms.clamp(latest, end_ms);
            latest = word.end_ms.clamp(begin_ms, end_ms);
            knots.extend([(text.column(begin), begin_ms), (text.column(at), latest)]);
        }
        let all = text.column(text.line.len());
        if knots.first().is_none_or(|(column, _)| *column > 0) {
            knots.insert(0, (0, begin_ms));
        }
        if knots.last().is_none_or(|(column, _)| *column < all) {
            knots.push((all, end_ms));
        }
        Clock { knots }
    }

    /// When what begins at a column begins.
    pub(crate) fn begin(&self, column: u32) -> u64 {
        let after = self.knots.partition_point(|(at, _)| *at <= column);
        self.between(after, column)
    }

    /// When what ends at a column ends.
    pub(crate) fn end(&self, column: u32) -> u64 {
        let after = self.knots.partition_point(|(at, _)| *at < column);
        match self.knots.get(after) {
            Some((at, ms)) if *at == column => *ms,
            _ => self.between(after, column),
        }
    }

    /// The time of a column at or behind the knot before `after`, and before that one.
    fn between(&self, after: usize, column: u32) -> u64 {
        let before = after.checked_sub(1).and_then(|before| self.knots.get(before));
        match (before, self.knots.get(after)) {
            (Some((one, from)), Some((other, to))) => {
                from + (to - from) * u64::from(column - one) / u64::from(other - one)
            }
            (Some((_, ms)), None) | (None, Some((_, ms))) => *ms,
            (None, None) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use hark_sdk::event::Word;

    use super::*;
    use crate::text::Cutter;

    fn clock(line: &str, words: &[(u64, u64, &str)]) -> Clock {
        let word =
            |&(begin_ms, end_ms, text): &(u64, u64, &str)| Word { begin_ms, end_ms, text: text.to_owned() };
        let words = Some(words.iter().map(word).collect());
        let segment = Segment { text: line.to_owned(), words, ..Segment::default() };
        let text = Cutter::new().text(line, 42);
        Clock::new(&text, &segment, TimeSpan { begin_ms: 1_000, end_ms: 9_000 })
    }

    #[test]
    fn without_words_time_goes_on_with_the_text() {
        let clock = clock("abcd efgh", &[]);
        for (column, ms) in [(0, 1_000), (3, 3_666), (9, 9_000)] {
            assert_eq!((clock.begin(column), clock.end(column)), (ms, ms), "{column}");
        }
    }

    #[test]
    fn words_begin_and_end_at_their_own_times() {
        let clock = clock(
            "one, two 三四",
            &[(1_500, 2_000, "one"), (4_000, 4_500, "two"), (5_000, 5_500, "三"), (7_000, 7_500, "四")],
        );
        // "one,", "two", "三", "四"
        for (begin, end, times) in [
            (0, 4, (1_500, 2_000)),
            (5, 8, (4_000, 4_500)),
            (9, 11, (5_000, 5_500)),
            (11, 13, (7_000, 7_500)),
        ] {
            assert_eq!((clock.begin(begin), clock.end(end)), times, "{begin}");
        }
    }

    #[test]
    fn words_that_are_not_in_the_text_and_times_beyond_the_segment_do_no_harm() {
        let clock =
            clock("one two three", &[(0, 500, "one"), (3_000, 2_000, "zwei"), (20_000, 30_000, "three")]);
        assert_eq!((clock.begin(0), clock.end(3)), (1_000, 1_000));
        assert_eq!((clock.begin(8), clock.end(13)), (9_000, 9_000));
        assert_eq!(clock.begin(4), 2_600);
    }
}
