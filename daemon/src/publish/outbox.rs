//! Drains the outbox: every stored event to JetStream, in order within its job, until the server has acknowledged it.
//!
//! Each event names its predecessor, so the server itself refuses a second, a missing or a late one. Jobs go side by side, the
//! events of one job one after the other. What was acknowledged is taken out of the ledger in batches while others are under way.

mod deliver;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::Stream;
use futures::stream::{FuturesUnordered, StreamExt};
use hark_sdk::event::Kind;
use jiff::Timestamp;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::error;
use uuid::Uuid;

use super::large::Largest;
use super::stream::ensure_event_streams;
use super::subject::Subjects;
use crate::config::Nats;
use crate::http::metrics::Metrics;
use crate::job::Duty;
use crate::job::ledger::outbox::{self, Acknowledged, Row};
use crate::job::ledger::{Ledger, LedgerError, jobs};
use crate::job::machine::{Fact, Policy};
use crate::logging::Seldom;
use crate::source::jetstream::until_it_works;
use crate::source::nats::Claims;

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
    largest: Largest,
    unfit: Seldom,
    /// Bytes of bodies.
    in_memory: AtomicUsize,
    /// Events that wait without their bodies, see `deliver`.
    aside: AtomicUsize,
    taking_up: Semaphore,
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
            largest: Largest::default(),
            unfit: Seldom::default(),
            in_memory: AtomicUsize::new(0),
            aside: AtomicUsize::new(0),
            taking_up: Semaphore::new(LOOKS),
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
        let mut more = true;
        loop {
            let has_room = rows_in_memory < ROWS / 2 && self.in_memory.load(Ordering::Relaxed) < BYTES / 2;
            if more && has_room && acknowledged.len() < ROWS {
                let rows = self
                    .ledger
                    .read(move |connection| outbox::after(connection, cursor, ROWS, BYTES))
                    .await?;
                more = !rows.is_empty();
                for row in rows {
                    cursor = row.id;
                    rows_in_memory += 1;
                    self.in_memory.fetch_add(row.body.len(), Ordering::Relaxed);
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
            while running.len() < CHAINS + self.aside.load(Ordering::Relaxed) {
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
                    self.in_memory.fetch_sub(row.body.len(), Ordering::Relaxed);
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
        let stream = until_it_works("the events' stream", report, || {
            ensure_event_streams(&self.context, &self.nats, &self.subjects)
        })
        .await;
        self.largest.learn(&stream.cached_info().config);
        stream
    }
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
