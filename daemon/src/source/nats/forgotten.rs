//! Messages that others may have had, and of which a bucket told that was lost since: their jobs are looked for among the events.

use std::sync::Arc;

use futures::future::BoxFuture;
use hark_sdk::event::Recording;
use tracing::warn;
use uuid::Uuid;

use super::Subject;
use super::take::Delivery;

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

/// Finds the job of a message in the stream of events. Handed in, as [`super::StepIn`] is.
pub type FindAgain = Arc<dyn Fn(Sought) -> BoxFuture<'static, Result<Option<Uuid>, String>> + Send + Sync>;

impl Subject {
    /// Whether others may have had a message, and have said what became of it in a bucket that was lost since.
    pub(super) async fn may_be_forgotten(&self, delivery: &Delivery) -> bool {
        (delivery.sign.delivery > 1 || delivery.is_old())
            && self.claims.is_bucket_after(self.heard_since().max(delivery.published_ns)).await
    }

    /// The job that others made of a message, by its events; where nobody can tell it is made another one.
    pub(super) async fn former(&self, delivery: &Delivery) -> Option<Uuid> {
        let found = (self.find_again)(Sought {
            source: self.config.name.clone(),
            uri: self.uri(delivery.sign.sequence),
            message_id: delivery.contents.said.message_id.clone(),
            published_ns: delivery.published_ns,
        });
        found.await.unwrap_or_else(|reason| {
            warn!(
                source = self.config.name,
                place = delivery.place,
                reason,
                "a job that a lost bucket told of is not found in the events"
            );
            None
        })
    }
}
