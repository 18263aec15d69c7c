//! Alerts on a rise of negative emotion over a call: a streak of negative segments, or a greater share of them at the end than at the
//! beginning. docs/plugins/emotion_watch.md is the manual.
#![warn(missing_docs)]

mod calls;
mod config;
mod finding;
mod rise;
mod streak;

use hark_sdk::event::{Alert, Event, TranscriptSegment};
use hark_sdk::schemars::Schema;
use hark_sdk::{Error, Host, Plugin, Transcript, Wants, emission, schema};
use serde_json::{Value, json};

use self::calls::Calls;
pub use self::config::Config;
use self::finding::Finding;
use self::streak::Streaks;

/// Most findings of a call: their figures are one emission, which has at most 1 MiB.
const MOST_FINDINGS: usize = 255;

/// The plugin: its config, and the calls that are being heard.
pub struct EmotionWatch {
    config: Config,
    calls: Calls,
}

impl Plugin for EmotionWatch {
    const WANTS: Wants = Wants::FINALS.and(Wants::SEGMENTS);

    fn schema() -> Schema {
        schema::of_config::<Config>()
    }

    fn create(config: &str) -> Result<Self, Error> {
        Ok(EmotionWatch { config: Config::parse(config)?, calls: Calls::default() })
    }

    fn warnings(&self) -> Vec<String> {
        self.config.warnings()
    }

    fn on_segment(&mut self, event: &Event, segment: &TranscriptSegment, host: &Host) -> Result<(), Error> {
        let findings = self.calls.of(event.job).hear(&self.config, segment);
        let mut told = findings.iter().take(emission::MOST);
        told.try_for_each(|finding| host.alert(&finding.alert(event.job)))
    }

    /// Tells what is not told yet, and the figures of all: once, so that no restart between two pieces doubles them. Of more than
    /// 255 the first ones are told, and the figures have the number of the others.
    fn on_final(&mut self, transcript: &Transcript, host: &Host) -> Result<(), Error> {
        let event = transcript.event;
        let segments = transcript.segments.as_deref().unwrap_or_default();
        let mut told = self.calls.take(event.job).told;
        let mut streaks = Streaks::default();
        let mut findings: Vec<Finding> =
            segments.iter().filter_map(|segment| streaks.hear(&self.config, segment)).collect();
        findings.extend(rise::rises(&self.config, segments, event.recording.duration_ms));
        let left_out = findings.len().saturating_sub(MOST_FINDINGS);
        findings.truncate(MOST_FINDINGS);
        for finding in &findings {
            if finding.rule != streak::RULE || told.remove(&finding.key()).is_none() {
                host.alert(&finding.alert(event.job))?;
            }
        }
        if left_out == 0 {
            for finding in told.values() {
                let reason = Some("the run of segments is not in the whole transcript".to_owned());
                host.retract(&Alert { reason, ..finding.alert(event.job) })?;
            }
        }
        if findings.is_empty() {
            return Ok(());
        }
        let alerts: Vec<Value> = findings.iter().map(Finding::reason).collect();
        host.emit(&json!({ "alerts": alerts, "left_out": left_out }))
    }
}

hark_sdk::export!(EmotionWatch);
