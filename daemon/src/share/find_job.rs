//! Finds a message's job in the stream of events after the bucket with the job's claim was lost: the job's `job.accepted` names the message.

use std::error::Error;
use std::time::Duration;

use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use futures::StreamExt;
use hark_sdk::event::{Event, Kind, Recording};
use uuid::Uuid;

use super::fence::Fence;
use crate::counted::counted;

/// The servers of two streams may have different clocks.
const MARGIN_NS: i128 = 60_000_000_000;

/// How many `job.accepted` events are read at most: they are read one after the other, and for a message that waited behind more jobs
/// than this, reading all of them would take too long.
const MOST: u64 = 20_000;

/// Longest wait for the next event.
const PATIENCE: Duration = Duration::from_secs(5);

/// A message, as the daemon looks for its job.
#[derive(Debug, Clone)]
pub struct Sought {
    /// Name of the source that received the message.
    pub source: String,
    /// The `uri` of its audio in events. For a reference this is the URL, which other messages may name as well.
    pub uri: String,
    pub message_id: Option<String>,
    /// When the message was published, ns since the epoch. Its job was accepted later.
    pub published_ns: i128,
}

impl Sought {
    /// Whether the recording came in this message.
    pub fn is_of(&self, recording: &Recording) -> bool {
        recording.message_id == self.message_id && (self.message_id.is_some() || recording.uri == self.uri)
    }
}

impl Fence {
    /// The job that was made of a message last; `None`: the stream has no such job.
    ///
    /// # Errors
    /// When the job cannot be looked for: the stream does not answer, the daemon's user may not read it, or there is too much to read.
    pub async fn find_again(self, sought: Sought) -> Result<Option<Uuid>, Box<dyn Error + Send + Sync>> {
        let stream = self.jetstream.get_stream_no_info(&self.nats.events_stream).await?;
        let start_time = async_nats::datetime::from_nanos(sought.published_ns - MARGIN_NS)?;
        let config = pull::OrderedConfig {
            filter_subject: self.subjects.of_kind(&Kind::JobAccepted.to_string(), &sought.source),
            deliver_policy: DeliverPolicy::ByStartTime { start_time },
            ..pull::OrderedConfig::default()
        };
        let mut consumer = self.jetstream.ordered(&self.nats.events_stream, &stream, config).await?;
        let mut left = consumer.info().await?.num_pending;
        if left > MOST {
            return Err(
                format!("{} accepted since are too many to look through", counted(left, "job")).into()
            );
        }
        let mut messages = consumer.messages().await?;
        let mut found = None;
        while left > 0 {
            let next = tokio::time::timeout(PATIENCE, messages.next()).await;
            let message =
                next.map_err(|_| "the stream of events does not answer")?.ok_or("its events end")??;
            left = message.info()?.pending;
            if let Ok(event) = Event::parse(&Kind::JobAccepted, &message.payload)
                && sought.is_of(&event.recording)
            {
                found = Some(event.job);
            }
        }
        Ok(found)
    }
}
