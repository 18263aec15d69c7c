//! Messages that another daemon may have claimed in a bucket that was lost since: their jobs are looked for among the stored events.

use tracing::warn;
use uuid::Uuid;

use super::Subject;
use super::intake::Delivery;
use crate::share::Sought;

impl Subject {
    /// Whether another daemon may have claimed this message in a bucket that was lost since.
    pub(super) async fn may_have_lost_claim(&self, delivery: &Delivery) -> bool {
        (delivery.held_message.delivery > 1 || self.is_old(delivery))
            && self.handles.claims.is_bucket_after(self.heard_since().max(delivery.published_ns)).await
    }

    /// The job that another daemon made of a message, found by its events. `None` if there is none, or if the events cannot be searched:
    /// then the message becomes a new job.
    pub(super) async fn find_former_job(&self, delivery: &Delivery) -> Option<Uuid> {
        let found = self.handles.fence.clone().find_again(Sought {
            source: self.name.clone(),
            uri: self.uri(delivery.held_message.sequence),
            message_id: delivery.options.message_id.clone(),
            published_ns: delivery.published_ns,
        });
        found.await.unwrap_or_else(|reason| {
            warn!(
                source = self.name,
                place = delivery.place,
                %reason,
                "the events cannot be searched for a job whose claim was lost with the bucket; the message becomes a new job"
            );
            None
        })
    }
}
