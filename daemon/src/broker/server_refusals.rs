//! What the server refuses: the connection itself, or requests on it. The server does not answer a request that the user has no right to
//! make; it only sends an error on the connection, which names the subject.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{Receiver, Sender};

use super::right::Right;
use crate::telemetry::OnceAMinute;

/// The number of different refusals that are remembered; rights are few.
const MOST_LOGGED: usize = 256;

/// Refusals of one connection. Clones share them.
#[derive(Debug, Clone)]
pub struct ServerRefusals(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    prefix: String,
    texts: Sender<String>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Why there is no connection.
    failure: Option<String>,
    /// The client subscribes to answers once on each connection; if the server refuses that, no request will be answered. Since when, and
    /// the server's error text.
    unanswerable: Option<(Instant, String)>,
    /// Each different refusal, by the right that is missing or else by the server's text.
    logged: HashMap<String, OnceAMinute>,
}

/// The server's refusal of a request, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(String);

/// Why a request has no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("{0}")]
    NoAnswer(String),
}

impl ServerRefusals {
    /// `prefix` is `nats.subject_prefix`.
    pub fn new(prefix: &str) -> Self {
        // A listener that lags misses refusals; its request then waits for its own timeout.
        let shared = Shared { prefix: prefix.to_owned(), texts: Sender::new(1024), state: Mutex::default() };
        ServerRefusals(Arc::new(shared))
    }

    /// Reports a connection, on which nothing was refused so far.
    pub(super) fn connected(&self) {
        let mut state = self.0.state.lock();
        (state.failure, state.unanswerable) = (None, None);
    }

    /// Reports that there is no connection, and why.
    pub(super) fn failed(&self, reason: &str) {
        self.0.state.lock().failure = Some(reason.to_owned());
    }

    /// How long the server has not let this connection subscribe to answers, so that no request could be answered. A right that was granted
    /// meanwhile takes effect on the next connection only.
    pub fn unanswerable_for(&self) -> Option<Duration> {
        self.0.state.lock().unanswerable.as_ref().map(|(since, _)| since.elapsed())
    }

    /// Why there is no connection, as far as is known.
    pub fn failure(&self) -> String {
        self.0
            .state
            .lock()
            .failure
            .clone()
            .unwrap_or_else(|| "the connection is lost; reconnecting".to_owned())
    }

    /// Receives the text of a refusal. If it is time to log it, returns the missing right, if that is the reason, and how often it came since
    /// it was logged last.
    pub(super) fn receive(&self, text: &str) -> Option<(Option<String>, u64)> {
        // There may be no listener.
        let _ = self.0.texts.send(text.to_owned());
        let right = Right::named_in(text, &self.0.prefix);
        let mut state = self.0.state.lock();
        if right.as_ref().is_some_and(Right::is_to_hear_answers) {
            state.unanswerable = Some((Instant::now(), text.to_owned()));
        }
        let right = right.map(|right| right.to_string());
        if state.logged.len() >= MOST_LOGGED {
            state.logged.clear();
        }
        let times =
            state.logged.entry(right.clone().unwrap_or_else(|| text.to_owned())).or_default().count()?;
        Some((right, times))
    }

    /// Subscribes to the server's refusals from now on.
    pub fn listen(&self) -> Refusals {
        Refusals { all: self.clone(), texts: self.0.texts.subscribe() }
    }

    /// The result of a request, or its refusal. `named`: parts of the request's subjects, by which its refusal is recognized.
    ///
    /// # Errors
    /// The server's refusal, as soon as it arrives: the request alone would wait for its timeout.
    pub fn unless_refused<T>(
        &self,
        named: &[&str],
        request: impl Future<Output = T>,
    ) -> impl Future<Output = Result<T, Refused>> {
        // The client's request futures are large and deeply nested: each future that waits for one unboxed has room for it, so that they would
        // overflow a thread's stack. An async function would have room for its argument too.
        let request = Box::pin(request);
        async move {
            let mut refusals = self.listen();
            tokio::select! {
                biased;
                outcome = request => Ok(outcome),
                refused = refusals.naming(named) => Err(refused),
            }
        }
    }

    fn explain(&self, words: &str) -> Refused {
        let words = words.strip_prefix("nats: ").unwrap_or(words);
        Refused(match Right::named_in(words, &self.0.prefix) {
            Some(right) => format!("the nats-server says: {words}; give this NATS user the right to {right}"),
            None => format!("the nats-server says: {words}"),
        })
    }
}

/// Refusals since a request was made.
#[derive(Debug)]
pub struct Refusals {
    all: ServerRefusals,
    texts: Receiver<String>,
}

impl Refusals {
    /// Waits for a refusal that names one of these subjects, or that concerns every request.
    pub async fn naming(&mut self, named: &[&str]) -> Refused {
        loop {
            let unanswerable = self.all.0.state.lock().unanswerable.clone();
            if let Some((_, words)) = unanswerable {
                return self.all.explain(&words);
            }
            match self.texts.recv().await {
                Ok(words) if named.iter().any(|name| words.contains(name)) => {
                    return self.all.explain(&words);
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &str = "nats: Permissions Violation for Publish to \"$JS.API.STREAM.INFO.HARK_EVENTS\"";

    #[tokio::test]
    async fn a_request_ends_with_the_refusal_that_names_it_and_with_no_other() {
        let refusals = ServerRefusals::new("hark");
        let request = async {
            refusals.receive("nats: Permissions Violation for Publish to \"hark.event.x\"");
            refusals.receive(WORDS);
            std::future::pending::<()>().await;
        };
        let refused = refusals.unless_refused(&[".STREAM.INFO.HARK_EVENTS\""], request).await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the nats-server says: Permissions Violation for Publish to \"$JS.API.STREAM.INFO.HARK_EVENTS\"; give this NATS user the right \
             to publish to $JS.API.STREAM.INFO.HARK_EVENTS"
        );
        assert_eq!(refusals.unless_refused(&["HARK_EVENTS"], async { 7 }).await, Ok(7), "it is over");
    }

    #[tokio::test]
    async fn without_answers_no_request_is_waited_for_on_this_connection() {
        let refusals = ServerRefusals::new("hark");
        refusals.receive("nats: Permissions Violation for Subscription to \"_INBOX.abc.*\"");
        let waiting = std::future::pending::<()>();
        let refused = refusals.unless_refused(&["HARK_EVENTS"], waiting).await.unwrap_err();
        assert!(refused.to_string().ends_with("the right to subscribe to _INBOX.>"), "{refused}");
        refusals.connected();
        assert_eq!(refusals.unless_refused(&["HARK_EVENTS"], async {}).await, Ok(()));
    }

    #[test]
    fn a_refusal_that_comes_again_and_again_is_logged_once() {
        let refusals = ServerRefusals::new("hark");
        let of = |job: u32| {
            format!("nats: Permissions Violation for Publish to \"hark.event.job.failed.calls.{job}\"")
        };
        let right = Some("publish to hark.event.>".to_owned());
        assert_eq!(refusals.receive(&of(1)), Some((right, 1)));
        assert_eq!((2..100).filter_map(|job| refusals.receive(&of(job))).count(), 0);
        assert!(refusals.receive(WORDS).is_some());
    }
}
