//! The spool: audio that came in messages, one file per job. `source::nats` writes it. It is kept until the job is over, and for
//! `state.keep_failed` where the job failed, so that its recording can be recognized again.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::Connection;
use tracing::{info, warn};
use uuid::Uuid;

use super::ledger::{Ledger, LedgerError, jobs};
use super::{Job, Origin, Stage};
use crate::os::{self, private};

/// Its name below the state directory.
pub const SPOOL: &str = "spool";

/// Its path.
pub fn folder(state_directory: &Path) -> PathBuf {
    state_directory.join(SPOOL)
}

/// The path of a job's file.
pub fn file(state_directory: &Path, job: Uuid) -> PathBuf {
    folder(state_directory).join(job.to_string())
}

/// A file without a name, for audio that no job keeps: a kill leaves nothing behind. Blocking.
///
/// # Errors
/// When the folder, or the file, cannot be made.
pub fn unnamed_file(state_directory: &Path) -> io::Result<File> {
    let folder = folder(state_directory);
    private::create_folder(&folder)?;
    tempfile::tempfile_in(&folder)
}

/// Removes a job's file from the spool, if it has one. A failure is logged.
pub async fn remove(state_directory: &Path, job: Uuid) {
    let path = file(state_directory, job);
    match tokio::fs::remove_file(&path).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            warn!(path = %path.display(), %error, "a spooled file stays behind; remove it by hand");
        }
        _ => {}
    }
}

/// Whether a job has a file in the spool.
pub async fn has(state_directory: &Path, job: Uuid) -> bool {
    tokio::fs::try_exists(file(state_directory, job)).await.unwrap_or(false)
}

/// Whether the audio of a job that is being settled is kept.
pub fn is_kept(job: &Job, failed: bool, keep_failed: Duration) -> bool {
    failed && !keep_failed.is_zero() && matches!(job.origin, Origin::Spool { .. })
}

/// Gives a job the audio of another one; both have it then.
///
/// # Errors
/// When the file is gone, or cannot be linked.
pub async fn share(state_directory: &Path, from: Uuid, to: Uuid) -> io::Result<()> {
    tokio::fs::hard_link(file(state_directory, from), file(state_directory, to)).await
}

/// Audio of a failed job.
#[derive(Debug, Clone)]
pub struct Kept {
    job: Uuid,
    ended: Timestamp,
}

/// When the spool is swept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sweep {
    /// Before the sources start: what belongs to no job is the rest of a crash.
    AtStart,
    /// While they run: a file may be written before its job is.
    Running,
}

/// Removes the files that no job needs and whose time is over; returns those that are kept of failed jobs, the oldest first.
///
/// # Errors
/// When the ledger is closed or damaged.
pub async fn sweep(
    state_directory: &Path,
    ledger: &Ledger,
    keep_failed: Duration,
    when: Sweep,
) -> Result<Vec<Kept>, LedgerError> {
    let Ok(mut entries) = tokio::fs::read_dir(folder(state_directory)).await else {
        return Ok(Vec::new());
    };
    let mut spooled = Vec::new();
    while let Ok(Some(entry)) = entries.next_entry().await {
        spooled.extend(entry.file_name().to_str().and_then(|name| Uuid::parse_str(name).ok()));
    }
    // A clock that was set back makes nothing older.
    let since = os::cautious_now().checked_sub(keep_failed).unwrap_or(Timestamp::MIN);
    let judge = move |connection: &Connection| {
        let (mut kept, mut unneeded) = (Vec::new(), Vec::new());
        for job in spooled.iter().copied() {
            let failed = match jobs::find(connection, job) {
                Ok(Some(Job { stage: Stage::Settled { failed }, .. })) => failed,
                Ok(None) if when == Sweep::AtStart => false,
                // A job of a newer daemon keeps its audio.
                Ok(_) | Err(LedgerError::Newer { .. }) => continue,
                Err(error) => return Err(error),
            };
            match jobs::ended_at(connection, job)?.filter(|ended| failed && *ended > since) {
                Some(ended) => kept.push(Kept { job, ended }),
                None => unneeded.push(job),
            }
        }
        Ok((kept, unneeded))
    };
    let (mut kept, unneeded) = ledger.read(judge).await?;
    for job in unneeded {
        remove(state_directory, job).await;
    }
    kept.sort_by_key(|file| file.ended);
    Ok(kept)
}

/// Removes kept audio, the oldest first, until `bytes` are free or none is left: it must not keep new recordings out.
pub async fn make_room(state_directory: &Path, kept: Vec<Kept>, bytes: u64) {
    let mut freed = 0;
    for Kept { job, .. } in kept {
        if freed >= bytes {
            return;
        }
        freed += tokio::fs::metadata(file(state_directory, job)).await.map_or(0, |file| file.len());
        info!(%job, "the state directory is nearly full; the audio of this failed job is not kept any longer");
        remove(state_directory, job).await;
    }
}

#[cfg(test)]
mod tests {
    use hark_sdk::event::Recording;
    use serde_json::Map;

    use super::*;

    #[tokio::test]
    async fn the_audio_of_failed_jobs_is_kept_for_its_time_and_leaves_when_room_is_wanted() {
        let state = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(state.path()).unwrap();
        let spool = folder(state.path());
        std::fs::create_dir(&spool).unwrap();
        let now = Timestamp::now();
        let add = async |stage: Option<Stage>, age: Duration| {
            let id = Uuid::now_v7();
            std::fs::write(spool.join(id.to_string()), [0; 100]).unwrap();
            let Some(stage) = stage else { return id };
            let origin = Origin::Spool { file: id.to_string() };
            let job = Job::new(id, "inbox", "default", origin, Recording::default(), Map::new());
            let job = Job { stage, ..job };
            let ended = (now - age).as_millisecond();
            let insert = move |connection: &Connection| {
                jobs::insert(connection, &mut job.clone(), Vec::new())?;
                connection
                    .execute("UPDATE job SET ended = ?2 WHERE id = ?1", rusqlite::params![id, ended])?;
                Ok(())
            };
            ledger.write(insert).await.unwrap();
            id
        };
        let hour = Duration::from_secs(3_600);
        let failed = || Some(Stage::Settled { failed: true });
        let old = add(failed(), 4 * hour).await;
        let (first, second) = (add(failed(), 2 * hour).await, add(failed(), hour).await);
        let done = add(Some(Stage::Settled { failed: false }), hour).await;
        let open = add(Some(Stage::Recognizing), hour).await;
        let unknown = add(None, hour).await;
        let there = |id: Uuid| spool.join(id.to_string()).exists();

        let kept = sweep(state.path(), &ledger, 3 * hour, Sweep::Running).await.unwrap();
        assert_eq!(kept.iter().map(|kept| kept.job).collect::<Vec<_>>(), [first, second]);
        assert_eq!(
            [old, first, second, done, open, unknown].map(there),
            [false, true, true, false, true, true]
        );
        make_room(state.path(), kept, 100).await;
        assert_eq!(
            [first, second].map(there),
            [false, true],
            "the oldest goes first, and no more than has to"
        );
        sweep(state.path(), &ledger, Duration::ZERO, Sweep::AtStart).await.unwrap();
        assert_eq!([second, open, unknown].map(there), [false, true, false]);
    }
}
