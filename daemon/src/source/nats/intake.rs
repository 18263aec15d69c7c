//! What becomes of a message: a job of its own, a sign of life for one that is known, or an answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::message::Acker;
use async_nats::jetstream::{AckKind, Message};
use bytes::Bytes;
use hark_sdk::event::{Fault, Recording};
use jiff::Timestamp;
use tracing::{debug, error, info, trace, warn};
use uuid::Uuid;

use super::message::{Input, Said, bad};
use super::unacked::Sign;
use super::{Subject, Watching, spool};
use crate::job::job_machine::Fact;
use crate::job::ledger::intake::{self, Taken};
use crate::job::ledger::{LedgerError, Now, jobs, pieces};
use crate::job::{Duty, Job, Origin, Piece, Ticket, spool as job_spool};
use crate::share::claim::{self, Claim, Verdict};
use crate::share::{Unconfirmed, is_settled};
use crate::source::url::{vet_resolved, without_query};

/// Pause before a claim is tried again where the server did not answer, for it may just have started; doubles up to two seconds.
const CLAIM_AGAIN: Duration = Duration::from_millis(250);
const LONGEST_CLAIM_PAUSE: Duration = Duration::from_secs(2);

/// Why nothing was made of a message.
#[derive(Debug)]
pub(super) enum NotTaken {
    /// Nobody could tell whose it is; it is delivered again.
    Later(Unconfirmed),
    /// The ledger is closed or damaged.
    Ledger(LedgerError),
}

impl From<LedgerError> for NotTaken {
    fn from(error: LedgerError) -> Self {
        NotTaken::Ledger(error)
    }
}

/// A delivery of a message.
pub(super) struct Delivery {
    pub(super) sign: Sign,
    pub(super) published_ns: i128,
    /// It was not sent before.
    asked_at: Instant,
    /// See [`Subject::place`].
    pub(super) place: String,
    /// See [`Subject::intake_key`].
    key: String,
    pub(super) contents: Contents,
}

/// What a message brings.
pub(super) struct Contents {
    pub(super) said: Said,
    input: Input,
    payload: Bytes,
}

/// What a delivery is, and what the bucket says of its job.
struct Claimed {
    verdict: Verdict,
    claim: Claim,
    ticket: Ticket,
}

impl Subject {
    /// Whether a delivery may have lain in this process, or before it, for so long that the server gave it to others: a daemon that was
    /// stopped finds it when it wakes.
    pub(super) fn is_old(&self, delivery: &Delivery) -> bool {
        delivery.asked_at.elapsed() >= self.ack_wait
    }

    /// A stream that was deleted and made again counts from one: only with its time is a place one message's for ever.
    pub(super) fn place(&self, sequence: u64, published_ns: i128) -> String {
        format!("{}.{sequence}@{published_ns}", self.stream.name)
    }

    /// What the ledger knows a message by. Ids are the sender's: they live in a name space of their own beside the places.
    pub(super) fn intake_key(&self, message_id: Option<&str>, place: &str) -> String {
        message_id.map_or_else(|| place.to_owned(), |id| format!("id:{}:{id}", self.stream.name))
    }

    pub(super) async fn take(
        &self,
        message: Message,
        read: (Said, Input),
        asked_at: Instant,
        watching: &Watching,
    ) -> Result<(), NotTaken> {
        let Some(delivery) = self.delivery(message, read, asked_at) else { return Ok(()) };
        let Delivery { place, sign, .. } = &delivery;
        trace!(source = self.config.name, place, delivery = sign.delivery, "received");

        let known = self.known(&delivery.key).await?;
        let mut former = None;
        if known.is_none() && self.may_be_forgotten(&delivery).await {
            if self.is_old(&delivery) && self.is_gone(sign.sequence, place).await {
                debug!(
                    source = self.config.name,
                    place, "a message that lay here was done by another daemon meanwhile"
                );
                return Ok(());
            }
            former = self.former(&delivery).await;
        }
        let id = former.unwrap_or_else(Uuid::now_v7);
        let own_turn = self.claims.enter(id);
        let Claimed { verdict, mut claim, ticket } = self.claim(id, &delivery, known.as_ref()).await?;
        match (verdict, known) {
            (Verdict::Mine | Verdict::New, Some((job, _))) => {
                debug!(job = %job.id, place, "delivered again");
                self.join(job.id, delivery.sign).await?;
            }
            (Verdict::Over, known) => {
                self.acknowledge(&claim, known.map(|(job, _)| job), delivery.sign).await?;
            }
            (Verdict::Wait, _) => {
                debug!(job = %claim.job, place, "another daemon works on a message of the same id");
                self.later(&sign.acker).await;
            }
            (Verdict::Stale, _) => {}
            (Verdict::New, None) if former.is_none() => {
                self.accept(claim.job, ticket, delivery, watching).await?;
            }
            (Verdict::New | Verdict::Mine, None) | (Verdict::TakeOver, _) => {
                // What is left of it does not tell how far it had come.
                claim.maybe_paid |= verdict == Verdict::New;
                let turn = if claim.job == id { own_turn } else { self.claims.enter(claim.job) };
                let Some(_turn) = turn else {
                    debug!(job = %claim.job, place, "a message of the same id is being taken in");
                    self.later(&sign.acker).await;
                    return Ok(());
                };
                // Another source of ours may have taken it in since we looked.
                if verdict == Verdict::Mine
                    && let Some((job, _)) = self.known(&delivery.key).await?
                {
                    return Ok(self.join(job.id, delivery.sign).await?);
                }
                self.claims.let_go(claim.job).await?;
                let Delivery { sign, key, contents, .. } = delivery;
                let (job, refusal) = self.job(claim.job, sign.sequence, contents, watching).await?;
                let job = Job { ticket: Some(ticket), ..job };
                self.take_over(&claim, key, job, refusal, sign).await?;
            }
        }
        Ok(())
    }

    /// `None` for a message of no stream.
    fn delivery(
        &self,
        message: Message,
        (said, input): (Said, Input),
        asked_at: Instant,
    ) -> Option<Delivery> {
        let (sequence, delivery, published_ns) = match message.info() {
            Ok(info) => (info.stream_sequence, info.delivered, info.published.unix_timestamp_nanos()),
            Err(error) => {
                error!(source = self.config.name, %error, "a message without a place in a stream cannot be acknowledged; it is left");
                return None;
            }
        };
        let (message, acker) = message.split();
        let place = self.place(sequence, published_ns);
        Some(Delivery {
            sign: Sign { sequence, delivery, acker: Arc::new(acker) },
            published_ns,
            asked_at,
            key: self.intake_key(said.message_id.as_deref(), &place),
            place,
            contents: Contents { said, input, payload: message.payload },
        })
    }

    /// Claims the job of a delivery, for which the ledger has `known`; `id`: of the job that a new message becomes.
    async fn claim(
        &self,
        id: Uuid,
        delivery: &Delivery,
        known: Option<&(Job, Vec<Piece>)>,
    ) -> Result<Claimed, NotTaken> {
        let Delivery { sign, place, contents, .. } = delivery;
        let message_id = contents.said.message_id.as_deref();
        let mut ticket = Ticket { key: claim::key(message_id, place), place: place.clone() };
        let (received, mut pause) = (Instant::now(), CLAIM_AGAIN);
        let claimed = loop {
            match self.claims.claim(id, &mut ticket, message_id, sign.delivery, known).await {
                Err(_) if received.elapsed() < self.ack_wait / 3 => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_CLAIM_PAUSE);
                }
                outcome => break outcome,
            }
        };
        let (verdict, claim) = claimed.map_err(|unconfirmed| {
            // Left alone, it is delivered again; held, it might be another daemon's meanwhile.
            warn!(source = self.config.name, place, %unconfirmed, "a message is left for later");
            NotTaken::Later(unconfirmed)
        })?;
        if verdict == Verdict::Wait
            && let Some(claim) = self.inherit(&ticket, sign.delivery, &claim).await
        {
            return Ok(Claimed { verdict: Verdict::TakeOver, claim, ticket });
        }
        Ok(Claimed { verdict, claim, ticket })
    }

    /// Makes a job of a message that nobody had before.
    async fn accept(
        &self,
        id: Uuid,
        ticket: Ticket,
        delivery: Delivery,
        watching: &Watching,
    ) -> Result<(), LedgerError> {
        let may_be_forgotten = self.may_be_forgotten(&delivery).await;
        let Delivery { sign, place, key, contents, .. } = delivery;
        let (mut job, refusal) = self.job(id, sign.sequence, contents, watching).await?;
        job.ticket = Some(ticket);
        // A daemon that had it before may have paid.
        job.maybe_paid = refusal.is_none() && may_be_forgotten;
        self.held.hold(job.id, sign);
        let taken = self
            .ledger
            .write({
                let (mut job, refusal) = (job.clone(), refusal.clone());
                move |connection| {
                    let taken = intake::take(connection, &key, &mut job)?;
                    if let (Taken::New, Some(fault)) = (&taken, &refusal) {
                        let fact = Fact::Unusable {
                            recording: Box::new(job.recording.clone()),
                            fault: fault.clone(),
                        };
                        jobs::advance(connection, job.id, fact, Timestamp::now())?;
                    }
                    Ok(taken)
                }
            })
            .await?;
        match taken {
            Taken::New => {
                job.sequence = 1;
                info!(job = %job.id, source = job.source, place, bytes = job.recording.bytes, "accepted");
                self.metrics.source_accepted.with_label_values(&[&self.config.name]).inc();
                self.ledger.tell(job.id, Now::Owes(Duty::Prepare));
                self.ledger.wake(Duty::Publish);
                Ok(())
            }
            // Two deliveries side by side: the other one was quicker.
            Taken::Known(known) => {
                job_spool::remove(&self.state_directory, job.id).await;
                for sign in self.held.release(job.id) {
                    self.join(known.id, sign).await?;
                }
                Ok(())
            }
        }
    }

    /// What a message's audio is called.
    pub(super) fn uri(&self, sequence: u64) -> String {
        format!("nats:{}/{sequence}", self.stream.name)
    }

    /// The job of a message that was here before.
    async fn known(&self, key: &str) -> Result<Option<(Job, Vec<Piece>)>, LedgerError> {
        let key = key.to_owned();
        let read = move |connection: &_| {
            let Some(id) = intake::find(connection, &key)? else { return Ok(None) };
            let Some(job) = jobs::find(connection, id)? else { return Ok(None) };
            Ok(Some((job, pieces::of_job(connection, id)?)))
        };
        self.ledger.read(read).await
    }

    /// A message of a job that is known: waits with it, or is acknowledged if it is over.
    pub(super) async fn join(&self, job: Uuid, sign: Sign) -> Result<(), LedgerError> {
        // Held first, then looked at: a job that settles in between finds the message, or is found settled.
        self.held.hold(job, sign);
        match self.ledger.find(job).await? {
            Some(known) if is_settled(&known) => self.settle(job, false).await,
            Some(_) => self.held.look_at(job, &self.ledger).await,
            // Another daemon's meanwhile, whose end the message has to wait for; or forgotten for its age: then the next delivery says so.
            None => drop(self.held.release(job)),
        }
        Ok(())
    }

    /// A message whose job is over: waits for our own settling of it, or is acknowledged.
    async fn acknowledge(&self, claim: &Claim, known: Option<Job>, sign: Sign) -> Result<(), LedgerError> {
        match known {
            Some(job) if self.claims.is_mine(claim) => return self.join(job.id, sign).await,
            Some(job) if !is_settled(&job) => self.claims.let_go(job.id).await?,
            _ => {}
        }
        self.held.hold(claim.job, sign);
        self.settle(claim.job, false).await;
        Ok(())
    }

    /// The job that a message becomes, its audio on disk; with a fault where it cannot be used.
    async fn job(
        &self,
        id: Uuid,
        sequence: u64,
        Contents { said, input, payload }: Contents,
        watching: &Watching,
    ) -> Result<(Job, Option<Fault>), LedgerError> {
        let mut recording = Recording {
            uri: self.uri(sequence),
            name: said.name.clone(),
            message_id: said.message_id.clone(),
            ..Recording::default()
        };
        let mut refusal = None;
        let origin = match input {
            Input::Audio => {
                recording.sha256 = Some(spool::write(&self.state_directory, id, &payload, watching).await?);
                recording.bytes = Some(payload.len() as u64);
                self.ledger.spooled(payload.len() as u64);
                Origin::Spool { file: id.to_string() }
            }
            Input::Url(url) => {
                recording.uri = without_query(&url);
                match vet_resolved(&url, &self.allow).await {
                    Ok(vetted) => {
                        recording.name = recording.name.or_else(|| last_segment(&vetted));
                        // Not the sender's text: another reader may find another host in it.
                        Origin::Url { url: vetted.into() }
                    }
                    Err(refused) => {
                        refusal = Some(bad("ForbiddenURL", refused.to_string()));
                        Origin::Nothing
                    }
                }
            }
            Input::Bad(fault) => {
                recording.bytes = Some(payload.len() as u64);
                refusal = Some(fault);
                Origin::Nothing
            }
        };
        let route = said.route.unwrap_or_else(|| self.config.route.clone());
        if refusal.is_none() && !self.routes.contains(&route) {
            let known = self.routes.join(", ");
            refusal = Some(bad(
                "UnknownRoute",
                format!("the message asks for a route that is not configured; there are: {known}"),
            ));
        }
        let route = if self.routes.contains(&route) { route } else { self.config.route.clone() };
        let job = Job {
            language: said.language,
            context: said.context,
            ..Job::new(id, &self.config.name, &route, origin, recording, said.metadata)
        };
        Ok((job, refusal))
    }

    /// Has the message delivered again after a while. Lost, it comes after `ack_wait`.
    async fn later(&self, acker: &Acker) {
        if let Err(error) = acker.ack_with(AckKind::Nak(Some(self.ack_wait / 2))).await {
            debug!(%error, "a message could not be put off");
        }
    }
}

fn last_segment(url: &url::Url) -> Option<String> {
    url.path_segments()?.next_back().filter(|name| !name.is_empty()).map(str::to_owned)
}
