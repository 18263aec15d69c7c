//! Runs of equal language and emotion, and what most of the speech was. Pure.

use std::collections::BTreeMap;

use hark_sdk::event::{Annotation, Body, Segment};

/// One annotation per channel and run of equal values, languages first. A segment without a value ends no run and joins none.
pub fn annotations(segments: &[Segment]) -> Vec<Body> {
    let languages =
        runs(segments, |segment| segment.language.as_deref()).into_iter().map(Body::AnnotationLanguage);
    let emotions =
        runs(segments, |segment| segment.emotion.as_deref()).into_iter().map(Body::AnnotationEmotion);
    languages.chain(emotions).collect()
}

/// The value of most of the speech: by time where times are known, else by length of text; the earlier one on a tie.
pub fn prevailing<'a>(
    segments: &'a [Segment],
    value: impl Fn(&'a Segment) -> Option<&'a str>,
) -> Option<String> {
    let mut weights: Vec<(&str, u64)> = Vec::new();
    for segment in segments {
        let Some(value) = value(segment) else { continue };
        let weight = match (segment.begin_ms, segment.end_ms) {
            (Some(begin), Some(end)) => end.saturating_sub(begin),
            _ => segment.text.chars().count() as u64,
        };
        match weights.iter_mut().find(|(known, _)| *known == value) {
            Some((_, sum)) => *sum += weight,
            None => weights.push((value, weight)),
        }
    }
    // `max_by_key` keeps the last of equals; the first is wanted.
    weights.iter().rev().max_by_key(|(_, weight)| *weight).map(|(value, _)| (*value).to_owned())
}

fn runs<'a>(segments: &'a [Segment], value: impl Fn(&'a Segment) -> Option<&'a str>) -> Vec<Annotation> {
    let mut by_channel: BTreeMap<u32, Vec<Annotation>> = BTreeMap::new();
    for segment in segments {
        let Some(value) = value(segment) else { continue };
        let runs = by_channel.entry(segment.channel).or_default();
        match runs.last_mut() {
            Some(run) if run.value == value => run.end_ms = segment.end_ms,
            _ => runs.push(Annotation {
                channel: segment.channel,
                role: segment.role.clone(),
                begin_ms: segment.begin_ms,
                end_ms: segment.end_ms,
                value: value.to_owned(),
                ..Annotation::default()
            }),
        }
    }
    by_channel.into_values().flatten().collect()
}

#[cfg(test)]
mod tests {
    use hark_sdk::event::Timing;

    use super::*;

    fn segment(channel: u32, begin: u64, end: u64, emotion: Option<&str>) -> Segment {
        Segment {
            channel,
            begin_ms: Some(begin),
            end_ms: Some(end),
            timing: Timing::Service,
            text: "text".into(),
            language: Some("en".into()),
            emotion: emotion.map(str::to_owned),
            ..Segment::default()
        }
    }

    #[test]
    fn equal_neighbours_of_a_channel_are_one_run() {
        let segments = [
            segment(0, 0, 10, Some("neutral")),
            segment(1, 5, 12, Some("angry")),
            segment(0, 10, 20, Some("neutral")),
            segment(0, 20, 21, None),
            segment(0, 21, 30, Some("sad")),
        ];
        let runs = runs(&segments, |segment| segment.emotion.as_deref());
        let shape: Vec<_> =
            runs.iter().map(|run| (run.channel, run.begin_ms, run.end_ms, run.value.as_str())).collect();
        assert_eq!(
            shape,
            [
                (0, Some(0), Some(20), "neutral"),
                (0, Some(21), Some(30), "sad"),
                (1, Some(5), Some(12), "angry")
            ]
        );
        assert_eq!(annotations(&segments).len(), 2 + 3);
    }

    #[test]
    fn most_of_the_speech_is_measured_in_time_and_the_earlier_wins_a_tie() {
        let segments = [
            segment(0, 0, 10, Some("happy")),
            segment(0, 10, 40, Some("sad")),
            segment(0, 40, 60, Some("happy")),
        ];
        assert_eq!(prevailing(&segments, |s| s.emotion.as_deref()).as_deref(), Some("happy"));
        assert_eq!(prevailing(&[], |s| s.emotion.as_deref()), None);
    }
}
