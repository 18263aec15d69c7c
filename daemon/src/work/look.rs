//! Looks into the audio of a URL that the service is to fetch.

use hark_sdk::event::{Blame, Recording};
use tracing::info;

use super::recordings::unusable;
use super::{Tools, probed};
use crate::job::audio::Unopened;
use crate::job::{Job, fault, spool};
use crate::recognize::route::Facts;
use crate::source::download::Unfetched;
use crate::source::url::look::{Looked, look};

/// The most bytes that are read. Flash takes no larger file by URL, and for the other engines the first bytes are enough.
pub const MOST: u64 = 10 << 20;

impl Tools {
    /// The recording of a URL with what a look into it tells, and the facts that decide its plan. If the daemon cannot look into it, the
    /// recording stays as it is and the service gets the URL unseen.
    ///
    /// # Errors
    /// [`Unopened::Fault`] if the URL leads to a forbidden address: the service would follow it too.
    pub(super) async fn looked_into(&self, job: &Job, url: &str) -> Result<(Recording, Facts), Unopened> {
        let file = spool::unnamed_file(&self.state_directory).map_err(Unopened::NotNow)?;
        let unseen = |reason: String| {
            info!(job = %job.id, source = job.source, reason, "the audio URL cannot be looked into; the service gets it unseen");
            Ok((job.recording.clone(), Facts::of(&job.recording, &job.origin)))
        };
        let Looked { file, bytes, is_whole } = match look(url, &self.settings.allow_urls, file, MOST).await {
            Ok(looked) => looked,
            Err(Unfetched::Forbidden(refused)) => {
                return Err(fault("ForbiddenURL", Blame::Audio, refused.to_string()).into());
            }
            Err(Unfetched::Disk(error)) => return Err(Unopened::NotNow(error)),
            Err(error) => return unseen(error.to_string()),
        };
        let probe = match self.workers.probe(&file, job.extension()).await {
            Ok(probe) => probe,
            Err(error) => {
                return match unusable(job, &error) {
                    Unopened::NotNow(error) => Err(Unopened::NotNow(error)),
                    _ => unseen(error.to_string()),
                };
            }
        };
        let known = Recording { bytes, ..job.recording.clone() };
        // Of the first bytes alone, length and channels may be wrong.
        if !is_whole {
            let recording = Recording { format: Some(probe.format), ..known };
            let facts = Facts::of(&recording, &job.origin);
            return Ok((recording, facts));
        }
        let recording = probed::recording(known, &probe);
        let facts = probed::facts(Facts::of(&recording, &job.origin), probe);
        Ok((recording, facts))
    }
}
