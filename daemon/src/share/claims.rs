//! Several daemons, one stream: each job of a message has one owner, told to all in the key-value bucket `HARK_JOBS`.
//!
//! Every change is a revision-checked update, so of two daemons that want a job one gets it. An owner asks before each request that
//! costs, and whoever takes a job over puts an event of its own behind those of the former owner, so that the server refuses what that
//! one may still send. Jobs of folders have no ticket and cause no traffic here.

use parking_lot::{Mutex, MutexGuard};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use jiff::Timestamp;
use tracing::{info, warn};
use uuid::Uuid;

use super::bucket::{Bucket, Unconfirmed, within};
use super::claim::{Claim, Verdict, judge, second_key};
use super::job_lock::{Turn, Turns};
use crate::broker::Connection;
use crate::config::Nats;
use crate::job::ledger::{Ledger, LedgerError, Now, intake, jobs};
use crate::job::{Job, Piece, Stage, Ticket, spool};

/// Jobs of which a new bucket is told side by side.
const AT_A_TIME: usize = 32;

/// Whose job it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// This daemon's: also every job that did not come in a message.
    Ours,
    /// Another daemon has taken it over. What is left of it here has to go, without an event.
    Lost,
}

/// The claims of all daemons, seen from this one. Clones share the same connection.
#[derive(Clone)]
pub struct Claims(Arc<Shared>);

struct Shared {
    bucket: Bucket,
    me: Uuid,
    ledger: Ledger,
    state_directory: PathBuf,
    ack_wait: Duration,
    /// Of jobs that are being taken in or over.
    entering: Turns,
    /// Of jobs whose claim is being written.
    writing: Turns,
    /// Jobs of which the bucket has not heard the latest: the broker was away when there was something to tell.
    untold: Mutex<HashSet<Uuid>>,
}

/// Nobody else tells the other daemons anything of the job meanwhile.
#[derive(Debug)]
pub struct Writing(#[expect(dead_code, reason = "it is held")] Turn);

impl Claims {
    /// Connects nothing yet; the bucket is made when it is first needed and absent.
    ///
    /// # Errors
    /// When the ledger is closed or damaged.
    pub async fn new(
        connection: impl Into<Connection>,
        nats: &Nats,
        keep: Duration,
        ledger: Ledger,
        state_directory: &Path,
    ) -> Result<Self, LedgerError> {
        Ok(Claims(Arc::new(Shared {
            bucket: Bucket::new(&connection.into(), nats, keep),
            me: ledger.write(intake::own_id).await?,
            ledger,
            state_directory: state_directory.to_owned(),
            ack_wait: nats.ack_wait,
            entering: Turns::default(),
            writing: Turns::default(),
            untold: Mutex::default(),
        })))
    }

    /// How long an answer about whose job it is holds.
    pub fn fresh_for(&self) -> Duration {
        within(self.0.ack_wait)
    }

    /// Whose job it is, as the bucket's leader has it.
    ///
    /// # Errors
    /// When nobody can tell now.
    pub async fn look(&self, job: &Job) -> Result<Standing, Unconfirmed> {
        let Some(ticket) = &job.ticket else { return Ok(Standing::Ours) };
        Ok(match self.find(job, ticket).await?.2 {
            Some(claim) => self.standing(&claim, job),
            // The bucket was lost; the next write claims the job again, if nobody was quicker.
            None => Standing::Ours,
        })
    }

    /// Waits until nobody else writes the job's claim. A claim and the ledger are two places: what changes both in order holds this
    /// over both, so that [`Claims::tell`] never writes what was true before over what is true.
    pub async fn writing(&self, job: Uuid) -> Writing {
        Writing(self.0.writing.wait_for(job).await)
    }

    /// Tells the others where the job stands by now, and lets go of it where it is another daemon's. What nobody could be told is told
    /// with the next sign of progress: whoever took the job over before that would have to guess what became of a request.
    ///
    /// # Errors
    /// When the ledger is closed or damaged.
    pub async fn tell(&self, id: Uuid) -> Result<(), LedgerError> {
        let writing = self.writing(id).await;
        self.tell_with(writing, id).await
    }

    async fn tell_with(&self, writing: Writing, id: Uuid) -> Result<(), LedgerError> {
        let Some((job, pieces)) = self.0.ledger.find_whole(id).await? else {
            self.untold().remove(&id);
            return Ok(());
        };
        let told = self.write(&job, &pieces).await;
        drop(writing);
        match told {
            Ok(Standing::Ours) => {}
            Ok(Standing::Lost) => self.let_go(id).await?,
            Err(unconfirmed) => {
                if self.untold().insert(id) {
                    warn!(job = %id, source = job.source, %unconfirmed, "other daemons do not know where this job stands; they are told later");
                }
            }
        }
        Ok(())
    }

    /// [`Claims::tell`], where the others could not be told before. Waits for nobody who writes the claim: that one tells more.
    pub async fn tell_if_untold(&self, id: Uuid) -> Result<(), LedgerError> {
        let is_untold = self.untold().contains(&id);
        match is_untold.then(|| self.0.writing.take(id)).flatten() {
            Some(turn) => self.tell_with(Writing(turn), id).await,
            None => Ok(()),
        }
    }

    /// When the bucket was made, ns since the epoch.
    pub async fn bucket_made(&self) -> Result<i128, Unconfirmed> {
        self.0.bucket.made().await
    }

    /// Whether the bucket was made after this time, as far as is known: of what daemons did before, it need not tell.
    pub async fn is_bucket_after(&self, time_ns: i128) -> bool {
        self.bucket_made().await.map_or(true, |made| made > time_ns)
    }

    /// Tells a bucket that knows nothing of them where a source's jobs stand: the open ones, and those whose message may come once more
    /// because its acknowledgement was lost. `false`: it has not heard of all of them.
    pub async fn tell_all(&self, source: &str) -> Result<bool, LedgerError> {
        let (source, since) = (source.to_owned(), Timestamp::now() - 4 * self.0.ack_wait);
        let jobs =
            self.0.ledger.read(move |connection| jobs::at_work_since(connection, &source, since)).await?;
        let tell = stream::iter(jobs).map(async |id| {
            self.tell(id).await?;
            Ok::<_, LedgerError>(!self.untold().contains(&id))
        });
        let told: Vec<_> = tell.buffer_unordered(AT_A_TIME).collect().await;
        told.into_iter().try_fold(true, |all, told| Ok(all & told?))
    }

    /// The turn to make something of a message of this job; `None` while somebody else has it: two sources of one daemon may have messages
    /// of the same id in hand, and both are this daemon's.
    pub fn enter(&self, job: Uuid) -> Option<Turn> {
        self.0.entering.take(job)
    }

    /// Says where the job stands in its claim, if it is still ours. For whoever has [`Claims::writing`], or the job to itself.
    ///
    /// # Errors
    /// When nobody can tell now. The claim may have been written all the same; it says no less than is true.
    pub async fn write(&self, job: &Job, pieces: &[Piece]) -> Result<Standing, Unconfirmed> {
        let Some(ticket) = &job.ticket else { return Ok(Standing::Ours) };
        loop {
            let (key, revision, found) = self.find(job, ticket).await?;
            let mut claim = found.unwrap_or_else(|| Claim::of(job, pieces, ticket, self.0.me));
            if self.standing(&claim, job) == Standing::Lost {
                return Ok(Standing::Lost);
            }
            claim.follow(job, pieces);
            if self.0.bucket.update(&key, &claim, revision).await? {
                self.untold().remove(&job.id);
                return Ok(Standing::Ours);
            }
        }
    }

    /// Forgets a job that is another daemon's now: its rows, its audio, its hold on the message. What was under way for it finds
    /// nothing to report to.
    ///
    /// # Errors
    /// When the ledger is closed or damaged.
    pub async fn let_go(&self, job: Uuid) -> Result<(), LedgerError> {
        let forget = move |connection: &rusqlite::Connection| {
            let source = jobs::find(connection, job)?.map(|job| job.source);
            jobs::forget(connection, job).map(|_| source)
        };
        let source = self.0.ledger.write(forget).await?;
        self.0.ledger.tell(job, Now::Forgotten);
        self.untold().remove(&job);
        spool::remove(&self.0.state_directory, job).await;
        if let Some(source) = source {
            warn!(%job, source, "another daemon has taken this job over; it goes on there");
        }
        Ok(())
    }

    /// Looks whose a job is and lets go of a lost one.
    pub async fn look_over(&self, id: Uuid) -> Result<(), Unconfirmed> {
        let job = self.0.ledger.find(id).await.map_err(|error| Unconfirmed(error.to_string()))?;
        if let Some(job) = job
            && self.look(&job).await? == Standing::Lost
        {
            self.let_go(id).await.map_err(|error| Unconfirmed(error.to_string()))?;
        }
        Ok(())
    }

    /// Claims the job of a delivery, or says why not; and the claim as it stands now. `known`: the ledger has this job for it. The
    /// ticket's key is changed where a message that is none of ours has it. `id`: of the job that a new message becomes.
    pub async fn claim(
        &self,
        id: Uuid,
        ticket: &mut Ticket,
        message_id: Option<&str>,
        delivery: i64,
        known: Option<&(Job, Vec<Piece>)>,
    ) -> Result<(Verdict, Claim), Unconfirmed> {
        let me = self.0.me;
        let fresh = match known {
            Some((job, pieces)) => Claim::of(job, pieces, ticket, me),
            None => Claim::new(id, me, &ticket.place, delivery),
        };
        // Most messages are new: their claim takes one round trip.
        if known.is_none() && self.0.bucket.update(&ticket.key, &fresh, 0).await? {
            return Ok((Verdict::New, fresh));
        }
        loop {
            let (revision, found) = self.0.bucket.read(&ticket.key).await?;
            let second = second_key(message_id, &ticket.place);
            if ticket.key != second
                && found.as_ref().is_some_and(|claim| claim.is_foreign(message_id, &ticket.place))
            {
                ticket.key = second;
                continue;
            }
            let verdict = judge(found.as_ref(), me, &ticket.place, delivery);
            let mut claim = found.unwrap_or_else(|| fresh.clone());
            let stands = match verdict {
                Verdict::Over | Verdict::Wait | Verdict::Stale => true,
                Verdict::Mine if claim.place != ticket.place || claim.delivery >= delivery => true,
                Verdict::Mine | Verdict::New => false,
                Verdict::TakeOver => {
                    info!(job = %claim.job, place = ticket.place, former = %claim.owner, "its owner is silent; taking the job over");
                    claim.owner = me;
                    false
                }
            };
            if !stands {
                claim.delivery = delivery;
            }
            if stands || self.0.bucket.update(&ticket.key, &claim, revision).await? {
                return Ok((verdict, claim));
            }
        }
    }

    /// Makes a claim the message's that waited for it, with us as its owner. `None`: it is not as it was, so somebody is at work on it.
    pub async fn inherit(
        &self,
        ticket: &Ticket,
        delivery: i64,
        claim: &Claim,
    ) -> Result<Option<Claim>, Unconfirmed> {
        let (revision, found) = self.0.bucket.read(&ticket.key).await?;
        if found.as_ref() != Some(claim) {
            return Ok(None);
        }
        let mut mine = claim.clone();
        (mine.owner, mine.place, mine.delivery) = (self.0.me, ticket.place.clone(), delivery);
        Ok(self.0.bucket.update(&ticket.key, &mine, revision).await?.then_some(mine))
    }

    /// Whether the last event of a message's job is stored, whoever worked on it.
    pub async fn is_over(&self, ticket: &Ticket, message_id: Option<&str>) -> Result<bool, Unconfirmed> {
        let found = self.find_claim(ticket, message_id).await?.2;
        Ok(found.is_some_and(|claim| judge(Some(&claim), self.0.me, &ticket.place, 0) == Verdict::Over))
    }

    /// The claim of a job that is known here, with its key and revision.
    async fn find(&self, job: &Job, ticket: &Ticket) -> Result<(String, u64, Option<Claim>), Unconfirmed> {
        self.find_claim(ticket, job.recording.message_id.as_deref()).await
    }

    /// The claim of a message, with its key and revision. Where streams and bucket are lost, the next stream counts from one again, and a
    /// message that came since may have the key of one that a job is at work on: that claim says nothing of the job.
    async fn find_claim(
        &self,
        ticket: &Ticket,
        message_id: Option<&str>,
    ) -> Result<(String, u64, Option<Claim>), Unconfirmed> {
        let (revision, found) = self.0.bucket.read(&ticket.key).await?;
        let second = second_key(message_id, &ticket.place);
        if ticket.key == second
            || !found.as_ref().is_some_and(|claim| claim.is_foreign(message_id, &ticket.place))
        {
            return Ok((ticket.key.clone(), revision, found));
        }
        let (revision, found) = self.0.bucket.read(&second).await?;
        Ok((second, revision, found))
    }

    fn untold(&self) -> MutexGuard<'_, HashSet<Uuid>> {
        self.0.untold.lock()
    }

    /// This daemon, by the id in its ledger.
    pub fn daemon(&self) -> Uuid {
        self.0.me
    }

    pub fn is_mine(&self, claim: &Claim) -> bool {
        claim.owner == self.0.me
    }

    /// Whether signs of progress reach the server, as far as is known.
    pub fn is_connected(&self) -> bool {
        self.0.bucket.is_connected()
    }

    fn standing(&self, claim: &Claim, job: &Job) -> Standing {
        if claim.owner == self.0.me && claim.job == job.id { Standing::Ours } else { Standing::Lost }
    }
}

/// Whether nothing is owed to a job that is known here.
pub fn is_settled(job: &Job) -> bool {
    matches!(job.stage, Stage::Settled { .. })
}
