//! The pacing of one recognizer: its queue, its rate, and whether the account is accepted. A paid request waits here for a [`Permit`], by
//! the priority of its source, then in the order of the calls; the pacer learns from its outcome.

mod access;
mod calls;
mod queue;
mod rate;

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::{info, warn};

pub(crate) use self::calls::Calls;
pub(crate) use self::rate::Rate;

use self::access::{Access, Call, Leave};
use self::queue::Queue;
use super::error::{Error, When};
use super::http::Key;
use crate::config::Priority;
use crate::job::Fate;
use crate::telemetry::OnceAMinute;
use crate::telemetry::metrics::Metrics;

/// A hold of at least this length is logged, because an operator may look for the reason.
const WORTH_A_WARNING: Duration = Duration::from_secs(30);

/// The pacing of one recognizer.
#[derive(Debug)]
pub struct Pacer {
    /// The recognizer's name.
    engine: String,
    state: Mutex<State>,
    /// Signals an outcome, after which the front of the queue may have to wait less long.
    changed: Notify,
    queue: Queue,
    /// The same spacing again at the moment of sending: permits that were delayed together (by the disk, by the bucket) are not used
    /// together.
    departures: Calls,
    /// Limits the warning about a long hold to one a minute.
    warned: OnceAMinute,
    metrics: Metrics,
    /// What authorizes its requests; `None`: they have no key.
    key: Option<Arc<Key>>,
}

#[derive(Debug)]
struct State {
    rate: Rate,
    access: Access,
    /// The last refusal that was news, for a person.
    refusal: String,
}

impl State {
    /// Asks whether a request may be sent; `paced`: it also waits for the rate.
    fn ask(&mut self, now: Instant, paced: bool) -> Leave {
        let pause = if paced { self.rate.wait(now) } else { Duration::ZERO };
        if !pause.is_zero() {
            return Leave::Wait(pause);
        }
        let leave = self.access.ask(now);
        if paced && !matches!(leave, Leave::Wait(_)) {
            self.rate.take(now);
        }
        leave
    }
}

/// Permission to send one request. The pacer learns from its outcome; a permit that is dropped unused has no effect.
#[derive(Debug)]
#[must_use = "a permit that is not used delays the next request"]
pub struct Permit {
    pacer: Arc<Pacer>,
    granted: Instant,
    /// The queue waits for what this request proves of the account.
    probe: bool,
}

impl Pacer {
    pub(crate) fn new(engine: &str, rate: Rate, key: Option<Arc<Key>>, metrics: Metrics) -> Arc<Self> {
        // It appears with the recognizer; one before it may have set it.
        metrics.recognize_held.with_label_values(&[engine]).add(0);
        Arc::new(Pacer {
            engine: engine.to_owned(),
            departures: Calls::new(rate.clone()),
            state: Mutex::new(State { rate, access: Access::default(), refusal: String::new() }),
            changed: Notify::new(),
            queue: Queue::default(),
            warned: OnceAMinute::default(),
            metrics,
            key,
        })
    }

    /// Takes the rate of another config over.
    pub(crate) fn reconfigure(&self, rate: &Rate) {
        self.state.lock().rate.reconfigure(rate, Instant::now());
        self.departures.reconfigure(rate);
        self.changed.notify_waiters();
    }

    /// Sends a probe at once if the account is refused: the operator may have changed the key.
    pub(crate) fn probe_now(&self) {
        self.state.lock().access.probe_now(Instant::now());
        self.changed.notify_waiters();
    }

    /// Waits until a request may be sent.
    pub(crate) async fn permit(self: &Arc<Self>, priority: Priority) -> Permit {
        self.show_access();
        let place = self.queue.enter(priority);
        loop {
            place.first().await;
            let changed = self.changed.notified();
            match self.ask(true) {
                Ok(permit) => {
                    place.served();
                    return self.with_newest_key(permit).await;
                }
                // Meanwhile a request of a higher priority may arrive.
                Err(wait) => tokio::time::timeout(wait, changed).await.unwrap_or_default(),
            }
        }
    }

    /// Permission for a free call that precedes the paid one: waits for the account, not for the rate.
    pub(crate) async fn admission(self: &Arc<Self>) -> Permit {
        loop {
            let changed = self.changed.notified();
            match self.ask(false) {
                Ok(permit) => return self.with_newest_key(permit).await,
                Err(wait) => tokio::time::timeout(wait, changed).await.unwrap_or_default(),
            }
        }
    }

    /// Reads the key's file again before a request that probes whether the account is accepted again.
    async fn with_newest_key(&self, permit: Permit) -> Permit {
        if let Some(key) = self.key.as_ref().filter(|_| permit.probe) {
            key.reread().await;
        }
        permit
    }

    /// A permit, or how long to wait before asking again, unless the pacer learns something earlier.
    fn ask(self: &Arc<Self>, paced: bool) -> Result<Permit, Duration> {
        let now = Instant::now();
        match self.state.lock().ask(now, paced) {
            Leave::Wait(wait) => Err(wait),
            leave => Ok(Permit { pacer: Arc::clone(self), granted: now, probe: leave == Leave::Probe }),
        }
    }

    /// Learns about the account from a free call outside the queue that was sent at `sent`.
    pub(crate) fn learn<T>(&self, sent: Instant, outcome: &mut Result<T, Error>) {
        match outcome {
            Ok(_) => self.answered(Call::Free),
            Err(error) => {
                self.refused(sent, error, Call::Free);
            }
        }
    }

    /// Whether an error refuses the account; sets in such an error how long the queue is held and whether that is news.
    fn refused(&self, sent: Instant, error: &mut Error, call: Call) -> bool {
        let When::Held { wait, announce } = &mut error.when else { return false };
        let (code, message) = (&error.fault.code, &error.fault.message);
        {
            let mut state = self.state.lock();
            (*wait, *announce) = state.access.refused(Instant::now(), sent, code, call);
            if *announce {
                state.refusal = format!("{code}: {message}");
            }
        }
        if *announce {
            warn!(
                engine = self.engine,
                code,
                "the recognizer takes no requests (account, address, or a server that is away); its queue is held and probed"
            );
        }
        self.show_access();
        true
    }

    fn throttled(&self, sent: Instant, hint: Option<Duration>) -> Duration {
        let hold = self.state.lock().rate.throttled(Instant::now(), sent, hint);
        if hold >= WORTH_A_WARNING && self.warned.is_time() {
            let (engine, seconds, hinted) = (&self.engine, hold.as_secs(), hint.is_some());
            warn!(
                engine,
                seconds, hinted, "the service refuses the rate of requests; the recognizer's queue is held"
            );
        }
        hold
    }

    fn answered(&self, call: Call) {
        if self.state.lock().access.answered(Instant::now(), call) {
            info!(engine = self.engine, "the recognizer takes requests again; its queue resumes");
            self.show_access();
            self.changed.notify_waiters();
        }
    }

    /// Why the queue is held; `None`: it is not.
    pub(crate) fn held(&self) -> Option<String> {
        let state = self.state.lock();
        state.access.is_closed().then(|| state.refusal.clone())
    }

    fn show_access(&self) {
        let held = i64::from(self.state.lock().access.is_closed());
        self.metrics.recognize_held.with_label_values(&[&self.engine]).set(held);
    }
}

impl Permit {
    /// Waits until the request may be sent, when everything else is prepared. Evenly spaced permits do not wait here.
    pub async fn depart(&self) {
        loop {
            // A 429 that arrived since the permit was given delays the request as well.
            let held = self.pacer.state.lock().rate.held(Instant::now());
            if held.is_zero() {
                break;
            }
            tokio::time::sleep(held).await;
        }
        self.pacer.departures.pass().await;
    }

    /// The pacer learns from the outcome, and sets in the error how long the queue is held and whether that is news.
    pub(crate) fn settle<T>(mut self, mut outcome: Result<T, Error>) -> Result<T, Error> {
        let label = outcome.as_ref().map_or_else(Error::outcome, |_| "ok");
        self.pacer.metrics.recognize_requests.with_label_values(&[&self.pacer.engine, label]).inc();
        match &mut outcome {
            Ok(_) => {
                self.pacer.state.lock().rate.succeeded(self.granted);
                self.accepted();
            }
            // The account was good enough for a request that was refused because of its audio.
            Err(Error { when: When::Never, fate: Fate::Refused, .. }) => self.accepted(),
            Err(Error { when: When::Throttled { wait }, .. }) => {
                *wait = Some(self.pacer.throttled(self.granted, *wait));
            }
            Err(error) => self.refused(error),
        }
        outcome
    }

    /// As [`Permit::settle`], for a free call: an answer proves that the key is good, not that the account is.
    pub(crate) fn settle_free<T>(mut self, mut outcome: Result<T, Error>) -> Result<T, Error> {
        match &mut outcome {
            Ok(_) if std::mem::take(&mut self.probe) => {
                self.pacer.state.lock().access.key_accepted(Instant::now());
            }
            Ok(_) => {}
            Err(error) => self.refused(error),
        }
        outcome
    }

    fn accepted(&mut self) {
        let probe = std::mem::take(&mut self.probe);
        self.pacer.answered(if probe { Call::Probe } else { Call::Paid });
    }

    fn refused(&mut self, error: &mut Error) {
        let call = if self.probe { Call::Probe } else { Call::Paid };
        if self.pacer.refused(self.granted, error, call) {
            self.probe = false;
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.probe {
            self.pacer.state.lock().access.proved_nothing(Instant::now());
        }
        self.pacer.changed.notify_waiters();
    }
}
