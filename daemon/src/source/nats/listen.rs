//! Requests messages and takes them in, for as long as the source runs.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::PullConsumer;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::pull::next_message;
use super::{NotNow, SourceError, Subject, message};
use crate::broker::stream::{StreamError, until_it_works};
use crate::job::ledger::LedgerError;
use crate::source::{Watching, set_state};
use crate::telemetry::OnceAMinute;

/// Interval of the check whether the connection is still the one over which a message was requested.
const RECONNECT_CHECK_INTERVAL: Duration = Duration::from_millis(200);

impl Subject {
    /// Takes messages in until `retire`. After any error the consumer is looked up again, and created again if it is absent.
    pub(super) async fn take_messages(
        &self,
        watching: &Watching,
        retire: &CancellationToken,
    ) -> Result<(), SourceError> {
        // If the stream does not capture the subject at first, the config is wrong, and the source ends. If the stream did before, the
        // source waits until it does again.
        let mut has_listened = false;
        let mut connection = self.connection();
        let refusals = OnceAMinute::default();
        let what = format!("source {}", self.name);
        loop {
            // The source reports an error as well if the consumer exists and refuses every request.
            let report = |outcome: Result<(), String>| {
                set_state(watching, outcome.and_then(|()| self.health.state()));
            };
            let consumer = until_it_works(&what, report, || async {
                match self.consumer().await {
                    Err(error @ SourceError::Stream(StreamError::DoesNotCapture { .. })) if !has_listened => {
                        Ok(Err(error))
                    }
                    Err(error) => Err(error),
                    Ok(consumer) => {
                        // Before the source reports that it is ready: a producer may upload at once.
                        if !has_listened {
                            self.make_uploads().await;
                        }
                        Ok(Ok(consumer))
                    }
                }
            });
            let Some(consumer) = retire.run_until_cancelled(consumer).await else { return Ok(()) };
            let consumer = consumer?;
            if !has_listened {
                let (config, stream) = (self.config(), &self.stream.name);
                info!(source = self.name, subject = config.subject, stream, "listening");
            }
            has_listened = true;
            // After any error the consumer is looked up again.
            let Some(reason) = self.take_while_accepted(&consumer, watching, &mut connection, retire).await?
            else {
                return Ok(());
            };
            if refusals.is_time() {
                warn!(
                    source = self.name,
                    reason, "requesting messages failed; the consumer is looked up again"
                );
            }
            let pause = tokio::time::sleep(self.health.refused(&reason));
            if retire.run_until_cancelled(pause).await.is_none() {
                return Ok(());
            }
        }
    }

    /// Takes messages in until a request fails, and returns the reason; or until `retire`, and returns none. `connection`: the connection on
    /// which the daemon last looked for unreadable messages.
    async fn take_while_accepted(
        &self,
        consumer: &PullConsumer,
        watching: &Watching,
        connection: &mut u64,
        retire: &CancellationToken,
    ) -> Result<Option<String>, LedgerError> {
        let mut has_removed_kept = false;
        loop {
            if self.is_moved.swap(false, Ordering::Relaxed) {
                return Ok(Some("the config has another subject".to_owned()));
            }
            tokio::select! {
                biased;
                () = retire.cancelled() => return Ok(None),
                () = async { self.handles.ledger.admitted().await; self.switch.running().await } => {}
            }
            let now = self.connection();
            if std::mem::replace(connection, now) != now {
                has_removed_kept = false;
                self.unless_silent(self.answer_unreadable(consumer, watching).await)?;
            }
            tokio::select! {
                biased;
                () = retire.cancelled() => return Ok(None),
                () = self.held.slot(|| self.terms().slots) => {}
            }
            let asked_at = Instant::now();
            let next = tokio::select! {
                biased;
                next = next_message(consumer, &self.handles.jetstream) => next,
                // The request ended with the old connection, and a message may have been lost with it.
                () = self.reconnected(now) => continue,
            };
            match next {
                Ok(Some(message)) if self.switch.is_paused() || retire.is_cancelled() => {
                    self.health.accepted();
                    // It was asked for before the pause, or before a reload removed the source: another daemon may have it, or this one later.
                    if let Err(error) = message.ack_with(AckKind::Nak(None)).await {
                        debug!(source = self.name, error, "a message is redelivered later");
                    }
                }
                Ok(Some(message)) => {
                    self.health.accepted();
                    let read = message::read(message.headers.as_ref(), &message.payload);
                    let taken = self.take(message, read, asked_at, watching).await;
                    self.health.taken(match taken {
                        Err(NotNow::Ledger(error)) => return Err(error),
                        taken => taken.map_err(|error| error.to_string()),
                    });
                }
                Ok(None) => {
                    self.health.accepted();
                    // Once for each connection: only a restart of the server leaves such messages.
                    if !has_removed_kept {
                        let removed = self.unless_silent(self.remove_kept(consumer).await)?;
                        has_removed_kept = removed == Some(true);
                    }
                }
                Err(reason) => return Ok(Some(reason)),
            }
            set_state(watching, self.health.state());
        }
    }

    /// What a search of the stream has found; `None`: the server does not answer, and the search is made again later.
    fn unless_silent<T>(&self, found: Result<T, NotNow>) -> Result<Option<T>, LedgerError> {
        match found {
            Ok(found) => Ok(Some(found)),
            Err(NotNow::Broker(reason)) => {
                debug!(source = self.name, reason, "the stream cannot be searched for messages now");
                Ok(None)
            }
            Err(NotNow::Ledger(error)) => Err(error),
        }
    }

    /// Waits until the client has another connection than this one.
    async fn reconnected(&self, connection: u64) {
        while self.connection() == connection {
            tokio::time::sleep(RECONNECT_CHECK_INTERVAL).await;
        }
    }

    /// The number of connections that the client has made: identifies the current one.
    fn connection(&self) -> u64 {
        self.handles.jetstream.client().statistics().connects.load(Ordering::Relaxed)
    }
}
