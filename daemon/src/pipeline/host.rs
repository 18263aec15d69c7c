//! Supervises the process of one plugin: sends it events, knows at which event it died, replaces it, and quarantines the plugin after too
//! many deaths.
//!
//! All waiting events are in `pending`, in order; the first of them are at the process. An answer removes the first. When the process dies,
//! the first event counts as the cause, and the rest goes to the next process. A plugin cannot hold an event beyond the deadlines here, and
//! its output is always checked.

pub(super) mod answer;
mod folder;
mod idle_cpu;
mod load;
mod strikes;

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::process::{Gone, Launch, Process};
use super::status::{PluginState, PluginStatus};
use super::verify::Identity;
use super::wire::{self, Answer, Outcome, ToChild, clean};
use crate::telemetry::OnceAMinute;
use crate::telemetry::metrics::Metrics;

pub use answer::{Failure, Reply, Work};

use folder::OwnFolder;
use idle_cpu::IdleCpu;
use load::{Loading, identity_of};
use strikes::Strikes;

/// Events that may wait for one plugin; when the queue is full, senders wait.
pub const QUEUE: usize = 64;
/// Events that are in the process or in the socket at once: enough to save wake-ups, few enough to send again to the next process.
const BATCH: usize = 16;
/// When the process has this few events left, it gets more: one write then carries several events, and the process is never without one.
const REFILL_AT: usize = BATCH / 2;

/// The reasons in `hark_plugin_failures_total`.
const FAILURES: [&str; 7] = ["error", "crash", "timeout", "rubbish", "folder", "load", "cpu"];
/// Interval of the checks of the library's file. A new file is loaded when two checks find it the same: then no process is still writing
/// it.
const FILE_CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// The supervisor of one plugin.
pub struct Supervisor {
    name: String,
    launch: Launch,
    timeout: Duration,
    queue: mpsc::Receiver<Work>,
    /// Requests of an operator to enable the plugin, and requests that wait until a load has ended.
    enable: mpsc::Receiver<oneshot::Sender<()>>,
    enabling: Vec<oneshot::Sender<()>>,
    status: watch::Sender<PluginStatus>,
    metrics: Metrics,

    process: Option<Process>,
    /// A loaded process that takes over once `process` has answered its events.
    successor: Option<Process>,
    loading: Option<Loading>,
    /// Events without an answer, in order; the first ones are at the process.
    pending: VecDeque<Pending>,
    strikes: Strikes,
    /// Identity of the library at the last load, successful or not.
    known: Option<Identity>,
    /// Identity of the library at the last check.
    seen: Option<Identity>,
    retry: Option<(usize, Instant)>,
    folder: OwnFolder,
    idle_cpu: IdleCpu,
    overfull: Pin<Box<dyn Future<Output = ()> + Send>>,
    warnings: OnceAMinute,
}

struct Pending {
    work: Work,
    frame: Vec<u8>,
    /// When a process began it first.
    began: Option<Instant>,
    survived_a_crash: bool,
}

impl Supervisor {
    pub fn new(
        launch: Launch,
        timeout: Duration,
        queue: mpsc::Receiver<Work>,
        enable: mpsc::Receiver<oneshot::Sender<()>>,
        status: watch::Sender<PluginStatus>,
        metrics: Metrics,
    ) -> Self {
        let folder = OwnFolder::new(&launch.own_folder, launch.memory_limit);
        Supervisor {
            name: launch.load.name.clone(),
            launch,
            timeout,
            queue,
            enable,
            enabling: Vec::new(),
            status,
            metrics,
            process: None,
            successor: None,
            loading: None,
            pending: VecDeque::new(),
            strikes: Strikes::default(),
            known: None,
            seen: None,
            retry: None,
            overfull: Box::pin(folder.clone().until_overfull()),
            folder,
            idle_cpu: IdleCpu::default(),
            warnings: OnceAMinute::default(),
        }
    }

    /// Runs until `stopping` is cancelled and every queued event is answered; then ends the process in good order.
    pub async fn run(mut self, stopping: CancellationToken) {
        let mut looks = interval(FILE_CHECK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut open = true;
        let mut received = Vec::with_capacity(BATCH);
        self.known = identity_of(&self.launch.load.library).await;
        self.begin_loading();
        while open || !self.pending.is_empty() {
            let deadline = self.deadline();
            let room = BATCH.saturating_sub(self.pending.len());
            let has_room = open && room > 0;
            let waits = self.process.is_none() && !self.pending.is_empty();
            let patience = self.loading.as_ref().filter(|_| waits).map(|loading| loading.patience);
            let may_write = self.process.is_some() || self.loading.is_some();
            // `select!` polls its branches in random order, so that a process that logs without pause does not starve the queue.
            tokio::select! {
                answered = async {
                    let process = some(self.process.as_mut()).await;
                    match deadline {
                        Some(deadline) => timeout_at(deadline, process.answer()).await.ok(),
                        None => Some(process.answer().await),
                    }
                } => match answered {
                    Some(Ok(answer)) => self.receive(answer).await,
                    Some(Err(gone)) => self.process_gone(gone).await,
                    None => {
                        let words = format!("no answer within {:?} (`timeout`)", self.timeout);
                        self.strike("timeout", words, None).await;
                    }
                },
                outcome = async { some(self.loading.as_mut()).await.future.as_mut().await } => self.take_over(outcome),
                () = async { sleep_until(some(patience).await).await } => {
                    self.fail_all(Failure { message: "its process is still starting".to_owned(), quarantined: false });
                }
                count = self.queue.recv_many(&mut received, room), if has_room => {
                    open = count > 0;
                    received.drain(..).for_each(|work| self.accept(work));
                }
                // After `close`, the queue returns the events that are still in it, and then its end.
                () = stopping.cancelled(), if !self.queue.is_closed() => self.queue.close(),
                Some(done) = self.enable.recv() => self.enable(done),
                () = async { sleep_until(some(self.retry).await.1).await } => self.begin_loading(),
                _ = looks.tick() => {
                    self.check_for_new_library().await;
                    self.look_at_idle_cpu().await;
                }
                () = &mut self.overfull, if may_write => {
                    self.over_its_folder().await;
                    self.overfull = Box::pin(self.folder.clone().until_overfull());
                }
            }
            self.send_pending();
            self.idle_cpu.has_event(self.process.as_ref().is_some_and(|process| process.unanswered() > 0));
            if self.loading.is_none() {
                for done in self.enabling.drain(..) {
                    // The requester may have stopped waiting; the plugin runs all the same.
                    let _ = done.send(());
                }
            }
        }
        for process in [self.process.take(), self.successor.take()].into_iter().flatten() {
            process.end(self.timeout).await;
        }
    }

    /// Deadline of the first pending event, once a process has begun it.
    fn deadline(&self) -> Option<Instant> {
        Some(self.pending.front()?.began? + self.timeout)
    }

    fn accept(&mut self, work: Work) {
        match wire::frame(&ToChild::Event { kind: work.event.kind().to_string(), body: &*work.event }) {
            Ok(frame) => {
                self.pending.push_back(Pending { work, frame, began: None, survived_a_crash: false });
            }
            Err(error) => reply(work, Err(Failure { message: error.to_string(), quarantined: false })),
        }
    }

    /// Sends pending events to the process, or answers them with a failure if there is no process and none is being loaded.
    fn send_pending(&mut self) {
        if self.process.as_ref().is_none_or(|process| process.unanswered() == 0)
            && let Some(successor) = self.successor.take()
        {
            self.install(successor);
        }
        let Some(process) = &mut self.process else {
            if self.loading.is_none() {
                self.fail_all(self.unavailable());
            }
            return;
        };
        // While a successor waits, the process gets no more events.
        if self.successor.is_none() && process.unanswered() <= REFILL_AT {
            for pending in self.pending.iter().take(BATCH).skip(process.unanswered()) {
                process.send(&pending.frame);
            }
        }
        // An event that was sent before, to a process that died, keeps its first deadline.
        if let Some(first) = self.pending.front_mut().filter(|_| process.unanswered() > 0) {
            first.began.get_or_insert_with(Instant::now);
        }
    }

    fn fail_all(&mut self, failure: Failure) {
        for waiting in self.pending.drain(..) {
            reply(waiting.work, Err(failure.clone()));
        }
    }

    async fn receive(&mut self, answer: Answer) {
        let (Some(process), Some(first)) = (&self.process, self.pending.front()) else { return };
        let outcome = match answer.outcome {
            Outcome::Failed(why) => {
                return self.strike("crash", "it failed".to_owned(), Some(clean(&why))).await;
            }
            Outcome::Error(why) => {
                self.count("error");
                self.warn("plugin failed on an event; the reason is in its event or its log");
                Err(Failure { message: clean(&why), quarantined: false })
            }
            Outcome::Ok => {
                let transform = process.description.transform;
                match answer::check(&self.name, transform, &first.work.event, answer) {
                    Ok(reply) => {
                        if reply.refused.is_some() {
                            self.count("rubbish");
                            self.warn("output of the plugin refused; the reason is in its event");
                        }
                        Ok(reply)
                    }
                    Err(rubbish) => return self.process_gone(Gone::BrokeProtocol(rubbish.to_string())).await,
                }
            }
        };
        self.answer_first(outcome);
    }

    /// Logs a warning about the first event, in the daemon's words: the plugin's text may quote the transcript, and goes only into the
    /// plugin's event. At most once a minute, since a held job is retried every two seconds.
    fn warn(&self, words: &str) {
        if self.warnings.is_time() {
            let (job, source) = self.job();
            tracing::warn!(plugin = %self.name, job, source, "{words}");
        }
    }

    /// Answers the first event and removes it.
    fn answer_first(&mut self, outcome: Result<Reply, Failure>) {
        if let Some(first) = self.pending.pop_front() {
            reply(first.work, outcome);
        }
    }

    /// Why the plugin processes no events now.
    fn unavailable(&self) -> Failure {
        let status = self.status.borrow();
        Failure {
            message: status.reason.clone().unwrap_or_else(|| "its process is not running".to_owned()),
            quarantined: status.state == PluginState::Quarantined,
        }
    }

    fn enter(&self, state: PluginState, reason: Option<String>) {
        self.status.send_modify(|status| {
            status.state = state;
            status.reason = reason;
            status.pid = self.process.as_ref().and_then(Process::id);
            if let Some(process) = &self.process {
                status.description = Some(process.description.clone());
            }
        });
        for each in PluginState::ALL {
            let gauge = self.metrics.plugin_state.with_label_values(&[self.name.as_str(), each.as_str()]);
            gauge.set(i64::from(each == state));
        }
        // The counter starts at zero: if it appeared with the first failure, Prometheus would see no increase.
        for reason in FAILURES {
            self.metrics.plugin_failures.with_label_values(&[self.name.as_str(), reason]).inc_by(0);
        }
    }

    fn count(&self, reason: &str) {
        self.metrics.plugin_failures.with_label_values(&[self.name.as_str(), reason]).inc();
    }

    /// Job and source of the first event, for the log.
    fn job(&self) -> (String, String) {
        let event = self.pending.front().map(|first| &first.work.event);
        event.map(|event| (event.job.to_string(), event.source.clone())).unwrap_or_default()
    }
}

fn reply(work: Work, outcome: Result<Reply, Failure>) {
    // The receiver is gone if the caller was cancelled, as when the daemon stops.
    let _ = work.answer.send(outcome);
}

/// Pends forever on `None`, so that a missing source of steps never completes a branch of `select!`.
async fn some<T>(value: Option<T>) -> T {
    match value {
        Some(value) => value,
        None => std::future::pending().await,
    }
}
