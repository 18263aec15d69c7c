//! A segment as the rules see it.

use hark_sdk::event::{Segment, TranscriptPartial};

use crate::phrases::{Edges, Hit};
use crate::rules::Rules;

/// Longest pause between two segments of a channel that a phrase may run over, in milliseconds.
const LONGEST_PAUSE_MS: u64 = 30_000;

/// A segment with what of the rules was found in it.
#[derive(Debug, Clone)]
pub struct Unit {
    /// `None`: of a transcript without segments.
    pub(crate) channel: Option<u32>,
    pub(crate) role: Option<String>,
    pub(crate) begin_ms: Option<u64>,
    pub(crate) end_ms: Option<u64>,
    emotion: Option<String>,
    text: String,
    pub(crate) hits: Vec<Hit>,
    pub(crate) edges: Edges,
}

impl Unit {
    /// A segment.
    pub fn of_segment(rules: &Rules, segment: &Segment) -> Unit {
        let unit = Unit::of_text(rules, &segment.text);
        Unit {
            channel: Some(segment.channel),
            role: segment.role.clone(),
            begin_ms: segment.begin_ms,
            end_ms: segment.end_ms,
            emotion: segment.emotion.clone(),
            ..unit
        }
    }

    /// What was heard of a piece so far, as one segment without an end and without an emotion.
    pub fn of_partial(rules: &Rules, partial: &TranscriptPartial) -> Unit {
        let unit = Unit::of_text(rules, &partial.text);
        Unit {
            channel: Some(partial.channel),
            role: partial.role.clone(),
            begin_ms: Some(partial.begin_ms),
            ..unit
        }
    }

    /// A text of which nothing else is known.
    pub fn of_text(rules: &Rules, text: &str) -> Unit {
        let (hits, edges) = rules.find(text);
        Unit {
            channel: None,
            role: None,
            begin_ms: None,
            end_ms: None,
            emotion: None,
            text: text.to_owned(),
            hits,
            edges,
        }
    }

    /// Whether a phrase may run from this segment into the next one of its channel. Where times were not measured, the order of the
    /// segments is all that is known, and they count as close.
    pub(crate) fn is_close_to(&self, next: &Unit) -> bool {
        self.end_ms.zip(next.begin_ms).is_none_or(|(end, begin)| begin <= end + LONGEST_PAUSE_MS)
    }

    pub(crate) fn has_emotion(&self, emotions: &[String]) -> bool {
        self.emotion.as_ref().is_some_and(|emotion| emotions.contains(emotion))
    }

    /// The original text of a match.
    pub(crate) fn quote(&self, begin: u32, end: u32, next: Option<&Unit>) -> String {
        let Some(next) = next else { return self.text[begin as usize..end as usize].to_owned() };
        let (one, other) = (self.text[begin as usize..].trim_end(), next.text[..end as usize].trim_start());
        let is_spaced = |character: Option<char>| {
            character.is_some_and(|character| !crate::fold::has_no_spaces(character))
        };
        let space =
            if is_spaced(one.chars().next_back()) || is_spaced(other.chars().next()) { " " } else { "" };
        format!("{one}{space}{other}")
    }

    /// Bytes of memory, about.
    pub(crate) fn size(&self) -> usize {
        size_of::<Unit>() + self.text.len() + self.hits.len() * size_of::<Hit>() + self.edges.size()
    }
}
