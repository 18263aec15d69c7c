//! The rule `streak`: so many negative segments of a speaker in a row.

use std::collections::{BTreeMap, HashMap};

use hark_sdk::event::Segment;
use serde_json::{Map, json};

use crate::config::Config;
use crate::finding::{Finding, MOST_LISTED, Place, Speaker};

/// `rule` of the alerts.
pub(crate) const RULE: &str = "streak";

/// The runs of negative segments, speaker by speaker. Segments are handed over in the order of time.
#[derive(Debug, Default)]
pub(crate) struct Streaks {
    runs: BTreeMap<Speaker, Run>,
    /// How many runs were long enough, by channel.
    counts: HashMap<u32, u32>,
}

#[derive(Debug, Default)]
struct Run {
    length: u32,
    begin_ms: Option<u64>,
    words: Vec<String>,
    places: Vec<Place>,
}

impl Streaks {
    /// Hears a segment. A finding: its run is long enough now.
    ///
    /// Only a segment of the same speaker ends a run: one that is not negative, or whose emotion is not known. What could not be recognized
    /// ends the runs of its channel, for anything may have been said there. A segment without text is none.
    pub(crate) fn hear(&mut self, config: &Config, segment: &Segment) -> Option<Finding> {
        if segment.error.is_some() {
            self.runs.retain(|speaker, _| speaker.channel != segment.channel);
            return None;
        }
        let words = segment.text.trim();
        if words.is_empty() || !config.watches(segment) || config.streak == 0 {
            return None;
        }
        let speaker = Speaker::of(segment);
        if config.is_negative(segment) != Some(true) {
            self.runs.remove(&speaker);
            return None;
        }
        let run = self.runs.entry(speaker.clone()).or_default();
        run.length = run.length.saturating_add(1);
        if run.length == 1 {
            run.begin_ms = segment.begin_ms;
        }
        if run.length > config.streak {
            return None;
        }
        run.words.push(words.to_owned());
        if run.places.len() < MOST_LISTED {
            run.places.push(Place::of(segment));
        }
        if run.length < config.streak {
            return None;
        }
        let number = self.counts.entry(speaker.channel).or_default();
        *number += 1;
        let figures = Map::from_iter([
            ("length".to_owned(), json!(run.length)),
            ("segments".to_owned(), json!(std::mem::take(&mut run.places))),
        ]);
        let quote = std::mem::take(&mut run.words).join(" ");
        let (begin_ms, end_ms) = (run.begin_ms, segment.end_ms);
        Some(Finding { rule: RULE, speaker, number: *number, begin_ms, end_ms, quote, figures })
    }
}
