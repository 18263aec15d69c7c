//! Drains the outbox: every stored event to JetStream, in order within its job, until the server has acknowledged it.
//!
//! Each event names its predecessor, so the server itself refuses a second, a missing or a late one. Jobs go side by side, the
//! events of one job one after the other. What was acknowledged is taken out of the ledger in batches while others are under way.

use std::collections::{HashMap, VecDeque};
use std::error::Error;
use std::time::Duration;

use async_nats::connection::State as Connection;
use async_nats::jetstream::context::{GetStreamErrorKind, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use async_nats::jetstream::{self, Context, ErrorCode};
use futures::stream::{FuturesUnordered, StreamExt};
use hark_sdk::event::Kind;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};
use uuid::Uuid;

use super::fence::told;
use super::large;
use super::stream::ensure_event_streams;
use super::subject::{Subjects, headers};
use crate::config::Nats;
use crate::http::metrics::Metrics;
use crate::job::Duty;
use crate::job::ledger::outbox::{self, Acknowledged, Row};
use crate::job::ledger::{Ledger, LedgerError, jobs};
use crate::job::machine::{Fact, Policy};
use crate::logging::Seldom;
use crate::source::jetstream::until_it_works;
use crate::source::nats::{Claims, Standing};

/// Rows in memory at a time, and their bodies. Beyond it they stay on disk: a broker that is away costs no memory.
const ROWS: usize = 2_048;
const BYTES: usize = 16 << 20;

/// Jobs whose events are under way at a time: enough to fill a round trip at 20,000 events a second.
const CHAINS: usize = 512;

/// Looks into the ledger at a time: after a kill hundreds of jobs are refused at once, and each look is a blocking thread.
const LOOKS: usize = 2;

/// How long the server has to acknowledge. Longer than an fsync of a busy disk, shorter than a person's patience.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// Drains the outbox.
pub struct Outbox {
    ledger: Ledger,
    claims: Claims,
    context: Context,
    nats: Nats,
    subjects: Subjects,
    policy: Policy,
    metrics: Metrics,
    ready: watch::Sender<Result<(), String>>,
    looks: Semaphore,
    gone: Seldom,
}

/// The events of one job that are in memory.
#[derive(Default)]
struct Chain {
    waiting: VecDeque<Row>,
    /// Stream sequence of its last acknowledged event.
    last: u64,
    busy: bool,
    /// Acknowledgements that are not in the ledger yet; until they are, `last` is known here only.
    uncommitted: usize,
}

impl Outbox {
    /// `ready` tells whether the broker takes events, and why not.
    pub fn new(
        ledger: Ledger,
        claims: Claims,
        client: async_nats::Client,
        nats: Nats,
        policy: Policy,
        metrics: Metrics,
        ready: watch::Sender<Result<(), String>>,
    ) -> Self {
        let mut context = async_nats::jetstream::new(client);
        context.set_timeout(ACK_TIMEOUT);
        let subjects = Subjects::new(&nats.subject_prefix);
        Outbox {
            ledger,
            claims,
            context,
            nats,
            subjects,
            policy,
            metrics,
            ready,
            looks: Semaphore::new(LOOKS),
            gone: Seldom::default(),
        }
    }

    /// Publishes until `stop`, and then until nothing is left that can leave.
    ///
    /// # Errors
    /// When the ledger is closed or damaged.
    pub async fn run(self, stop: CancellationToken) -> Result<(), LedgerError> {
        let stream = tokio::select! {
            stream = self.ensure_streams() => stream,
            // No broker was ever there: what is owed is on disk and leaves after the next start.
            () = stop.cancelled() => return Ok(()),
        };
        let mut chains: HashMap<Uuid, Chain> = HashMap::new();
        let mut startable: VecDeque<Uuid> = VecDeque::new();
        let mut running = FuturesUnordered::new();
        let mut acknowledged: Vec<Acknowledged> = Vec::new();
        let mut committing: Option<Commit> = None;
        let mut cursor = 0;
        let mut rows_in_memory = 0_usize;
        let mut bytes_in_memory = 0_usize;
        let mut more = true;
        loop {
            if more && rows_in_memory < ROWS / 2 && bytes_in_memory < BYTES / 2 && acknowledged.len() < ROWS {
                let rows = self
                    .ledger
                    .read(move |connection| outbox::after(connection, cursor, ROWS, BYTES))
                    .await?;
                more = !rows.is_empty();
                for row in rows {
                    cursor = row.id;
                    rows_in_memory += 1;
                    bytes_in_memory += row.body.len();
                    let job = row.job;
                    let chain = match chains.get_mut(&job) {
                        Some(chain) => chain,
                        None => {
                            let last = row.stream_seq;
                            chains.entry(job).or_insert(Chain { last, ..Chain::default() })
                        }
                    };
                    chain.waiting.push_back(row);
                    if !chain.busy && chain.waiting.len() == 1 {
                        startable.push_back(job);
                    }
                }
            }
            while running.len() < CHAINS {
                let Some(job) = startable.pop_front() else { break };
                let Some(chain) = chains.get_mut(&job) else { continue };
                let Some(row) = chain.waiting.pop_front() else { continue };
                chain.busy = true;
                running.push(self.deliver(&stream, row, chain.last));
            }
            if committing.is_none() && !acknowledged.is_empty() {
                committing = Some(tokio::spawn(commit(
                    self.ledger.clone(),
                    std::mem::take(&mut acknowledged),
                    self.policy,
                )));
            }
            let idle = running.is_empty() && committing.is_none() && !more;
            if idle && stop.is_cancelled() {
                return Ok(());
            }
            tokio::select! {
                Some(delivered) = running.next(), if !running.is_empty() => {
                    let (row, stream_seq) = delivered?;
                    rows_in_memory -= 1;
                    bytes_in_memory -= row.body.len();
                    if let Some(chain) = chains.get_mut(&row.job) {
                        chain.busy = false;
                        if let Some(stream_seq) = stream_seq {
                            chain.last = stream_seq;
                            chain.uncommitted += 1;
                        }
                        if !chain.waiting.is_empty() {
                            startable.push_back(row.job);
                        } else if chain.uncommitted == 0 {
                            chains.remove(&row.job);
                        }
                    }
                    // It is another daemon's job now, and its row is gone.
                    let Some(stream_seq) = stream_seq else { continue };
                    let last = row.kind.parse::<Kind>().is_ok_and(|kind| kind.is_last());
                    acknowledged.push(Acknowledged { id: row.id, job: row.job, stream_seq, last });
                    self.metrics.publish_stored.inc();
                }
                committed = joined(&mut committing), if committing.is_some() => {
                    committing = None;
                    for one in committed? {
                        if let Some(chain) = chains.get_mut(&one.job) {
                            chain.uncommitted -= 1;
                            if chain.uncommitted == 0 && !chain.busy && chain.waiting.is_empty() {
                                chains.remove(&one.job);
                            }
                        }
                    }
                }
                () = self.ledger.woken(Duty::Publish) => more = true,
                () = stop.cancelled(), if idle => more = true,
            }
        }
    }
}

impl Outbox {
    async fn ensure_streams(&self) -> Stream {
        let report = |state: Result<(), String>| {
            self.ready.send_modify(|now| *now = state);
        };
        until_it_works("the events' stream", report, || {
            ensure_event_streams(&self.context, &self.nats, &self.subjects)
        })
        .await
    }

    /// Publishes one event until the stream has it; returns its place there, or none if the job is no longer ours.
    async fn deliver(
        &self,
        stream: &Stream,
        row: Row,
        mut expected: u64,
    ) -> Result<(Row, Option<u64>), LedgerError> {
        let mut pause = Duration::from_millis(50);
        let subject = self.subjects.event(&row.kind, &row.source, row.job);
        let of_job = self.subjects.of_job(&row.source, row.job);
        loop {
            let failure = match self.publish(&row, &subject, &of_job, expected).await {
                Ok(stream_seq) => {
                    self.say_ready();
                    return Ok((row, Some(stream_seq)));
                }
                Err(Refusal::OutOfOrder) => match self.last_if_ours(stream, &of_job, &row).await? {
                    Ok(None) => return Ok((row, None)),
                    Ok(Some(Some(last))) if last.sequence >= row.sequence => {
                        return Ok((row, Some(last.stream_seq)));
                    }
                    Ok(Some(last)) => {
                        let found = last.map_or(0, |last| last.stream_seq);
                        // The same place again: the server is not done with what it told us; asking at once would spin.
                        if found != expected {
                            debug!(job = %row.job, sequence = row.sequence, expected, found, "stored events found");
                            expected = found;
                            continue;
                        }
                        "the stream's last event of this job is refused as predecessor".to_owned()
                    }
                    Err(reason) => reason,
                },
                Err(Refusal::NoStream) => {
                    // Every event under way finds out for itself.
                    let failure = self.make_again(&subject).await;
                    if self.gone.is_time() {
                        warn!(reason = failure, "events cannot be stored now; they wait in the outbox");
                    }
                    self.ready.send_modify(|state| *state = Err(failure));
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(2));
                    continue;
                }
                Err(Refusal::NotNow(reason)) => reason,
            };
            self.say_waiting(&failure);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    /// Makes the stream again if it is gone; says why nobody took an event on this subject.
    async fn make_again(&self, subject: &str) -> String {
        match ensure_event_streams(&self.context, &self.nats, &self.subjects).await {
            Ok(_) => format!("the stream {} did not take {subject} for a moment", self.nats.events_stream),
            Err(error) => error.to_string(),
        }
    }

    async fn publish(&self, row: &Row, subject: &str, of_job: &str, expected: u64) -> Result<u64, Refusal> {
        // The client would keep each try, body and all, until it is connected again.
        if self.context.client().connection_state() != Connection::Connected {
            return Err(Refusal::NotNow("NATS is not connected".into()));
        }
        let body = large::fit(&self.context, &self.nats, row.job, &row.kind, &row.body);
        let body = body.await.map_err(Refusal::NotNow)?;
        let mut headers = headers(&row.kind, &row.source, row.job, &row.sequence.to_string(), &row.time);
        headers.insert(async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expected.to_string());
        headers.insert("Nats-Expected-Last-Subject-Sequence-Subject", of_job);
        headers.insert(async_nats::header::NATS_EXPECTED_STREAM, self.nats.events_stream.as_str());
        let message = PublishMessage::build().headers(headers).payload(body);
        let sent = self.context.send_publish(subject.to_owned(), message).await;
        let outcome = match sent {
            Ok(acknowledgement) => acknowledgement.await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(acknowledgement) => Ok(acknowledgement.sequence),
            Err(error) => Err(match error.kind() {
                PublishErrorKind::WrongLastSequence => Refusal::OutOfOrder,
                PublishErrorKind::StreamNotFound => Refusal::NoStream,
                // Where somebody listens to the subject, the server does not say that no stream does.
                PublishErrorKind::TimedOut if self.stream_is_gone().await => Refusal::NoStream,
                _ => Refusal::NotNow(self.reason(&error)),
            }),
        }
    }

    async fn stream_is_gone(&self) -> bool {
        let asked = self.context.get_stream(&self.nats.events_stream).await;
        asked.is_err_and(|error| match error.kind() {
            GetStreamErrorKind::JetStream(reason) => reason.error_code() == ErrorCode::STREAM_NOT_FOUND,
            _ => false,
        })
    }

    /// The server's own words, and where it has no room, what its operator can do.
    fn reason(&self, error: &PublishError) -> String {
        const NO_ROOM: [ErrorCode; 5] = [
            ErrorCode::STREAM_STORE_FAILED,
            ErrorCode::INSUFFICIENT_RESOURCES,
            ErrorCode::STORAGE_RESOURCES_EXCEEDED,
            ErrorCode::ACCOUNT_RESOURCES_EXCEEDED,
            ErrorCode::MEMORY_RESOURCES_EXCEEDED,
        ];
        if error.kind() == PublishErrorKind::TimedOut {
            // nats-server 2.15.1 answers a full disk with silence, also when there is room again.
            return format!(
                "the stream {} acknowledges nothing within {} s; see the nats-server's log: a stream whose disk was full stands still until \
                 the server is restarted",
                self.nats.events_stream,
                ACK_TIMEOUT.as_secs()
            );
        }
        let refusal = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
        match refusal.filter(|refusal| NO_ROOM.contains(&refusal.error_code())) {
            Some(refusal) => format!(
                "the stream {} takes no more: {refusal}; raise its limits or the account's, or make room on the disk of the nats-server's store",
                self.nats.events_stream
            ),
            None => error.to_string(),
        }
    }

    /// The job's last event in the stream; `Ok(None)` where the job is no longer ours: then those events may be another's, and the row
    /// is gone.
    async fn last_if_ours(
        &self,
        stream: &Stream,
        of_job: &str,
        row: &Row,
    ) -> Result<Result<Option<Option<LastStored>>, String>, LedgerError> {
        let look = self.looks.acquire().await;
        let found = self.ledger.find(row.job).await?;
        drop(look);
        let Some(job) = found else { return Ok(Ok(None)) };
        match self.claims.look(&job).await {
            Ok(Standing::Ours) => {}
            Ok(Standing::Lost) => {
                self.claims.let_go(job.id).await?;
                return Ok(Ok(None));
            }
            Err(unconfirmed) => return Ok(Err(unconfirmed.to_string())),
        }
        let id = row.id;
        // Ours again, after another daemon had it: the rows of the first time are gone.
        let look = self.looks.acquire().await;
        let waits = self.ledger.read(move |connection| outbox::waits(connection, id)).await?;
        drop(look);
        if !waits {
            return Ok(Ok(None));
        }
        Ok(self.last_stored(stream, of_job).await.map(Some))
    }

    /// The job's last event in the stream.
    async fn last_stored(&self, stream: &Stream, of_job: &str) -> Result<Option<LastStored>, String> {
        #[derive(Deserialize)]
        struct Numbered {
            sequence: Option<u64>,
        }
        match stream.get_last_raw_message_by_subject(of_job).await {
            Ok(message) => {
                let body: Numbered = serde_json::from_slice(&message.payload)
                    .map_err(|error| format!("a stored event on {of_job} is not ours: {error}"))?;
                if let Some(sequence) = body.sequence {
                    return Ok(Some(LastStored { sequence, stream_seq: message.sequence }));
                }
                // The stream took partials once: what is stored in order stands among them, and the next event after them.
                let told = told(stream, of_job).await?;
                Ok(Some(LastStored { sequence: told.sequence, stream_seq: told.stream_seq }))
            }
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok(None),
                _ => Err(error.to_string()),
            },
        }
    }

    fn say_waiting(&self, reason: &str) {
        let first =
            self.ready.send_if_modified(|state| std::mem::replace(state, Err(reason.to_owned())).is_ok());
        if first {
            warn!(reason, "events cannot be stored now; they wait in the outbox");
        }
    }

    fn say_ready(&self) {
        self.ready.send_if_modified(|state| std::mem::replace(state, Ok(())).is_err());
    }
}

/// Why an event was not stored.
enum Refusal {
    /// Error 10071: the predecessor is another.
    OutOfOrder,
    /// Nobody answers on its subject.
    NoStream,
    /// Anything that may pass.
    NotNow(String),
}

/// What the stream has of a job.
struct LastStored {
    sequence: u64,
    stream_seq: u64,
}

async fn commit(
    ledger: Ledger,
    acknowledged: Vec<Acknowledged>,
    policy: Policy,
) -> Result<Vec<Acknowledged>, LedgerError> {
    let batch = acknowledged.clone();
    let now = Timestamp::now();
    ledger
        .write(move |connection| {
            for one in &batch {
                outbox::remove(connection, one)?;
                if one.last {
                    jobs::advance(connection, one.job, Fact::Stored, &policy, now)?;
                }
            }
            Ok(())
        })
        .await?;
    if acknowledged.iter().any(|one| one.last) {
        ledger.wake(Duty::Settle);
    }
    Ok(acknowledged)
}

type Commit = JoinHandle<Result<Vec<Acknowledged>, LedgerError>>;

async fn joined(handle: &mut Option<Commit>) -> Result<Vec<Acknowledged>, LedgerError> {
    match handle {
        Some(commit) => commit.await.unwrap_or_else(|panic| {
            error!(%panic, "committing acknowledgements failed");
            Err(LedgerError::Closed)
        }),
        None => std::future::pending().await,
    }
}
