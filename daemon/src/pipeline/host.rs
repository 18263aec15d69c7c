//! Supervises the process of one plugin: hands it events, knows which one it died of, replaces it, and gives it up when it must.
//!
//! All that waits is in `pending`, in order; the first `sent` of it are in the process. An answer takes the first away. When the process dies,
//! the first is the culprit, and the rest simply goes to the next process. Nothing that a plugin does can hold an event longer than
//! the deadlines here, and nothing it says is believed unchecked.

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

pub use answer::{Failure, Heard, Work};
pub use enable::Done;

use answer::Words;
use enable::Enabling;
use load::{Loading, look};
use measure::Measure;

/// Events that may wait for one plugin; beyond, whoever hands them over waits.
pub const QUEUE: usize = 64;
/// Events that are in the process or in the socket at once: enough to spare wake-ups, few enough to be handed over again.
const BATCH: usize = 16;
/// How often the library's file is looked at. A new one is loaded when it looks the same twice: then nobody is writing it.
const LOOK: Duration = Duration::from_millis(500);
/// What a dying process has at least, so that its end can be told: it may have died at its deadline.
const SHORTEST_EXIT: Duration = Duration::from_millis(25);
/// Messages that are still heard when the time is up: an answer behind a few lines of log, while it was us who were not looking.
const LAST_WORDS: usize = 16;

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
    /// Loaded already, and waiting for `process` to answer what it has.
    successor: Option<Process>,
    loading: Option<Loading>,
    pending: VecDeque<Pending>,
    sent: usize,
    /// Since when the first of `pending` has had its turn.
    turn_began: Instant,
    strikes: Strikes,
    /// The library as it was when it was loaded last, or when that failed.
    known: Option<Identity>,
    /// The library as it was at the last look.
    seen: Option<Identity>,
    retry: Option<(usize, Instant)>,
    enabling: Enabling,
    measure: Measure,
    warned_of_missing: bool,
    complaints: OnceAMinute,
}

struct Pending {
    work: Work,
    first_turn: Option<Instant>,
    survived_a_crash: bool,
}

enum Step {
    Heard(Result<FromChild, Gone>),
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
            complaints: OnceAMinute::default(),
        }
    }

    /// Runs until `stopping` and until what was in the queue is answered; then ends the process in good order. `ready` hears when the plugin
    /// has been loaded, or could not be.
    pub async fn run(mut self, ready: oneshot::Sender<()>, stopping: CancellationToken) {
        let mut ready = Some(ready);
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut open = true;
        self.known = look(&self.launch.load.library).await;
        self.begin_loading();
        while open || !self.pending.is_empty() {
            // What is in the queue by then is still received, and after it the end.
            if stopping.is_cancelled() {
                self.queue.close();
            }
            match self.step(open, &mut looks, &stopping).await {
                Step::Stopping => {}
                Step::Heard(Ok(message)) => self.hear(message).await,
                Step::Heard(Err(gone)) => self.bury(gone).await,
                Step::Loaded(outcome) => self.take_over(*outcome),
                Step::Late => self.lose_patience().await,
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
                // Nobody may be waiting any more; the plugin runs all the same.
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
        // By the clock, not only by the timer below: that one is made anew in each step, and a process that never stops talking lets no
        // step last until it rings.
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Step::Late;
        }
        // A process that talks although it was not asked waits itself, in place of costing us a processor.
        let pause = if self.sent == 0 { self.log.pause() } else { Duration::ZERO };
        // In no order, so that such a process does not keep the queue from its turn either.
        tokio::select! {
            message = async {
                let process = self.process.as_mut().expect_some().await;
                // Not for nothing: the timer rounds up to a millisecond.
                if !pause.is_zero() {
                    sleep(pause).await;
                }
                process.next().await
            } => Step::Heard(message),
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

    /// Until when the first of those that wait may wait.
    fn deadline(&self) -> Option<Instant> {
        match (&self.process, &self.loading) {
            (Some(_), _) if self.sent > 0 => Some(self.turn_began + self.timeout),
            (None, Some(loading)) if !self.pending.is_empty() => Some(loading.patience),
            _ => None,
        }
    }

    /// Hands over what is waiting, or says that there is nobody to hand it to.
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
                    tell(waiting.work, Err(failure.clone()));
                }
            }
            return;
        };
        if self.successor.is_some() {
            return;
        }
        while self.sent < self.pending.len().min(BATCH) {
            if self.sent == 0 {
                // One that has had its turn before has no more time than it had then.
                self.turn_began = *self.pending[0].first_turn.get_or_insert_with(Instant::now);
            }
            process.send(&self.pending[self.sent].work.frame);
            self.sent += 1;
        }
    }

    async fn hear(&mut self, message: FromChild) {
        let answered = match message {
            FromChild::Log { level, line } => return self.log.line(level, &line),
            FromChild::Answer(answered) if self.sent > 0 => answered,
            _ => return self.bury(Gone::Rubbish("it answered what it was not asked".to_owned())).await,
        };
        match answered.result {
            Outcome::Failed => {
                return self.strike("crash", Words::quoting("it failed", answered.why()), true).await;
            }
            Outcome::Error => {
                self.count("error");
                self.complain("plugin could not look at an event; its event says why, or its log");
                self.settle(Err(Failure { message: answered.why(), quarantined: false }));
            }
            Outcome::Ok => {
                let transform = self.process.as_ref().is_some_and(|process| process.description.transform);
                let Some(first) = self.pending.front() else { return };
                let heard = answer::read(&self.name, transform, &first.work.event, answered);
                if !matches!(&heard, Ok(Heard { refused: None, .. })) {
                    self.count("rubbish");
                    self.complain("plugin says what it may not; its event says what");
                }
                self.settle(heard);
            }
        }
    }

    /// In our words: its own may quote the transcript, and are for its event only. OnceAMinute, for a job that is held comes back every two seconds.
    fn complain(&self, words: &str) {
        if self.complaints.is_time() {
            let (job, source) = self.job();
            tracing::warn!(plugin = %self.name, job, source, "{words}");
        }
    }

    /// The first event is done with.
    fn settle(&mut self, outcome: Result<Heard, Failure>) {
        if let Some(first) = self.pending.pop_front() {
            tell(first.work, outcome);
        }
        self.sent -= 1;
        self.turn_began = Instant::now();
        if self.sent > 0 {
            self.pending[0].first_turn.get_or_insert(self.turn_began);
        }
    }

    async fn bury(&mut self, gone: Gone) {
        // One that closed its socket and lives on has no more time than one that is silent.
        let left = self.deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let limit = left.unwrap_or(EXIT_LIMIT).clamp(SHORTEST_EXIT, EXIT_LIMIT);
        let (reason, words) = match gone {
            Gone::Rubbish(words) => ("rubbish", Words::quoting("it does not speak as it must", words)),
            Gone::Ended => match &mut self.process {
                Some(process) => ("crash", Words::ours(format!("its process {}", process.exit(limit).await))),
                None => return,
            },
        };
        self.strike(reason, words, true).await;
    }

    async fn lose_patience(&mut self) {
        for _ in 0..LAST_WORDS {
            let Some(process) = &mut self.process else { break };
            match unconstrained(process.next()).now_or_never() {
                Some(Ok(message)) => self.hear(message).await,
                Some(Err(gone)) => return self.bury(gone).await,
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
            tell(waiting.work, Err(failure.clone()));
        }
    }

    /// The process is of no use any more, and the event that it was at is the reason. After a crash that event may have another try, within
    /// its own deadline: it may have been innocent.
    async fn strike(&mut self, reason: &'static str, words: Words, may_repeat: bool) {
        self.count(reason);
        if let Some(mut process) = self.process.take() {
            process.kill().await;
        }
        let busy = std::mem::take(&mut self.sent) > 0;
        let repeated = busy && self.pending.front().is_some_and(|first| first.survived_a_crash);
        let (job, source) = busy.then(|| self.job()).unzip();
        tracing::error!(plugin = %self.name, job, source, reason, error = words.ours, "plugin process replaced");
        // One event, one strike: its second crash says nothing new about the plugin.
        let quarantined = !repeated && self.strikes.strike(std::time::Instant::now());
        let may_repeat = may_repeat && !repeated && !quarantined && {
            let began = self.pending.front().and_then(|first| first.first_turn);
            began.is_some_and(|began| began.elapsed() < self.timeout)
        };
        // Before the answer: who hears of the quarantine must find it.
        match (quarantined, self.successor.take()) {
            // It goes into the events of other jobs: the plugin's own words may quote this one.
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
                    tell(first.work, Err(Failure { message: words.to_string(), quarantined }));
                }
            }
            _ => {}
        }
    }

    fn quarantine(&mut self, reason: String) {
        tracing::error!(
            plugin = %self.name, library = %self.launch.load.library.display(), error = reason,
            "plugin quarantined; transcripts flow on without it until its library is replaced, `harkd plugins enable` or a restart"
        );
        (self.loading, self.successor, self.retry) = (None, None, None);
        self.enter(PluginState::Quarantined, Some(reason));
    }

    /// Why nobody looks at events now.
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

    /// The job of the first event, and its source, for the log.
    fn job(&self) -> (String, String) {
        let event = self.pending.front().map(|first| &first.work.event);
        event.map(|event| (event.job.to_string(), event.source.clone())).unwrap_or_default()
    }
}

fn tell(work: Work, outcome: Result<Heard, Failure>) {
    // Nobody waits for a partial, nor where the daemon is stopping.
    let _ = work.answer.send(outcome);
}

/// What is not there does not happen: in `select!` a missing source of steps waits for ever.
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
