//! Subjects and headers of events. No other module knows them.

use std::fmt::Display;

use async_nats::HeaderMap;
use hark_sdk::event::{Kind, data_schema};
use uuid::Uuid;

/// Builds subjects with the configured prefix.
#[derive(Debug, Clone)]
pub struct Subjects {
    prefix: String,
}

impl Subjects {
    /// `prefix` is `nats.subject_prefix`.
    pub fn new(prefix: &str) -> Self {
        Subjects { prefix: prefix.to_owned() }
    }

    /// Subject of one event; `kind` is `family.name`.
    pub fn event(&self, kind: &str, source: &str, job: impl Display) -> String {
        format!("{}.event.{kind}.{source}.{job}", self.prefix)
    }

    /// Filter for the events of one kind, `family.name`, of a source, or of all with `*`.
    pub fn of_kind(&self, kind: &str, source: &str) -> String {
        format!("{}.event.{kind}.{source}.*", self.prefix)
    }

    /// Filter for every stored event of a job; `source` may be `*`.
    pub fn of_job(&self, source: &str, job: Uuid) -> String {
        format!("{}.event.*.*.{source}.{job}", self.prefix)
    }

    /// Filter for every partial of a job.
    pub fn partials_of_job(&self, job: Uuid) -> String {
        self.event(&Kind::TranscriptPartial.to_string(), "*", job)
    }

    /// Filter for every stored event of a source.
    pub fn of_source(&self, source: &str) -> String {
        format!("{}.event.*.*.{source}.*", self.prefix)
    }

    /// Kind and job of an event's subject.
    pub fn kind_and_job(&self, subject: &str) -> Option<(Kind, Uuid)> {
        let tail = subject.strip_prefix(&self.prefix)?.strip_prefix(".event.")?;
        let mut tokens = tail.split('.');
        let kind = format!("{}.{}", tokens.next()?, tokens.next()?).parse().ok()?;
        Some((kind, tokens.nth(1)?.parse().ok()?))
    }

    /// Subject of what `harkd replay` publishes; no stream of Hark's captures it.
    pub fn replay(&self, kind: &str, source: &str, job: impl Display) -> String {
        format!("{}.replay.{kind}.{source}.{job}", self.prefix)
    }

    /// The subjects that the stream of events captures: everything but partials. A stream on `hark.event.>` would store partials too.
    pub fn stored(&self) -> Vec<String> {
        ["job.>", "annotation.>", "alert.>", "plugin.>", "transcript.segment.>", "transcript.final.>"]
            .iter()
            .map(|tail| format!("{}.event.{tail}", self.prefix))
            .collect()
    }

    /// Every event, partials included.
    pub fn every_event(&self) -> String {
        format!("{}.event.>", self.prefix)
    }

    /// The subject that the stream of partials captures, if one is configured.
    pub fn partials(&self) -> String {
        format!("{}.event.{}.>", self.prefix, Kind::TranscriptPartial)
    }

    /// The common part of the subjects on which running daemons receive requests of an operator, such as `plugins.enable`.
    pub fn control(&self) -> String {
        format!("{}.control", self.prefix)
    }

    /// Of one such request.
    pub fn request(&self, name: &str) -> String {
        format!("{}.{name}", self.control())
    }

    /// The subject that a stream of incoming audio captures.
    pub fn audio(&self) -> String {
        format!("{}.audio.>", self.prefix)
    }
}

/// CloudEvents in NATS binary mode. `tail` is the sequence, `p<revision>` of a partial, or `r<run>-<number>` of what
/// `harkd replay` publishes.
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
    headers.insert("ce-dataschema", data_schema(kind));
    headers.insert(async_nats::header::NATS_MESSAGE_ID, id.as_str());
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_and_a_partial_have_these_headers() {
        let written = |kind: &str, tail: &str| {
            let headers = headers(kind, "calls", Uuid::nil(), tail, "2026-11-23T08:15:04.114Z");
            let mut lines: Vec<String> = headers
                .iter()
                .flat_map(|(name, values)| values.iter().map(move |value| format!("{name}: {value}\n")))
                .collect();
            lines.sort();
            lines.concat()
        };
        // A change here is visible to consumers.
        let golden = |kind: &str, tail: &str| {
            format!(
                "Nats-Msg-Id: 00000000-0000-0000-0000-000000000000:{tail}\n\
                 ce-datacontenttype: application/json\n\
                 ce-dataschema: urn:hark:{kind}:1\n\
                 ce-id: 00000000-0000-0000-0000-000000000000:{tail}\n\
                 ce-source: /hark/calls\n\
                 ce-specversion: 1.0\n\
                 ce-subject: 00000000-0000-0000-0000-000000000000\n\
                 ce-time: 2026-11-23T08:15:04.114Z\n\
                 ce-type: hark.{kind}\n"
            )
        };
        for (kind, tail) in
            [("transcript.final", "3"), ("plugin.keywords", "4"), ("transcript.partial", "p7")]
        {
            assert_eq!(written(kind, tail), golden(kind, tail));
        }
    }
}
