//! Fetches the audio of objects and, where the plan needs bytes, of URLs into the spool. A plan needs bytes if the recognizer that the route
//! names takes no URL, or if the daemon analyzes the recording before it is sent.

use std::io;
use std::time::Duration;

use hark_sdk::event::{Blame, ObjectRef, Recording};
use tracing::{info, warn};

use super::{PieceTask, Tools};
use crate::config::{Channels, EngineChoice, Route};
use crate::job::audio::Unopened;
use crate::job::job_machine::Fact;
use crate::job::ledger::LedgerError;
use crate::job::{Delivery, Job, Origin, fault, spool};
use crate::os::{self, private};
use crate::recognize::{Delivers, Profile};
use crate::source::download::{Fetched, Unfetched};
use crate::source::object;
use crate::source::url::fetch::fetch;

/// The largest recording that is fetched.
pub const LARGEST: u64 = 2 << 30;

/// Pauses between the tries.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(16)];

/// Whether the audio of a URL is fetched for recordings of this route, before they are planned.
pub fn needs_bytes<'a>(route: &Route, mut profiles: impl Iterator<Item = &'a Profile>) -> bool {
    let skips = route.skip_silence && route.engine != EngineChoice::Filetrans;
    if route.channels == Channels::Split || skips {
        return true;
    }
    let engine = route.engine.name();
    let profile = engine.and_then(|name| profiles.find(|profile| profile.engine.as_str() == name));
    profile.is_some_and(|profile| profile.limits.url == Delivers::No)
}

impl Tools {
    /// Returns the job with its audio on this machine, if its plan needs that. `None`: the audio could not be fetched, and the job (or `piece`)
    /// has failed or is put off.
    pub(super) async fn with_bytes(
        &self,
        job: Job,
        piece: Option<&PieceTask>,
    ) -> Result<Option<Job>, LedgerError> {
        match job.origin {
            Origin::Url { .. } if self.needs_bytes(&job) => self.fetch(job, piece).await,
            Origin::Object => self.fetch(job, piece).await,
            _ => Ok(Some(job)),
        }
    }

    /// Fetches the audio of a job's URL or object. `None` as of [`Self::with_bytes`].
    pub(super) async fn fetch(
        &self,
        job: Job,
        piece: Option<&PieceTask>,
    ) -> Result<Option<Job>, LedgerError> {
        let place = match (&job.origin, &job.object) {
            (Origin::Url { url }, _) => Remote::Url(url),
            (Origin::Object, Some(object)) => Remote::Object(object),
            _ => return Ok(Some(job)),
        };
        let Fetched { bytes, sha256 } = match self.stop.run_until_cancelled(self.fetched(&job, place)).await {
            None => return Ok(None),
            Some(Ok(fetched)) => fetched,
            Some(Err(NotFetched::Unopened(unopened))) => {
                self.not_opened(&job, piece, unopened).await?;
                return Ok(None);
            }
            Some(Err(NotFetched::NoAnswer(reason))) => {
                if self.shortage.is_time() {
                    warn!(
                        source = job.source,
                        reason, "objects with audio cannot be read and their jobs wait; check NATS"
                    );
                }
                self.put_off(&job, piece).await?;
                return Ok(None);
            }
        };
        info!(job = %job.id, source = job.source, bytes, "the audio of the message's reference is on this machine");
        self.ledger.spooled(bytes);
        let recording = Recording { bytes: Some(bytes), sha256: Some(sha256), ..job.recording };
        let origin = Origin::Spool { file: job.id.to_string() };
        let fact = Fact::Fetched { recording: Box::new(recording), origin };
        self.ledger.advance(job.id, fact).await?;
        self.ledger.find(job.id).await
    }

    fn needs_bytes(&self, job: &Job) -> bool {
        job.plan.as_ref().is_some_and(|plan| plan.delivery != Delivery::Url)
            || self.route(job).is_ok_and(|route| needs_bytes(route, self.settings.recognizers.profiles()))
    }

    async fn fetched(&self, job: &Job, place: Remote<'_>) -> Result<Fetched, NotFetched> {
        let (folder, into) =
            (spool::folder(&self.state_directory), spool::file(&self.state_directory, job.id));
        private::create_folder(&folder)?;
        let mut pauses = PAUSES.into_iter();
        loop {
            // The last disk space is reserved for the ledger.
            let free = os::free_bytes(&folder)?.saturating_sub(os::reserve_bytes(&folder)?);
            let room = free.min(self.ledger.left());
            let most = LARGEST.min(room);
            let fetched = match place {
                Remote::Url(url) => fetch(url, &self.settings.allow_urls, &into, most).await,
                Remote::Object(object) => object::fetch(&self.jetstream, object, &into, most).await,
            };
            let error = match fetched {
                Ok(fetched) => return Ok(fetched),
                Err(error) => error,
            };
            let code = match &error {
                Unfetched::Forbidden(_) => "ForbiddenURL",
                Unfetched::Refused(_) => "DownloadFailed",
                Unfetched::Absent(_) => "ObjectUnavailable",
                Unfetched::TooLarge if room >= LARGEST => "TooLarge",
                Unfetched::TooLarge => return Err(io::Error::from(io::ErrorKind::StorageFull).into()),
                Unfetched::Disk(error) => return Err(io::Error::new(error.kind(), error.to_string()).into()),
                Unfetched::NotNow(reason) => match (place, pauses.next()) {
                    (Remote::Object(_), _) => return Err(NotFetched::NoAnswer(reason.clone())),
                    (Remote::Url(_), Some(pause)) => {
                        warn!(job = %job.id, source = job.source, %error, "the audio of the URL could not be fetched; trying again");
                        tokio::time::sleep(pause).await;
                        continue;
                    }
                    (Remote::Url(_), None) => "DownloadFailed",
                },
            };
            return Err(NotFetched::Unopened(fault(code, Blame::Audio, error.to_string()).into()));
        }
    }
}

/// Where the audio is.
#[derive(Clone, Copy)]
enum Remote<'a> {
    Url(&'a str),
    Object(&'a ObjectRef),
}

/// Why it is not on this machine.
enum NotFetched {
    Unopened(Unopened),
    /// The broker does not answer, or refuses.
    NoAnswer(String),
}

impl From<io::Error> for NotFetched {
    fn from(error: io::Error) -> Self {
        NotFetched::Unopened(Unopened::NotNow(error))
    }
}
