//! Drains the outbox: publishes every stored event to JetStream, in order within its job, until the server has acknowledged it.
//!
//! Each event names its predecessor, so the server itself refuses an event that is a duplicate, comes late, or follows a missing one. The
//! events of different jobs are published concurrently, the events of one job one after the other. Acknowledgements are written to
//! the ledger in batches while other events are under way.

mod deliver;
mod window;

use std::time::Duration;

use async_nats::jetstream::stream::Stream;
use futures::FutureExt;
use futures::future::OptionFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use hark_sdk::codes::{Group, OF_HARK, OF_THE_SERVICE};
use hark_sdk::event::{Fault, Kind};
use jiff::Timestamp;
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info, info_span, warn};

use self::deliver::Delivered;
use self::window::{BYTES, BYTES_OF_JOB, ROWS, RowsToRead, Window};
use super::feed::{Feed, Published};
use crate::broker::event_streams::ensure_event_streams;
use crate::broker::large::Largest;
use crate::broker::stream::until_it_works;
use crate::broker::{JetStream, Subjects};
use crate::config::Nats;
use crate::job::Duty;
use crate::job::Job;
use crate::job::job_machine::Fact;
use crate::job::ledger::outbox::{self, Acknowledged, Row};
use crate::job::ledger::{Ledger, LedgerError, advance};
use crate::share::Claims;
use crate::telemetry::OnceAMinute;
use crate::telemetry::metrics::Metrics;

/// How many jobs have an event under way at a time: enough to fill a round trip at 20,000 events a second.
const CHAINS: usize = 512;

/// How many refused events may read the ledger at a time: fewer than the ledger has readers. While the outbox waits for a reader, it polls no
/// delivery; deliveries that held all readers would make it wait for ever.
const LOOKS: usize = 2;

/// How long the daemon waits for the server's acknowledgement. Longer than an fsync of a busy disk, shorter than a person's patience.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// Drains the outbox.
pub struct Outbox {
    ledger: Ledger,
    claims: Claims,
    jetstream: JetStream,
    nats: Nats,
    subjects: Subjects,
    metrics: Metrics,
    ready: watch::Sender<Result<(), String>>,
    feed: Feed,
    looks: Semaphore,
    largest: Largest,
    /// When [`Self::check_stream`] last asked for the stream, and its outcome.
    last_check: Mutex<Option<(Instant, Result<(), String>)>>,
    unfit: OnceAMinute,
}

impl Outbox {
    /// `ready` receives whether the broker takes events, and why not; `feed` each event that is stored, after it is noted in the ledger.
    pub fn new(
        ledger: Ledger,
        claims: Claims,
        connection: impl Into<JetStream>,
        nats: Nats,
        metrics: Metrics,
        ready: watch::Sender<Result<(), String>>,
        feed: Feed,
    ) -> Self {
        let jetstream = connection.into().within(ACK_TIMEOUT);
        let subjects = Subjects::new(&nats.subject_prefix);
        Outbox {
            ledger,
            claims,
            jetstream,
            nats,
            subjects,
            metrics,
            ready,
            feed,
            looks: Semaphore::new(LOOKS),
            largest: Largest::default(),
            last_check: Mutex::default(),
            unfit: OnceAMinute::default(),
        }
    }

    /// Publishes until `stop`, and then until every event that can be published is acknowledged. Events that are set aside, or for which
    /// there is no connection, are published after the next start.
    ///
    /// # Errors
    /// When the ledger is closed or damaged.
    pub async fn run(self, stop: CancellationToken) -> Result<(), LedgerError> {
        // The broker never answered: the events are on disk and are published after the next start.
        let Some(stream) = stop.run_until_cancelled(self.ensure_streams()).await else { return Ok(()) };
        let mut woken = self.ledger.wakes(Duty::Publish);
        let mut window = Window::default();
        let mut running = FuturesUnordered::new();
        let mut acknowledged: Vec<Acknowledged> = Vec::new();
        let mut published: Vec<Published> = Vec::new();
        let mut committing = OptionFuture::default();
        let (mut is_committing, mut more, mut looked_last) = (false, true, false);
        loop {
            let tries = !stop.is_cancelled();
            if more && window.has_room() && acknowledged.len() < ROWS {
                let cursor = window.cursor();
                let rows = self
                    .ledger
                    .read(move |connection| outbox::after(connection, cursor, ROWS, BYTES))
                    .await?;
                more = !rows.is_empty();
                window.read(rows);
            }
            // Read after the rows behind the cursor: otherwise jobs with many events would leave no room for the other jobs.
            while let Some(RowsToRead { job, after, until, limit }) = window.wanted(tries, Instant::now()) {
                let read =
                    move |connection: &_| outbox::of_job(connection, job, after, until, limit, BYTES_OF_JOB);
                window.found(job, self.ledger.read(read).await?);
            }
            while running.len() < CHAINS {
                let Some((row, last)) = window.start() else { break };
                let span = info_span!("job", job = %row.job, source = row.source);
                running.push(self.deliver(&stream, row, last).instrument(span));
            }
            if !is_committing && !acknowledged.is_empty() {
                let (acknowledged, published) =
                    (std::mem::take(&mut acknowledged), std::mem::take(&mut published));
                committing = Some(self.commit(acknowledged, published).boxed()).into();
                is_committing = true;
            }
            let idle = running.is_empty() && !is_committing && !more;
            if idle && stop.is_cancelled() {
                if looked_last {
                    return Ok(());
                }
                // One more read, for rows that were written before the stop and whose wake has not arrived.
                (more, looked_last) = (true, true);
                continue;
            }
            tokio::select! {
                Some(delivered) = running.next(), if !running.is_empty() => {
                    let (row, delivered) = delivered?;
                    match delivered {
                        Delivered::Stored(stream_seq) => {
                            window.left(&row, Some(stream_seq));
                            let last = row.kind.parse::<Kind>().is_ok_and(|kind| kind.is_last());
                            acknowledged.push(Acknowledged { id: row.id, job: row.job, stream_seq, last });
                            self.metrics.publish_stored.inc();
                            // Also without a listener: one that comes before the commit does not find the event in the ledger yet.
                            published.push(as_published(row, stream_seq));
                        }
                        Delivered::Gone => window.left(&row, None),
                        Delivered::Unfit => window.set_aside(&row, Instant::now()),
                    }
                }
                Some(committed) = &mut committing, if is_committing => {
                    is_committing = false;
                    for one in committed? {
                        window.committed(one.job);
                    }
                }
                Some(()) = OptionFuture::from(window.next_try().map(tokio::time::sleep_until)), if tries => {}
                Ok(()) = woken.changed() => more = true,
                () = stop.cancelled(), if idle => {}
                // Without a running commit, every acknowledgement is in the ledger.
                () = self.until_disconnected(&stop), if !is_committing => return Ok(()),
            }
        }
    }

    async fn ensure_streams(&self) -> Stream {
        let report = |state| {
            self.ready.send_modify(|now| *now = state);
        };
        let stream = until_it_works("the events' stream", report, || {
            ensure_event_streams(&self.jetstream, &self.nats, &self.subjects)
        })
        .await;
        self.largest.learn(&stream.cached_info().config);
        stream
    }

    /// Waits for `stop`, and then until there is no connection.
    async fn until_disconnected(&self, stop: &CancellationToken) {
        stop.cancelled().await;
        while self.jetstream.is_connected() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Writes acknowledgements to the ledger, and reports the jobs that have ended with them. `published`: the events, for the feed.
    async fn commit(
        &self,
        acknowledged: Vec<Acknowledged>,
        mut published: Vec<Published>,
    ) -> Result<Vec<Acknowledged>, LedgerError> {
        let batch = acknowledged.clone();
        let now = Timestamp::now();
        let advanced = self
            .ledger
            .write(move |connection| {
                let mut ended = Vec::new();
                let newest = outbox::newest_stored(connection)?;
                for one in &batch {
                    let fault = if one.last { outbox::fault(connection, one)? } else { None };
                    outbox::acknowledge(connection, one, newest)?;
                    if one.last {
                        let advanced = advance::advance(connection, one.job, Fact::Stored, now)?;
                        ended.extend(advanced.map(|advanced| (advanced, fault)));
                    }
                }
                Ok(ended)
            })
            .await?;
        for (advanced, fault) in advanced {
            self.ledger.announce_step(&advanced);
            report_end(&advanced.job, fault, now, &self.metrics);
        }
        // In the stream's order: a listener that reconnects asks for the events behind the last one that it received.
        published.sort_by_key(|event| event.stream_seq);
        published.into_iter().for_each(|event| self.feed.send(event));
        Ok(acknowledged)
    }
}

fn as_published(row: Row, stream_seq: u64) -> Published {
    let Row { job, source, kind, sequence, body, .. } = row;
    Published { kind, source, job, sequence: Some(sequence), stream_seq: Some(stream_seq), body: Some(body) }
}

/// A job has ended for every consumer: its last event is stored.
fn report_end(job: &Job, fault: Option<Fault>, now: Timestamp, metrics: &Metrics) {
    let outcome = if fault.is_some() { "failed" } else { "completed" };
    metrics.job_ended.with_label_values(&[job.source.as_str(), outcome]).inc();
    // If the clock was set back meanwhile, the difference is negative and counts as 0.
    let elapsed = now.duration_since(job.accepted_at).as_secs_f64().max(0.0);
    metrics.job_elapsed_seconds.observe(elapsed);
    let (job, source) = (job.id, &job.source);
    match fault {
        None => info!(%job, source, failed = false, "job ended"),
        Some(fault) => {
            let Fault { code, blame, .. } = &fault;
            warn!(%job, source, failed = true, code, blame = blame.as_str(), error = loggable(&fault), "job ended");
        }
    }
}

/// A fault's message, for a log. Where the code is not Hark's own, the message is the service's and may quote the recording: that stands in
/// the job's events only.
fn loggable(fault: &Fault) -> String {
    let named = |groups: &'static [Group]| {
        groups.iter().flat_map(|group| group.codes).find(|known| known.code == fault.code)
    };
    match (named(OF_HARK), named(OF_THE_SERVICE)) {
        (Some(_), _) => fault.message.clone(),
        (None, Some(known)) => format!("{} The job's events have the service's words.", known.meaning),
        (None, None) => "the job's events have the service's words".into(),
    }
}

#[cfg(test)]
mod tests {
    use hark_sdk::event::Blame;

    use super::*;

    #[test]
    fn a_log_quotes_hark_and_not_the_service() {
        let told = |code: &str| {
            let message = "it says: hello".into();
            loggable(&Fault { code: code.into(), blame: Blame::Audio, message, attempts: None })
        };
        assert_eq!(told("NotAudio"), "it says: hello");
        for code in ["DataInspectionFailed", "HttpStatus400", "Teapot"] {
            assert!(!told(code).contains("hello") && told(code).contains("service's words"), "{code}");
        }
    }
}
