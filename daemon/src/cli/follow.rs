//! Events as they happen: the stored events from their stream, in order and without a gap, partials directly from their subject.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::{self, stream};
use async_nats::{Client, Message, Subscriber};
use futures::StreamExt;
use serde_json::Value;
use tokio::time::Interval;

use super::Exit;
use crate::broker::stream::{StreamError, find};
use crate::broker::{JetStream, Subjects, Unanswered};
use crate::config::Nats;

/// How often the follower checks the stream and the connection. It creates its consumer anew if it has none, or if the consumer may be lost:
/// with an old connection (the client alone would notice that half a minute later), or with a stream that was deleted and created again. Such
/// a stream counts from 1, so the old consumer would wait until the stream reaches the old sequence.
const LOOK: Duration = Duration::from_secs(1);

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
    jetstream: JetStream,
    stream: String,
    partials: Subscriber,
    /// `None` while the stream does not exist or does not answer.
    stored: Option<pull::Ordered>,
    look: Interval,
    /// When the followed stream was created (ns since the epoch), and the number of connections so far, when `stored` was made.
    seen: Option<(i128, u64)>,
    next_sequence: u64,
}

impl Follower {
    /// After this returns, the follower misses no event that is published later. It waits for a stream that does not exist yet.
    ///
    /// # Errors
    /// 69 when the server refuses the subscription.
    pub async fn open(connection: &JetStream, nats: &Nats, since: Since) -> Result<Follower, Exit> {
        let client = connection.client();
        let subject = Subjects::new(&nats.subject_prefix).partials();
        let refused = |error: String| Exit::Unavailable(format!("subscribing to {subject}: {error}"));
        let partials = client.subscribe(subject.clone()).await.map_err(|error| refused(error.to_string()))?;
        // The subscription may still be in flight; the flush returns when the server has it.
        client.flush().await.map_err(|error| refused(error.to_string()))?;
        let mut follower = Follower {
            client: client.clone(),
            jetstream: connection.clone(),
            stream: nats.events_stream.clone(),
            partials,
            stored: None,
            look: tokio::time::interval(LOOK),
            seen: None,
            next_sequence: 1,
        };
        if let Some(stream) = follower.find_stream().await? {
            if since == Since::Now {
                follower.next_sequence = stream.cached_info().state.last_sequence + 1;
            }
            follower.consume(&stream).await?;
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
                    Some(message) => ReceivedEvent::read(&message),
                    None => return Err(Exit::Unavailable("the NATS connection is closed".into())),
                },
                Some(message) = next_stored(&mut self.stored) => {
                    self.next_sequence = message.info().map_or(self.next_sequence, |info| info.stream_sequence) + 1;
                    ReceivedEvent::read(&message)
                },
                _ = self.look.tick() => {
                    if let Some(stream) = self.find_stream().await?
                        && (self.stored.is_none() || self.seen != Some(self.sight_of(&stream)))
                    {
                        self.consume(&stream).await?;
                    }
                    None
                }
            };
            if let Some(heard) = heard {
                return Ok(heard);
            }
        }
    }

    fn sight_of(&self, stream: &stream::Stream) -> (i128, u64) {
        (
            stream.cached_info().created.unix_timestamp_nanos(),
            self.client.statistics().connects.load(Ordering::Relaxed),
        )
    }

    /// `None` while the stream does not exist or JetStream does not answer.
    async fn find_stream(&self) -> Result<Option<stream::Stream>, Exit> {
        match find(&self.jetstream, &self.stream).await {
            Ok(found) => Ok(found),
            Err(StreamError::Refused(refused)) => Err(Exit::Unavailable(refused.to_string())),
            Err(_) => Ok(None),
        }
    }

    /// Continues where the follower left the stream; a stream that was created anew is followed from its first event.
    async fn consume(&mut self, stream: &stream::Stream) -> Result<(), Exit> {
        let seen = self.sight_of(stream);
        if self.seen.replace(seen).is_some_and(|(created, _)| created != seen.0) {
            self.next_sequence = 1;
        }
        let config = pull::OrderedConfig {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: self.next_sequence },
            ..Default::default()
        };
        self.stored = match self.jetstream.ordered(&self.stream, stream, config).await {
            Ok(consumer) => consumer.messages().await.ok(),
            Err(Unanswered::Refused(refused)) => return Err(Exit::Unavailable(refused.to_string())),
            Err(Unanswered::NoAnswer(_)) => None,
        };
        Ok(())
    }
}

impl ReceivedEvent {
    fn read(message: &Message) -> Option<ReceivedEvent> {
        let header = |name: &str| Some(message.headers.as_ref()?.get(name)?.as_str());
        let kind = header("ce-type")?;
        Some(ReceivedEvent {
            subject: message.subject.to_string(),
            id: header("ce-id")?.to_owned(),
            kind: kind.strip_prefix("hark.").unwrap_or(kind).to_owned(),
            body: serde_json::from_slice(&message.payload).ok()?,
        })
    }
}

/// The next stored event; `None`, and no consumer any more, when its subscription has failed. May be dropped at any await.
async fn next_stored(stored: &mut Option<pull::Ordered>) -> Option<jetstream::Message> {
    let Some(messages) = stored else { return std::future::pending().await };
    let message = messages.next().await.and_then(Result::ok);
    if message.is_none() {
        *stored = None;
    }
    message
}
