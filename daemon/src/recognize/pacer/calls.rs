//! Paces calls that have a rate of their own: free calls (task queries and lists, upload policies), departures.

use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::rate::Rate;
use crate::recognize::error::{Error, When};

/// Calls that share a rate.
#[derive(Debug)]
pub(crate) struct Calls {
    rate: Mutex<Rate>,
    front: tokio::sync::Mutex<()>,
    /// Signals another rate.
    changed: Notify,
}

impl Calls {
    pub(crate) fn new(rate: Rate) -> Self {
        Calls { rate: Mutex::new(rate), front: tokio::sync::Mutex::new(()), changed: Notify::new() }
    }

    /// Takes the rate of another config over.
    pub(crate) fn reconfigure(&self, rate: &Rate) {
        self.rate.lock().reconfigure(rate, Instant::now());
        self.changed.notify_waiters();
    }

    /// Waits until the rate allows the next call.
    pub(super) async fn pass(&self) {
        let _front = self.front.lock().await;
        loop {
            let changed = self.changed.notified();
            let wait = self.rate.lock().wait(Instant::now());
            if wait.is_zero() {
                break;
            }
            let _ = tokio::time::timeout(wait, changed).await;
        }
        self.rate.lock().take(Instant::now());
    }

    /// Makes a call when the rate allows it. A 429 delays the next calls.
    pub(crate) async fn free<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.pass().await;
        let sent = Instant::now();
        let mut outcome = call.await;
        match &mut outcome {
            Ok(_) => self.rate.lock().succeeded(sent),
            Err(Error { when: When::Throttled { wait }, .. }) => {
                *wait = Some(self.rate.lock().throttled(Instant::now(), sent, *wait));
            }
            Err(_) => {}
        }
        outcome
    }
}
