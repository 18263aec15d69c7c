//! Forgets jobs: erases for good what this daemon, the streams and the buckets hold of a job.
//!
//! The row in the ledger is erased last. If another part cannot be erased, the request is refused, the job stays known, and the operator can
//! repeat the request. A job that is not in the ledger may still have events in the stream; they are erased if its last event is among them.

mod copies;
mod unreached;

use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tracing::info;
use uuid::Uuid;

pub use self::unreached::NotReached;
use self::unreached::unreached;
use super::jobs::unknown;
use super::{Refusal, Steer};
use crate::broker::event_streams::PARTIALS;
use crate::broker::{ErasedObject, Subjects, large};
use crate::job::ledger::{Now, forget, jobs, remote_objects, written};
use crate::job::{Job, Origin, Ticket, spool};
use crate::publish::webhooks;
use crate::source::directory::{PutAway, delete_written};

/// Jobs of one request: the answer comes when all of them are erased.
pub const MOST: usize = 20;

/// Which jobs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// These; at most [`MOST`].
    #[serde(default)]
    jobs: Vec<Uuid>,
    /// The jobs that have all of these metadata.
    #[serde(default)]
    meta: Map<String, Value>,
    /// Of these, those after this job: `next` of the answer before.
    after: Option<Uuid>,
}

/// What became of them.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Forgotten {
    pub jobs: Vec<Erased>,
    pub refused: Vec<Refused>,
    /// There are more jobs with these metadata: ask again with this as `after`.
    pub next: Option<Uuid>,
}

/// A job that is erased.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Erased {
    pub job: Uuid,
    /// It was in this daemon's ledger.
    pub ledger: bool,
    /// Messages of the stream of events.
    pub events: u64,
    /// Messages of the stream of partials.
    pub partials: u64,
    /// Messages that the recording came in, and that their stream still had.
    pub messages: u64,
    /// Objects: segments of a large final, audio.
    pub objects: u64,
    /// Claims among the daemons that share a stream.
    pub claims: u64,
    /// Events that waited for a webhook or were set aside.
    pub webhook_events: u64,
    /// Files that the daemon wrote for plugins.
    pub files: Vec<String>,
    /// Audio in the state directory.
    pub audio: bool,
    pub not_reached: Vec<NotReached>,
}

/// A job that is not erased, or not whole.
#[derive(Debug, Serialize, Deserialize)]
pub struct Refused {
    pub job: Uuid,
    pub code: u16,
    pub message: String,
}

/// Erases jobs.
///
/// # Errors
/// [`Refusal::Bad`] for a request that names no jobs, or too many; [`Refusal::Unknown`] if this daemon has none of the jobs. If the request
/// names one job only, the refusal of that job.
pub async fn forget(steer: Steer, request: Request) -> Result<Forgotten, Refusal> {
    let Request { jobs, meta, after } = request;
    let (jobs, next) = match (jobs.len(), meta.is_empty()) {
        (1..=MOST, true) => (jobs, None),
        (0, false) => steer.with_metadata(meta, after.unwrap_or(Uuid::nil())).await?,
        _ => {
            return Err(Refusal::Bad(format!(
                "name 1 to {MOST} jobs in \"jobs\", or metadata in \"meta\", such as {{\"customer\": \"4711\"}}"
            )));
        }
    };
    let is_alone = jobs.len() == 1 && next.is_none();
    let mut forgotten = Forgotten { next, ..Forgotten::default() };
    let mut last = None;
    for job in jobs {
        match steer.forget(job).await {
            Ok(erased) => forgotten.jobs.push(erased),
            Err(refusal) => {
                let (code, message) = (refusal.code(), refusal.to_string());
                forgotten.refused.push(Refused { job, code, message });
                last = Some(refusal);
            }
        }
    }
    let is_known = forgotten.refused.iter().any(|refused| refused.code != 404);
    let is_refused = forgotten.jobs.is_empty() && next.is_none() && (is_alone || !is_known);
    if let Some(refusal) = last.filter(|_| is_refused) {
        return Err(refusal);
    }
    let mut own: Vec<&mut Erased> = forgotten.jobs.iter_mut().filter(|erased| erased.ledger).collect();
    if !own.is_empty() {
        let left = copies::overwrite(&steer.ledger).await?;
        own.iter_mut().for_each(|erased| erased.not_reached.extend(left.iter().cloned()));
    }
    Ok(forgotten)
}

impl Steer {
    /// A part of the jobs with these metadata, and where the next one begins.
    async fn with_metadata(
        &self,
        meta: Map<String, Value>,
        after: Uuid,
    ) -> Result<(Vec<Uuid>, Option<Uuid>), Refusal> {
        let find = move |connection: &Connection| forget::with_metadata(connection, &meta, after, MOST + 1);
        let mut found = self.ledger.read(find).await?;
        let is_more = found.len() > MOST;
        found.truncate(MOST);
        match found.last().copied() {
            None if after.is_nil() => {
                Err(Refusal::Unknown("there is no job with these metadata here".into()))
            }
            last => Ok((found, last.filter(|_| is_more))),
        }
    }

    async fn forget(&self, id: Uuid) -> Result<Erased, Refusal> {
        if !self.jetstream.is_connected() {
            let reason = self.jetstream.no_connection();
            return Err(Refusal::NotNow(format!("nothing of job {id} is erased: {reason}")));
        }
        let erased = match self.ledger.find(id).await? {
            Some(_) => self.forget_own(id).await?,
            None => self.forget_stored(id).await?,
        };
        info!(job = %id, events = erased.events, ledger = erased.ledger, "job erased by an operator");
        Ok(erased)
    }

    /// Erases a job of the ledger.
    async fn forget_own(&self, id: Uuid) -> Result<Erased, Refusal> {
        let job = self.settled(id).await?;
        let unfinished = |reason: String| {
            Refusal::NotNow(format!("job {id} is not erased whole: {reason}; mend that and forget it again"))
        };
        let mut erased = Erased { job: id, ledger: true, ..Erased::default() };
        // Before the ledger forgets where things are.
        erased.not_reached = unreached(self, &job).await?;
        self.erase_stored(&mut erased).await.map_err(unfinished)?;
        self.erase_message(&job, &mut erased).await.map_err(unfinished)?;
        erased.claims =
            u64::from(self.claims.erase(&job).await.map_err(|error| unfinished(error.to_string()))?);
        self.erase_files(&job, &mut erased).await.map_err(unfinished)?;
        self.erase_remote_objects(id, &mut erased).await.map_err(unfinished)?;
        if matches!(job.origin, Origin::Spool { .. }) {
            erased.audio = spool::has(&self.state_directory, id).await;
            spool::remove(&self.state_directory, id).await;
        }
        let erase = move |connection: &Connection| forget::erase(connection, &job);
        self.ledger.write(erase).await?;
        self.ledger.announce(id, Now::Forgotten);
        Ok(erased)
    }

    /// Erases what the streams have of a job that the ledger does not know: another daemon has it, or none has it any more.
    async fn forget_stored(&self, id: Uuid) -> Result<Erased, Refusal> {
        let not_now = |reason: String| Refusal::NotNow(format!("job {id} is not erased whole: {reason}"));
        let subjects = Subjects::new(&self.nats.subject_prefix);
        let is_over =
            self.jetstream.ends_with_last(&self.nats.events_stream, &subjects.of_job("*", id)).await;
        if is_over.map_err(not_now)? == Some(false) {
            return Err(Refusal::Conflict(format!(
                "job {id} has not ended, and another daemon has it; forget it when its last event is stored"
            )));
        }
        let mut erased = Erased { job: id, not_reached: unreached::elsewhere(self), ..Erased::default() };
        self.erase_stored(&mut erased).await.map_err(not_now)?;
        let is_anything = erased.events + erased.partials + erased.objects + erased.webhook_events > 0;
        is_anything.then_some(erased).ok_or_else(|| unknown(id))
    }

    /// Erases what every daemon finds by the job's id: events, partials, the object of a large final, what waits for webhooks.
    async fn erase_stored(&self, erased: &mut Erased) -> Result<(), String> {
        let (subjects, id) = (Subjects::new(&self.nats.subject_prefix), erased.job);
        // Before the events: a webhook that misses an erased event would report that the stream's limits removed it.
        self.erase_waiting(erased).await?;
        let segments = large::object(id);
        if self.jetstream.erase_object(&segments, None).await? == ErasedObject::Erased {
            erased.objects += 1;
        }
        match self.jetstream.erase_messages(PARTIALS, &subjects.partials_of_job(id)).await {
            Ok(partials) => erased.partials = partials,
            Err(error) if self.nats.store_partials => return Err(error),
            // An operator may have switched `store_partials` off and withdrawn the rights, while stored partials remain.
            Err(error) => erased.not_reached.push(NotReached::new("partials", error)),
        }
        let events =
            self.jetstream.erase_messages(&self.nats.events_stream, &subjects.of_job("*", id)).await?;
        erased.events = events;
        // Events may have been queued for webhooks while the stream was being erased.
        self.erase_waiting(erased).await
    }

    /// Drops what waits for webhooks.
    async fn erase_waiting(&self, erased: &mut Erased) -> Result<(), String> {
        for webhook in self.webhooks.list() {
            match self.webhooks.forget(&webhook.name, erased.job).await {
                Ok(events) => erased.webhook_events += events,
                // The daemon that delivers to this webhook receives the request as well.
                Err(webhooks::Refusal::Elsewhere | webhooks::Refusal::Unknown) => {}
                Err(refusal @ webhooks::Refusal::NotNow) => {
                    return Err(format!("the webhook {}: {refusal}", webhook.name));
                }
            }
        }
        Ok(())
    }

    /// Erases the message that a recording came in, where its stream keeps it, and its object, unless a newer one has its name.
    async fn erase_message(&self, job: &Job, erased: &mut Erased) -> Result<(), String> {
        if let Some((stream, sequence, stored_ns)) = job.ticket.as_ref().and_then(Ticket::message) {
            let is_it = |time_ns| time_ns == stored_ns;
            match self.jetstream.erase_message(stream, sequence, is_it).await? {
                true => erased.messages += 1,
                false => erased.not_reached.push(NotReached::new(
                    "message",
                    format!("what the nats-server's files keep of the acknowledged message in {stream}, and of its object"),
                )),
            }
        }
        let Some(object) = &job.object else { return Ok(()) };
        let id = job.id;
        let ended = self.ledger.read(move |connection| jobs::ended_at(connection, id));
        let ended = ended.await.map_err(|error| error.to_string())?;
        let until = ended.unwrap_or_else(Timestamp::now);
        match self.jetstream.erase_object(object, Some(until)).await? {
            ErasedObject::Erased => erased.objects += 1,
            ErasedObject::Absent => {}
            ErasedObject::Newer => erased.not_reached.push(NotReached::new(
                "object",
                format!(
                    "the object {:?} of the bucket {}: it was put there after the job ended",
                    object.name, object.bucket
                ),
            )),
        }
        Ok(())
    }

    /// Deletes the files that the daemon wrote for plugins, except files that were changed since.
    async fn erase_files(&self, job: &Job, erased: &mut Erased) -> Result<(), String> {
        let id = job.id;
        let files = self.ledger.read(move |connection| written::of_job(connection, id)).await;
        for file in files.map_err(|error| error.to_string())? {
            let path = file.folder.join(&file.name).display().to_string();
            match delete_written(job, file).await.map_err(|error| error.to_string())? {
                PutAway::Gone { .. } => erased.files.push(path),
                PutAway::Absent => erased.not_reached.push(NotReached::new(
                    "file",
                    format!("{path}, written for a plugin: it is not there any more; it may have been moved"),
                )),
                PutAway::Stays => erased.not_reached.push(NotReached::new(
                    "file",
                    format!("{path}, written for a plugin: it was changed since, and stays"),
                )),
            }
        }
        Ok(())
    }

    /// Deletes the objects in a bucket of the operator's own.
    async fn erase_remote_objects(&self, id: Uuid, erased: &mut Erased) -> Result<(), String> {
        let objects = self.ledger.read(move |connection| remote_objects::of_job(connection, id)).await;
        let recognizers = Arc::clone(&self.present.borrow().recognizers);
        for object in objects.map_err(|error| error.to_string())? {
            match recognizers.discard(&object).await {
                Some(Ok(())) => erased.objects += 1,
                Some(Err(error)) => return Err(format!("deleting {object}: {error}")),
                None => erased.not_reached.push(NotReached::new(
                    "object",
                    format!("{object}: [storage] does not name its bucket any more"),
                )),
            }
        }
        Ok(())
    }
}
