//! Takes a delivered message in: as a new job, as a further message of a known job, or by answering it at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::message::Acker;
use async_nats::jetstream::{AckKind, Message};
use bytes::Bytes;
use jiff::Timestamp;
use tracing::{debug, error, info, trace, warn};
use uuid::Uuid;

use super::message::{Input, MessageOptions};
use super::unacked::HeldMessage;
use super::{NotNow, Subject};
use crate::job::job_machine::Fact;
use crate::job::ledger::intake;
use crate::job::ledger::{LedgerError, Now, advance};
use crate::job::{Duty, Job, Piece, Stage, Ticket, spool as job_spool};
use crate::share::claim::{self, Claim, ClaimState};
use crate::source::Watching;

/// Pause before a claim is retried after the server did not answer: it may just have started. Doubles up to two seconds.
const CLAIM_AGAIN: Duration = Duration::from_millis(250);
const LONGEST_CLAIM_PAUSE: Duration = Duration::from_secs(2);

/// One delivery of a message.
pub(super) struct Delivery {
    pub(super) held_message: HeldMessage,
    pub(super) published_ns: i128,
    /// When the daemon sent the request for it: the server did not send the message before.
    asked_at: Instant,
    /// See [`Subject::place`].
    pub(super) place: String,
    /// See [`Subject::intake_key`].
    key: String,
    pub(super) options: MessageOptions,
    pub(super) input: Input,
    pub(super) payload: Bytes,
}

/// The verdict on a delivery, with the claim on its job as the bucket has it.
struct Claimed {
    verdict: ClaimState,
    claim: Claim,
    ticket: Ticket,
}

impl Subject {
    /// Whether a delivery may have been in this process's buffers, or in the kernel's, for `ack_wait`, so that the server may have
    /// redelivered the message to another daemon. A daemon that was stopped (SIGSTOP, a suspended machine) finds such deliveries when it
    /// continues.
    pub(super) fn is_old(&self, delivery: &Delivery) -> bool {
        delivery.asked_at.elapsed() >= self.ack_wait()
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
        read: (MessageOptions, Input),
        asked_at: Instant,
        watching: &Watching,
    ) -> Result<(), NotNow> {
        let Some(delivery) = self.delivery(message, read, asked_at) else { return Ok(()) };
        let Delivery { place, held_message, .. } = &delivery;
        trace!(source = self.name, place, delivery = held_message.delivery, "received");

        let known = self.known(&delivery.key).await?;
        let mut former = None;
        if known.is_none() && self.may_have_lost_claim(&delivery).await {
            if self.is_old(&delivery) && self.is_gone(held_message.sequence, place).await {
                debug!(source = self.name, place, "another daemon has finished this old delivery's message");
                return Ok(());
            }
            former = self.find_former_job(&delivery).await;
        }
        let id = former.unwrap_or_else(Uuid::now_v7);
        let own_turn = self.handles.claims.enter(id);
        let Claimed { verdict, mut claim, ticket } = self.claim(id, &delivery, known.as_ref()).await?;
        match (verdict, known) {
            (ClaimState::Mine | ClaimState::New, Some((job, _))) => {
                debug!(job = %job.id, place, "message redelivered");
                self.join(job.id, delivery.held_message).await?;
            }
            (ClaimState::Over, known) => {
                self.acknowledge(&claim, known.map(|(job, _)| job), delivery.held_message).await?;
            }
            (ClaimState::Wait, _) => {
                debug!(job = %claim.job, place, "another daemon works on a message with the same id");
                self.later(&held_message.acker).await;
            }
            (ClaimState::Stale, _) => {}
            (ClaimState::New, None) if former.is_none() => {
                self.accept(claim.job, ticket, delivery, watching).await?;
            }
            (ClaimState::New | ClaimState::Mine, None) | (ClaimState::TakeOver, _) => {
                // The job's former events do not show whether its audio had already been sent to the service.
                claim.maybe_paid |= verdict == ClaimState::New;
                let turn = if claim.job == id { own_turn } else { self.handles.claims.enter(claim.job) };
                let Some(_turn) = turn else {
                    debug!(job = %claim.job, place, "another source is taking in a message of the same job");
                    self.later(&held_message.acker).await;
                    return Ok(());
                };
                // Another source of this daemon may have taken the job in since the ledger was read.
                if verdict == ClaimState::Mine
                    && let Some((job, _)) = self.known(&delivery.key).await?
                {
                    return Ok(self.join(job.id, delivery.held_message).await?);
                }
                self.handles.claims.let_go(claim.job).await?;
                let (job, refusal) = self.job(claim.job, ticket, &delivery, watching).await?;
                self.take_over(&claim, delivery.key, job, refusal, delivery.held_message).await?;
            }
        }
        Ok(())
    }

    /// `None` if the message does not come from a stream.
    fn delivery(
        &self,
        message: Message,
        (options, input): (MessageOptions, Input),
        asked_at: Instant,
    ) -> Option<Delivery> {
        let (sequence, delivery, published_ns) = match message.info() {
            Ok(info) => (info.stream_sequence, info.delivered, info.published.unix_timestamp_nanos()),
            Err(error) => {
                error!(source = self.name, %error, "a message without JetStream metadata cannot be acknowledged; it is ignored");
                return None;
            }
        };
        let (message, acker) = message.split();
        let place = self.place(sequence, published_ns);
        Some(Delivery {
            held_message: HeldMessage { sequence, delivery, acker: Arc::new(acker) },
            published_ns,
            asked_at,
            key: self.intake_key(options.message_id.as_deref(), &place),
            place,
            options,
            input,
            payload: message.payload,
        })
    }

    /// Claims the job of a delivery. `known` is the job that the ledger has for the message; `id` is the id for a new job.
    async fn claim(
        &self,
        id: Uuid,
        delivery: &Delivery,
        known: Option<&(Job, Vec<Piece>)>,
    ) -> Result<Claimed, NotNow> {
        let Delivery { held_message, place, options, .. } = delivery;
        let message_id = options.message_id.as_deref();
        let mut ticket = Ticket { key: claim::key(message_id, place), place: place.clone() };
        let (received, mut pause) = (Instant::now(), CLAIM_AGAIN);
        let claimed = loop {
            match self.handles.claims.claim(id, &mut ticket, message_id, held_message.delivery, known).await {
                Err(_) if received.elapsed() < self.ack_wait() / 3 => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_CLAIM_PAUSE);
                }
                outcome => break outcome,
            }
        };
        let (verdict, claim) = claimed.map_err(|unconfirmed| {
            // The daemon neither acknowledges nor holds the message, so the server redelivers it. Progress acknowledgements for a held
            // message could be wrong: another daemon may own its job by now.
            warn!(source = self.name, place, %unconfirmed, "a message is left for redelivery");
            NotNow::broker(unconfirmed)
        })?;
        if verdict == ClaimState::Wait
            && let Some(claim) = self.move_to_duplicate(&ticket, held_message.delivery, &claim).await
        {
            return Ok(Claimed { verdict: ClaimState::TakeOver, claim, ticket });
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
        let may_have_lost_claim = self.may_have_lost_claim(&delivery).await;
        let (mut job, refusal) = self.job(id, ticket, &delivery, watching).await?;
        let warnings = if refusal.is_none() { self.warnings(&job) } else { Vec::new() };
        let Delivery { held_message, place, key, .. } = delivery;
        // A daemon whose claim was lost with the bucket may have paid the service already.
        job.maybe_paid = refusal.is_none() && may_have_lost_claim;
        self.held.hold(job.id, held_message);
        let taken = self
            .handles
            .ledger
            .write({
                let (mut job, refusal) = (job.clone(), refusal.clone());
                move |connection| {
                    let taken = intake::take(connection, &key, &mut job, warnings.clone())?;
                    if let (None, Some(fault)) = (taken, &refusal) {
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
            None => {
                info!(job = %job.id, source = job.source, place, bytes = job.recording.bytes, "accepted");
                self.handles.metrics.source_accepted.with_label_values(&[&self.name]).inc();
                self.handles.ledger.announce(job.id, Now::Owes(Duty::Prepare));
                self.handles.ledger.wake(Duty::Publish);
                Ok(())
            }
            // Two deliveries were taken in at the same time, and the other was written to the ledger first.
            Some(known) => {
                job_spool::remove(&self.handles.state_directory, job.id).await;
                for message in self.held.release(job.id) {
                    self.join(known, message).await?;
                }
                Ok(())
            }
        }
    }

    /// The job and the pieces that the ledger has for a message's key.
    async fn known(&self, key: &str) -> Result<Option<(Job, Vec<Piece>)>, LedgerError> {
        let key = key.to_owned();
        let ledger = &self.handles.ledger;
        match ledger.read(move |connection| intake::find(connection, &key)).await? {
            Some(id) => ledger.find_whole(id).await,
            None => Ok(None),
        }
    }

    /// Adds a message to a known job: the message is held until the job ends, or acknowledged now if the job is settled.
    pub(super) async fn join(&self, job: Uuid, held_message: HeldMessage) -> Result<(), LedgerError> {
        // The message is held before the job is read: if the job settles in between, settling releases the message, or the job is
        // read as settled.
        self.held.hold(job, held_message);
        match self.handles.ledger.find(job).await? {
            // Kept audio stays: a sweep of the spool removes it in its time.
            Some(Job { stage: Stage::Settled { failed }, .. }) => self.settle(job, false, failed).await,
            Some(_) => self.held.look_at(job, &self.handles.ledger).await,
            // Either another daemon has taken the job over, and the message waits until the job ends there; or the ledger has deleted the
            // job because of its age, which the next delivery of the message finds out.
            None => drop(self.held.release(job)),
        }
        Ok(())
    }

    /// Handles a message whose job is over: if this daemon owns the job, the message joins it; otherwise it is acknowledged now.
    async fn acknowledge(
        &self,
        claim: &Claim,
        known: Option<Job>,
        held_message: HeldMessage,
    ) -> Result<(), LedgerError> {
        match known {
            Some(job) if self.handles.claims.is_mine(claim) => return self.join(job.id, held_message).await,
            Some(job) if !job.stage.is_settled() => self.handles.claims.let_go(job.id).await?,
            _ => {}
        }
        self.held.hold(claim.job, held_message);
        self.settle(claim.job, false, false).await;
        Ok(())
    }

    /// Asks the server to redeliver the message after half of `ack_wait`. If this request is lost, the server does so after `ack_wait`.
    async fn later(&self, acker: &Acker) {
        if let Err(error) = acker.ack_with(AckKind::Nak(Some(self.ack_wait() / 2))).await {
            debug!(%error, "the request to redeliver a message later was not sent");
        }
    }
}
