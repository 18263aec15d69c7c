//! A message's job in the stream of events, where the bucket that told of it was lost: its `job.accepted` names the message.

use std::time::Duration;

use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use futures::StreamExt;
use hark_sdk::event::{Event, Kind, Recording};
use uuid::Uuid;

use super::fence::Fence;

/// The servers of two streams may have different clocks.
const MARGIN_NS: i128 = 60_000_000_000;

/// How many jobs may have been accepted since: a message that waited behind more is not worth reading them all, one message after the
/// other.
const MOST: u64 = 20_000;

/// For the next event.
const PATIENCE: Duration = Duration::from_secs(5);

/// A message whose job is looked for.
#[derive(Debug, Clone)]
pub struct Sought {
    /// The source that has it.
    pub source: String,
    /// What its audio is called in events; a reference's is its URL, which others may name as well.
    pub uri: String,
    pub message_id: Option<String>,
    /// Its job is younger.
    pub published_ns: i128,
}

impl Sought {
    /// Whether a recording is the message's.
    pub fn is_of(&self, recording: &Recording) -> bool {
        recording.message_id == self.message_id && (self.message_id.is_some() || recording.uri == self.uri)
    }
}

impl Fence {
    /// The job that was made of a message last; `None`: the stream has none.
    ///
    /// # Errors
    /// When nobody can tell: the stream does not answer, its user may not read it, or there is too much to read.
    pub async fn find_again(self, sought: Sought) -> Result<Option<Uuid>, String> {
        let stream = self.jetstream.get_stream_no_info(&self.nats.events_stream).await;
        let stream = stream.map_err(|error| error.to_string())?;
        let start_time = async_nats::datetime::from_nanos(sought.published_ns - MARGIN_NS);
        let config = pull::OrderedConfig {
            filter_subject: self.subjects.accepted(&sought.source),
            deliver_policy: DeliverPolicy::ByStartTime {
                start_time: start_time.map_err(|error| error.to_string())?,
            },
            ..pull::OrderedConfig::default()
        };
        let named = format!(".CONSUMER.CREATE.{}\"", self.nats.events_stream);
        let consumer = self.jetstream.unless_refused(&[&named], stream.create_consumer(config)).await;
        let mut consumer =
            consumer.map_err(|refused| refused.to_string())?.map_err(|error| error.to_string())?;
        let mut left = consumer.info().await.map_err(|error| error.to_string())?.num_pending;
        if left > MOST {
            return Err(format!("{left} jobs were accepted since"));
        }
        let mut messages = consumer.messages().await.map_err(|error| error.to_string())?;
        let mut found = None;
        while left > 0 {
            let next = tokio::time::timeout(PATIENCE, messages.next()).await;
            let next = next.map_err(|_| "its events do not come")?.ok_or("its events end")?;
            let message = next.map_err(|error| error.to_string())?;
            left = message.info().map_err(|error| error.to_string())?.pending;
            if let Ok(event) = Event::parse(&Kind::JobAccepted, &message.payload)
                && sought.is_of(&event.recording)
            {
                found = Some(event.job);
            }
        }
        Ok(found)
    }
}
