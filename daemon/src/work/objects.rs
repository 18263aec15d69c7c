//! Uploads into a bucket of the operator's own: each object is in the ledger before it is made, and is deleted when no request needs it any
//! more, also after a kill.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use uuid::Uuid;

use super::Tools;
use crate::job::ledger::{LedgerError, remote_objects};
use crate::recognize::Error;
use crate::share::Fence;

/// How often the daemon looks for objects that are not needed any more.
const EVERY: Duration = Duration::from_secs(2);
/// The pause after one could not be deleted.
const AFTER_FAILURE: Duration = Duration::from_secs(60);
/// How often the daemon asks whether the jobs that other daemons have taken over have ended.
const ELSEWHERE: Duration = Duration::from_secs(10);
/// Deletions under way at a time.
const AT_A_TIME: usize = 8;

/// The objects that are being uploaded or are about to be submitted: no request in the ledger names them yet. Clones share the set.
#[derive(Debug, Clone, Default)]
pub struct Objects(Arc<Mutex<HashSet<String>>>);

/// Keeps an object from being deleted until a request in the ledger names it. Once this is dropped, the ledger alone decides whether the object
/// is needed.
#[derive(Debug)]
pub(super) struct UploadGuard {
    objects: Objects,
    url: String,
}

impl Drop for UploadGuard {
    fn drop(&mut self) {
        self.objects.0.lock().remove(&self.url);
    }
}

impl Tools {
    /// Records an object in the ledger before it is created, and keeps it from being deleted. `url`: without a signature.
    pub(super) async fn make_object(&self, url: String, job: Uuid) -> Result<UploadGuard, LedgerError> {
        self.objects.0.lock().insert(url.clone());
        let held = UploadGuard { objects: self.objects.clone(), url: url.clone() };
        let now = Timestamp::now();
        self.ledger.write(move |connection| remote_objects::insert(connection, &url, job, now)).await?;
        Ok(held)
    }

    /// The objects that are not needed any more.
    async fn unneeded_objects(&self) -> Result<Vec<String>, LedgerError> {
        let made: HashSet<String> = self.ledger.read(remote_objects::all).await?.into_iter().collect();
        if made.is_empty() {
            return Ok(Vec::new());
        }
        // The order matters: the recorded objects first, then the held ones, then the ledger's answer. An object that was recorded before and is
        // not held any more is needed only if the ledger already has its request.
        let held = self.objects.0.lock().clone();
        let now = Timestamp::now();
        let mut unneeded =
            self.ledger.read(move |connection| remote_objects::unneeded(connection, now)).await?;
        unneeded.retain(|url| made.contains(url) && !held.contains(url));
        Ok(unneeded)
    }

    /// The objects of ended jobs that other daemons have taken over.
    async fn ended_elsewhere(&self, fence: &Fence) -> Result<Vec<String>, LedgerError> {
        let elsewhere = self.ledger.read(remote_objects::elsewhere).await?;
        let held = self.objects.0.lock().clone();
        let mut ended = Vec::new();
        for (job, urls) in elsewhere {
            match fence.is_over(job).await {
                Ok(true) => ended.extend(urls.into_iter().filter(|url| !held.contains(url))),
                Ok(false) => {}
                Err(reason) => {
                    debug!(%job, reason, "whether a job has ended elsewhere is not known; it is asked again");
                    break;
                }
            }
        }
        Ok(ended)
    }

    /// Deletes an object. `None`: the config does not name its bucket any more.
    async fn discard(&self, url: String) -> Result<(String, Option<Result<(), Error>>), LedgerError> {
        let discarded = self.settings.recognizers.discard(&url).await;
        if let Some(Ok(())) = discarded {
            info!(object = url, "an object that is not needed any more was deleted from the bucket");
            let url = url.clone();
            self.ledger.write(move |connection| remote_objects::remove(connection, &url)).await?;
        }
        Ok((url, discarded))
    }
}

/// Deletes objects as soon as they are not needed any more, until `stop`.
///
/// # Errors
/// When the ledger is closed or damaged.
pub async fn discard_unneeded(
    tools: Tools,
    fence: Fence,
    stop: CancellationToken,
) -> Result<(), LedgerError> {
    // Objects in buckets that the config no longer names. The daemon cannot delete them before the next start, and warns of each once.
    let mut unnamed = HashSet::new();
    let mut asked: Option<Instant> = None;
    loop {
        let tools = tools.renewed();
        let is_time = asked.is_none_or(|at| at.elapsed() >= ELSEWHERE);
        if is_time {
            asked = Some(Instant::now());
        }
        let pass = pass(&tools, is_time.then_some(&fence), &mut unnamed);
        let Some(pause) = stop.run_until_cancelled(pass).await else { return Ok(()) };
        if stop.run_until_cancelled(tokio::time::sleep(pause?)).await.is_none() {
            return Ok(());
        }
    }
}

/// Deletes the objects that are not needed now; returns the pause until the next pass. `fence`: set when it is time to ask which jobs other
/// daemons have ended.
async fn pass(
    tools: &Tools,
    fence: Option<&Fence>,
    unnamed: &mut HashSet<String>,
) -> Result<Duration, LedgerError> {
    let mut unneeded: HashSet<String> = tools.unneeded_objects().await?.into_iter().collect();
    if let Some(fence) = fence {
        unneeded.extend(tools.ended_elsewhere(fence).await?);
    }
    unneeded.retain(|url| !unnamed.contains(url));
    let discarding = futures::stream::iter(unneeded).map(|url| tools.discard(url));
    let mut discarding = pin!(discarding.buffer_unordered(AT_A_TIME));
    let mut failures = Vec::new();
    while let Some(discarded) = discarding.next().await {
        match discarded? {
            (_, Some(Ok(()))) => {}
            (url, Some(Err(error))) => failures.push((url, error)),
            (url, None) => {
                warn!(
                    object = url,
                    "an object in a bucket that [storage] no longer names cannot be deleted; restore the old url and endpoint, or delete it by hand"
                );
                unnamed.insert(url);
            }
        }
    }
    let Some((object, error)) = failures.first() else { return Ok(EVERY) };
    // One line a pass: where the right to delete is missing, every object fails.
    warn!(
        object,
        %error,
        failed = failures.len(),
        "objects that are not needed any more could not be deleted from the bucket; trying again in a minute"
    );
    Ok(AFTER_FAILURE)
}
