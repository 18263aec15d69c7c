//! Messages that wait for their job's last event: kept from redelivery by a sign of progress, acknowledged at the end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::jetstream::AckKind;
use async_nats::jetstream::message::Acker;
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::debug;
use uuid::Uuid;

use super::share::Claims;

/// How often the server hears that a message is worked on; a third of the consumer's `ack_wait`, so that one lost sign does no harm.
const PROGRESS: Duration = Duration::from_secs(10);

/// The messages at hand, by job. A job may have several: deliveries of the same message, or other messages with the same id.
#[derive(Default)]
pub(super) struct Held {
    by_job: Mutex<HashMap<Uuid, Vec<Arc<Acker>>>>,
    released: Notify,
}

impl Held {
    pub(super) fn hold(&self, job: Uuid, acker: Arc<Acker>) {
        self.lock().entry(job).or_default().push(acker);
    }

    pub(super) fn release(&self, job: Uuid) -> Vec<Arc<Acker>> {
        let ackers = self.lock().remove(&job).unwrap_or_default();
        self.released.notify_one();
        ackers
    }

    /// Jobs with messages at hand.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Waits until fewer than `slots` jobs are at hand; returns how many are free.
    pub(super) async fn free(&self, slots: usize) -> usize {
        loop {
            let held = self.len();
            if held < slots {
                return slots - held;
            }
            self.released.notified().await;
        }
    }

    /// Tells the server every ten seconds that the messages are worked on. After a silence (the daemon was stopped, or cut off) it is
    /// looked first whose they are: a sign for a message that another daemon has would keep it from being delivered should that one die.
    pub(super) async fn keep_alive(&self, claims: Claims, stop: CancellationToken) {
        let mut tick = tokio::time::interval(PROGRESS);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = stop.cancelled() => return,
            }
            let jobs = || self.lock().keys().copied().collect::<Vec<Uuid>>();
            if heard.elapsed() > 2 * PROGRESS
                && let Err(unconfirmed) = claims.look_over(jobs()).await
            {
                debug!(%unconfirmed, "no signs of progress are given until it is sure whose the messages are");
                continue;
            }
            if claims.is_connected() {
                heard = Instant::now();
            }
            for job in jobs() {
                let signs = self.lock().get(&job).cloned().unwrap_or_default();
                for sign in signs {
                    if let Err(error) = sign.ack_with(AckKind::Progress).await {
                        debug!(%job, %error, "a sign of progress did not leave; the message may be delivered again");
                    }
                }
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Vec<Arc<Acker>>>> {
        self.by_job.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
