//! Messages that wait for their job's last event. Progress acknowledgements (`AckKind::Progress`) keep the server from redelivering them;
//! the daemon acknowledges them at the end.

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
use tracing::debug;
use uuid::Uuid;

use crate::job::Duty;
use crate::job::ledger::{Change, Ledger, Now};
use crate::share::Claims;

/// How many jobs are worked on at the same time when progress is acknowledged.
const LOOKS: usize = 32;

/// How many jobs a source may hold messages of. Further messages stay in the stream, for the daemon that requests them first.
#[derive(Debug, Clone, Copy)]
pub struct Slots {
    /// Jobs that have not been sent to the service, or whose request is in progress: somewhat more than there can be concurrent requests.
    pub waiting: usize,
    /// Further jobs, whose task is at the service.
    pub tasks: usize,
}

impl Slots {
    /// Whether there is a slot for one more when messages of `held` jobs are held, and `tasks` of these jobs have a task at the service.
    fn are_free(self, held: usize, tasks: usize) -> bool {
        held - tasks < self.waiting && held < self.waiting + self.tasks
    }
}

/// A message that is held: its sequence number in the stream, and the means to acknowledge its latest delivery.
#[derive(Clone)]
pub(super) struct HeldMessage {
    pub(super) sequence: u64,
    /// The number of this delivery of the message, from 1.
    pub(super) delivery: i64,
    pub(super) acker: Arc<Acker>,
}

/// The held messages, by job.
pub(super) struct UnackedMessages {
    /// `nats.ack_wait`.
    ack_wait: Duration,
    by_job: Mutex<HashMap<Uuid, Holding>>,
    released: Notify,
    /// When the messages' stream was created, ns since the epoch.
    stream: Mutex<Option<i128>>,
}

/// The held messages of one job.
#[derive(Default)]
struct Holding {
    /// Several, if the job's message has duplicates.
    messages: Vec<HeldMessage>,
    /// Whether the job has a task at the service.
    is_task: bool,
}

impl UnackedMessages {
    pub(super) fn new(ack_wait: Duration) -> Self {
        UnackedMessages {
            ack_wait,
            by_job: Mutex::default(),
            released: Notify::new(),
            stream: Mutex::default(),
        }
    }

    /// Interval of the progress acknowledgements: a third of `ack_wait`, so that the loss of one does no harm.
    fn progress(&self) -> Duration {
        self.ack_wait / 3
    }

    /// Follows the ledger's changes. A job whose task is at the service takes no slot from the jobs that wait to be sent. The messages of a
    /// job that another daemon has taken over are released, because that daemon acknowledges them.
    pub(super) async fn follow_changes(&self, ledger: &Ledger) {
        let mut changes = ledger.changes();
        loop {
            let jobs = match changes.recv().await {
                Ok(Change { job, now: Now::Owes(duty) }) => {
                    self.mark(job, duty == Duty::Await);
                    continue;
                }
                Ok(Change { now: Now::Waits, .. }) => continue,
                Ok(Change { job, now: Now::Forgotten }) => vec![job],
                Err(RecvError::Lagged(_)) => self.by_job.lock().keys().copied().collect(),
                // The ledger is closed: another task of the source ends with that.
                Err(RecvError::Closed) => std::future::pending().await,
            };
            for job in jobs {
                self.look_at(job, ledger).await;
            }
        }
    }

    /// Reads from the ledger whether a job has a task at the service, and whether it is still this daemon's.
    pub(super) async fn look_at(&self, job: Uuid, ledger: &Ledger) {
        match ledger.find_whole(job).await {
            Ok(Some((_, pieces))) => {
                self.mark(job, pieces.iter().any(|piece| piece.state.duty() == Some(Duty::Await)));
            }
            // The message is not acknowledged here: the daemon that has the job now does that.
            Ok(None) => drop(self.release(job)),
            Err(error) => debug!(%job, %error, "the ledger cannot be read for the state of a held job"),
        }
    }

    /// Holds a message for a job. A redelivery replaces the message's former delivery: otherwise, while no progress acknowledgement reaches
    /// the server, a long task would collect one delivery every `ack_wait`.
    pub(super) fn hold(&self, job: Uuid, held_message: HeldMessage) {
        let mut by_job = self.by_job.lock();
        let messages = &mut by_job.entry(job).or_default().messages;
        messages.retain(|former| former.sequence != held_message.sequence);
        messages.push(held_message);
    }

    /// Sets when the stream was created. If that has changed, the held messages are dropped: a stream that was deleted and created again
    /// counts from one, so an acknowledgement of an old message would apply to another recording's message.
    pub(super) fn in_stream_of(&self, made: i128) {
        let before = self.stream.lock().replace(made);
        if before.is_some_and(|before| before != made) {
            self.by_job.lock().values_mut().for_each(|holding| holding.messages.clear());
        }
    }

    pub(super) fn release(&self, job: Uuid) -> Vec<HeldMessage> {
        let holding = self.by_job.lock().remove(&job).unwrap_or_default();
        self.released.notify_one();
        holding.messages
    }

    /// Sets whether the job has a task at the service: if so, the job takes no slot from the jobs that wait to be sent.
    pub(super) fn mark(&self, job: Uuid, is_task: bool) {
        if let Some(holding) = self.by_job.lock().get_mut(&job) {
            holding.is_task = is_task;
            self.released.notify_one();
        }
    }

    /// The number of slots may have changed.
    pub(super) fn look_again(&self) {
        self.released.notify_one();
    }

    /// Waits until no message is held.
    pub(super) async fn emptied(&self) {
        while !self.by_job.lock().is_empty() {
            self.released.notified().await;
        }
    }

    /// Waits until a slot is free.
    pub(super) async fn slot(&self, slots: impl Fn() -> Slots) {
        loop {
            let (held, tasks) = {
                let by_job = self.by_job.lock();
                (by_job.len(), by_job.values().filter(|holding| holding.is_task).count())
            };
            if slots().are_free(held, tasks) {
                return;
            }
            self.released.notified().await;
        }
    }

    /// Sends the progress acknowledgements of the held messages at intervals. After a silence (the daemon was stopped, or disconnected) the
    /// daemon first checks which daemon owns each job: a progress acknowledgement for another daemon's message would keep the server from
    /// redelivering the message if that daemon died.
    pub(super) async fn keep_alive(&self, claims: &Claims) {
        let mut tick = tokio::time::interval(self.progress());
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        let mut doubtful: HashSet<Uuid> = HashSet::new();
        loop {
            tick.tick().await;
            let jobs: Vec<Uuid> = self.by_job.lock().keys().copied().collect();
            if heard.elapsed() > 2 * self.progress() {
                doubtful.extend(&jobs);
            }
            if claims.is_connected() {
                heard = Instant::now();
            }
            // Concurrently, and for each job as soon as its owner is known: what is left of `ack_wait` has to suffice for the last job too.
            let messages =
                jobs.into_iter().map(|job| self.send_progress(claims, job, doubtful.contains(&job)));
            let unsure = stream::iter(messages).buffer_unordered(LOOKS).filter_map(std::future::ready);
            doubtful = unsure.collect().await;
        }
    }

    /// Sends the progress acknowledgements of a job's messages. For a doubtful job the daemon checks the owner first; if the owner cannot
    /// be determined, the function sends none and returns the job.
    async fn send_progress(&self, claims: &Claims, job: Uuid, is_doubtful: bool) -> Option<Uuid> {
        if is_doubtful && let Err(unconfirmed) = claims.let_go_if_lost(job).await {
            debug!(%job, %unconfirmed, "progress is not acknowledged until the owner of the message's job is known");
            return Some(job);
        }
        if let Err(error) = claims.update_if_outdated(job).await {
            debug!(%job, %error, "the job's claim is updated later");
        }
        let messages =
            self.by_job.lock().get(&job).map(|holding| holding.messages.clone()).unwrap_or_default();
        for message in messages {
            if let Err(error) = message.acker.ack_with(AckKind::Progress).await {
                debug!(%job, %error, "progress was not acknowledged; the message may be redelivered");
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use async_nats::jetstream;

    use super::*;

    #[tokio::test]
    async fn a_message_is_held_once_however_often_it_comes() {
        // No server listens at this address, and the test needs none.
        let options = async_nats::ConnectOptions::new().retry_on_initial_connect();
        let context = jetstream::new(options.connect("127.0.0.1:1").await.unwrap());
        let (held, job) = (UnackedMessages::new(Duration::from_secs(30)), Uuid::now_v7());
        for sequence in [7, 8, 7, 7] {
            let acker = Arc::new(Acker::new(context.clone(), None));
            held.hold(job, HeldMessage { sequence, delivery: 1, acker });
        }
        let sequences: Vec<u64> = held.release(job).iter().map(|message| message.sequence).collect();
        assert_eq!(sequences, [8, 7]);
    }

    #[test]
    fn tasks_at_the_service_leave_the_slots_to_those_that_wait_for_it() {
        let slots = Slots { waiting: 4, tasks: 10 };
        // In the last two the total is used up: jobs whose task has ended and whose events are not stored yet are still held.
        let free = [(0, 0), (3, 0), (9, 6), (10, 10), (13, 12)];
        let used_up = [(4, 0), (9, 5), (14, 14), (20, 20)];
        for (held, tasks) in free {
            assert!(slots.are_free(held, tasks), "{held} held, {tasks} of them tasks");
        }
        for (held, tasks) in used_up {
            assert!(!slots.are_free(held, tasks), "{held} held, {tasks} of them tasks");
        }
    }
}
