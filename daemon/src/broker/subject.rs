//! Subjects and headers of events. No other module knows them.

use async_nats::HeaderMap;
use hark_sdk::event::Kind;
use uuid::Uuid;

/// Knows the configured prefix.
#[derive(Debug, Clone)]
pub struct Subjects {
    prefix: String,
}

impl Subjects {
    /// With `nats.subject_prefix`.
    pub fn new(prefix: &str) -> Self {
        Subjects { prefix: prefix.to_owned() }
    }

    /// Subject of one event; `kind` is `family.name`.
    pub fn event(&self, kind: &str, source: &str, job: Uuid) -> String {
        format!("{}.event.{kind}.{source}.{job}", self.prefix)
    }

    /// The beginnings of a source's jobs.
    pub fn accepted(&self, source: &str) -> String {
        format!("{}.event.{}.{source}.*", self.prefix, Kind::JobAccepted)
    }

    /// Everything that is stored of a job.
    pub fn of_job(&self, source: &str, job: Uuid) -> String {
        format!("{}.event.*.*.{source}.{job}", self.prefix)
    }

    /// What the events' stream captures: everything but partials. A stream on `hark.event.>` would store them too.
    pub fn stored(&self) -> Vec<String> {
        ["job.>", "annotation.>", "alert.>", "plugin.>", "transcript.final.>"]
            .iter()
            .map(|tail| format!("{}.event.{tail}", self.prefix))
            .collect()
    }

    /// What the stream of partials captures, where one is asked for.
    pub fn partials(&self) -> String {
        format!("{}.event.{}.>", self.prefix, Kind::TranscriptPartial)
    }

    /// Where running daemons hear that a plugin is to be enabled.
    pub fn enable_plugin(&self) -> String {
        format!("{}.control.plugins.enable", self.prefix)
    }

    /// What a stream of incoming audio captures.
    pub fn audio(&self) -> String {
        format!("{}.audio.>", self.prefix)
    }
}

/// CloudEvents in NATS binary mode. `tail` is the sequence, or `p<revision>` of a partial.
pub fn headers(kind: &str, source: &str, job: Uuid, tail: &str, time: &str) -> HeaderMap {
    let id = format!("{job}:{tail}");
    let mut headers = HeaderMap::new();
    headers.insert("ce-specversion", "1.0");
    headers.insert("ce-id", id.as_str());
    headers.insert("ce-type", format!("hark.{kind}"));
    headers.insert("ce-source", format!("/hark/{source}"));
    headers.insert("ce-subject", job.to_string());
    headers.insert("ce-time", time);
    headers.insert("ce-datacontenttype", "application/json");
    headers.insert(async_nats::header::NATS_MESSAGE_ID, id.as_str());
    headers
}
