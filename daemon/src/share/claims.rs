//! Several daemons, one stream: each job of a message has one owner, and the key-value bucket `HARK_JOBS` tells all daemons which.
//!
//! Every change of a claim is a revision-checked update, so if two daemons claim a job, one of them gets it. The owner reads its claim
//! before it completes a request that may cost, unless it did so a moment ago. A daemon that takes a job over appends an event of its own
//! behind the events of the former owner, so that the server refuses the events that the former owner may still send. Jobs of folders have
//! no ticket and cause no traffic here.

use parking_lot::{Mutex, MutexGuard};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::kv;
use futures::stream::{self, StreamExt};
use jiff::Timestamp;
use tracing::{info, warn};
use uuid::Uuid;

use super::bucket::{Bucket, Unconfirmed, within};
use super::claim::{Claim, ClaimState, judge, second_key};
use super::job_lock::{JobLock, JobLocks};
use crate::broker::JetStream;
use crate::config::Nats;
use crate::job::ledger::{Ledger, LedgerError, Now, intake, jobs};
use crate::job::{Job, Piece, Ticket, spool};

const BUCKET: &str = "HARK_JOBS";

/// Claims are kept at least this long, even if the ledger keeps jobs for less: the service keeps a task's result for a day.
const SHORTEST_KEEP: Duration = Duration::from_secs(48 * 3600);

/// How many claims are written to a new bucket at the same time.
const AT_A_TIME: usize = 32;

/// The claims of all daemons, as this daemon reads and writes them. Clones share the same connection.
#[derive(Clone)]
pub struct Claims(Arc<Shared>);

struct Shared {
    bucket: Bucket,
    me: Uuid,
    ledger: Ledger,
    state_directory: PathBuf,
    ack_wait: Duration,
    /// Locks of the jobs that this daemon is accepting or taking over.
    entering: JobLocks,
    /// Locks of the jobs whose claim this daemon is writing.
    writing: JobLocks,
    /// Jobs whose claim in the bucket is out of date: the broker did not answer when the claim was to be written.
    outdated: Mutex<HashSet<Uuid>>,
}

impl Claims {
    /// Opens no connection yet. The bucket is created when it is first needed and does not exist.
    ///
    /// # Errors
    /// When the ledger is closed or damaged.
    pub async fn new(
        connection: impl Into<JetStream>,
        nats: &Nats,
        keep: Duration,
        ledger: Ledger,
        state_directory: &Path,
    ) -> Result<Self, LedgerError> {
        Ok(Claims(Arc::new(Shared {
            bucket: Bucket::new(&connection.into(), bucket(nats, keep), nats.ack_wait),
            me: ledger.write(intake::own_id).await?,
            ledger,
            state_directory: state_directory.to_owned(),
            ack_wait: nats.ack_wait,
            entering: JobLocks::default(),
            writing: JobLocks::default(),
            outdated: Mutex::default(),
        })))
    }

    /// How long this daemon relies on an answer about a job's owner.
    pub fn fresh_for(&self) -> Duration {
        within(self.0.ack_wait)
    }

    /// Whether this daemon owns the job, read from the leader of the bucket's stream. It owns every job that did not come in a message.
    ///
    /// # Errors
    /// When the bucket does not answer.
    pub async fn owns(&self, job: &Job) -> Result<bool, Unconfirmed> {
        let Some(ticket) = &job.ticket else { return Ok(true) };
        let found = self.find(ticket, job.recording.message_id.as_deref()).await?.2;
        // Without a claim the bucket was lost. The next write claims the job again, unless another daemon claims it first.
        Ok(found.is_none_or(|claim| self.is_ours(&claim, job)))
    }

    /// Waits until no other task writes the job's claim. The claim and the ledger are two stores: a task that changes first one and then
    /// the other holds this over both changes, so that [`Claims::update`] never overwrites a newer state with an older one.
    pub async fn writing(&self, job: Uuid) -> JobLock {
        self.0.writing.wait_for(job).await
    }

    /// Writes the job's present state into its claim; deletes the job here if another daemon owns it. If the bucket does not answer, the
    /// claim is written with the next sign of progress: a daemon that took the job over before that would not know the fate of a request.
    ///
    /// # Errors
    /// When the ledger is closed or damaged.
    pub async fn update(&self, id: Uuid) -> Result<(), LedgerError> {
        let writing = self.writing(id).await;
        self.update_with(writing, id).await
    }

    async fn update_with(&self, writing: JobLock, id: Uuid) -> Result<(), LedgerError> {
        let Some((job, pieces)) = self.0.ledger.find_whole(id).await? else {
            self.outdated().remove(&id);
            return Ok(());
        };
        let is_ours = self.write(&job, &pieces).await;
        drop(writing);
        match is_ours {
            Ok(true) => {}
            Ok(false) => self.let_go(id).await?,
            Err(unconfirmed) => {
                if self.outdated().insert(id) {
                    warn!(job = %id, source = job.source, %unconfirmed, "the job's claim cannot be updated now, so other daemons do not know its state; trying again later");
                }
            }
        }
        Ok(())
    }

    /// [`Claims::update`], if the claim is out of date because the bucket did not answer before. Does not wait for a task that is writing
    /// the claim: that task writes a newer state.
    pub async fn update_if_outdated(&self, id: Uuid) -> Result<(), LedgerError> {
        let is_outdated = self.outdated().contains(&id);
        match is_outdated.then(|| self.0.writing.take(id)).flatten() {
            Some(writing) => self.update_with(writing, id).await,
            None => Ok(()),
        }
    }

    /// When the bucket was created, ns since the epoch.
    pub async fn bucket_made(&self) -> Result<i128, Unconfirmed> {
        self.0.bucket.made().await
    }

    /// Whether the bucket was created after this time; `true` if that is not known. Such a bucket need not have the claims of jobs from
    /// before this time.
    pub async fn is_bucket_after(&self, time_ns: i128) -> bool {
        self.bucket_made().await.map_or(true, |made| made > time_ns)
    }

    /// Writes the claims of a source's jobs into a new bucket (`made`: when it was created, ns since the epoch). These are the open jobs, the
    /// jobs whose message may be redelivered because its acknowledgement was lost, and the ended jobs with a message id from before the bucket,
    /// because a sender may send that id again. `false`: some claims could not be written.
    pub async fn update_all(&self, source: &str, made: i128) -> Result<bool, LedgerError> {
        let (source, since) = (source.to_owned(), Timestamp::now() - 4 * self.0.ack_wait);
        let made = Timestamp::from_nanosecond(made).unwrap_or(Timestamp::MIN);
        let look = move |connection: &rusqlite::Connection| {
            let ended = jobs::with_message_id_ended_before(connection, &source, made)?;
            Ok((jobs::at_work_since(connection, &source, since)?, ended))
        };
        let (at_work, ended) = self.0.ledger.read(look).await?;
        let updates = stream::iter(at_work).map(async |id| {
            self.update(id).await?;
            Ok::<_, LedgerError>(!self.outdated().contains(&id))
        });
        let updated: Vec<_> = updates.buffer_unordered(AT_A_TIME).collect().await;
        // Written with `write`, not with `update`: `update` would delete an ended job here if another daemon has claimed its message since.
        let writes = stream::iter(ended).map(async |id| {
            let Some((job, pieces)) = self.0.ledger.find_whole(id).await? else { return Ok(true) };
            Ok::<_, LedgerError>(self.write(&job, &pieces).await.is_ok())
        });
        let told: Vec<_> = writes.buffer_unordered(AT_A_TIME).collect().await;
        updated.into_iter().chain(told).try_fold(true, |all, done| Ok(all & done?))
    }

    /// The lock that a task needs to handle a message of this job; `None` while another task holds the lock: two sources of one daemon
    /// may handle messages with the same id at the same time, and the claim of both names this daemon.
    pub fn enter(&self, job: Uuid) -> Option<JobLock> {
        self.0.entering.take(job)
    }

    /// Writes the job's state into its claim, if this daemon still owns the job; returns whether it does. The caller must hold
    /// [`Claims::writing`], or be the only task that has the job.
    ///
    /// # Errors
    /// When the bucket does not answer. The claim may have been written all the same; then it records at least what the ledger has.
    pub async fn write(&self, job: &Job, pieces: &[Piece]) -> Result<bool, Unconfirmed> {
        let Some(ticket) = &job.ticket else { return Ok(true) };
        loop {
            let message_id = job.recording.message_id.as_deref();
            let (key, revision, found) = self.find(ticket, message_id).await?;
            let mut claim = found.unwrap_or_else(|| Claim::of(job, pieces, ticket, self.0.me));
            if !self.is_ours(&claim, job) {
                return Ok(false);
            }
            claim.copy_state(job, pieces);
            if self.0.bucket.update(&key, &claim, revision).await?.is_some() {
                self.outdated().remove(&job.id);
                return Ok(true);
            }
        }
    }

    /// Deletes a job that another daemon owns now: its rows and its audio; the source stops extending the message's `ack_wait`. A task
    /// that still works on the job finds no row to report to.
    ///
    /// # Errors
    /// When the ledger is closed or damaged.
    pub async fn let_go(&self, job: Uuid) -> Result<(), LedgerError> {
        let forget = move |connection: &rusqlite::Connection| {
            let source = jobs::find(connection, job)?.map(|job| job.source);
            jobs::forget(connection, job).map(|_| source)
        };
        let source = self.0.ledger.write(forget).await?;
        self.0.ledger.announce(job, Now::Forgotten);
        self.outdated().remove(&job);
        spool::remove(&self.0.state_directory, job).await;
        if let Some(source) = source {
            warn!(%job, source, "another daemon has taken over this job");
        }
        Ok(())
    }

    /// Reads which daemon owns a job, and deletes the job here if another daemon owns it.
    pub async fn let_go_if_lost(&self, id: Uuid) -> Result<(), Unconfirmed> {
        let job = self.0.ledger.find(id).await.map_err(|error| self.0.bucket.unconfirmed(error))?;
        if let Some(job) = job
            && !self.owns(&job).await?
        {
            self.let_go(id).await.map_err(|error| self.0.bucket.unconfirmed(error))?;
        }
        Ok(())
    }

    /// Claims the job of a delivery; returns the verdict, and the claim as it is now. `known`: the job that the ledger has for the message.
    /// `id`: of the job to be made if the message is new. The ticket gets its second key if an unrelated message has the first one.
    pub async fn claim(
        &self,
        id: Uuid,
        ticket: &mut Ticket,
        message_id: Option<&str>,
        delivery: i64,
        known: Option<&(Job, Vec<Piece>)>,
    ) -> Result<(ClaimState, Claim), Unconfirmed> {
        let me = self.0.me;
        let fresh = match known {
            Some((job, pieces)) => Claim::of(job, pieces, ticket, me),
            None => Claim::new(id, me, &ticket.place, delivery),
        };
        // Most messages are new: a write without a read before it claims them in one round trip.
        if known.is_none() && self.0.bucket.update(&ticket.key, &fresh, 0).await?.is_some() {
            return Ok((ClaimState::New, fresh));
        }
        loop {
            let (key, revision, found) = self.find(ticket, message_id).await?;
            ticket.key = key;
            let verdict = judge(found.as_ref(), me, &ticket.place, delivery);
            let mut claim = found.unwrap_or_else(|| fresh.clone());
            let stands = match verdict {
                ClaimState::Over | ClaimState::Wait | ClaimState::Stale => true,
                ClaimState::Mine if claim.place != ticket.place || claim.delivery >= delivery => true,
                ClaimState::Mine | ClaimState::New => false,
                ClaimState::TakeOver => {
                    info!(job = %claim.job, place = ticket.place, former = %claim.owner, "the job's owner is silent; this daemon takes the job over");
                    claim.owner = me;
                    false
                }
            };
            if !stands {
                claim.delivery = delivery;
            }
            if stands || self.0.bucket.update(&ticket.key, &claim, revision).await?.is_some() {
                return Ok((verdict, claim));
            }
        }
    }

    /// Moves a claim to the duplicate message that waited for it, with this daemon as the owner. `None`: the claim has changed since it
    /// was read, so a daemon is at work on the job.
    pub async fn move_to_duplicate(
        &self,
        ticket: &Ticket,
        delivery: i64,
        claim: &Claim,
    ) -> Result<Option<Claim>, Unconfirmed> {
        let (revision, found) = self.0.bucket.read::<Claim>(&ticket.key).await?;
        if found.as_ref() != Some(claim) {
            return Ok(None);
        }
        let mut mine = claim.clone();
        (mine.owner, mine.place, mine.delivery) = (self.0.me, ticket.place.clone(), delivery);
        Ok(self.0.bucket.update(&ticket.key, &mine, revision).await?.map(|_| mine))
    }

    /// Whether the last event of a message's job is stored, whichever daemon worked on the job.
    pub async fn is_over(&self, ticket: &Ticket, message_id: Option<&str>) -> Result<bool, Unconfirmed> {
        let found = self.find(ticket, message_id).await?.2;
        Ok(found.is_some_and(|claim| judge(Some(&claim), self.0.me, &ticket.place, 0) == ClaimState::Over))
    }

    /// Removes the claim of a job that has ended; returns whether there was one.
    pub async fn erase(&self, job: &Job) -> Result<bool, Unconfirmed> {
        let Some(ticket) = &job.ticket else { return Ok(false) };
        match self.find(ticket, job.recording.message_id.as_deref()).await? {
            (key, _, Some(claim)) if claim.job == job.id => self.0.bucket.remove(&key).await,
            _ => Ok(false),
        }
    }

    /// The claim of a message, with the claim's key and revision. If streams and bucket are lost, the next stream counts from one again,
    /// and a later message may have the key of a message whose job is still open: the claim of the later message tells nothing about that
    /// job, which has its claim at the second key.
    async fn find(
        &self,
        ticket: &Ticket,
        message_id: Option<&str>,
    ) -> Result<(String, u64, Option<Claim>), Unconfirmed> {
        let (revision, found) = self.0.bucket.read::<Claim>(&ticket.key).await?;
        let second = second_key(message_id, &ticket.place);
        if ticket.key == second
            || !found.as_ref().is_some_and(|claim| claim.is_foreign(message_id, &ticket.place))
        {
            return Ok((ticket.key.clone(), revision, found));
        }
        let (revision, found) = self.0.bucket.read(&second).await?;
        Ok((second, revision, found))
    }

    fn outdated(&self) -> MutexGuard<'_, HashSet<Uuid>> {
        self.0.outdated.lock()
    }

    /// The id of this daemon, from its ledger.
    pub fn daemon(&self) -> Uuid {
        self.0.me
    }

    pub fn is_mine(&self, claim: &Claim) -> bool {
        claim.owner == self.0.me
    }

    /// Whether the connection is up, as far as the client knows: only then do signs of progress reach the server.
    pub fn is_connected(&self) -> bool {
        self.0.bucket.is_connected()
    }

    fn is_ours(&self, claim: &Claim, job: &Job) -> bool {
        self.is_mine(claim) && claim.job == job.id
    }
}

/// `keep`: how long the ledger keeps jobs.
fn bucket(nats: &Nats, keep: Duration) -> kv::Config {
    kv::Config {
        bucket: BUCKET.into(),
        description: "Which harkd works on which message's job".into(),
        history: 1,
        max_age: keep.max(SHORTEST_KEEP),
        num_replicas: nats.replicas,
        ..kv::Config::default()
    }
}
