//! Takes a delivered message in: as a new job, as a further message of a known job, or by answering it at once.

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
use crate::job::ledger::{LedgerError, Now, advance, jobs, pieces};
use crate::job::{Duty, Job, Origin, Piece, Ticket, spool as job_spool};
use crate::share::Unconfirmed;
use crate::share::claim::{self, Claim, Verdict};
use crate::source::url::{vet_resolved, without_query};

/// Pause before a claim is retried after the server did not answer: it may just have started. Doubles up to two seconds.
const CLAIM_AGAIN: Duration = Duration::from_millis(250);
const LONGEST_CLAIM_PAUSE: Duration = Duration::from_secs(2);

/// Why a message was not taken in.
#[derive(Debug)]
pub(super) enum NotTaken {
    /// The bucket did not confirm which daemon owns the job; the server redelivers the message.
    Later(Unconfirmed),
    /// The ledger is closed or damaged.
    Ledger(LedgerError),
}

impl From<LedgerError> for NotTaken {
    fn from(error: LedgerError) -> Self {
        NotTaken::Ledger(error)
    }
}

/// One delivery of a message.
pub(super) struct Delivery {
    pub(super) sign: Sign,
    pub(super) published_ns: i128,
    /// When the daemon sent the request for it: the server did not send the message before.
    asked_at: Instant,
    /// See [`Subject::place`].
    pub(super) place: String,
    /// See [`Subject::intake_key`].
    key: String,
    pub(super) contents: Contents,
}

/// What a message contains.
pub(super) struct Contents {
    pub(super) said: Said,
    input: Input,
    payload: Bytes,
}

/// The verdict on a delivery, with the claim on its job as the bucket has it.
struct Claimed {
    verdict: Verdict,
    claim: Claim,
    ticket: Ticket,
}

impl Subject {
    /// Whether a delivery may have been in this process's buffers, or in the kernel's, for `ack_wait`, so that the server may have
    /// redelivered the message to another daemon. A daemon that was stopped (SIGSTOP, a suspended machine) finds such deliveries when it
    /// continues.
    pub(super) fn is_old(&self, delivery: &Delivery) -> bool {
        delivery.asked_at.elapsed() >= self.ack_wait
    }

    /// Identifies a message for ever. The sequence number alone does not: a stream that was deleted and created again counts from one, so
    /// the time of publication is part of the place.
    pub(super) fn place(&self, sequence: u64, published_ns: i128) -> String {
        format!("{}.{sequence}@{published_ns}", self.stream.name)
    }

    /// The key of a message in the ledger. Senders choose the message ids, so the prefix `id:` keeps them apart from the places.
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
                    place, "another daemon has finished this old delivery's message"
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
                debug!(job = %job.id, place, "message redelivered");
                self.join(job.id, delivery.sign).await?;
            }
            (Verdict::Over, known) => {
                self.acknowledge(&claim, known.map(|(job, _)| job), delivery.sign).await?;
            }
            (Verdict::Wait, _) => {
                debug!(job = %claim.job, place, "another daemon works on a message with the same id");
                self.later(&sign.acker).await;
            }
            (Verdict::Stale, _) => {}
            (Verdict::New, None) if former.is_none() => {
                self.accept(claim.job, ticket, delivery, watching).await?;
            }
            (Verdict::New | Verdict::Mine, None) | (Verdict::TakeOver, _) => {
                // The job's former events do not show whether its audio had already been sent to the service.
                claim.maybe_paid |= verdict == Verdict::New;
                let turn = if claim.job == id { own_turn } else { self.claims.enter(claim.job) };
                let Some(_turn) = turn else {
                    debug!(job = %claim.job, place, "another source is taking in a message of the same job");
                    self.later(&sign.acker).await;
                    return Ok(());
                };
                // Another source of this daemon may have taken the job in since the ledger was read.
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

    /// `None` if the message does not come from a stream.
    fn delivery(
        &self,
        message: Message,
        (said, input): (Said, Input),
        asked_at: Instant,
    ) -> Option<Delivery> {
        let (sequence, delivery, published_ns) = match message.info() {
            Ok(info) => (info.stream_sequence, info.delivered, info.published.unix_timestamp_nanos()),
            Err(error) => {
                error!(source = self.config.name, %error, "a message without JetStream metadata cannot be acknowledged; it is ignored");
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

    /// Claims the job of a delivery. `known` is the job that the ledger has for the message; `id` is the id for a new job.
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
            // The daemon neither acknowledges nor holds the message, so the server redelivers it. Progress acknowledgements for a held
            // message could be wrong: another daemon may own its job by now.
            warn!(source = self.config.name, place, %unconfirmed, "a message is left for redelivery");
            NotTaken::Later(unconfirmed)
        })?;
        if verdict == Verdict::Wait
            && let Some(claim) = self.inherit(&ticket, sign.delivery, &claim).await
        {
            return Ok(Claimed { verdict: Verdict::TakeOver, claim, ticket });
        }
        Ok(Claimed { verdict, claim, ticket })
    }

    /// Makes a job of a message that no daemon has claimed before.
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
        // A daemon whose claim was lost with the bucket may have paid the service already.
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
                        advance::advance(connection, job.id, fact, Timestamp::now())?;
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
                self.ledger.announce(job.id, Now::Owes(Duty::Prepare));
                self.ledger.wake(Duty::Publish);
                Ok(())
            }
            // Two deliveries were taken in at the same time, and the other was written to the ledger first.
            Taken::Known(known) => {
                job_spool::remove(&self.state_directory, job.id).await;
                for sign in self.held.release(job.id) {
                    self.join(known.id, sign).await?;
                }
                Ok(())
            }
        }
    }

    /// The URI of a message's audio in events.
    pub(super) fn uri(&self, sequence: u64) -> String {
        format!("nats:{}/{sequence}", self.stream.name)
    }

    /// The job and the pieces that the ledger has for a message's key.
    async fn known(&self, key: &str) -> Result<Option<(Job, Vec<Piece>)>, LedgerError> {
        let key = key.to_owned();
        let read = move |connection: &_| {
            let Some(id) = intake::find(connection, &key)? else { return Ok(None) };
            let Some(job) = jobs::find(connection, id)? else { return Ok(None) };
            Ok(Some((job, pieces::of_job(connection, id)?)))
        };
        self.ledger.read(read).await
    }

    /// Adds a message to a known job: the message is held until the job ends, or acknowledged now if the job is settled.
    pub(super) async fn join(&self, job: Uuid, sign: Sign) -> Result<(), LedgerError> {
        // The message is held before the job is read: if the job settles in between, settling releases the message, or the job is
        // read as settled.
        self.held.hold(job, sign);
        match self.ledger.find(job).await? {
            Some(known) if known.stage.is_settled() => self.settle(job, false).await,
            Some(_) => self.held.look_at(job, &self.ledger).await,
            // Either another daemon has taken the job over, and the message waits until the job ends there; or the ledger has deleted the
            // job because of its age, which the next delivery of the message finds out.
            None => drop(self.held.release(job)),
        }
        Ok(())
    }

    /// Handles a message whose job is over: if this daemon owns the job, the message joins it; otherwise it is acknowledged now.
    async fn acknowledge(&self, claim: &Claim, known: Option<Job>, sign: Sign) -> Result<(), LedgerError> {
        match known {
            Some(job) if self.claims.is_mine(claim) => return self.join(job.id, sign).await,
            Some(job) if !job.stage.is_settled() => self.claims.let_go(job.id).await?,
            _ => {}
        }
        self.held.hold(claim.job, sign);
        self.settle(claim.job, false).await;
        Ok(())
    }

    /// Makes the job of a message, with its audio spooled to disk; with a fault if the message cannot be used.
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
                        // The URL as parsed, not the sender's text: another parser may find another host in the text.
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

    /// Asks the server to redeliver the message after half of `ack_wait`. If this request is lost, the server does so after `ack_wait`.
    async fn later(&self, acker: &Acker) {
        if let Err(error) = acker.ack_with(AckKind::Nak(Some(self.ack_wait / 2))).await {
            debug!(%error, "the request to redeliver a message later was not sent");
        }
    }
}

fn last_segment(url: &url::Url) -> Option<String> {
    url.path_segments()?.next_back().filter(|name| !name.is_empty()).map(str::to_owned)
}
