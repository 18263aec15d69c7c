//! Requests messages and takes them in, for as long as the source runs.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::PullConsumer;
use tracing::{info, warn};

use super::flow::Flow;
use super::intake::NotTaken;
use super::message;
use super::pull::Pull;
use super::{SourceError, Subject, Watching};
use crate::broker::stream::{StreamError, until_it_works};
use crate::job::ledger::LedgerError;

/// Bytes asked for at a time: payloads are in memory until they are spooled. A request asks for more if the server accepts a message that
/// is larger than this.
const BATCH_BYTES: usize = 32 << 20;

/// How the server ends a batch whose bytes are used up.
const BATCH_IS_FULL: &str = "Message Size Exceeds MaxBytes";

/// Allowance for what the server counts besides the payload: subject, reply subject and headers. Hark's are far smaller.
const MESSAGE_OVERHEAD: usize = 1 << 20;

/// Interval of the check whether the connection is still the one over which the messages were requested.
const RECONNECT_CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// What a request asked for, and over which connection.
#[derive(Debug, Clone, Copy)]
struct Asked {
    bytes: usize,
    connection: u64,
}

/// What a request brought.
enum Brought {
    Nothing,
    /// Messages; or the connection ended, and messages may have been lost with it.
    Something,
    /// The server's error text. The consumer is looked up again.
    Trouble(String),
}

impl Subject {
    /// Takes messages in. After any error the consumer is looked up again, and created again if it is absent.
    pub(super) async fn take_messages(&self, watching: &Watching) -> Result<(), SourceError> {
        // If the stream does not capture the subject at first, the config is wrong, and the source ends. If the stream did before, the
        // source waits until it does again.
        let mut has_listened = false;
        let mut flow = Flow::new(self.ack_wait);
        loop {
            // The source reports an error as well if the consumer exists and refuses every request.
            let state = self.state(&mut flow);
            let report =
                |outcome: Result<(), String>| set_state(watching, outcome.and_then(|()| state.clone()));
            let what = format!("source {}", self.config.name);
            let consumer = until_it_works(&what, report, || async {
                match self.consumer().await {
                    Err(SourceError::Stream(StreamError::DoesNotCapture { name, subject }))
                        if !has_listened =>
                    {
                        Ok(Err(SourceError::Stream(StreamError::DoesNotCapture { name, subject })))
                    }
                    Err(error) => Err(error),
                    Ok(consumer) => Ok(Ok(consumer)),
                }
            })
            .await?;
            if flow.is_heard() {
                info!(
                    source = self.config.name,
                    subject = self.config.subject,
                    stream = self.stream.name,
                    "listening"
                );
            }
            has_listened = true;
            // After any error the consumer is looked up again (RELIABILITY 1).
            let trouble = self.drain(&consumer, watching, &mut flow).await?;
            if flow.refused(&trouble) {
                warn!(
                    source = self.config.name,
                    reason = trouble,
                    "requesting messages failed; the consumer is looked up again"
                );
            }
            tokio::time::sleep(flow.pause()).await;
        }
    }

    /// Takes messages in until a request fails; returns the reason.
    async fn drain(
        &self,
        consumer: &PullConsumer,
        watching: &Watching,
        flow: &mut Flow,
    ) -> Result<String, LedgerError> {
        let mut looked_through = 0;
        loop {
            self.ledger.admitted().await;
            if flow.suspicion() {
                self.answer_unreadable(consumer, watching).await?;
            }
            let free = self.held.free(self.slots).await;
            let room = usize::try_from(self.ledger.left()).unwrap_or(BATCH_BYTES).min(BATCH_BYTES);
            // The server would never deliver a message that is larger than the byte limit of its request.
            let largest = self.jetstream.client().server_info().max_payload + MESSAGE_OVERHEAD;
            let asked = Asked { bytes: flow.bytes(room.max(largest)), connection: self.connection() };
            let messages = free.min(flow.at_a_time());
            let pull = Pull::ask(consumer, &self.jetstream, messages, asked.bytes);
            let pull = match pull.await {
                Ok(pull) => pull,
                Err(reason) => return Ok(reason),
            };
            let is_quiet = match self.take_all(pull, asked, watching, flow).await? {
                Brought::Nothing => true,
                Brought::Something => false,
                Brought::Trouble(reason) => {
                    flow.suspect();
                    return Ok(reason);
                }
            };
            let now = self.connection();
            if now != asked.connection {
                flow.suspect();
            }
            if is_quiet {
                flow.quiet(waiting(consumer).await);
                set_state(watching, self.state(flow));
            }
            // Once for each connection: only a restart of the server leaves such messages.
            if is_quiet && looked_through != now && self.remove_remains(consumer).await? {
                looked_through = now;
            }
        }
    }

    /// Takes in the messages of a request, until the request or its connection ends.
    async fn take_all(
        &self,
        mut pull: Pull<'_>,
        asked: Asked,
        watching: &Watching,
        flow: &mut Flow,
    ) -> Result<Brought, LedgerError> {
        let (mut brought, mut took_any) = (Brought::Nothing, false);
        loop {
            let next = tokio::select! {
                biased;
                next = pull.next() => next,
                () = self.connected_anew(asked.connection) => return Ok(Brought::Something),
            };
            let Some(message) = next else { return Ok(brought) };
            brought = Brought::Something;
            match message {
                Ok(message) => {
                    took_any = true;
                    let read = message::read(message.headers.as_ref(), &message.payload);
                    let begin = Instant::now();
                    let taken = self.take(message, read, pull.asked_at(), watching).await;
                    flow.took(begin.elapsed());
                    match taken {
                        Ok(()) => flow.taken(),
                        Err(NotTaken::Later(unconfirmed)) => flow.left(&unconfirmed),
                        Err(NotTaken::Ledger(error)) => return Err(error),
                    }
                    set_state(watching, self.state(flow));
                }
                // The next message would exceed the bytes asked for.
                Err(reason) if reason.contains(BATCH_IS_FULL) => {
                    if !took_any {
                        flow.too_few(asked.bytes);
                    }
                    return Ok(brought);
                }
                Err(reason) => return Ok(Brought::Trouble(reason)),
            }
        }
    }

    /// Whether messages arrive, are taken in, and their acknowledgements are confirmed.
    fn state(&self, flow: &mut Flow) -> Result<(), String> {
        flow.state().and_then(|()| self.held.state())
    }

    /// Waits until the client has another connection than `connection`: the request ended with the old connection.
    async fn connected_anew(&self, connection: u64) {
        while self.connection() == connection {
            tokio::time::sleep(RECONNECT_CHECK_INTERVAL).await;
        }
    }

    /// The number of connections that the client has made: identifies the current one.
    fn connection(&self) -> u64 {
        self.jetstream.client().statistics().connects.load(Ordering::Relaxed)
    }
}

/// Number of messages that wait in the stream for a request; 0 if the server does not answer.
async fn waiting(consumer: &PullConsumer) -> u64 {
    consumer.get_info().await.map_or(0, |info| info.num_pending)
}

fn set_state(watching: &Watching, state: Result<(), String>) {
    watching.send_if_modified(|now| {
        let changed = *now != state;
        *now = state;
        changed
    });
}
