//! Where a webhook's events come from: its durable consumer of the stream of events, and the stream itself for those that wait.

use std::time::{Duration, SystemTime};

use async_nats::jetstream;
use async_nats::jetstream::consumer::pull::BatchConfig;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, FromConsumer, Info, PullConsumer, pull};
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};
use async_nats::{StatusCode, Subject, Subscriber};
use futures::StreamExt;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::deliveries;
use super::record::Backlog;
use crate::broker::stream::find;
use crate::broker::{JetStream, Refusals, Subjects};
use crate::config::{Nats, Webhook};

/// How long a request for events stays open at the server, and how much later the server's report of its end may come.
const EXPIRES: Duration = Duration::from_secs(10);
const LATE: Duration = Duration::from_secs(5);

/// What came of a request for events.
pub enum Fed {
    Event(Box<jetstream::Message>),
    /// The request is over.
    End,
    /// The consumer or the connection has to be looked at anew.
    Failed(String),
}

/// The consumer, with at most one request open.
pub struct EventReader {
    jetstream: JetStream,
    consumer: PullConsumer,
    pub reader: Reader,
    inbox: Subject,
    answers: Subscriber,
    refusals: Refusals,
    /// How the server's refusals name a request for events.
    named: String,
    asked: usize,
    late: Instant,
}

/// What the stream and the consumer say of themselves.
pub struct State {
    /// Stream sequences of the first event that the stream still has, and of its last one.
    pub first: u64,
    pub last: u64,
    pub consumer: Info,
}

/// Reads events that wait from the stream. Clones share the connection.
#[derive(Clone)]
pub struct Reader {
    jetstream: JetStream,
    stream: Stream,
    subjects: Subjects,
    kinds: Vec<String>,
}

impl EventReader {
    /// Opens the consumer: created if absent, changed if it was created for other kinds or sources. A new one begins with the events that
    /// were stored since `since`: events that were stored between the start of the daemon and this moment are not passed over.
    ///
    /// # Errors
    /// A sentence, when the server does not answer or refuses, or the stream does not exist yet.
    pub async fn open(
        jetstream: &JetStream,
        nats: &Nats,
        webhook: &Webhook,
        since: SystemTime,
    ) -> Result<EventReader, String> {
        jetstream.check_server().map_err(|error| error.to_string())?;
        let found = find(jetstream, &nats.events_stream).await.map_err(|error| error.to_string())?;
        let stream = found.ok_or_else(|| format!("the stream {} does not exist yet", nats.events_stream))?;
        let subjects = Subjects::new(&nats.subject_prefix);
        let durable = format!("hark_webhook_{}", webhook.name);
        let wanted = pull::Config {
            durable_name: Some(durable.clone()),
            description: Some(format!("Events for the webhook {}", webhook.name)),
            deliver_policy: DeliverPolicy::ByStartTime { start_time: since.into() },
            ack_policy: AckPolicy::Explicit,
            ack_wait: nats.ack_wait,
            filter_subjects: filters(&subjects, webhook),
            max_ack_pending: i64::try_from(deliveries::EVENTS).unwrap_or(i64::MAX),
            ..pull::Config::default()
        };
        let consumer = ensure(jetstream, &stream, &durable, wanted).await?;
        let inbox = Subject::from(jetstream.client().new_inbox());
        let answers = jetstream.client().subscribe(inbox.clone()).await.map_err(|error| error.to_string())?;
        Ok(EventReader {
            named: format!(".CONSUMER.MSG.NEXT.{}.{durable}\"", nats.events_stream),
            reader: Reader { jetstream: jetstream.clone(), stream, subjects, kinds: webhook.kinds.clone() },
            refusals: jetstream.refusals().listen(),
            jetstream: jetstream.clone(),
            consumer,
            inbox,
            answers,
            asked: 0,
            late: Instant::now(),
        })
    }

    /// Asks for this many events, unless a request is open.
    ///
    /// # Errors
    /// A sentence, when the client is closed.
    pub async fn ask(&mut self, events: usize) -> Result<(), String> {
        if events == 0 || self.asked > 0 {
            return Ok(());
        }
        let request = BatchConfig { batch: events, expires: Some(EXPIRES), ..BatchConfig::default() };
        self.consumer.request_batch(request, self.inbox.clone()).await.map_err(|error| error.to_string())?;
        (self.asked, self.late) = (events, Instant::now() + EXPIRES + LATE);
        Ok(())
    }

    /// The next answer to the open request; waits for ever where none is open. May be dropped at any time.
    pub async fn next(&mut self) -> Fed {
        if self.asked == 0 {
            return std::future::pending().await;
        }
        let named = [self.named.as_str()];
        let answer = tokio::select! {
            biased;
            answer = self.answers.next() => answer,
            refused = self.refusals.naming(&named) => return Fed::Failed(refused.to_string()),
            () = sleep_until(self.late) => {
                self.asked = 0;
                return Fed::End;
            }
        };
        let Some(message) = answer else { return Fed::Failed("the NATS client is closed".into()) };
        match message.status {
            None | Some(StatusCode::OK) => {
                self.asked = self.asked.saturating_sub(1);
                Fed::Event(Box::new(jetstream::Message { message, context: (*self.jetstream).clone() }))
            }
            Some(StatusCode::TIMEOUT | StatusCode::NOT_FOUND) => {
                self.asked = 0;
                Fed::End
            }
            Some(status) => Fed::Failed(format!("{status} {}", message.description.unwrap_or_default())),
        }
    }

    /// Asks the server about the stream, and then about the consumer.
    ///
    /// # Errors
    /// A sentence, when it does not answer.
    pub async fn state(&self) -> Result<State, String> {
        let stream = self.reader.stream.get_info().await.map_err(|error| error.to_string())?;
        let consumer = self.consumer.get_info().await.map_err(|error| error.to_string())?;
        Ok(State { first: stream.state.first_sequence, last: stream.state.last_sequence, consumer })
    }

    /// The largest message that the server takes, bytes.
    pub fn largest(&self) -> usize {
        self.jetstream.client().server_info().max_payload
    }

    /// Unsubscribes from the answers of an open request.
    pub async fn close(&mut self) {
        self.asked = 0;
        // Without a connection there is no interest either.
        let _ = self.answers.unsubscribe().await;
    }
}

impl Reader {
    /// The first event of a backlog; `None`: the stream has none up to its last one.
    ///
    /// # Errors
    /// A sentence, when the server does not answer.
    pub async fn first(&self, backlog: &Backlog) -> Result<Option<StreamMessage>, String> {
        let subject = self.subjects.of_job(&backlog.source, backlog.job);
        let named = format!(".STREAM.MSG.GET.{}\"", self.stream.cached_info().config.name);
        let mut from = backlog.first;
        loop {
            let read = self.stream.get_first_raw_message_by_subject(&subject, from);
            let read =
                self.jetstream.unless_refused(&[&named], read).await.map_err(|error| error.to_string())?;
            let message = match read {
                Ok(message) if message.sequence <= backlog.last => message,
                Ok(_) => return Ok(None),
                Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => return Ok(None),
                Err(error) => return Err(error.to_string()),
            };
            let kind = message.headers.get("ce-type").and_then(|kind| kind.as_str().strip_prefix("hark."));
            if kind.is_some_and(|kind| self.kinds.iter().any(|wanted| wanted == kind)) {
                return Ok(Some(message));
            }
            from = message.sequence + 1;
        }
    }

    /// The connection, for objects.
    pub fn jetstream(&self) -> &JetStream {
        &self.jetstream
    }
}

/// Source and job of the subject of an event.
pub fn source_and_job(subject: &str) -> Option<(String, Uuid)> {
    let mut tokens = subject.rsplit('.');
    let job = tokens.next()?.parse().ok()?;
    Some((tokens.next()?.to_owned(), job))
}

/// The subjects of a webhook's events, each once.
fn filters(subjects: &Subjects, webhook: &Webhook) -> Vec<String> {
    let mut filters: Vec<String> = Vec::new();
    for kind in &webhook.kinds {
        match webhook.sources.as_slice() {
            [] => filters.push(subjects.of_kind(kind, "*")),
            sources => filters.extend(sources.iter().map(|source| subjects.of_kind(kind, source))),
        }
    }
    filters.sort_unstable();
    filters.dedup();
    filters
}

async fn ensure(
    jetstream: &JetStream,
    stream: &Stream,
    durable: &str,
    wanted: pull::Config,
) -> Result<PullConsumer, String> {
    let named = format!(".{}.{durable}", stream.cached_info().config.name);
    let named = [named.as_str()];
    let found = jetstream.unless_refused(&named, stream.consumer_info(durable)).await;
    let config = match found.map_err(|refused| refused.to_string())? {
        Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => wanted,
        Err(error) => return Err(format!("the consumer {durable}: {error}")),
        // What cannot be changed stays: above all, where it began.
        Ok(info) => pull::Config {
            filter_subject: String::new(),
            filter_subjects: wanted.filter_subjects,
            ack_wait: wanted.ack_wait,
            max_ack_pending: wanted.max_ack_pending,
            ..pull::Config::try_from_consumer_config(info.config)
                .map_err(|error| format!("the consumer {durable}: {error}"))?
        },
    };
    let created = jetstream.unless_refused(&named, stream.create_consumer(config)).await;
    created
        .map_err(|refused| refused.to_string())?
        .map_err(|error| format!("the consumer {durable}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_are_the_kinds_of_the_sources() {
        let subjects = Subjects::new("hark");
        let webhook = |sources: &[&str]| Webhook {
            kinds: ["transcript.final", "plugin.hello", "transcript.final"].map(str::to_owned).to_vec(),
            sources: sources.iter().map(|source| (*source).to_owned()).collect(),
            ..Webhook::default()
        };
        let all = filters(&subjects, &webhook(&[]));
        assert_eq!(all, ["hark.event.plugin.hello.*.*", "hark.event.transcript.final.*.*"]);
        let some = filters(&subjects, &webhook(&["calls", "inbox"]));
        assert_eq!(
            some,
            [
                "hark.event.plugin.hello.calls.*",
                "hark.event.plugin.hello.inbox.*",
                "hark.event.transcript.final.calls.*",
                "hark.event.transcript.final.inbox.*",
            ]
        );
        let job = Uuid::now_v7();
        let subject = subjects.event("plugin.hello", "calls", job);
        assert_eq!(source_and_job(&subject), Some(("calls".into(), job)));
        assert_eq!(source_and_job("hark.event.other"), None);
    }
}
