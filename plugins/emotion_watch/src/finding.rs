//! What was found, as an alert and as figures that a person can check against the recording.

use hark_sdk::emission::PLUGIN;
use hark_sdk::event::{Alert, AlertState, Segment, Severity};
use serde::Serialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// Most segments that the figures of an alert list.
pub(crate) const MOST_LISTED: usize = 20;

/// Who speaks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Speaker {
    pub(crate) channel: u32,
    role: Option<String>,
    speaker: Option<String>,
}

impl Speaker {
    pub(crate) fn of(segment: &Segment) -> Speaker {
        Speaker { channel: segment.channel, role: segment.role.clone(), speaker: segment.speaker.clone() }
    }
}

/// A segment, for the figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Place {
    pub(crate) begin_ms: Option<u64>,
    pub(crate) end_ms: Option<u64>,
    emotion: Option<String>,
}

impl Place {
    pub(crate) fn of(segment: &Segment) -> Place {
        Place { begin_ms: segment.begin_ms, end_ms: segment.end_ms, emotion: segment.emotion.clone() }
    }
}

/// A reason for an alert.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Finding {
    pub(crate) rule: &'static str,
    pub(crate) speaker: Speaker,
    /// Counts the rule's alerts in the channel, from 1, in the order of time.
    pub(crate) number: u32,
    pub(crate) begin_ms: Option<u64>,
    pub(crate) end_ms: Option<u64>,
    pub(crate) quote: String,
    pub(crate) figures: Map<String, Value>,
}

impl Finding {
    /// What makes the alert the same within its job.
    pub(crate) fn key(&self) -> (u32, u32) {
        (self.speaker.channel, self.number)
    }

    pub(crate) fn alert(&self, job: Uuid) -> Alert {
        let Finding { rule, speaker, number, .. } = self;
        Alert {
            alert: format!("{job}:{PLUGIN}:{rule}:{}:{number}", speaker.channel),
            rule: (*rule).to_owned(),
            severity: Severity::Warning,
            state: AlertState::Confirmed,
            channel: Some(speaker.channel),
            role: speaker.role.clone(),
            begin_ms: self.begin_ms,
            end_ms: self.end_ms,
            quote: self.quote.clone(),
            ..Alert::default()
        }
    }

    /// The figures, with what tells which alert they are of.
    pub(crate) fn reason(&self) -> Value {
        let Speaker { channel, role, speaker } = &self.speaker;
        let mut reason = Map::new();
        reason.insert("rule".to_owned(), json!(self.rule));
        reason.insert("channel".to_owned(), json!(channel));
        reason.extend(role.as_ref().map(|role| ("role".to_owned(), json!(role))));
        reason.extend(speaker.as_ref().map(|speaker| ("speaker".to_owned(), json!(speaker))));
        reason.insert("number".to_owned(), json!(self.number));
        reason.extend(self.figures.clone());
        Value::Object(reason)
    }
}
