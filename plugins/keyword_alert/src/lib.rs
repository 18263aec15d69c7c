//! Raises an alert when a transcript contains what a rule names. The rules are those of `hark-rules`, and docs/plugins/keyword_alert.md is
//! their manual.
//!
//! Alerts come within one event of the words: `tentative` on a partial, decided by the piece's segments or the final (see
//! [`hark_rules::Call`], which also says what the daemon must do so that an alert keeps its identity over the death of this process). If
//! there are more changes of alerts than the daemon accepts for one event (20,000, of 8 MiB), the plugin tells the most severe ones, and emits
//! an event with the number left out.

mod calls;

use std::cmp::Reverse;

use hark_rules::{Change, Config, Rules};
use hark_sdk::event::{Alert, Event, TranscriptPartial, TranscriptSegment};
use hark_sdk::schemars::Schema;
use hark_sdk::{Error, Host, Plugin, Transcript, Wants, emission, schema};
use serde_json::json;

use self::calls::Calls;

/// Bytes of the event with the number of alerts that are left out, at most.
const RESERVED: usize = 1 << 10;

/// The plugin: the rules, and the calls that are being heard.
pub struct KeywordAlert {
    rules: Rules,
    calls: Calls,
}

impl Plugin for KeywordAlert {
    const WANTS: Wants = Wants::FINALS.and(Wants::PARTIALS).and(Wants::SEGMENTS);

    fn schema() -> Schema {
        schema::of_config::<Config>()
    }

    fn create(config: &str) -> Result<Self, Error> {
        Ok(KeywordAlert { rules: Rules::read(config).map_err(Error::mistakes)?, calls: Calls::default() })
    }

    fn warnings(&self) -> Vec<String> {
        self.rules.warnings().iter().map(ToString::to_string).collect()
    }

    fn on_partial(&mut self, event: &Event, partial: &TranscriptPartial, host: &Host) -> Result<(), Error> {
        let length_ms = event.recording.duration_ms;
        let changes = self.calls.of(event.job, |call| call.partial(&self.rules, partial, length_ms));
        tell(changes, host)
    }

    fn on_segment(&mut self, event: &Event, segment: &TranscriptSegment, host: &Host) -> Result<(), Error> {
        let length_ms = event.recording.duration_ms;
        let changes = self.calls.of(event.job, |call| call.segment(&self.rules, segment, length_ms));
        tell(changes, host)
    }

    fn on_final(&mut self, transcript: &Transcript, host: &Host) -> Result<(), Error> {
        let event = transcript.event;
        let call = self.calls.take(event.job);
        tell(call.end(&self.rules, transcript, event.recording.duration_ms), host)
    }
}

fn tell(mut changes: Vec<Change>, host: &Host) -> Result<(), Error> {
    let found = changes.len();
    let sizes: Vec<usize> = changes.iter().map(|change| size(alert_of(change))).collect();
    if found > emission::MOST || sizes.iter().sum::<usize>() > emission::MOST_BYTES {
        // The most severe stay, in their order; of equal ones the first.
        let mut places: Vec<usize> = (0..found).collect();
        places.sort_by_key(|&index| Reverse(alert_of(&changes[index]).severity));
        let mut bytes = emission::MOST_BYTES - RESERVED;
        let mut stays = vec![false; found];
        for index in places.into_iter().take(emission::MOST - 1) {
            let Some(left) = bytes.checked_sub(sizes[index]) else { break };
            (bytes, stays[index]) = (left, true);
        }
        let mut stays = stays.into_iter();
        changes.retain(|_| stays.next().unwrap_or(false));
        host.emit(&json!({ "alerts": found, "left_out": found - changes.len() }))?;
    }
    changes.iter().try_for_each(|change| match change {
        Change::Raised(alert) => host.alert(alert),
        Change::Retracted(alert) => host.retract(alert),
    })
}

fn alert_of(change: &Change) -> &Alert {
    match change {
        Change::Raised(alert) | Change::Retracted(alert) => alert,
    }
}

/// Bytes of an alert as it is emitted.
fn size(alert: &Alert) -> usize {
    serde_json::to_string(alert).map_or(emission::MOST_BYTES, |json| json.len())
}

hark_sdk::export!(KeywordAlert);
