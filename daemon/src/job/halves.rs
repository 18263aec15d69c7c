//! The halves of a piece: where seconds cost nothing, a piece whose text repeats itself or is cut is sent again in halves. Pure.

use hark_sdk::joined::joined;
use serde::{Deserialize, Serialize};

use super::repetition::repeats;
use super::{Span, Transcript};

/// The shortest piece that has halves, in milliseconds: nothing shorter than a second is cut off a recording.
const SHORTEST: u64 = 2_000;

/// A piece that is asked for in halves. Its first answer stays in [`super::Piece::heard`]. The machine removes the halves, and so their
/// texts, when the piece ends.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Halves {
    /// The halves that are not heard yet, in order of time; a silent half is left out. `None`: the piece is not cut yet. Empty: the halves
    /// failed, and the first answer stands.
    pub left: Option<Vec<Span>>,
    /// The transcripts of the other halves, in order of time.
    pub heard: Vec<Transcript>,
}

impl Halves {
    /// What is sent next. `None`: the piece is not cut, or its halves failed.
    pub fn next(&self) -> Option<&Span> {
        self.left.as_ref()?.first()
    }

    /// Whether the first answer stands.
    pub fn have_failed(&self) -> bool {
        self.left.as_ref().is_some_and(Vec::is_empty)
    }

    /// The text so far, `text` being that of the half under way.
    pub fn text_with(&self, text: &str) -> String {
        joined(self.heard.iter().map(|half| half.text.as_str()).chain([text]))
    }

    /// The halves as the transcript of the piece.
    pub fn join(self) -> Transcript {
        Transcript {
            text: self.text_with(""),
            truncated: self.heard.iter().any(|half| half.truncated),
            billed: self.heard.iter().map(|half| half.billed).sum(),
            segments: self.heard.into_iter().flat_map(|half| half.segments).collect(),
        }
    }
}

/// Whether a piece with this answer should be sent again in halves.
pub fn is_better_in_halves(span: &Span, answer: &Transcript) -> bool {
    span.sent_ms().is_some_and(|length| length >= SHORTEST) && (answer.truncated || repeats(&answer.text))
}

/// The halves of a piece, without those that are silent. `parts`: begin and end of the parts of the piece that are not silent, cut in
/// pauses; times in milliseconds of the piece. The piece is cut where the first part was, or in its middle if that is far from it.
pub fn halves(piece: &Span, parts: &[(u64, u64)]) -> Vec<Span> {
    let length = piece.sent_ms().unwrap_or(0);
    let cut = match parts.first() {
        Some((0, end)) => *end,
        Some((begin, _)) => *begin,
        None => return Vec::new(),
    };
    let cut = if (length / 4..=length - length / 4).contains(&cut) { cut } else { length / 2 };
    let has_sound = |half: &(u64, u64)| parts.iter().any(|(begin, end)| *begin < half.1 && *end > half.0);
    [(0, cut), (cut, length)]
        .into_iter()
        .filter(has_sound)
        .map(|(begin, end)| piece.slice(begin, end))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_cut_near_its_middle_and_silent_halves_are_left_out() {
        for (parts, expected) in [
            (&[(0, 5_200), (5_200, 10_000)][..], &[(1_000, 6_200), (6_200, 11_000)][..]),
            (&[(0, 700), (700, 5_500), (5_500, 10_000)], &[(1_000, 6_000), (6_000, 11_000)]),
            (&[(0, 5_200)], &[(1_000, 6_200)]),
            (&[(5_200, 10_000)], &[(6_200, 11_000)]),
            (&[(0, 10_000)], &[(1_000, 6_000), (6_000, 11_000)]),
            (&[], &[]),
        ] {
            let expected: Vec<Span> = expected.iter().map(|(begin, end)| Span::part(*begin, *end)).collect();
            assert_eq!(halves(&Span::part(1_000, 11_000), parts), expected, "{parts:?}");
        }
    }

    #[test]
    fn texts_that_repeat_themselves_or_are_cut_are_better_in_halves() {
        let answer =
            |text: &str, truncated| Transcript { text: text.into(), truncated, ..Transcript::default() };
        let looped = "Thank you. ".repeat(21);
        for (span, answer, expected) in [
            (Span::part(0, 30_000), answer(&looped, false), true),
            (Span::part(0, 30_000), answer("and then", true), true),
            (Span::part(0, 30_000), answer("Thank you.", false), false),
            (Span::part(0, 1_999), answer(&looped, false), false),
            (Span::whole(None), answer(&looped, false), false),
        ] {
            assert_eq!(is_better_in_halves(&span, &answer), expected, "{span:?}");
        }
    }
}
