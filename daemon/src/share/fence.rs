//! The fence: a daemon that takes a job over stores an event at the job's next place in the stream. From then on the server refuses every
//! event that the former owner may still send, because those events name another predecessor.

use async_nats::jetstream::stream::Stream;
use hark_sdk::event::{Blame, Body, Event, JobRetrying, Kind};
use serde::Deserialize;
use uuid::Uuid;

use super::{Claims, StoredEvents};
use crate::broker::JetStream;
use crate::broker::append::{AppendError, Position, append};
use crate::broker::event_streams::ensure_event_streams;
use crate::broker::large::{self, Largest};
use crate::broker::subject::{Subjects, headers};
use crate::config::Nats;
use crate::job::ledger::outbox::Stored;
use crate::job::{Job, fault, job_machine};

/// The former owner may store an event after this daemon has read the stream; then this daemon reads again. The former owner has no more
/// than this many events left.
const TRIES: usize = 64;

/// Reads the events that the stream has of a job, and appends to them.
#[derive(Clone)]
pub struct Fence {
    pub jetstream: JetStream,
    pub nats: Nats,
    pub subjects: Subjects,
    claims: Claims,
}

impl Fence {
    /// Opens no connection yet. `claims` tells which daemon owns a job.
    pub fn new(connection: impl Into<JetStream>, nats: &Nats, claims: Claims) -> Self {
        Fence {
            claims,
            jetstream: connection.into(),
            nats: nats.clone(),
            subjects: Subjects::new(&nats.subject_prefix),
        }
    }

    /// Stores a `job.accepted` if the stream has no event of the job, else a `job.retrying`. Returns the events that the stream then has of the
    /// job. Adds no event if the job's last event is stored. `failures`: how many tries of the job have failed so far.
    ///
    /// # Errors
    /// When the stream does not answer; the event may be stored all the same, and then the next try appends behind it. When another daemon
    /// owns the job by now, or the bucket does not tell which daemon does.
    pub async fn append_fence_event(self, job: Job, failures: u32) -> Result<StoredEvents, String> {
        let stream = ensure_event_streams(&self.jetstream, &self.nats, &self.subjects)
            .await
            .map_err(|error| error.to_string())?;
        let largest = Largest::default();
        largest.learn(&stream.cached_info().config);
        let of_job = self.subjects.of_job(&job.source, job.id);
        for _ in 0..TRIES {
            let mut stored = stored_events(&self.jetstream, &stream, &of_job).await?;
            if stored.over {
                return Ok(stored);
            }
            if let Some(transcript) = &mut stored.transcript {
                large::restore(&self.jetstream, transcript).await?;
            }
            // The claim is read after the stream. A daemon that claims the job later than this has not stored its event yet, and appends it
            // behind ours. A daemon that claimed the job earlier is seen here. Without this check, a daemon that was stopped between the two
            // reads would take the place of the new owner's next event.
            if !self.claims.owns(&job).await.map_err(|unconfirmed| unconfirmed.to_string())? {
                return Err("another daemon has claimed the job meanwhile".into());
            }
            let body = if stored.sequence == 0 {
                job_machine::accepted(&job, Vec::new())
            } else {
                taken_over(failures)
            };
            let event = job.event(Some(stored.sequence + 1), body);
            if let Some(stream_seq) =
                self.publish(&event, &of_job, stored.stream_seq, largest.message(&self.jetstream)).await?
            {
                stored.sequence += 1;
                stored.stream_seq = stream_seq;
                let body = serde_json::to_string(&event).map_err(|error| error.to_string())?;
                stored.events.push(Stored { event, body, stream_seq });
                return Ok(stored);
            }
        }
        Err("the former owner keeps storing events of the job".into())
    }

    /// Whether a job's last event is stored, whichever daemon had the job.
    ///
    /// # Errors
    /// When the stream does not answer.
    pub async fn is_over(&self, job: Uuid) -> Result<bool, String> {
        let of_job = self.subjects.of_job("*", job);
        Ok(self.jetstream.ends_with_last(&self.nats.events_stream, &of_job).await? == Some(true))
    }

    /// Appends an event behind stream sequence `expected`; returns the stream sequence of the event. `None`: the job has a newer event than
    /// `expected`.
    async fn publish(
        &self,
        event: &Event,
        of_job: &str,
        expected: u64,
        largest: usize,
    ) -> Result<Option<u64>, String> {
        let kind = event.kind().to_string();
        let sequence = event.sequence.unwrap_or_default().to_string();
        let headers = headers(&kind, &event.source, event.job, &sequence, &event.time.to_string());
        let body = serde_json::to_vec(event).map_err(|error| error.to_string())?.into();
        let fitted = large::fit(&self.jetstream, &self.nats, event.job, &kind, &body, largest).await;
        let body = fitted.map_err(|unfit| unfit.to_string())?;
        let subject = self.subjects.event(&kind, &event.source, event.job);
        let position = Position { stream: &self.nats.events_stream, of_job, expected };
        let append = append(&self.jetstream, position, &subject, headers, body);
        match append.await {
            Ok(stream_seq) => Ok(Some(stream_seq)),
            Err(AppendError::OutOfOrder) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Reads all events that the stream has of a job; a handful.
pub async fn stored_events(
    jetstream: &JetStream,
    stream: &Stream,
    of_job: &str,
) -> Result<StoredEvents, String> {
    let mut stored = StoredEvents::default();
    loop {
        let next = jetstream.first_message(stream, of_job, stored.stream_seq + 1).await;
        let Some(message) = next.map_err(|error| error.to_string())? else { return Ok(stored) };
        let kind = message.headers.get("ce-type").and_then(|kind| kind.as_str().parse::<Kind>().ok());
        // An event of a newer daemon may have an unknown kind or unknown fields. Its content is passed over; only its place counts.
        let event = kind.as_ref().map(|kind| Event::parse(kind, &message.payload));
        let event = match (event, &kind) {
            (Some(Err(error)), Some(Kind::TranscriptFinal)) => {
                return Err(format!("the stored final on {of_job} cannot be read: {error}"));
            }
            (event, _) => event.and_then(Result::ok),
        };
        // A message without a sequence was written by no daemon.
        if let Some(event) = event.clone().filter(|event| event.sequence.is_some()) {
            let body = String::from_utf8_lossy(&message.payload).into_owned();
            stored.events.push(Stored { event, body, stream_seq: message.sequence });
        }
        let body = event.map(|event| event.body);
        stored.add(kind.as_ref(), sequence_of(&message.payload), body, message.sequence);
    }
}

/// The sequence in an event's body. Partials have none, nor has a message that no daemon wrote.
pub fn sequence_of(body: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Numbered {
        sequence: Option<u64>,
    }
    serde_json::from_slice::<Numbered>(body).ok()?.sequence
}

fn taken_over(failures: u32) -> Body {
    Body::JobRetrying(JobRetrying {
        attempt: failures + 1,
        error: fault(
            "TakenOver",
            Blame::Hark,
            "the daemon that had this job gave no sign of life; another daemon goes on with it".into(),
        ),
        retry_in_ms: 0,
        piece: None,
    })
}
