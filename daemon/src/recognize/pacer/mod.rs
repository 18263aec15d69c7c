//! The pacing of one recognizer: its queue, its rate, and whether the account is accepted. A paid request waits here for a [`Permit`], in
//! the order of the calls; the pacer learns from its outcome.

mod access;
mod calls;
mod rate;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tracing::{info, warn};

pub(crate) use self::calls::Calls;
pub(crate) use self::rate::Rate;

use self::access::{Access, Call, Leave};
use super::error::{Error, When};
use crate::job::Fate;
use crate::telemetry::OnceAMinute;
use crate::telemetry::metrics::Metrics;

/// A hold of at least this length is logged, because an operator may look for the reason.
const WORTH_TELLING: Duration = Duration::from_secs(30);

/// The pacing of one recognizer.
#[derive(Debug)]
pub(crate) struct Pacer {
    /// The recognizer's name.
    engine: String,
    state: Mutex<State>,
    /// Signals a report, after which the front of the queue may have to wait less long.
    changed: Notify,
    /// The front of the queue: fair, and a waiter that is dropped passes its place on.
    front: tokio::sync::Mutex<()>,
    /// The same spacing again at the moment of sending: permits that were delayed together (by the disk, by the bucket) are not used
    /// together.
    departures: Calls,
    /// Limits the warning about a long hold to one a minute.
    told: OnceAMinute,
    metrics: Metrics,
}

#[derive(Debug)]
struct State {
    rate: Rate,
    access: Access,
}

/// Permission to send one request. The pacer learns from its outcome; a permit that is dropped unused has no effect.
#[derive(Debug)]
#[must_use = "a permit that is not used delays the next request"]
pub struct Permit {
    pacer: Arc<Pacer>,
    taken: Instant,
    probe: bool,
    settled: bool,
}

impl Pacer {
    pub(crate) fn new(engine: &str, rate: Rate, metrics: Metrics) -> Arc<Self> {
        metrics.recognize_held.with_label_values(&[engine]).set(0);
        Arc::new(Pacer {
            engine: engine.to_owned(),
            departures: Calls::new(rate.clone()),
            state: Mutex::new(State { rate, access: Access::default() }),
            changed: Notify::new(),
            front: tokio::sync::Mutex::new(()),
            told: OnceAMinute::default(),
            metrics,
        })
    }

    /// Waits until a request may be sent.
    pub(crate) async fn permit(self: &Arc<Self>) -> Permit {
        let _front = self.front.lock().await;
        self.pass(true).await
    }

    /// Permission for a free call that precedes the paid one: waits for the account, not for the rate.
    pub(crate) async fn admission(self: &Arc<Self>) -> Permit {
        self.pass(false).await
    }

    async fn pass(self: &Arc<Self>, paced: bool) -> Permit {
        loop {
            let changed = self.changed.notified();
            let wait = {
                let now = Instant::now();
                let mut state = self.state();
                let pause = if paced { state.rate.wait(now) } else { Duration::ZERO };
                let leave = if pause.is_zero() { state.access.ask(now) } else { Leave::Wait(Some(pause)) };
                match leave {
                    Leave::Go | Leave::Probe => {
                        if paced {
                            state.rate.take(now);
                        }
                        let probe = leave == Leave::Probe;
                        return Permit { pacer: Arc::clone(self), taken: now, probe, settled: false };
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

    /// Learns about the account from a free call outside the queue that was sent at `sent`.
    pub(crate) fn learn<T>(&self, sent: Instant, outcome: &mut Result<T, Error>) {
        match outcome {
            Ok(_) => self.answered(Call::Free),
            Err(error) => self.refused(sent, error, Call::Free),
        }
    }

    /// Learns from a task that failed because of the account: no free call can prove that the account is good again.
    pub(crate) fn learn_from_task(&self, error: &mut Error) {
        self.refused(Instant::now(), error, Call::Paid);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is complete before the lock is released; a panic elsewhere leaves the state usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records an error that may concern the account, and sets in the error how long the queue is held and whether that is news.
    fn refused(&self, sent: Instant, error: &mut Error, call: Call) {
        let When::Held { wait, announce } = &mut error.when else { return };
        let code = &error.fault.code;
        (*wait, *announce) = self.state().access.refused(Instant::now(), sent, code, call);
        if *announce {
            warn!(
                engine = self.engine,
                code, "the account is refused; the recognizer's queue is held and probed"
            );
        }
        self.show_access();
    }

    fn throttled(&self, sent: Instant, hint: Option<Duration>) -> Duration {
        let hold = self.state().rate.throttled(Instant::now(), sent, hint);
        if hold >= WORTH_TELLING && self.told.is_time() {
            let (engine, seconds, hinted) = (&self.engine, hold.as_secs(), hint.is_some());
            warn!(
                engine,
                seconds, hinted, "the service refuses the rate of requests; the recognizer's queue is held"
            );
        }
        hold
    }

    fn answered(&self, call: Call) {
        if self.state().access.answered(Instant::now(), call) {
            info!(engine = self.engine, "the account is accepted again; the recognizer's queue resumes");
            self.show_access();
            self.changed.notify_waiters();
        }
    }

    fn show_access(&self) {
        let held = i64::from(self.state().access.is_closed());
        self.metrics.recognize_held.with_label_values(&[&self.engine]).set(held);
    }
}

impl Permit {
    /// Whether this request probes if the account is good again.
    pub(crate) fn is_probe(&self) -> bool {
        self.probe
    }

    /// Waits until the request may be sent, when everything else is prepared. Evenly spaced permits do not wait here.
    pub async fn depart(&self) {
        loop {
            // A 429 that arrived since the permit was given delays the request as well.
            let held = self.pacer.state().rate.held(Instant::now());
            if held.is_zero() {
                break;
            }
            tokio::time::sleep(held).await;
        }
        self.pacer.departures.pass().await;
    }

    fn call(&self) -> Call {
        if self.probe { Call::Probe } else { Call::Paid }
    }

    /// The pacer learns from the outcome, and sets in the error how long the queue is held and whether that is news.
    pub(crate) fn settle<T>(mut self, mut outcome: Result<T, Error>) -> Result<T, Error> {
        self.settled = true;
        let pacer = Arc::clone(&self.pacer);
        let word = outcome.as_ref().map_or_else(Error::outcome, |_| "ok");
        pacer.metrics.recognize_requests.with_label_values(&[&pacer.engine, word]).inc();
        match &mut outcome {
            Ok(_) => {
                pacer.state().rate.succeeded(self.taken);
                pacer.answered(self.call());
            }
            Err(error) => {
                pacer.refused(self.taken, error, self.call());
                match &mut error.when {
                    When::Held { .. } => {}
                    When::Throttled { wait } => {
                        *wait = Some(pacer.throttled(self.taken, *wait));
                        self.tell_nothing();
                    }
                    // The account was good enough for a request that was refused because of its audio.
                    When::Never if error.fate == Fate::Refused => pacer.answered(self.call()),
                    _ => self.tell_nothing(),
                }
            }
        }
        pacer.changed.notify_waiters();
        outcome
    }

    /// As [`Permit::settle`], for a free call: an answer proves that the key is good, not that the account is.
    pub(crate) fn settle_free<T>(mut self, mut outcome: Result<T, Error>) -> Result<T, Error> {
        self.settled = true;
        match &mut outcome {
            Ok(_) if self.probe => self.pacer.state().access.pass_on(Instant::now()),
            Ok(_) => {}
            Err(error @ Error { when: When::Held { .. }, .. }) => {
                self.pacer.refused(self.taken, error, self.call());
            }
            Err(_) => self.tell_nothing(),
        }
        self.pacer.changed.notify_waiters();
        outcome
    }

    fn tell_nothing(&self) {
        if self.probe {
            self.pacer.state().access.told_nothing(Instant::now());
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.settled {
            self.tell_nothing();
            self.pacer.changed.notify_waiters();
        }
    }
}
