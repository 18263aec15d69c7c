//! Publishes one event: until the stream has it, or it is clear that the event cannot or need not be published now.

use std::time::Duration;

use async_nats::jetstream::stream::Stream;
use bytes::Bytes;
use hark_sdk::event::Kind;
use tokio::time::Instant;
use tracing::{debug, trace, warn};

use super::Outbox;
use crate::broker::append::{AppendError, Position, append};
use crate::broker::event_streams::ensure_event_streams;
use crate::broker::large::{self, Unfit};
use crate::broker::subject::headers;
use crate::job::ledger::LedgerError;
use crate::job::ledger::outbox::{self, Row};
use crate::share::{sequence_of, stored_events};

/// Pause between two tries of an event that the server does not let this user publish: a person has to grant the permission, and the server
/// logs each try.
const DENIED_PAUSE: Duration = Duration::from_secs(5);

/// How long the daemon relies on what it knows of the stream before an event that is refused makes it ask again.
const BELIEVED: Duration = Duration::from_secs(2);

/// What became of an event.
pub(super) enum Delivered {
    /// The stream has it, at this stream sequence.
    Stored(u64),
    /// Another daemon owns the job now, and the row is deleted.
    Gone,
    /// It is too large to be stored for now. It is set aside instead of being retried in place: a few such events would take all the room
    /// in memory, and the events of all other jobs would wait behind them.
    Unfit,
}

impl Outbox {
    /// Publishes one event, trying until it is clear what becomes of it. Hundreds of these futures are in memory at a time, so what they
    /// seldom wait for is in a box of its own.
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
        let delivered = loop {
            let failure = match self.publish(&row, &subject, &of_job, expected, &mut fitted).await {
                Ok(stream_seq) => {
                    trace!(job = %row.job, sequence = row.sequence, stream_seq, "stored");
                    break Delivered::Stored(stream_seq);
                }
                Err(NotStored::NotAppended(AppendError::OutOfOrder)) => {
                    match Box::pin(self.last_if_ours(stream, &of_job, &row)).await? {
                        Last::Lost => break Delivered::Gone,
                        Last::Event(last) if last.sequence >= row.sequence => {
                            break Delivered::Stored(last.stream_seq);
                        }
                        Last::Event(NewestEvent { stream_seq: found, .. }) if found != expected => {
                            debug!(job = %row.job, sequence = row.sequence, expected, found, "stored events found");
                            expected = found;
                            continue;
                        }
                        // The server has not yet applied what it answered, and a retry at once would spin.
                        Last::Event(_) => {
                            "the stream's last event of this job is refused as predecessor".to_owned()
                        }
                        Last::Unknown(reason) => reason,
                    }
                }
                Err(NotStored::NotAppended(
                    error @ (AppendError::NoStream(_) | AppendError::TooLarge(_)),
                )) => Box::pin(self.check_stream()).await.err().unwrap_or_else(|| error.to_string()),
                Err(NotStored::NotAppended(error)) => {
                    if matches!(error, AppendError::Denied(_)) {
                        pause = pause.max(DENIED_PAUSE);
                    }
                    error.to_string()
                }
                Err(NotStored::Unfit(unfit)) => {
                    match unfit {
                        Unfit::NoFrame(reason) => self.report_waiting(&reason),
                        Unfit::NoPlace(reason) if self.unfit.is_time() => {
                            warn!(job = %row.job, reason, "a large event cannot be stored now; it waits in the outbox while events of other jobs are published");
                        }
                        Unfit::NoPlace(_) => {}
                    }
                    return Ok((row, Delivered::Unfit));
                }
            };
            self.report_waiting(&failure);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        };
        // The stream answers again, and perhaps no later publish reports that.
        self.ready.send_if_modified(|state| std::mem::replace(state, Ok(())).is_err());
        Ok((row, delivered))
    }

    async fn publish(
        &self,
        row: &Row,
        subject: &str,
        of_job: &str,
        expected: u64,
        fitted: &mut Fitted,
    ) -> Result<u64, NotStored> {
        // Without a connection the client would keep each try in memory, with its body, until it is connected again.
        if !self.jetstream.is_connected() {
            return Err(NotStored::NotAppended(AppendError::NotNow(self.jetstream.no_connection())));
        }
        let mut largest = self.largest.message(&self.jetstream);
        if fitted.largest != largest || fitted.body.is_empty() {
            let body = if large::fits(&row.body, largest) {
                row.body.clone()
            } else {
                // Asked here, because while nothing fits there is no publish whose answer would show that the limit was raised; and an
                // event whose segments were moved into an object is stored like that for good.
                if let Err(reason) = Box::pin(self.check_stream()).await {
                    self.report_waiting(&reason);
                }
                largest = self.largest.message(&self.jetstream);
                let body = large::fit(&self.jetstream, &self.nats, row.job, &row.kind, &row.body, largest);
                Box::pin(body).await.map_err(NotStored::Unfit)?
            };
            *fitted = Fitted { largest, body };
        }
        let headers = headers(&row.kind, &row.source, row.job, &row.sequence.to_string(), &row.time);
        let position = Position { stream: &self.nats.events_stream, of_job, expected };
        let appended = append(&self.jetstream, position, subject, headers, fitted.body.clone()).await;
        appended.map_err(NotStored::NotAppended)
    }

    /// Creates the stream again if it is gone, and asks for its limit, which may have changed. Many events need this at the same time, and
    /// one request serves all of them.
    async fn check_stream(&self) -> Result<(), String> {
        let mut last = self.last_check.lock().await;
        if let Some((at, outcome)) = &*last
            && at.elapsed() < BELIEVED
        {
            return outcome.clone();
        }
        let outcome = match ensure_event_streams(&self.jetstream, &self.nats, &self.subjects).await {
            Ok(stream) => {
                self.largest.learn(&stream.cached_info().config);
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        };
        *last = Some((Instant::now(), outcome.clone()));
        outcome
    }

    /// The job's newest event in the stream, if this daemon still owns the job.
    async fn last_if_ours(&self, stream: &Stream, of_job: &str, row: &Row) -> Result<Last, LedgerError> {
        // The stream is read before the claim. A daemon that claims the job later than this appends its event behind the event read here,
        // and the server then refuses ours. The other way round, a daemon that was stopped between the two reads would append its event
        // behind the new owner's.
        let last = match self.last_stored(stream, of_job).await {
            Ok(last) => last,
            Err(reason) => return Ok(Last::Unknown(reason)),
        };
        let (id, job_id, sequence) = (row.id, row.job, last.sequence);
        let look = self.looks.acquire().await;
        let found = self.ledger.find(row.job).await?;
        drop(look);
        let Some(job) = found else { return Ok(Last::Lost) };
        match self.claims.owns(&job).await {
            Ok(true) => {}
            Ok(false) => {
                self.claims.let_go(job.id).await?;
                return Ok(Last::Lost);
            }
            Err(unconfirmed) => return Ok(Last::Unknown(unconfirmed.to_string())),
        }
        let look = self.looks.acquire().await;
        let (waits, time) = self
            .ledger
            .read(move |connection| {
                Ok((outbox::waits(connection, id)?, outbox::time_of(connection, job_id, sequence)?))
            })
            .await?;
        drop(look);
        // The row is gone: another daemon owned the job meanwhile and this daemon took it back, with new rows.
        if !waits {
            return Ok(Last::Lost);
        }
        // After the bucket was lost, or this daemon wrote its claims into a new one, the claim does not show that another daemon has
        // continued a message's job. The stream shows it.
        if job.ticket.is_some() && last.is_anothers(row, time.as_deref()) {
            self.claims.let_go(job.id).await?;
            return Ok(Last::Lost);
        }
        Ok(Last::Event(last))
    }

    /// The job's newest event in the stream, whichever daemon owns the job.
    async fn last_stored(&self, stream: &Stream, of_job: &str) -> Result<NewestEvent, String> {
        let last = self.jetstream.last_message(stream, of_job).await;
        let Some(message) = last.map_err(|error| error.to_string())? else {
            return Ok(NewestEvent::default());
        };
        if let Some(sequence) = sequence_of(&message.payload) {
            let header = |name: &str| message.headers.get(name).map(|value| value.as_str());
            let kind = header("ce-type").and_then(|kind| kind.parse::<Kind>().ok());
            return Ok(NewestEvent {
                sequence,
                stream_seq: message.sequence,
                time: header("ce-time").map(str::to_owned),
                is_end: kind.is_some_and(|kind| kind.is_last()),
            });
        }
        // The newest message has no sequence: the stream once captured partials, or messages that no daemon wrote. The newest numbered
        // event is somewhere before them; the next event is appended behind all of them.
        let numbered = stored_events(&self.jetstream, stream, of_job).await?;
        let (sequence, stream_seq) = (numbered.sequence, numbered.stream_seq);
        Ok(NewestEvent { sequence, stream_seq, ..NewestEvent::default() })
    }

    fn report_waiting(&self, reason: &str) {
        let first =
            self.ready.send_if_modified(|state| std::mem::replace(state, Err(reason.to_owned())).is_ok());
        if first {
            warn!(reason, "events cannot be stored now; they wait in the outbox");
        }
    }
}

/// The event's body as it is published. It is made once, because putting segments into an object costs more than the publish itself.
#[derive(Default)]
struct Fitted {
    /// The size in bytes that the body was made to fit, see `Largest`.
    largest: usize,
    body: Bytes,
}

/// Why an event was not stored.
enum NotStored {
    /// It does not fit into a message.
    Unfit(Unfit),
    NotAppended(AppendError),
}

/// The newest event that the stream has of a job.
enum Last {
    Event(NewestEvent),
    /// Another daemon owns the job: it may have stored the events, and the row is deleted.
    Lost,
    /// The stream or the bucket did not answer, for this reason.
    Unknown(String),
}

/// The newest event of a job in the stream; the default value if there is none.
#[derive(Default)]
struct NewestEvent {
    sequence: u64,
    stream_seq: u64,
    /// The value of its header `ce-time`.
    time: Option<String>,
    /// It is the job's last event.
    is_end: bool,
}

impl NewestEvent {
    /// Whether another daemon has stored this event. `row`: an event of ours that is not acknowledged yet. `time`: of our own event with
    /// the same number as this one, if that is in the outbox. An event of ours stays in the outbox until its acknowledgement is in the
    /// ledger, and the events of a job are published one after the other. So an event of ours with the number of `row` or a higher one
    /// would still be in the outbox.
    fn is_anothers(&self, row: &Row, time: Option<&str>) -> bool {
        match (&self.time, time) {
            (Some(theirs), Some(ours)) => theirs != ours,
            (Some(_), None) => self.is_end || self.sequence >= row.sequence,
            (None, _) => false,
        }
    }
}
