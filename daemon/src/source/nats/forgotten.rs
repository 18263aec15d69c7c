//! Messages that others may have had, and of which a bucket told that was lost since: their jobs are looked for among the events.

use tracing::warn;
use uuid::Uuid;

use super::Subject;
use super::intake::Delivery;
use crate::share::Sought;

impl Subject {
    /// Whether others may have had a message, and have said what became of it in a bucket that was lost since.
    pub(super) async fn may_be_forgotten(&self, delivery: &Delivery) -> bool {
        (delivery.sign.delivery > 1 || self.is_old(delivery))
            && self.claims.is_bucket_after(self.heard_since().max(delivery.published_ns)).await
    }

    /// The job that others made of a message, by its events; where nobody can tell it is made another one.
    pub(super) async fn former(&self, delivery: &Delivery) -> Option<Uuid> {
        let found = self.fence.clone().find_again(Sought {
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
