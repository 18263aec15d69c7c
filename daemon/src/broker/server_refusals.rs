//! What the server refuses: the connection itself, or requests on it. A request without the right to make it is not answered; all that comes
//! is the server's word on the connection, which names the subject.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{Receiver, Sender};

use super::right::Right;

/// How often a refusal is logged that comes again and again.
const REMINDER: Duration = Duration::from_secs(60);

/// Refusals that are known apart; rights are few.
const MOST_LOGGED: usize = 256;

/// Refusals of one connection. Clones share them.
#[derive(Debug, Clone)]
pub struct ServerRefusals(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    prefix: String,
    heard: Sender<String>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Why there is no connection.
    failure: Option<String>,
    /// The client asked for answers, which it does once on a connection, and was refused: no request will be answered. Since when, and the
    /// server's words.
    unanswerable: Option<(Instant, String)>,
    /// When each refusal was logged, and how often it came since.
    logged: HashMap<String, Logged>,
}

#[derive(Debug, Default)]
struct Logged {
    at: Option<Instant>,
    times: u32,
}

/// The server's refusal of a request, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(String);

/// What is to be logged of a refusal.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct News {
    /// The right that is missing, if that is why.
    pub right: Option<String>,
    /// How often it came since it was logged last.
    pub times: u32,
}

impl ServerRefusals {
    /// With `nats.subject_prefix`.
    pub fn new(prefix: &str) -> Self {
        // A listener that misses some finds out by waiting in vain.
        let shared = Shared { prefix: prefix.to_owned(), heard: Sender::new(1024), state: Mutex::default() };
        ServerRefusals(Arc::new(shared))
    }

    /// There is a connection, on which nothing was refused so far.
    pub(super) fn connected(&self) {
        let mut state = self.state();
        (state.failure, state.unanswerable) = (None, None);
    }

    /// There is no connection, for this reason.
    pub(super) fn failed(&self, reason: &str) {
        self.state().failure = Some(reason.to_owned());
    }

    /// How long no request can be answered on this connection. A right that was granted since helps with the next one only.
    pub fn unanswerable_for(&self) -> Option<Duration> {
        self.state().unanswerable.as_ref().map(|(since, _)| since.elapsed())
    }

    /// Why there is no connection, as far as is known.
    pub fn failure(&self) -> String {
        self.state().failure.clone().unwrap_or_else(|| "the connection is lost; reconnecting".to_owned())
    }

    /// The server refuses something in these words. Returns what to log of it, if it is time.
    pub(super) fn heard(&self, words: &str) -> Option<News> {
        // There may be no listener.
        let _ = self.0.heard.send(words.to_owned());
        let right = Right::named_in(words, &self.0.prefix);
        let mut state = self.state();
        if right.as_ref().is_some_and(Right::is_to_hear_answers) {
            state.unanswerable = Some((Instant::now(), words.to_owned()));
        }
        let right = right.map(|right| right.to_string());
        if state.logged.len() >= MOST_LOGGED {
            state.logged.clear();
        }
        let logged = state.logged.entry(right.clone().unwrap_or_else(|| words.to_owned())).or_default();
        logged.times += 1;
        if logged.at.is_some_and(|at| at.elapsed() < REMINDER) {
            return None;
        }
        logged.at = Some(Instant::now());
        Some(News { right, times: std::mem::take(&mut logged.times) })
    }

    /// The server's refusals from now on.
    pub fn listen(&self) -> Refusals {
        Refusals { all: self.clone(), heard: self.0.heard.subscribe() }
    }

    /// What a request comes to. `named`: parts of the request's subjects, by which a refusal is known to be its own.
    ///
    /// # Errors
    /// The server's refusal, as soon as it comes: the request itself would wait for its time to be over.
    pub async fn unless_refused<T>(
        &self,
        named: &[&str],
        request: impl Future<Output = T>,
    ) -> Result<T, Refused> {
        let mut refusals = self.listen();
        // The client's requests are large, and stand in the middle of long ways: inside their futures they would fill a thread's stack.
        let request = Box::pin(request);
        tokio::select! {
            biased;
            outcome = request => Ok(outcome),
            refused = refusals.naming(named) => Err(refused),
        }
    }

    fn explain(&self, words: &str) -> Refused {
        let words = words.strip_prefix("nats: ").unwrap_or(words);
        Refused(match Right::named_in(words, &self.0.prefix) {
            Some(right) => format!("the nats-server says: {words}; give this NATS user the right to {right}"),
            None => format!("the nats-server says: {words}"),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is complete before the lock goes.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refusals since a request was made.
#[derive(Debug)]
pub struct Refusals {
    all: ServerRefusals,
    heard: Receiver<String>,
}

impl Refusals {
    /// Waits for a refusal that names one of these, or that concerns every request.
    pub async fn naming(&mut self, named: &[&str]) -> Refused {
        loop {
            let unanswerable = self.all.state().unanswerable.clone();
            if let Some((_, words)) = unanswerable {
                return self.all.explain(&words);
            }
            match self.heard.recv().await {
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
            refusals.heard("nats: Permissions Violation for Publish to \"hark.event.x\"");
            refusals.heard(WORDS);
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
        refusals.heard("nats: Permissions Violation for Subscription to \"_INBOX.abc.*\"");
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
        assert_eq!(refusals.heard(&of(1)), Some(News { right, times: 1 }));
        assert_eq!((2..100).filter_map(|job| refusals.heard(&of(job))).count(), 0);
        assert!(refusals.heard(WORDS).is_some());
    }
}
