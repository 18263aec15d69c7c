//! The queue before one model of the service, with a clock: whoever wants to send waits for a [`Turn`], in order of asking.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hark_sdk::event::Engine;
use tokio::sync::Notify;
use tracing::{info, warn};

use super::error::{Error, Verdict};
use super::gate::{Call, Gate, Leave, RefusedCall};
use super::rate::Pacer;
use crate::telemetry::metrics::Metrics;

/// One model's queue.
#[derive(Debug)]
pub(crate) struct Queue {
    engine: Engine,
    state: Mutex<State>,
    /// A report may let the front of the queue go earlier than it thought.
    changed: Notify,
    /// The front of the queue: fair, and a waiter that goes away hands it on.
    front: tokio::sync::Mutex<()>,
    /// The same spacing once more, where requests leave: turns that were held up together (by the disk, by the bucket) do not leave
    /// together.
    departures: Pace,
    metrics: Metrics,
}

#[derive(Debug)]
struct State {
    pacer: Pacer,
    gate: Gate,
}

/// Leave to send one request. The queue learns from its outcome; a turn that is dropped unused tells nothing and harms nothing.
#[derive(Debug)]
#[must_use = "a turn that is not used is a slot that nobody gets"]
pub struct Turn {
    queue: Arc<Queue>,
    taken: Instant,
    probe: bool,
    settled: bool,
}

impl Queue {
    pub(crate) fn new(engine: Engine, pacer: Pacer, metrics: Metrics) -> Arc<Self> {
        metrics.recognize_held.with_label_values(&[engine.as_str()]).set(0);
        Arc::new(Queue {
            engine,
            departures: Pace::new(pacer.clone()),
            state: Mutex::new(State { pacer, gate: Gate::default() }),
            changed: Notify::new(),
            front: tokio::sync::Mutex::new(()),
            metrics,
        })
    }

    /// Waits until a request may leave.
    pub(crate) async fn turn(self: &Arc<Self>) -> Turn {
        let _front = self.front.lock().await;
        self.pass(true).await
    }

    /// Leave for a free call that must come before the paid one: waits for the account, not for the pacer.
    pub(crate) async fn admission(self: &Arc<Self>) -> Turn {
        self.pass(false).await
    }

    async fn pass(self: &Arc<Self>, paced: bool) -> Turn {
        loop {
            let changed = self.changed.notified();
            let wait = {
                let now = Instant::now();
                let mut state = self.state();
                let pause = if paced { state.pacer.wait(now) } else { Duration::ZERO };
                let leave = if pause.is_zero() { state.gate.ask(now) } else { Leave::Wait(Some(pause)) };
                match leave {
                    Leave::Go | Leave::Probe => {
                        if paced {
                            state.pacer.take(now);
                        }
                        let probe = leave == Leave::Probe;
                        return Turn { queue: Arc::clone(self), taken: now, probe, settled: false };
                    }
                    Leave::Wait(wait) => wait,
                }
            };
            match wait {
                Some(wait) => tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = changed => {}
                },
                None => changed.await,
            }
        }
    }

    /// What a free call outside the queue that left at `sent` heard of the account.
    pub(crate) fn learn<T>(&self, sent: Instant, outcome: &mut Result<T, Error>) {
        match outcome {
            Ok(_) => self.answered(Call::Free),
            Err(error) => self.learn_from(sent, error, Call::Free),
        }
    }

    /// What a task says for which the account was refused: no free call can tell that it is good again.
    pub(crate) fn learn_from_task(&self, error: &mut Error) {
        self.learn_from(Instant::now(), error, Call::Paid);
    }

    fn learn_from(&self, sent: Instant, error: &mut Error, kind: Call) {
        if let Verdict::Account { after, announce } = &mut error.verdict {
            (*after, *announce) = self.refused(sent, &error.fault.code, kind);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is complete before the lock goes; a panic elsewhere leaves it usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused(&self, sent: Instant, code: &str, kind: Call) -> (Duration, bool) {
        let call = RefusedCall { sent, code, kind };
        let (after, announce) = self.state().gate.refused(Instant::now(), call);
        if announce {
            warn!(engine = %self.engine, code, "the service refuses every request for this reason; this model's queue is held and probed");
        }
        self.show_gate();
        (after, announce)
    }

    fn throttled(&self, sent: Instant, hint: Option<Duration>) -> Duration {
        let mut state = self.state();
        let hold = state.pacer.throttled(Instant::now(), sent, hint);
        if state.pacer.is_news(hold) {
            drop(state);
            let (engine, seconds, hinted) = (self.engine, hold.as_secs(), hint.is_some());
            warn!(%engine, seconds, hinted, "the service refuses the rate of requests; this model's queue is held");
        }
        hold
    }

    fn answered(&self, kind: Call) {
        if self.state().gate.answered(Instant::now(), kind) {
            info!(engine = %self.engine, "the service takes requests again; this model's queue goes on");
            self.show_gate();
            self.changed.notify_waiters();
        }
    }

    fn show_gate(&self) {
        let held = i64::from(self.state().gate.is_closed());
        self.metrics.recognize_held.with_label_values(&[self.engine.as_str()]).set(held);
    }
}

/// Spaces what has a rate of its own: free calls (task queries and lists, upload policies), departures.
#[derive(Debug)]
pub(crate) struct Pace {
    pacer: Mutex<Pacer>,
    front: tokio::sync::Mutex<()>,
}

impl Pace {
    pub(crate) fn new(pacer: Pacer) -> Self {
        Pace { pacer: Mutex::new(pacer), front: tokio::sync::Mutex::new(()) }
    }

    /// Waits for room.
    async fn pass(&self) {
        let _front = self.front.lock().await;
        loop {
            let wait = self.pacer().wait(Instant::now());
            if wait.is_zero() {
                break;
            }
            tokio::time::sleep(wait).await;
        }
        self.pacer().take(Instant::now());
    }

    /// Makes a call when there is room for it. A 429 holds the next ones.
    pub(crate) async fn free<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.pass().await;
        let sent = Instant::now();
        let mut outcome = call.await;
        match &mut outcome {
            Ok(_) => self.pacer().succeeded(sent),
            Err(Error { verdict: Verdict::Throttled { hint, after }, .. }) => {
                *after = self.pacer().throttled(Instant::now(), sent, *hint);
            }
            Err(_) => {}
        }
        outcome
    }

    fn pacer(&self) -> MutexGuard<'_, Pacer> {
        self.pacer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// The engine whose queue it is from.
    pub fn engine(&self) -> Engine {
        self.queue.engine
    }

    /// Whether this request finds out if the account is good again.
    pub(crate) fn is_probe(&self) -> bool {
        self.probe
    }

    /// Waits until the request may leave, now that everything else is done. Steady turns do not wait here.
    pub(crate) async fn depart(&self) {
        loop {
            // A 429 that was heard since the turn was given holds it as well.
            let held = self.queue.state().pacer.held(Instant::now());
            if held.is_zero() {
                break;
            }
            tokio::time::sleep(held).await;
        }
        self.queue.departures.pass().await;
    }

    fn kind(&self) -> Call {
        if self.probe { Call::Probe } else { Call::Paid }
    }

    /// Lets the queue learn from the outcome, and the error from the queue: how long it is held, whether that is news.
    pub(crate) fn settle<T>(mut self, mut outcome: Result<T, Error>) -> Result<T, Error> {
        self.settled = true;
        if let Err(error) = &mut outcome {
            error.hold_if_misdirected();
        }
        let queue = Arc::clone(&self.queue);
        let word = outcome.as_ref().map_or_else(Error::outcome, |_| "ok");
        queue.metrics.recognize_requests.with_label_values(&[queue.engine.as_str(), word]).inc();
        match &mut outcome {
            Ok(_) => {
                queue.state().pacer.succeeded(self.taken);
                queue.answered(self.kind());
            }
            Err(error) => match &mut error.verdict {
                Verdict::Account { after, announce } => {
                    (*after, *announce) = queue.refused(self.taken, &error.fault.code, self.kind())
                }
                Verdict::Throttled { hint, after } => {
                    *after = queue.throttled(self.taken, *hint);
                    self.tell_nothing();
                }
                // Whoever was refused for the audio's sake was let in.
                Verdict::GiveUp if error.answered => queue.answered(self.kind()),
                _ => self.tell_nothing(),
            },
        }
        queue.changed.notify_waiters();
        outcome
    }

    /// As [`Turn::settle`], for a free call: it proves that the key is good, not that the account is.
    pub(crate) fn settle_free<T>(mut self, mut outcome: Result<T, Error>) -> Result<T, Error> {
        self.settled = true;
        if let Err(error) = &mut outcome {
            error.hold_if_misdirected();
        }
        match &mut outcome {
            Ok(_) if self.probe => self.queue.state().gate.pass_on(Instant::now()),
            Ok(_) => {}
            Err(error) => match &mut error.verdict {
                Verdict::Account { after, announce } => {
                    (*after, *announce) = self.queue.refused(self.taken, &error.fault.code, self.kind())
                }
                _ => self.tell_nothing(),
            },
        }
        self.queue.changed.notify_waiters();
        outcome
    }

    fn tell_nothing(&self) {
        if self.probe {
            self.queue.state().gate.told_nothing(Instant::now());
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.settled {
            self.tell_nothing();
            self.queue.changed.notify_waiters();
        }
    }
}
