//! Supervises the process of one plugin: sends it events, knows at which event it died, replaces it, and quarantines the plugin after too
//! many deaths.
//!
//! All waiting events are in `pending`, in order; the first `sent` of them are at the process. An answer removes the first. When the
//! process dies, the first event counts as the cause, and the rest goes to the next process. A plugin cannot hold an event beyond the
//! deadlines here, and its output is always checked.

mod answer;
mod enable;
mod load;
mod measure;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::{mpsc, oneshot};
use tokio::task::unconstrained;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::folder::OwnFolder;
use super::log::PluginLog;
use super::process::{EXIT_LIMIT, Gone, Launch, LoadError, Process};
use super::status::{PluginState, PluginStatus};
use super::strikes::Strikes;
use super::verify::Identity;
use super::wire::{FromChild, Outcome};
use crate::telemetry::OnceAMinute;
use crate::telemetry::metrics::Metrics;

pub use answer::{Failure, Reply, Work};
pub use enable::Done;

use answer::Words;
use enable::Enabling;
use load::{Loading, look};
use measure::Measure;

/// Events that may wait for one plugin; when the queue is full, senders wait.
pub const QUEUE: usize = 64;
/// Events that are in the process or in the socket at once: enough to save wake-ups, few enough to send again to the next process.
const BATCH: usize = 16;
/// Interval of the checks of the library's file. A new file is loaded when two checks find it the same: then no process is still writing
/// it.
const LOOK: Duration = Duration::from_millis(500);
/// Shortest wait for the exit status of a dying process, so that its end can be reported: the process may have died at its deadline.
const SHORTEST_EXIT: Duration = Duration::from_millis(25);
/// Messages that are still read at the deadline: the answer may lie behind a few log lines in the socket when the supervisor itself is
/// late.
const LATE_MESSAGES: usize = 16;

/// The supervisor of one plugin.
pub struct Supervisor {
    name: String,
    launch: Launch,
    timeout: Duration,
    queue: mpsc::Receiver<Work>,
    status: Arc<Mutex<PluginStatus>>,
    metrics: Metrics,
    log: PluginLog,

    process: Option<Process>,
    /// A loaded process that takes over once `process` has answered its events.
    successor: Option<Process>,
    loading: Option<Loading>,
    pending: VecDeque<Pending>,
    sent: usize,
    /// When the process began the first of `pending`.
    turn_began: Instant,
    strikes: Strikes,
    /// Identity of the library at the last load, successful or not.
    known: Option<Identity>,
    /// Identity of the library at the last check.
    seen: Option<Identity>,
    retry: Option<(usize, Instant)>,
    enabling: Enabling,
    measure: Measure,
    warned_of_missing: bool,
    warnings: OnceAMinute,
}

struct Pending {
    work: Work,
    first_turn: Option<Instant>,
    survived_a_crash: bool,
}

enum Step {
    Received(Result<FromChild, Gone>),
    Loaded(Box<Result<Process, LoadError>>),
    Late,
    Queued(Option<Work>),
    Enable(Done),
    Look,
    Overfull,
    Stopping,
    Retry,
}

impl Supervisor {
    pub fn new(
        launch: Launch,
        timeout: Duration,
        queue: mpsc::Receiver<Work>,
        enable: mpsc::Receiver<Done>,
        status: Arc<Mutex<PluginStatus>>,
        metrics: Metrics,
    ) -> Self {
        let name = launch.load.name.clone();
        Supervisor {
            log: PluginLog::new(&name),
            measure: Measure::new(OwnFolder::new(&launch.own_folder, launch.memory_limit)),
            name,
            launch,
            timeout,
            queue,
            status,
            metrics,
            process: None,
            successor: None,
            loading: None,
            pending: VecDeque::new(),
            sent: 0,
            turn_began: Instant::now(),
            strikes: Strikes::default(),
            known: None,
            seen: None,
            retry: None,
            enabling: Enabling::new(enable),
            warned_of_missing: false,
            warnings: OnceAMinute::default(),
        }
    }

    /// Runs until `stopping` is cancelled and every queued event is answered; then ends the process in good order. Sends on `ready` when
    /// the plugin has been loaded, or could not be.
    pub async fn run(mut self, ready: oneshot::Sender<()>, stopping: CancellationToken) {
        let mut ready = Some(ready);
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut open = true;
        self.known = look(&self.launch.load.library).await;
        self.begin_loading();
        while open || !self.pending.is_empty() {
            // Closing the queue lets the supervisor receive the events that are in it, and then its end.
            if stopping.is_cancelled() {
                self.queue.close();
            }
            match self.step(open, &mut looks, &stopping).await {
                Step::Stopping => {}
                Step::Received(Ok(message)) => self.receive(message).await,
                Step::Received(Err(gone)) => self.process_gone(gone).await,
                Step::Loaded(outcome) => self.take_over(*outcome),
                Step::Late => self.deadline_passed().await,
                Step::Queued(Some(work)) => {
                    self.pending.push_back(Pending { work, first_turn: None, survived_a_crash: false });
                }
                Step::Queued(None) => open = false,
                Step::Enable(done) => self.enable(done),
                Step::Look => {
                    self.measure.begin();
                    self.look().await;
                }
                Step::Overfull => self.over_its_folder().await,
                Step::Retry => self.begin_loading(),
            }
            self.pump();
            if self.loading.is_none() {
                self.enabling.done();
                // The receiver may be gone; the plugin runs all the same.
                let _ = ready.take().map(|ready| ready.send(()));
            }
        }
        for process in [self.process.take(), self.successor.take()].into_iter().flatten() {
            process.retire(self.timeout, self.log.clone()).await;
        }
    }

    async fn step(&mut self, open: bool, looks: &mut Interval, stopping: &CancellationToken) -> Step {
        let room = open && self.pending.len() < BATCH;
        let deadline = self.deadline();
        // The clock is checked here besides the timer below: each step creates the timer anew, and a process that sends messages without
        // pause ends each step before the timer fires.
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Step::Late;
        }
        // A process that sends log lines without an event is read at the rate limit of its log only, so that the process blocks instead of
        // costing the daemon a CPU.
        let pause = if self.sent == 0 { self.log.pause() } else { Duration::ZERO };
        // `select!` polls its branches in random order, so that such a process does not starve the queue either.
        tokio::select! {
            message = async {
                let process = self.process.as_mut().expect_some().await;
                // Skipped if zero: the timer rounds up to a millisecond.
                if !pause.is_zero() {
                    sleep(pause).await;
                }
                process.next().await
            } => Step::Received(message),
            outcome = async { self.loading.as_mut().expect_some().await.future.as_mut().await } => Step::Loaded(Box::new(outcome)),
            () = async { sleep_until(deadline.expect_some().await).await } => Step::Late,
            work = self.queue.recv(), if room => Step::Queued(work),
            () = stopping.cancelled(), if !self.queue.is_closed() => Step::Stopping,
            Some(done) = self.enabling.asked() => Step::Enable(done),
            () = async { sleep_until(self.retry.expect_some().await.1).await } => Step::Retry,
            _ = looks.tick() => Step::Look,
            true = self.measure.is_over() => Step::Overfull,
        }
    }

    /// Deadline of the first pending event, if a process has it or one is being loaded for it.
    fn deadline(&self) -> Option<Instant> {
        match (&self.process, &self.loading) {
            (Some(_), _) if self.sent > 0 => Some(self.turn_began + self.timeout),
            (None, Some(loading)) if !self.pending.is_empty() => Some(loading.patience),
            _ => None,
        }
    }

    /// Sends pending events to the process, or answers them with a failure if there is no process and none is being loaded.
    fn pump(&mut self) {
        if self.sent == 0
            && let Some(successor) = self.successor.take()
        {
            self.install(successor);
        }
        let Some(process) = &mut self.process else {
            if self.loading.is_none() {
                let failure = self.unavailable();
                for waiting in self.pending.drain(..) {
                    reply(waiting.work, Err(failure.clone()));
                }
            }
            return;
        };
        if self.successor.is_some() {
            return;
        }
        while self.sent < self.pending.len().min(BATCH) {
            if self.sent == 0 {
                // An event that was sent before, to a process that died, keeps its first deadline.
                self.turn_began = *self.pending[0].first_turn.get_or_insert_with(Instant::now);
            }
            process.send(&self.pending[self.sent].work.frame);
            self.sent += 1;
        }
    }

    async fn receive(&mut self, message: FromChild) {
        let answered = match message {
            FromChild::Log { level, line } => return self.log.line(level, &line),
            FromChild::Answer(answered) if self.sent > 0 => answered,
            _ => return self.process_gone(Gone::Rubbish("it answered without an event".to_owned())).await,
        };
        match answered.result {
            Outcome::Failed => {
                return self.strike("crash", Words::quoting("it failed", answered.why()), true).await;
            }
            Outcome::Error => {
                self.count("error");
                self.warn("plugin failed on an event; the reason is in its event or its log");
                self.settle(Err(Failure { message: answered.why(), quarantined: false }));
            }
            Outcome::Ok => {
                let transform = self.process.as_ref().is_some_and(|process| process.description.transform);
                let Some(first) = self.pending.front() else { return };
                let heard = answer::read(&self.name, transform, &first.work.event, answered);
                if !matches!(&heard, Ok(Reply { refused: None, .. })) {
                    self.count("rubbish");
                    self.warn("output of the plugin refused; the reason is in its event");
                }
                self.settle(heard);
            }
        }
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
    fn settle(&mut self, outcome: Result<Reply, Failure>) {
        if let Some(first) = self.pending.pop_front() {
            reply(first.work, outcome);
        }
        self.sent -= 1;
        self.turn_began = Instant::now();
        if self.sent > 0 {
            self.pending[0].first_turn.get_or_insert(self.turn_began);
        }
    }

    async fn process_gone(&mut self, gone: Gone) {
        // A process that has closed its socket but does not exit gets no more time than a process that does not answer.
        let left = self.deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let limit = left.unwrap_or(EXIT_LIMIT).clamp(SHORTEST_EXIT, EXIT_LIMIT);
        let (reason, words) = match gone {
            Gone::Rubbish(words) => ("rubbish", Words::quoting("it broke the protocol", words)),
            Gone::Ended => match &mut self.process {
                Some(process) => ("crash", Words::ours(format!("its process {}", process.exit(limit).await))),
                None => return,
            },
        };
        self.strike(reason, words, true).await;
    }

    async fn deadline_passed(&mut self) {
        for _ in 0..LATE_MESSAGES {
            let Some(process) = &mut self.process else { break };
            match unconstrained(process.next()).now_or_never() {
                Some(Ok(message)) => self.receive(message).await,
                Some(Err(gone)) => return self.process_gone(gone).await,
                None => break,
            }
            if self.deadline().is_none_or(|deadline| deadline > Instant::now()) {
                return;
            }
        }
        if self.process.is_some() {
            let words = Words::ours(format!("no answer within {:?} (`timeout`)", self.timeout));
            return self.strike("timeout", words, false).await;
        }
        let failure = Failure { message: "its process is still starting".to_owned(), quarantined: false };
        for waiting in self.pending.drain(..) {
            reply(waiting.work, Err(failure.clone()));
        }
    }

    /// Kills the process and counts a strike, with the first event as the cause. After a crash that event may be retried once, within its
    /// own deadline, since it may not be the cause.
    async fn strike(&mut self, reason: &'static str, words: Words, may_repeat: bool) {
        self.count(reason);
        if let Some(mut process) = self.process.take() {
            process.kill().await;
        }
        let busy = std::mem::take(&mut self.sent) > 0;
        let repeated = busy && self.pending.front().is_some_and(|first| first.survived_a_crash);
        let (job, source) = busy.then(|| self.job()).unzip();
        tracing::error!(plugin = %self.name, job, source, reason, error = words.ours, "plugin process replaced");
        // One strike per event: its second crash gives no new information about the plugin.
        let quarantined = !repeated && self.strikes.strike(std::time::Instant::now());
        let may_repeat = may_repeat && !repeated && !quarantined && {
            let began = self.pending.front().and_then(|first| first.first_turn);
            began.is_some_and(|began| began.elapsed() < self.timeout)
        };
        // Before the event is answered: a caller that learns of the quarantine must find it in the status.
        match (quarantined, self.successor.take()) {
            // The reason goes into the events of other jobs, so it leaves out the plugin's text, which may quote this job's transcript.
            (true, _) => {
                self.quarantine(format!("three failures within ten minutes, the last one: {}", words.ours))
            }
            (false, Some(successor)) => self.install(successor),
            (false, None) => self.begin_loading(),
        }
        match self.pending.front_mut() {
            Some(first) if busy && may_repeat => first.survived_a_crash = true,
            Some(_) if busy => {
                if let Some(first) = self.pending.pop_front() {
                    reply(first.work, Err(Failure { message: words.to_string(), quarantined }));
                }
            }
            _ => {}
        }
    }

    fn quarantine(&mut self, reason: String) {
        tracing::error!(
            plugin = %self.name, library = %self.launch.load.library.display(), error = reason,
            "plugin quarantined; transcripts are processed without it until its library is replaced, `harkd plugins enable` or a restart"
        );
        (self.loading, self.successor, self.retry) = (None, None, None);
        self.enter(PluginState::Quarantined, Some(reason));
    }

    /// Why the plugin processes no events now.
    fn unavailable(&self) -> Failure {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        Failure {
            message: status.reason.clone().unwrap_or_else(|| "its process is not running".to_owned()),
            quarantined: status.state == PluginState::Quarantined,
        }
    }

    fn enter(&self, state: PluginState, reason: Option<String>) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.state = state;
        status.reason = reason;
        status.pid = self.process.as_ref().and_then(Process::id);
        if let Some(process) = &self.process {
            status.description = Some(process.description.clone());
        }
        for each in PluginState::ALL {
            let gauge = self.metrics.plugin_state.with_label_values(&[self.name.as_str(), each.as_str()]);
            gauge.set(i64::from(each == state));
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
trait ExpectSome<T> {
    async fn expect_some(self) -> T;
}

impl<T> ExpectSome<T> for Option<T> {
    async fn expect_some(self) -> T {
        match self {
            Some(value) => value,
            None => std::future::pending().await,
        }
    }
}
