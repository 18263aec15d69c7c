//! Whether this daemon still owns a job at the moment at which the request that it sends for the job is complete.

use std::time::Instant;

use futures::future::BoxFuture;
use parking_lot::Mutex;

use crate::job::Job;
use crate::recognize::Clearance;
use crate::share::{Claims, Unconfirmed};

/// The clearance of one request. The process, its disk or its network may have been stopped for minutes since the claim was confirmed, and
/// another daemon may have taken the job over and had it recognized: so the claim is read again, unless it was read a moment ago.
pub(super) struct OwnershipCheck {
    claims: Claims,
    job: Job,
    confirmed: Mutex<Instant>,
    /// Why the request was not cleared.
    refusal: Mutex<Option<Result<bool, Unconfirmed>>>,
}

impl OwnershipCheck {
    /// `confirmed`: the last moment at which the claim is known to have been this daemon's.
    pub(super) fn new(claims: Claims, job: Job, confirmed: Instant) -> OwnershipCheck {
        OwnershipCheck { claims, job, confirmed: Mutex::new(confirmed), refusal: Mutex::default() }
    }

    /// Why the request was not cleared, if it was not: another daemon owns the job, or the bucket does not tell which daemon does.
    pub(super) fn refusal(&self) -> Option<Result<bool, Unconfirmed>> {
        self.refusal.lock().take()
    }

    async fn is_ours(&self) -> Result<bool, Unconfirmed> {
        while self.confirmed.lock().elapsed() > self.claims.fresh_for() {
            let asked = Instant::now();
            if !self.claims.owns(&self.job).await? {
                return Ok(false);
            }
            *self.confirmed.lock() = asked;
        }
        Ok(true)
    }
}

impl Clearance for OwnershipCheck {
    fn is_given(&self) -> BoxFuture<'_, bool> {
        Box::pin(async {
            let is_ours = self.is_ours().await;
            let is_given = matches!(is_ours, Ok(true));
            if !is_given {
                *self.refusal.lock() = Some(is_ours);
            }
            is_given
        })
    }
}
