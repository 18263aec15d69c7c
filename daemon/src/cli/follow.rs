//! Events as they happen: the stored events from their stream, in order and without a gap, partials directly from their subject.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::{self, stream};
use async_nats::{Client, HeaderMap, Subscriber};
use futures::StreamExt;
use serde_json::Value;
use tokio::time::{Instant, Interval};

use super::Exit;
use crate::broker::stream::{StreamError, find};
use crate::broker::{Connection, JetStream};
use crate::config::Nats;

/// The pause between two attempts to reach the stream: while it does not exist yet, or after the server was away.
const WAIT: Duration = Duration::from_millis(500);
/// How often the follower checks whether the connection is a new one: the server may have lost the consumer with the old connection, and
/// the client alone would notice by a missed heartbeat, half a minute later.
const LOOK_AT_CONNECTION: Duration = Duration::from_secs(1);
/// How often the follower checks whether the stream is still the same: a stream that was deleted and created again counts from one, and the
/// consumer would wait until that stream reaches the old one's sequence.
const LOOK_AT_STREAM: Duration = Duration::from_secs(5);

/// One event, as it was received.
#[derive(Debug, Clone)]
pub struct ReceivedEvent {
    /// NATS subject.
    pub subject: String,
    /// `ce-id`.
    pub id: String,
    /// `family.name`.
    pub kind: String,
    /// The body.
    pub body: Value,
}

/// At which stored event to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// Events that are stored from now on.
    Now,
    /// The oldest event that the stream still has.
    Beginning,
}

/// Follows the events of one prefix. Survives a server that goes away and comes back: the stored events continue where they stopped.
pub struct Follower {
    client: Client,
    connects: u64,
    connection_check: Interval,
    stream_check: Interval,
    jetstream: JetStream,
    stream: String,
    partials: Subscriber,
    stored: Option<pull::Ordered>,
    /// When to look for the stream again, while `stored` is none.
    look_again: Instant,
    next_sequence: u64,
    /// When the stream that `next_sequence` refers to was created, ns since the epoch.
    made: Option<i128>,
}

impl Follower {
    /// Once this returns, no event that is published from then on is missed. A stream that does not exist yet is awaited.
    ///
    /// # Errors
    /// 69 when the server refuses the subscription.
    pub async fn open(connection: &Connection, nats: &Nats, since: Since) -> Result<Follower, Exit> {
        let client = &connection.client;
        let subject = format!("{}.event.transcript.partial.>", nats.subject_prefix);
        let refused = |error: String| Exit::Unavailable(format!("subscribing to {subject}: {error}"));
        let partials = client.subscribe(subject.clone()).await.map_err(|error| refused(error.to_string()))?;
        // The subscription may still be in flight; the flush returns when the server has it.
        client.flush().await.map_err(|error| refused(error.to_string()))?;
        let mut follower = Follower {
            client: client.clone(),
            connects: connects(client),
            connection_check: tokio::time::interval(LOOK_AT_CONNECTION),
            stream_check: tokio::time::interval(LOOK_AT_STREAM),
            jetstream: connection.jetstream(),
            stream: nats.events_stream.clone(),
            partials,
            stored: None,
            look_again: Instant::now(),
            next_sequence: 1,
            made: None,
        };
        if let Some(stream) = follower.find_stream().await? {
            if since == Since::Now {
                follower.next_sequence = stream.cached_info().state.last_sequence + 1;
            }
            follower.made = Some(made(&stream));
            follower.stored = follower.consume(&stream).await?;
        }
        Ok(follower)
    }

    /// The next event. A message whose payload is not JSON comes from another publisher and is skipped.
    ///
    /// # Errors
    /// 69 when the connection is closed for good.
    pub async fn next(&mut self) -> Result<ReceivedEvent, Exit> {
        loop {
            let heard = tokio::select! {
                partial = self.partials.next() => match partial {
                    Some(message) => ReceivedEvent::read(&message.subject, message.headers.as_ref(), &message.payload),
                    None => return Err(Exit::Unavailable("the NATS connection is closed".into())),
                },
                stored = next_stored(&mut self.stored, &mut self.look_again) => match stored {
                    Some(message) => {
                        self.next_sequence = sequence_of(&message).unwrap_or(self.next_sequence) + 1;
                        ReceivedEvent::read(&message.subject, message.headers.as_ref(), &message.payload)
                    }
                    None => {
                        self.reopen().await?;
                        None
                    }
                },
                _ = self.connection_check.tick() => {
                    if connects(&self.client) != self.connects {
                        self.connects = connects(&self.client);
                        self.reopen().await?;
                    }
                    None
                }
                _ = self.stream_check.tick() => {
                    if let Some(stream) = self.find_stream().await?
                        && self.made != Some(made(&stream))
                    {
                        self.follow(&stream).await?;
                    }
                    None
                }
            };
            if let Some(heard) = heard {
                return Ok(heard);
            }
        }
    }

    async fn reopen(&mut self) -> Result<(), Exit> {
        if let Some(stream) = self.find_stream().await? {
            self.follow(&stream).await?;
        }
        Ok(())
    }

    /// Continues where the follower left the stream; a stream that was created anew is followed from its first event.
    async fn follow(&mut self, stream: &stream::Stream) -> Result<(), Exit> {
        if self.made.replace(made(stream)).is_some_and(|before| before != made(stream)) {
            self.next_sequence = 1;
        }
        self.stored = self.consume(stream).await?;
        Ok(())
    }

    /// `None` while the stream does not exist or JetStream does not answer.
    async fn find_stream(&self) -> Result<Option<stream::Stream>, Exit> {
        match find(&self.jetstream, &self.stream).await {
            Ok(found) => Ok(found),
            Err(StreamError::Refused(refused)) => Err(Exit::Unavailable(refused.to_string())),
            Err(_) => Ok(None),
        }
    }

    async fn consume(&self, stream: &stream::Stream) -> Result<Option<pull::Ordered>, Exit> {
        let config = pull::OrderedConfig {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: self.next_sequence },
            ..Default::default()
        };
        let named = format!(".CONSUMER.CREATE.{}\"", self.stream);
        let consumer = self.jetstream.unless_refused(&[&named], stream.create_consumer(config)).await;
        let Ok(consumer) = consumer.map_err(|refused| Exit::Unavailable(refused.to_string()))? else {
            return Ok(None);
        };
        Ok(consumer.messages().await.ok())
    }
}

impl ReceivedEvent {
    fn read(subject: &str, headers: Option<&HeaderMap>, payload: &[u8]) -> Option<ReceivedEvent> {
        let header = |name: &str| headers.and_then(|headers| headers.get(name)).map(|value| value.as_str());
        let kind = header("ce-type")?;
        Some(ReceivedEvent {
            subject: subject.to_owned(),
            id: header("ce-id")?.to_owned(),
            kind: kind.strip_prefix("hark.").unwrap_or(kind).to_owned(),
            body: serde_json::from_slice(payload).ok()?,
        })
    }
}

/// `None` when the consumer has to be created again, after a pause. The future may be dropped and the method called again at any await.
async fn next_stored(
    stored: &mut Option<pull::Ordered>,
    look_again: &mut Instant,
) -> Option<jetstream::Message> {
    if let Some(messages) = stored {
        if let Some(Ok(message)) = messages.next().await {
            return Some(message);
        }
        *stored = None;
        *look_again = Instant::now() + WAIT;
    }
    tokio::time::sleep_until(*look_again).await;
    *look_again = Instant::now() + WAIT;
    None
}

fn made(stream: &stream::Stream) -> i128 {
    stream.cached_info().created.unix_timestamp_nanos()
}

fn connects(client: &Client) -> u64 {
    client.statistics().connects.load(Ordering::Relaxed)
}

fn sequence_of(message: &jetstream::Message) -> Option<u64> {
    message.info().ok().map(|info| info.stream_sequence)
}
