//! One job of a list.

use hark_sdk::event::{Alert, Bill, Fault, Severity};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::State;
use crate::job::Job;

/// How much of a transcript a list shows, in characters.
const PREVIEW: usize = 200;

/// A page of the list of jobs.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Page {
    /// Newest first.
    pub jobs: Vec<Listed>,
    /// The value of `before` for the next page; null: this is the last one.
    pub next: Option<Uuid>,
}

/// A job as lists show it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Listed {
    pub job: Uuid,
    pub source: String,
    pub state: State,
    pub route: String,
    /// The recording's name.
    pub name: Option<String>,
    /// When the daemon accepted it.
    pub accepted: Timestamp,
    /// When its last event was written.
    pub ended: Option<Timestamp>,
    /// Length of the recording.
    pub duration_ms: Option<u64>,
    pub metadata: Map<String, Value>,
    pub engine: Option<String>,
    pub model: Option<String>,
    /// The begin of the transcript, once the final is written.
    pub text: Option<String>,
    pub language: Option<String>,
    pub emotion: Option<String>,
    /// Alerts that were raised and not retracted, in the order in which they were raised.
    pub alerts: Vec<AlertBrief>,
    /// What it cost; once it has ended.
    pub cost_usd: Option<f64>,
    pub billed_seconds: Option<u64>,
    /// A part of it could not be recognized.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub incomplete: bool,
    /// Why it failed, or what it waits for.
    pub error: Option<Fault>,
    /// The job that this one repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<Uuid>,
}

/// An alert of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlertBrief {
    pub alert: String,
    pub plugin: String,
    pub rule: String,
    pub severity: Severity,
    /// `tentative` or `confirmed`.
    pub state: hark_sdk::event::AlertState,
}

impl Listed {
    pub(crate) fn new(job: &Job, state: State, ended: Option<Timestamp>) -> Listed {
        let plan = job.plan.as_ref();
        Listed {
            job: job.id,
            source: job.source.clone(),
            state,
            route: job.route.clone(),
            name: job.recording.name.clone(),
            accepted: job.accepted_at,
            ended,
            duration_ms: job.recording.duration_ms,
            metadata: job.metadata.clone(),
            engine: plan.map(|plan| plan.engine.as_str().to_owned()),
            model: plan.map(|plan| plan.model.clone()),
            retry_of: job.retry_of,
            ..Listed::default()
        }
    }

    /// Adds what the job's next event says. What cannot be read of it is left out: the event itself is shown with the job.
    pub(super) fn add(&mut self, kind: &str, body: &str) {
        match kind {
            "job.retrying" if !self.state.is_end() => {
                self.error = serde_json::from_str::<Retrying>(body).ok().map(|retrying| retrying.error);
            }
            "job.submitted" => self.error = None,
            "transcript.final" => {
                let Ok(heard) = serde_json::from_str::<HeardText>(body) else { return };
                self.text = Some(heard.text.chars().take(PREVIEW).collect());
                self.language = heard.language;
                self.emotion = heard.emotion;
                self.error = None;
            }
            "alert.raised" | "alert.retracted" => {
                let Ok(alert) = serde_json::from_str::<Alert>(body) else { return };
                self.alerts.retain(|other| other.alert != alert.alert);
                if kind == "alert.raised" {
                    let Alert { alert, plugin, rule, severity, state, .. } = alert;
                    self.alerts.push(AlertBrief { alert, plugin, rule, severity, state });
                }
            }
            "job.completed" | "job.failed" => {
                let Ok(end) = serde_json::from_str::<End>(body) else { return };
                self.cost_usd = Some(end.bill.cost_usd);
                self.billed_seconds = Some(end.bill.billed_seconds);
                self.incomplete = end.incomplete;
                self.error = end.error;
            }
            _ => {}
        }
    }
}

#[derive(Deserialize)]
struct Retrying {
    error: Fault,
}

#[derive(Deserialize)]
struct HeardText {
    text: String,
    language: Option<String>,
    emotion: Option<String>,
}

#[derive(Deserialize)]
struct End {
    #[serde(flatten)]
    bill: Bill,
    #[serde(default)]
    incomplete: bool,
    error: Option<Fault>,
}
