//! Reads the stored events, in their order, up to what the stream has when the reading begins.

use std::time::Duration;

use async_nats::datetime::from_nanos;
use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use futures::StreamExt;
use hark_sdk::event::Event;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::broker::stream::find;
use crate::broker::{JetStream, Subjects, Unanswered};
use crate::cli::Exit;
use crate::config::Nats;

/// Events that are requested at once; a message may have a MiB.
const BATCH: i64 = 128;
/// How much earlier than the finals the reading begins: events about a job's segments precede its final by up to the length of the job.
const LONGEST_JOB: SignedDuration = SignedDuration::from_hours(24);
/// How long to wait for an event that the stream has. The client makes its consumer anew meanwhile, if the server was restarted.
const PATIENCE: Duration = Duration::from_secs(30);

/// The stored events, through an ephemeral consumer, which the server removes half a minute after the last read.
pub struct Stored {
    /// `None`: there is nothing to read.
    messages: Option<pull::Ordered>,
    subjects: Subjects,
    first: u64,
    last: u64,
    read: u64,
    unreadable: u64,
}

/// One stored event, of those that a replay needs.
#[derive(Debug)]
pub enum StoredEvent {
    /// The last event of a job. Its body says nothing that a replay needs, and is not read.
    Last(Uuid),
    /// An event of a transcript, an annotation, an alert or a plugin, and the size of its message's body.
    Body(Box<Event>, usize),
}

impl Stored {
    /// Opens the events of these sources (empty: all), so early that the jobs whose finals are not older than `since` are whole.
    ///
    /// # Errors
    /// 69 when the stream does not exist, or the server refuses or does not answer.
    pub async fn open(
        jetstream: &JetStream,
        nats: &Nats,
        since: Option<Timestamp>,
        sources: &[String],
    ) -> Result<Stored, Exit> {
        let name = &nats.events_stream;
        let unavailable =
            |error: &dyn std::fmt::Display| Exit::Unavailable(format!("reading the stream {name}: {error}"));
        let stream = find(jetstream, name).await.map_err(|error| Exit::Unavailable(error.to_string()))?;
        let stream = stream.ok_or_else(|| {
            Exit::Unavailable(format!(
                "there is no stream {name} on this server; a daemon creates it when it starts"
            ))
        })?;
        let begin = since.map(|since| {
            let begin = since.checked_sub(LONGEST_JOB).unwrap_or(since);
            from_nanos(begin.as_nanosecond())
        });
        let deliver_policy = match begin.transpose().map_err(|error| unavailable(&error))? {
            Some(start_time) => DeliverPolicy::ByStartTime { start_time },
            None => DeliverPolicy::All,
        };
        let subjects = Subjects::new(&nats.subject_prefix);
        let config = pull::OrderedConfig {
            deliver_policy,
            filter_subjects: sources.iter().map(|source| subjects.of_source(source)).collect(),
            max_batch: BATCH,
            ..pull::OrderedConfig::default()
        };
        let consumer = jetstream.ordered(name, &stream, config).await.map_err(|error| match error {
            Unanswered::Refused(refused) => Exit::Unavailable(refused.to_string()),
            Unanswered::NoAnswer(reason) => unavailable(&reason),
        })?;
        let state = &stream.cached_info().state;
        let is_empty = consumer.cached_info().num_pending == 0;
        let messages = match is_empty {
            true => None,
            false => Some(consumer.messages().await.map_err(|error| unavailable(&error))?),
        };
        Ok(Stored { messages, subjects, first: 0, last: state.last_sequence, read: 0, unreadable: 0 })
    }

    /// The next event; `None` after the last one. Messages of other publishers, and kinds that this version does not know, are passed over.
    /// May be dropped at any await.
    ///
    /// # Errors
    /// 69 when the server does not return events that it has.
    pub async fn next(&mut self) -> Result<Option<StoredEvent>, Exit> {
        loop {
            let Some(messages) = &mut self.messages else { return Ok(None) };
            let next = tokio::time::timeout(PATIENCE, messages.next()).await;
            let message = match next {
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(error))) => {
                    return Err(Exit::Unavailable(format!("reading the stored events: {error}")));
                }
                Ok(None) => return Err(Exit::Unavailable("the NATS connection is closed".into())),
                Err(_) => {
                    return Err(Exit::Unavailable(format!(
                        "the nats-server returned no stored event within {PATIENCE:?}; run the command again"
                    )));
                }
            };
            let info = message.info();
            let info =
                info.map_err(|error| Exit::Unavailable(format!("reading the stored events: {error}")))?;
            let (sequence, is_end) =
                (info.stream_sequence, info.pending == 0 || info.stream_sequence >= self.last);
            if is_end {
                self.messages = None;
            }
            if sequence > self.last {
                return Ok(None);
            }
            self.read = sequence;
            if self.first == 0 {
                self.first = sequence;
            }
            if let Some(found) = self.parse(&message) {
                return Ok(Some(found));
            }
        }
    }

    /// How much of the stream is read, from 0 to 1.
    pub fn progress(&self) -> f64 {
        match self.last.saturating_sub(self.first) {
            0 => 1.0,
            all => self.read.saturating_sub(self.first) as f64 / all as f64,
        }
    }

    /// How many events could not be read, because their bodies do not have the shape of their kinds.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    fn parse(&mut self, message: &Message) -> Option<StoredEvent> {
        let (kind, job) = self.subjects.kind_and_job(&message.subject)?;
        if kind.family() == "job" {
            return kind.is_last().then_some(StoredEvent::Last(job));
        }
        match Event::parse(&kind, &message.payload) {
            Ok(event) => Some(StoredEvent::Body(Box::new(event), message.payload.len())),
            Err(_) => {
                self.unreadable += 1;
                None
            }
        }
    }
}
