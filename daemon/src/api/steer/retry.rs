//! A recording is recognized again, as a new job.

use std::time::Duration;

use hark_sdk::event::Recording;
use rusqlite::Connection;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout_at};
use tracing::info;
use uuid::Uuid;

use super::jobs::{OfJob, unknown};
use super::{Refusal, Steer};
use crate::config::Source;
use crate::job::ledger::view::{self, Listed, Moment};
use crate::job::ledger::{LedgerError, Now, files, jobs};
use crate::job::{Duty, Job, Origin, Stage, spool};
use crate::source::directory::{find_recording, placed};

/// How long a job that has just ended may take until its last event is stored and its file put away.
const ENDING: Duration = Duration::from_secs(10);

/// What the transaction that makes the new job found.
enum Made {
    Job(Box<Listed>),
    /// The job is no longer there.
    Forgotten,
    /// Another retry of the recording is under way: this job.
    Under(Uuid),
}

/// Has the recording of an ended job recognized again, as a new job whose `job.accepted` has `retry_of`. Returns the new job.
///
/// # Errors
/// [`Refusal::Unknown`] where this daemon has no such job; [`Refusal::Conflict`] where it has not ended, its recording is recognized again
/// already, or its audio is gone; [`Refusal::NotNow`] while its last event is not stored.
pub async fn retry(steer: Steer, OfJob { job: id }: OfJob) -> Result<Listed, Refusal> {
    let old = steer.settled(id).await?;
    let new = Uuid::now_v7();
    let gone = |why: &str| Refusal::Conflict(format!("the audio of job {id} is gone: {why}"));
    let origin = match &old.origin {
        Origin::File { .. } => {
            let config = steer.sources.source(&old.source);
            let folder = config.as_ref().and_then(Source::folder);
            let found = find_recording(folder, &old).await;
            found.ok_or_else(|| {
                gone("its file is neither at its first path nor where the daemon moved it, or its content has changed")
            })?
        }
        Origin::Spool { .. } => {
            let shared = spool::share(&steer.state_directory, id, new).await;
            shared.map_err(|error| {
                gone(&format!(
                    "the daemon keeps the audio of failed jobs only, for state.keep_failed ({error})"
                ))
            })?;
            Origin::Spool { file: new.to_string() }
        }
        Origin::Object => {
            let object = old.object.as_ref().ok_or_else(|| gone("it names no object"))?;
            steer.jetstream.open_object(object).await.map_err(|error| gone(&error.to_string()))?;
            Origin::Object
        }
        url @ Origin::Url { .. } => url.clone(),
        Origin::Nothing => return Err(gone("the daemon refused the input and stored no audio")),
    };
    let job = again(&old, new, origin);
    let made = steer.ledger.write(move |connection| make(connection, &old, &mut job.clone())).await;
    let refused = match made {
        Ok(Made::Job(listed)) => {
            info!(job = %new, retry_of = %id, source = listed.source, "job retried by an operator");
            steer.metrics.source_accepted.with_label_values(&[&listed.source]).inc();
            steer.ledger.announce(new, Now::Owes(Duty::Prepare));
            steer.ledger.wake(Duty::Publish);
            return Ok(*listed);
        }
        Ok(Made::Forgotten) => unknown(id),
        Ok(Made::Under(other)) => {
            Refusal::Conflict(format!("another retry of job {id} is under way: job {other}"))
        }
        Err(error) => error.into(),
    };
    spool::remove(&steer.state_directory, new).await;
    Err(refused)
}

/// The new job. It keeps the old job's input (source, metadata, hints); results of measuring and recognizing are empty.
fn again(old: &Job, id: Uuid, origin: Origin) -> Job {
    let measured = Recording {
        format: None,
        duration_ms: None,
        channels: None,
        truncated: false,
        ..old.recording.clone()
    };
    let recording = match &origin {
        Origin::File { root, below, .. } => placed(measured, &root.join(below)),
        // The sender may have replaced the audio behind this URL or name since.
        Origin::Url { .. } | Origin::Object => Recording { sha256: None, bytes: None, ..measured },
        Origin::Spool { .. } | Origin::Nothing => measured,
    };
    let object = old.object.clone().filter(|_| origin == Origin::Object);
    let owes_source = old.owes_source || !matches!(origin, Origin::File { .. });
    Job {
        retry_of: Some(old.id),
        object,
        sidecar: old.sidecar.clone(),
        language: old.language.clone(),
        context: old.context.clone(),
        owes_source,
        ..Job::new(id, &old.source, &old.route, origin, recording, old.metadata.clone())
    }
}

fn make(connection: &Connection, old: &Job, job: &mut Job) -> Result<Made, LedgerError> {
    if jobs::find(connection, old.id)?.is_none() {
        return Ok(Made::Forgotten);
    }
    if let Some(other) = jobs::open_retry(connection, &old.source, old.id)? {
        return Ok(Made::Under(other));
    }
    jobs::insert(connection, job, Vec::new())?;
    if let Origin::File { root, below, .. } = &job.origin {
        files::hand_on(connection, &job.source, &root.join(below), old.id, job.id)?;
    }
    // No recognizer has been chosen for it yet.
    let moment = Moment { now: job.accepted_at, held: Vec::new() };
    let listed = view::find(connection, job.id, &moment)?;
    Ok(listed.map_or(Made::Forgotten, |listed| Made::Job(Box::new(listed))))
}

impl Steer {
    /// A job without any duty left. Waits for a job that has just ended.
    pub(super) async fn settled(&self, id: Uuid) -> Result<Job, Refusal> {
        let mut changes = self.ledger.changes();
        let until = Instant::now() + ENDING;
        loop {
            let job = self.ledger.find(id).await?.ok_or_else(|| unknown(id))?;
            match job.stage {
                Stage::Settled { .. } => return Ok(job),
                Stage::Ended { .. } | Stage::Stored { .. } => {}
                _ => {
                    return Err(Refusal::Conflict(format!(
                        "job {id} has not ended; cancel it first, or wait"
                    )));
                }
            }
            loop {
                match timeout_at(until, changes.recv()).await {
                    Ok(Ok(change)) if change.job != id => {}
                    Ok(Ok(_) | Err(RecvError::Lagged(_))) => break,
                    Ok(Err(RecvError::Closed)) | Err(_) => {
                        return Err(Refusal::NotNow(format!(
                            "job {id} has ended, but its last event is not stored yet, or its file is not moved or deleted yet; see /readyz"
                        )));
                    }
                }
            }
        }
    }
}
