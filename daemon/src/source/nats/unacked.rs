//! Messages that wait for their job's last event: kept from redelivery by a sign of progress, acknowledged at the end.

use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::AckKind;
use async_nats::jetstream::message::Acker;
use futures::stream::{self, StreamExt};
use tokio::sync::Notify;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::debug;
use uuid::Uuid;

use crate::job::ledger::{Change, Ledger, Now, jobs, pieces};
use crate::job::{Duty, Piece};
use crate::share::Claims;

/// Looks side by side after a silence.
const LOOKS: usize = 32;

/// How many jobs of its messages a source may have at hand. What is beyond it stays in the stream, for whichever daemon gets to it
/// first.
#[derive(Debug, Clone, Copy)]
pub struct Slots {
    /// That have not come to the service, or whose request is under way there: some more than there can be requests at a time.
    pub waiting: usize,
    /// Beyond these, whose task is at the service.
    pub tasks: usize,
}

impl Slots {
    /// How many are free when `held` jobs are at hand, `tasks` of which are at the service.
    fn free(self, held: usize, tasks: usize) -> usize {
        let waiting = self.waiting.saturating_sub(held - tasks);
        waiting.min((self.waiting + self.tasks).saturating_sub(held))
    }
}

/// A message that waits: its place in the stream, and what tells the server of it, as of its last delivery.
#[derive(Clone)]
pub(super) struct Sign {
    pub(super) sequence: u64,
    /// Counts its deliveries.
    pub(super) delivery: i64,
    pub(super) acker: Arc<Acker>,
}

/// The messages at hand, by job.
pub(super) struct Held {
    /// `nats.ack_wait`.
    ack_wait: Duration,
    by_job: Mutex<HashMap<Uuid, Holding>>,
    released: Notify,
    /// When the stream was made that the messages are in, ns since the epoch.
    stream: Mutex<Option<i128>>,
    /// When an acknowledgement was not confirmed last, and why.
    unconfirmed: Mutex<Option<(Instant, String)>>,
}

/// What is at hand of a job.
#[derive(Default)]
struct Holding {
    /// Several, where there is another message with the same id.
    signs: Vec<Sign>,
    /// Its task is at the service.
    is_task: bool,
}

impl Held {
    pub(super) fn new(ack_wait: Duration) -> Self {
        Held {
            ack_wait,
            by_job: Mutex::default(),
            released: Notify::new(),
            stream: Mutex::default(),
            unconfirmed: Mutex::default(),
        }
    }

    /// How often the server hears that a message is worked on: a third of `ack_wait`, so that one lost sign does no harm (CONTRACT 3).
    fn progress(&self) -> Duration {
        self.ack_wait / 3
    }

    /// Follows the ledger's changes: a job whose task is at the service takes none of the slots of those that wait for it, and a job that
    /// another daemon has taken over is that daemon's to acknowledge.
    pub(super) async fn follow(self: Arc<Self>, ledger: Ledger) {
        let mut changes = ledger.changes();
        loop {
            let jobs = match changes.recv().await {
                Ok(Change { job, now: Now::Owes(duty) }) => {
                    self.mark(job, duty == Duty::Await);
                    continue;
                }
                Ok(Change { now: Now::Waits, .. }) => continue,
                Ok(Change { job, now: Now::Forgotten }) => vec![job],
                Err(RecvError::Lagged(_)) => self.lock().keys().copied().collect(),
                Err(RecvError::Closed) => return,
            };
            for job in jobs {
                self.look_at(job, &ledger).await;
            }
        }
    }

    /// Looks into the ledger for where a job stands: at the service, here, or with another daemon.
    pub(super) async fn look_at(&self, job: Uuid, ledger: &Ledger) {
        let read = move |connection: &_| {
            let is_here = jobs::find(connection, job)?.is_some();
            let awaits = |piece: &Piece| piece.state.duty() == Some(Duty::Await);
            Ok((is_here, is_here && pieces::of_job(connection, job)?.iter().any(awaits)))
        };
        match ledger.read(read).await {
            Ok((true, is_task)) => self.mark(job, is_task),
            // Without an answer to the server: the message is the other daemon's to acknowledge.
            Ok((false, _)) => drop(self.release(job)),
            Err(error) => debug!(%job, %error, "the ledger does not tell whether the job is still here"),
        }
    }

    /// A message that was delivered again takes the place of its former delivery: where no sign reaches the server, a long task would
    /// gather one every `ack_wait`.
    pub(super) fn hold(&self, job: Uuid, sign: Sign) {
        let mut by_job = self.lock();
        let signs = &mut by_job.entry(job).or_default().signs;
        signs.retain(|former| former.sequence != sign.sequence);
        signs.push(sign);
    }

    /// Says when the stream was made. A stream that was deleted and made again counts from one: an acknowledgement or a sign of progress
    /// of before would hit a message of another recording.
    pub(super) fn in_stream_of(&self, made: i128) {
        let before = self.stream.lock().replace(made);
        if before.is_some_and(|before| before != made) {
            self.lock().values_mut().for_each(|holding| holding.signs.clear());
        }
    }

    pub(super) fn release(&self, job: Uuid) -> Vec<Sign> {
        let holding = self.lock().remove(&job).unwrap_or_default();
        self.released.notify_one();
        holding.signs
    }

    /// Says whether the job's task is at the service, where it takes none of the slots of those that wait for it.
    pub(super) fn mark(&self, job: Uuid, is_task: bool) {
        if let Some(holding) = self.lock().get_mut(&job) {
            holding.is_task = is_task;
            self.released.notify_one();
        }
    }

    /// Says whether the server has confirmed the acknowledgement of a message. With a broker that is away for a moment a confirmation is
    /// lost; it is another thing if the message has come again for that.
    pub(super) fn acknowledged(&self, sign: &Sign, outcome: Result<(), String>) {
        let unconfirmed = match outcome {
            Ok(()) => None,
            Err(_) if sign.delivery <= 1 => return,
            Err(reason) => Some((Instant::now(), reason)),
        };
        *self.unconfirmed.lock() = unconfirmed;
    }

    /// Whether acknowledgements are confirmed. A message whose own was lost comes again within `ack_wait`: if none has, all is well.
    pub(super) fn state(&self) -> Result<(), String> {
        let unconfirmed = self.unconfirmed.lock();
        match unconfirmed.as_ref().filter(|(at, _)| at.elapsed() < 2 * self.ack_wait) {
            Some((_, reason)) => Err(format!(
                "acknowledgements of messages are not confirmed ({reason}); see whether the user may publish to $JS.ACK.>"
            )),
            None => Ok(()),
        }
    }

    /// Waits until a slot is free; returns how many are.
    pub(super) async fn free(&self, slots: Slots) -> usize {
        loop {
            let (held, tasks) = {
                let by_job = self.lock();
                (by_job.len(), by_job.values().filter(|holding| holding.is_task).count())
            };
            match slots.free(held, tasks) {
                0 => self.released.notified().await,
                free => return free,
            }
        }
    }

    /// Tells the server again and again that the messages are worked on. After a silence (the daemon was stopped, or cut off) it is
    /// looked first whose they are: a sign for a message that another daemon has would keep it from being delivered should that one die.
    pub(super) async fn keep_alive(&self, claims: Claims, stop: CancellationToken) {
        let mut tick = tokio::time::interval(self.progress());
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        let mut doubtful: HashSet<Uuid> = HashSet::new();
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = stop.cancelled() => return,
            }
            let jobs: Vec<Uuid> = self.lock().keys().copied().collect();
            if heard.elapsed() > 2 * self.progress() {
                doubtful.extend(&jobs);
            }
            if claims.is_connected() {
                heard = Instant::now();
            }
            // Side by side, and each as soon as it is sure: of what is left of `ack_wait` the last ones need some too.
            let signs = jobs.into_iter().map(|job| self.sign(&claims, job, doubtful.contains(&job)));
            let unsure = stream::iter(signs).buffer_unordered(LOOKS).filter_map(std::future::ready);
            doubtful = unsure.collect().await;
        }
    }

    /// Gives the signs of a job, of a doubtful one after a look. Gives it back where nobody can tell whose it is.
    async fn sign(&self, claims: &Claims, job: Uuid, is_doubtful: bool) -> Option<Uuid> {
        if is_doubtful && let Err(unconfirmed) = claims.look_over(job).await {
            debug!(%job, %unconfirmed, "no sign of progress is given until it is sure whose the message is");
            return Some(job);
        }
        if let Err(error) = claims.tell_if_untold(job).await {
            debug!(%job, %error, "other daemons are told later where this job stands");
        }
        let signs = self.lock().get(&job).map(|holding| holding.signs.clone()).unwrap_or_default();
        for sign in signs {
            if let Err(error) = sign.acker.ack_with(AckKind::Progress).await {
                debug!(%job, %error, "a sign of progress did not leave; the message may be delivered again");
            }
        }
        None
    }

    fn lock(&self) -> parking_lot::MutexGuard<'_, HashMap<Uuid, Holding>> {
        self.by_job.lock()
    }
}

#[cfg(test)]
mod tests {
    use async_nats::jetstream;

    use super::*;

    #[tokio::test]
    async fn a_message_is_held_once_however_often_it_comes() {
        // Nobody answers there, and nobody need.
        let options = async_nats::ConnectOptions::new().retry_on_initial_connect();
        let context = jetstream::new(options.connect("127.0.0.1:1").await.unwrap());
        let (held, job) = (Held::new(Duration::from_secs(30)), Uuid::now_v7());
        for sequence in [7, 8, 7, 7] {
            let acker = Arc::new(Acker::new(context.clone(), None));
            held.hold(job, Sign { sequence, delivery: 1, acker });
        }
        let sequences: Vec<u64> = held.release(job).iter().map(|sign| sign.sequence).collect();
        assert_eq!(sequences, [8, 7]);
    }

    #[test]
    fn tasks_at_the_service_leave_the_slots_to_those_that_wait_for_it() {
        let slots = Slots { waiting: 4, tasks: 10 };
        let table = [((0, 0), 4), ((3, 0), 1), ((4, 0), 0), ((9, 5), 0), ((9, 6), 1), ((10, 10), 4)];
        for ((held, tasks), free) in table {
            assert_eq!(slots.free(held, tasks), free, "{held} at hand, {tasks} of them tasks");
        }
        // Tasks that ended and whose events do not leave are still at hand: all together are bounded too.
        assert_eq!((slots.free(13, 12), slots.free(14, 14), slots.free(20, 20)), (1, 0, 0));
    }
}
