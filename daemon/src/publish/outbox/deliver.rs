//! One event on its way: until the stream has it, or it turns out to be none that leaves now.

use std::error::Error;
use std::time::Duration;

use async_nats::jetstream::context::{GetStreamErrorKind, PublishError, PublishErrorKind};
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use async_nats::jetstream::{self, ErrorCode};
use bytes::Bytes;
use hark_sdk::event::Kind;
use tokio::time::Instant;
use tracing::{debug, trace, warn};

use super::{ACK_TIMEOUT, Outbox};
use crate::broker::append::{AppendError, Place, append};
use crate::broker::event_streams::ensure_event_streams;
use crate::broker::large::{self, Unfit};
use crate::broker::subject::headers;
use crate::job::ledger::LedgerError;
use crate::job::ledger::outbox::{self, Row};
use crate::share::{Standing, sequence_of, stored_events};

/// Between two tries of an event that the server does not let this user publish: a person has to grant the right, and the server logs each.
const DENIED_PAUSE: Duration = Duration::from_secs(5);

/// How long the stream's limit is believed where an event does not fit.
const BELIEVED: Duration = Duration::from_secs(2);

/// What became of an event.
pub(super) enum Delivered {
    /// The stream has it, at this place.
    Stored(u64),
    /// The job is no longer ours, and the row is gone.
    Gone,
    /// It is too large to be stored as it is for now. It cannot wait here: some of them would take
    /// all the room, and nobody's events would leave.
    Unfit,
}

impl Outbox {
    /// Publishes one event, trying until it is clear what becomes of it.
    pub(super) async fn deliver(
        &self,
        stream: &Stream,
        row: Row,
        mut expected: u64,
    ) -> Result<(Row, Delivered), LedgerError> {
        let mut pause = Duration::from_millis(50);
        let subject = self.subjects.event(&row.kind, &row.source, row.job);
        let of_job = self.subjects.of_job(&row.source, row.job);
        let mut fitted = Fitted::default();
        loop {
            let failure = match self.publish(&row, &subject, &of_job, expected, &mut fitted).await {
                Ok(stream_seq) => {
                    trace!(job = %row.job, sequence = row.sequence, stream_seq, "stored");
                    self.say_ready();
                    return Ok((row, Delivered::Stored(stream_seq)));
                }
                // The stream answers: whatever kept it from doing so is over, and nothing else may come to say so.
                Err(Refusal::OutOfOrder) => match self.last_if_ours(stream, &of_job, &row).await? {
                    Last::Lost => {
                        self.say_ready();
                        return Ok((row, Delivered::Gone));
                    }
                    Last::Event(last) if last.sequence >= row.sequence => {
                        self.say_ready();
                        return Ok((row, Delivered::Stored(last.stream_seq)));
                    }
                    Last::Event(Stored { stream_seq: found, .. }) => {
                        // The same place again: the server is not done with what it told us; asking at once would spin.
                        if found != expected {
                            debug!(job = %row.job, sequence = row.sequence, expected, found, "stored events found");
                            expected = found;
                            continue;
                        }
                        "the stream's last event of this job is refused as predecessor".to_owned()
                    }
                    Last::Untold(reason) => reason,
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
                Err(Refusal::Unfit(unfit)) => {
                    match unfit {
                        Unfit::NoFrame(reason) => self.say_waiting(&reason),
                        Unfit::NoPlace(reason) if self.unfit.is_time() => {
                            warn!(job = %row.job, reason, "a large event cannot be stored now; it waits in the outbox, the others go on");
                        }
                        Unfit::NoPlace(_) => {}
                    }
                    return Ok((row, Delivered::Unfit));
                }
                Err(Refusal::NotNow(reason)) => reason,
                Err(Refusal::Denied(reason)) => {
                    pause = pause.max(DENIED_PAUSE);
                    reason
                }
            };
            self.say_waiting(&failure);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    /// Makes the stream again if it is gone; says why nobody took an event on this subject.
    async fn make_again(&self, subject: &str) -> String {
        match ensure_event_streams(&self.jetstream, &self.nats, &self.subjects).await {
            Ok(stream) => {
                self.largest.learn(&stream.cached_info().config);
                format!("the stream {} did not take {subject} for a moment", self.nats.events_stream)
            }
            Err(error) => error.to_string(),
        }
    }

    async fn publish(
        &self,
        row: &Row,
        subject: &str,
        of_job: &str,
        expected: u64,
        fitted: &mut Fitted,
    ) -> Result<u64, Refusal> {
        // The client would keep each try, body and all, until it is connected again.
        if !self.is_connected() {
            return Err(Refusal::NotNow(self.jetstream.no_connection()));
        }
        let mut largest = self.largest.message(&self.jetstream);
        if fitted.largest != largest || fitted.body.is_empty() {
            // While nothing fits, nobody else would find out that the limit was raised; and what is cut stays so.
            if !large::fits(&row.body, largest) {
                self.learn_largest().await;
                largest = self.largest.message(&self.jetstream);
            }
            let body = large::fit(&self.jetstream, &self.nats, row.job, &row.kind, &row.body, largest);
            *fitted = Fitted { largest, body: body.await.map_err(Refusal::Unfit)? };
        }
        let headers = headers(&row.kind, &row.source, row.job, &row.sequence.to_string(), &row.time);
        let place = Place { stream: &self.nats.events_stream, of_job, expected };
        match append(&self.jetstream, place, subject, headers, fitted.body.clone()).await {
            Ok(stream_seq) => Ok(stream_seq),
            Err(AppendError::Publish(error)) => Err(self.refused(&error).await),
            Err(AppendError::Refused(refused)) => Err(Refusal::Denied(refused.to_string())),
        }
    }

    async fn refused(&self, error: &PublishError) -> Refusal {
        match error.kind() {
            PublishErrorKind::WrongLastSequence => Refusal::OutOfOrder,
            PublishErrorKind::StreamNotFound => Refusal::NoStream,
            // Where somebody listens to the subject, the server does not say that no stream does.
            PublishErrorKind::TimedOut if self.stream_is_gone().await => Refusal::NoStream,
            _ => {
                let is_too_large = |refusal: &jetstream::Error| {
                    refusal.error_code() == ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM
                };
                if refusal(error).is_some_and(is_too_large) {
                    self.learn_largest().await;
                }
                Refusal::NotNow(self.reason(error))
            }
        }
    }

    /// The stream's limit may have changed since it was looked at, or the stream be gone or another by now. Many events find out at the
    /// same time, and one look serves them all.
    async fn learn_largest(&self) {
        let mut looked = self.looked.lock().await;
        if looked.is_some_and(|looked| looked.elapsed() < BELIEVED) {
            return;
        }
        match ensure_event_streams(&self.jetstream, &self.nats, &self.subjects).await {
            Ok(stream) => self.largest.learn(&stream.cached_info().config),
            Err(error) => self.say_waiting(&error.to_string()),
        }
        *looked = Some(Instant::now());
    }

    async fn stream_is_gone(&self) -> bool {
        let asked = self.jetstream.get_stream(&self.nats.events_stream).await;
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
        match refusal(error).filter(|refusal| NO_ROOM.contains(&refusal.error_code())) {
            Some(refusal) => format!(
                "the stream {} takes no more: {refusal}; raise its limits or the account's, or make room on the disk of the nats-server's store",
                self.nats.events_stream
            ),
            None => error.to_string(),
        }
    }

    /// The job's last event in the stream, if the job is still ours.
    async fn last_if_ours(&self, stream: &Stream, of_job: &str, row: &Row) -> Result<Last, LedgerError> {
        // Before it is asked whose the job is: who has claimed it since steps in behind what was read here, and the server refuses what
        // follows on that. The other way round, a daemon that was stopped in between would follow on the new owner's event.
        let last = match self.last_stored(stream, of_job).await {
            Ok(last) => last,
            Err(reason) => return Ok(Last::Untold(reason)),
        };
        let (id, job_id, sequence) = (row.id, row.job, last.sequence);
        let look = self.looks.acquire().await;
        let found = self.ledger.find(row.job).await?;
        drop(look);
        let Some(job) = found else { return Ok(Last::Lost) };
        match self.claims.look(&job).await {
            Ok(Standing::Ours) => {}
            Ok(Standing::Lost) => {
                self.claims.let_go(job.id).await?;
                return Ok(Last::Lost);
            }
            Err(unconfirmed) => return Ok(Last::Untold(unconfirmed.to_string())),
        }
        let look = self.looks.acquire().await;
        let (waits, time) = self
            .ledger
            .read(move |connection| {
                Ok((outbox::waits(connection, id)?, outbox::time_of(connection, job_id, sequence)?))
            })
            .await?;
        drop(look);
        // Ours again, after another daemon had it: the rows of the first time are gone.
        if !waits {
            return Ok(Last::Lost);
        }
        // A bucket that was lost, or is told by us again, does not know of another daemon that went on with a message's job. The stream does.
        if job.ticket.is_some() && last.is_anothers(row, time.as_deref()) {
            self.claims.let_go(job.id).await?;
            return Ok(Last::Lost);
        }
        Ok(Last::Event(last))
    }

    /// The job's last event in the stream, whosever the job is.
    async fn last_stored(&self, stream: &Stream, of_job: &str) -> Result<Stored, String> {
        let named = format!(".STREAM.MSG.GET.{}\"", self.nats.events_stream);
        let last = stream.get_last_raw_message_by_subject(of_job);
        let last = self.jetstream.unless_refused(&[&named], last).await;
        match last.map_err(|refused| refused.to_string())? {
            Ok(message) => {
                if let Some(sequence) = sequence_of(&message.payload) {
                    let header = |name: &str| message.headers.get(name).map(|value| value.as_str());
                    let kind = header("ce-type").and_then(|kind| kind.parse::<Kind>().ok());
                    return Ok(Stored {
                        sequence,
                        stream_seq: message.sequence,
                        time: header("ce-time").map(str::to_owned),
                        is_end: kind.is_some_and(|kind| kind.is_last()),
                    });
                }
                // The stream took partials once, or what no daemon wrote: what is stored in order stands among them, and the next event
                // after them.
                let told = stored_events(stream, of_job).await?;
                Ok(Stored { sequence: told.sequence, stream_seq: told.stream_seq, ..Stored::default() })
            }
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok(Stored::default()),
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

/// The event as it is published: made once, for putting segments into an object costs more than the publish itself.
#[derive(Default)]
struct Fitted {
    /// What it was made to fit, see [`Largest`].
    largest: usize,
    body: Bytes,
}

/// What the server answered to a publish.
fn refusal(error: &PublishError) -> Option<&jetstream::Error> {
    error.source().and_then(|source| source.downcast_ref())
}

/// Why an event was not stored.
enum Refusal {
    /// Error 10071: the predecessor is another.
    OutOfOrder,
    /// Nobody answers on its subject.
    NoStream,
    /// It does not fit into a message.
    Unfit(Unfit),
    /// This user has not the right to.
    Denied(String),
    /// Anything that may pass.
    NotNow(String),
}

/// The last event that the stream has of a job.
enum Last {
    Event(Stored),
    /// The job is no longer ours: the events may be another daemon's, and the row is gone.
    Lost,
    /// Nobody could tell now.
    Untold(String),
}

/// The last event of a job in the stream; all of it is nothing where there is none.
#[derive(Default)]
struct Stored {
    sequence: u64,
    stream_seq: u64,
    /// As its header tells it.
    time: Option<String>,
    /// Nothing follows it.
    is_end: bool,
}

impl Stored {
    /// Whether another daemon has stored it, as seen by `row`, which is not stored yet; `time`: of our own event of this number, if it
    /// waits as well. What we have stored of a job waits until the ledger knows of it, and its events go one after the other: so with the
    /// number of `row`, or a higher one, ours would wait.
    fn is_anothers(&self, row: &Row, time: Option<&str>) -> bool {
        match (&self.time, time) {
            (Some(theirs), Some(ours)) => theirs != ours,
            (Some(_), None) => self.is_end || self.sequence >= row.sequence,
            (None, _) => false,
        }
    }
}
