//! The rule `rise`: more of a speaker's speech is negative in the last third of the call than in the first.

use std::collections::{BTreeMap, HashMap};

use hark_sdk::event::Segment;
use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::finding::{Finding, MOST_LISTED, Place, Speaker};

/// What a speaker said in a third of the call. Speech is the time of segments whose emotion is known.
#[derive(Debug, Default)]
struct Third<'a> {
    speech_ms: u64,
    negative_ms: u64,
    negative: Vec<&'a Segment>,
}

impl Third<'_> {
    fn share(&self) -> Option<f64> {
        (self.speech_ms > 0).then(|| self.negative_ms as f64 / self.speech_ms as f64)
    }

    fn figures(&self, begin_ms: u64, end_ms: u64, share: f64) -> Value {
        let segments = self.negative.iter().take(MOST_LISTED).map(|segment| Place::of(segment));
        json!({
            "begin_ms": begin_ms, "end_ms": end_ms, "speech_ms": self.speech_ms, "negative_ms": self.negative_ms,
            "share": rounded(share), "segments": segments.collect::<Vec<_>>(),
        })
    }
}

/// The rises in a call of this many milliseconds, one a speaker at most. A speaker who says nothing with a known emotion in one of both thirds
/// has none: there is nothing to compare.
pub(crate) fn rises(config: &Config, segments: &[Segment], length_ms: Option<u64>) -> Vec<Finding> {
    let ends = segments.iter().filter_map(|segment| segment.end_ms);
    let length_ms = length_ms.or_else(|| ends.max()).unwrap_or(0);
    if config.rise == 0.0 || length_ms == 0 {
        return Vec::new();
    }
    let (first, last) = ((0, length_ms / 3), (length_ms - length_ms / 3, length_ms));
    let mut speakers: BTreeMap<Speaker, [Third<'_>; 2]> = BTreeMap::new();
    let said = segments.iter().filter(|segment| segment.error.is_none() && !segment.text.trim().is_empty());
    for segment in said.filter(|segment| config.watches(segment)) {
        let (Some(is_negative), Some(begin), Some(end)) =
            (config.is_negative(segment), segment.begin_ms, segment.end_ms)
        else {
            continue;
        };
        let thirds = speakers.entry(Speaker::of(segment)).or_default();
        for (third, (from, to)) in thirds.iter_mut().zip([first, last]) {
            let within = end.min(to).saturating_sub(begin.max(from));
            third.speech_ms += within;
            if is_negative && within > 0 {
                third.negative_ms += within;
                third.negative.push(segment);
            }
        }
    }
    let mut counts: HashMap<u32, u32> = HashMap::new();
    let mut findings = Vec::new();
    for (speaker, [one, other]) in speakers {
        let Some((before, after)) = one.share().zip(other.share()) else { continue };
        // 0.7 - 0.4 is a little less than 0.3 to a machine.
        if after - before < config.rise - 1e-9 {
            continue;
        }
        // A rise over nothing needs negative speech in the last third, so there is a segment.
        let Some(worst) = other.negative.iter().max_by_key(|segment| (length(segment), segment.end_ms))
        else {
            continue;
        };
        let number = counts.entry(speaker.channel).or_default();
        *number += 1;
        let figures = Map::from_iter([
            ("rise".to_owned(), rounded(after - before)),
            ("first_third".to_owned(), one.figures(first.0, first.1, before)),
            ("last_third".to_owned(), other.figures(last.0, last.1, after)),
        ]);
        findings.push(Finding {
            rule: "rise",
            number: *number,
            begin_ms: worst.begin_ms,
            end_ms: worst.end_ms,
            quote: worst.text.trim().to_owned(),
            speaker,
            figures,
        });
    }
    findings
}

fn length(segment: &Segment) -> Option<u64> {
    Some(segment.end_ms?.saturating_sub(segment.begin_ms?))
}

/// A share with three decimals.
fn rounded(share: f64) -> Value {
    json!((share * 1_000.0).round() / 1_000.0)
}
