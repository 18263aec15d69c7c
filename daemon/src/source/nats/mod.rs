//! Audio from a JetStream subject.
//!
//! Delivery promise: a message is acknowledged after its job's last event is stored, and not before; a message that comes again (a
//! redelivery, or another one with the same `Nats-Msg-Id`) is the same job for as long as the ledger remembers it.

mod claim;
mod consumer;
mod heir;
mod held;
mod message;
mod remains;
mod share;
pub mod spool;
mod takeover;
mod unreadable;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::message::Acker;
use async_nats::jetstream::stream::{self, RetentionPolicy, StorageType};
use async_nats::jetstream::{AckKind, Context, Message};
use bytes::Bytes;
use futures::StreamExt;
use hark_sdk::event::{Fault, Recording};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};
use uuid::Uuid;

use self::claim::{Claim, Verdict};
use self::consumer::ACK_WAIT;
pub use self::consumer::SourceError;
use self::held::Held;
pub use self::held::Slots;
use self::message::{Input, Said, bad};
use self::share::is_settled;
pub use self::share::{Claims, Standing, Unconfirmed};
pub use self::takeover::{StepIn, Told};
use super::jetstream::{StreamError, until_it_works};
use super::url::{AllowList, vet_resolved, without_query};
use crate::config::{Nats, NatsSource};
use crate::http::metrics::Metrics;
use crate::job::ledger::intake::{self, Taken};
use crate::job::ledger::{Ledger, LedgerError, jobs};
use crate::job::machine::{Fact, Policy};
use crate::job::{Duty, Job, Origin, State, Ticket};
use crate::recognize::InFlight;

/// Pause before a claim is tried again where the server did not answer; it may just have started.
const CLAIM_AGAIN: Duration = Duration::from_millis(250);

/// Messages asked for at a time: their payloads are in memory until they are spooled.
const BATCH: usize = 16;

/// Bytes asked for at a time, for the same reason; or one message, where the server takes larger ones.
const BATCH_BYTES: usize = 32 << 20;

/// How the server ends a batch whose bytes are used up.
const BATCH_IS_FULL: &str = "Message Size Exceeds MaxBytes";

/// What the server counts besides the payload: subject, reply and headers. Ours are far smaller.
const MESSAGE_OVERHEAD: usize = 1 << 20;

/// How long a request for messages stays open at the server; a request that got lost with a connection is made again after that. No
/// heartbeats: async-nats 0.51 forgets to wake its reader after one, and what came next would lie until the request ended.
const EXPIRES: Duration = Duration::from_secs(10);

/// What the source says of itself.
type Watching = watch::Sender<Result<(), String>>;

/// One `[[source]]` of kind `nats`.
pub struct Subject {
    config: NatsSource,
    stream: stream::Config,
    /// The daemon's own stream of audio is made where it is absent; another one has to exist.
    own_stream: bool,
    context: Context,
    ledger: Ledger,
    claims: Claims,
    step_in: StepIn,
    tasks: Arc<InFlight>,
    state_directory: PathBuf,
    routes: Vec<String>,
    allow: AllowList,
    slots: Slots,
    policy: Policy,
    metrics: Metrics,
    held: Arc<Held>,
}

/// What the daemon knows that a source needs.
pub struct Surroundings {
    pub nats: Nats,
    pub context: Context,
    pub ledger: Ledger,
    pub claims: Claims,
    /// How a job that another daemon had is gone on with in the stream of events.
    pub step_in: StepIn,
    /// Tasks in flight at the service; one that is taken over is among them.
    pub tasks: Arc<InFlight>,
    pub state_directory: PathBuf,
    /// Names that a message may ask for.
    pub routes: Vec<String>,
    pub allow: AllowList,
    /// Messages at hand at most; beyond it they stay in the stream.
    pub slots: Slots,
    pub policy: Policy,
    pub metrics: Metrics,
}

impl Subject {
    /// Connects nothing yet.
    pub fn new(config: NatsSource, around: Surroundings) -> Self {
        let own_stream = config.stream.is_empty() || config.stream == around.nats.audio_stream;
        let name = if own_stream { around.nats.audio_stream.clone() } else { config.stream.clone() };
        let stream = stream::Config {
            name,
            description: Some("Audio for Hark; a message goes when its recording is recognized".into()),
            subjects: vec![format!("{}.audio.>", around.nats.subject_prefix)],
            retention: RetentionPolicy::WorkQueue,
            storage: StorageType::File,
            num_replicas: around.nats.replicas,
            ..stream::Config::default()
        };
        let held = Arc::<Held>::default();
        around.claims.attend(Arc::clone(&held));
        Subject {
            config,
            stream,
            own_stream,
            context: around.context,
            ledger: around.ledger,
            claims: around.claims,
            step_in: around.step_in,
            tasks: around.tasks,
            state_directory: around.state_directory,
            routes: around.routes,
            allow: around.allow,
            slots: around.slots,
            policy: around.policy,
            metrics: around.metrics,
            held,
        }
    }

    /// Takes messages in until `stop`. Waits for NATS for ever, saying so through `watching`.
    ///
    /// # Errors
    /// When the stream does not capture the subject (configuration), or the ledger is closed or damaged.
    pub async fn run(&self, watching: Watching, stop: CancellationToken) -> Result<(), SourceError> {
        let keep_alive = tokio::spawn({
            let (held, claims, stop) = (Arc::clone(&self.held), self.claims.clone(), stop.clone());
            async move { held.keep_alive(claims, stop).await }
        });
        let outcome = tokio::select! {
            outcome = self.take_messages(&watching) => outcome,
            () = stop.cancelled() => Ok(()),
        };
        keep_alive.abort();
        outcome
    }

    /// After the last event is stored: acknowledges the job's messages, or terminates them where the input itself was bad. An
    /// acknowledgement that is lost is made up for at the next delivery.
    pub async fn settle(&self, job: Uuid, bad_input: bool) {
        let kind = if bad_input { AckKind::Term } else { AckKind::Ack };
        for acker in self.held.release(job) {
            if let Err(error) = acker.double_ack_with(kind).await {
                warn!(%job, %error, "the message's acknowledgement was not confirmed; it may be delivered once more");
            }
        }
        spool::remove(&self.state_directory, job).await;
    }

    async fn take_messages(&self, watching: &Watching) -> Result<(), SourceError> {
        // A stream that never captured the subject is a mistake in the config; one that does not any more is waited for.
        let mut has_listened = false;
        let mut suspicion = false;
        loop {
            let report = |state: Result<(), String>| watching.send_modify(|now| *now = state);
            let what = format!("source {}", self.config.name);
            let consumer = until_it_works(&what, report, || async {
                match self.consumer().await {
                    Err(SourceError::Stream(StreamError::DoesNotCapture { name, subject }))
                        if !has_listened =>
                    {
                        Ok(Err(SourceError::Stream(StreamError::DoesNotCapture { name, subject })))
                    }
                    Err(error) => Err(error),
                    Ok(consumer) => Ok(Ok(consumer)),
                }
            })
            .await?;
            info!(
                source = self.config.name,
                subject = self.config.subject,
                stream = self.stream.name,
                "listening"
            );
            has_listened = true;
            // Every kind of trouble ends here, and the consumer is built again (RELIABILITY 1).
            let trouble = self.drain(&consumer, watching, &mut suspicion).await?;
            warn!(source = self.config.name, reason = trouble, "the consumer is built again");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Takes messages until something goes wrong; returns what. `suspicion`: something was on its way here and may not have come.
    async fn drain(
        &self,
        consumer: &PullConsumer,
        watching: &Watching,
        suspicion: &mut bool,
    ) -> Result<String, LedgerError> {
        let mut looked_through = 0;
        loop {
            self.ledger.admitted().await;
            if std::mem::take(suspicion) {
                self.answer_unreadable(consumer, watching).await?;
            }
            let free = self.held.free(self.slots).await;
            // A message over the limit of its request would be refused at every delivery.
            let largest = self.context.client().server_info().max_payload + MESSAGE_OVERHEAD;
            let connection = self.connection();
            let batch = consumer
                .batch()
                .max_messages(free.min(BATCH))
                .max_bytes(BATCH_BYTES.max(largest))
                .expires(EXPIRES)
                .messages()
                .await;
            let mut messages = match batch {
                Ok(messages) => messages,
                Err(error) => return Ok(error.to_string()),
            };
            let (mut is_quiet, mut took_any) = (true, false);
            while let Some(message) = messages.next().await {
                is_quiet = false;
                match message {
                    Ok(message) => {
                        took_any = true;
                        let read = message::read(message.headers.as_ref(), &message.payload);
                        self.take(message, read, watching).await?;
                    }
                    // The next one would go over the bytes asked for: the batch is full.
                    Err(error) if took_any && error.to_string().contains(BATCH_IS_FULL) => {}
                    Err(error) => {
                        *suspicion = true;
                        return Ok(error.to_string());
                    }
                }
            }
            let now = self.connection();
            *suspicion = now != connection;
            // Once a connection: only a server that was started again can have left something.
            if is_quiet && looked_through != now && self.remove_remains(consumer).await? {
                looked_through = now;
            }
        }
    }

    /// Counts the connections there have been.
    fn connection(&self) -> u64 {
        self.context.client().statistics().connects.load(Ordering::Relaxed)
    }

    /// A stream that was deleted and made again counts from one: only with its time is a place one message's for ever.
    fn place(&self, sequence: u64, published_ns: i128) -> String {
        format!("{}.{sequence}@{published_ns}", self.stream.name)
    }

    /// What the ledger knows a message by. Ids are the sender's: they live in a name space of their own beside the places.
    fn intake_key(&self, message_id: Option<&str>, place: &str) -> String {
        message_id.map_or_else(|| place.to_owned(), |id| format!("id:{}:{id}", self.stream.name))
    }

    async fn take(
        &self,
        message: Message,
        (said, input): (Said, Input),
        watching: &Watching,
    ) -> Result<(), LedgerError> {
        let (sequence, published, delivery) = match message.info() {
            Ok(info) => (info.stream_sequence, info.published, info.delivered),
            Err(error) => {
                error!(source = self.config.name, %error, "a message without a place in a stream cannot be acknowledged; it is left");
                return Ok(());
            }
        };
        let (message, acker) = message.split();
        let acker = Arc::new(acker);
        let place = self.place(sequence, published.unix_timestamp_nanos());
        let key = self.intake_key(said.message_id.as_deref(), &place);

        let known = self.ledger.read({
            let key = key.clone();
            move |connection| {
                Ok(intake::find(connection, &key)?
                    .map(|id| jobs::find(connection, id))
                    .transpose()?
                    .flatten())
            }
        });
        let known = known.await?;
        let message_id = said.message_id.as_deref();
        let mut ticket = Ticket { key: claim::key(message_id, &place), place: place.clone() };
        let received = Instant::now();
        let claimed = loop {
            match self.claims.claim(&mut ticket, message_id, delivery, known.as_ref()).await {
                Err(_) if received.elapsed() < ACK_WAIT / 3 => tokio::time::sleep(CLAIM_AGAIN).await,
                outcome => break outcome,
            }
        };
        let (verdict, claim) = match claimed {
            Ok(claimed) => claimed,
            Err(unconfirmed) => {
                // Left alone, it is delivered again; held, it might be another daemon's meanwhile.
                warn!(source = self.config.name, place, %unconfirmed, "a message is left for later");
                return Ok(());
            }
        };
        let (verdict, claim) = match verdict {
            Verdict::Wait => match self.inherit(&ticket, delivery, &claim).await {
                Some(inherited) => (Verdict::TakeOver, inherited),
                None => (verdict, claim),
            },
            _ => (verdict, claim),
        };
        match (verdict, known) {
            (Verdict::Mine | Verdict::New, Some(job)) => {
                debug!(job = %job.id, place, "delivered again");
                return self.join(job.id, acker).await;
            }
            (Verdict::Over, known) => return self.acknowledge(&claim, known, acker).await,
            (Verdict::Wait, _) => {
                debug!(job = %claim.job, place, "another daemon works on a message of the same id");
                later(&acker).await;
                return Ok(());
            }
            (Verdict::Stale, _) => return Ok(()),
            (Verdict::New, None) => {}
            (Verdict::Mine, None) | (Verdict::TakeOver, _) => {
                self.claims.let_go(claim.job).await?;
                let inputs = (said, input);
                let (job, refusal) =
                    self.job(claim.job, sequence, inputs, &message.payload, watching).await?;
                let job = Job { ticket: Some(ticket), ..job };
                return self.take_over(&claim, key, job, refusal, acker).await;
            }
        }
        let (mut job, refusal) =
            self.job(claim.job, sequence, (said, input), &message.payload, watching).await?;
        job.ticket = Some(ticket);
        let policy = self.policy;
        self.held.hold(job.id, acker);
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
                        jobs::advance(connection, job.id, fact, &policy, Timestamp::now())?;
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
                self.ledger.wake(Duty::Prepare);
                self.ledger.wake(Duty::Publish);
                Ok(())
            }
            // Two deliveries side by side: the other one was quicker.
            Taken::Known(known) => {
                spool::remove(&self.state_directory, job.id).await;
                for acker in self.held.release(job.id) {
                    self.join(known.id, acker).await?;
                }
                Ok(())
            }
        }
    }

    /// A message of a job that is known: waits with it, or is acknowledged if it is over.
    async fn join(&self, job: Uuid, acker: Arc<Acker>) -> Result<(), LedgerError> {
        // Held first, then looked at: a job that settles in between finds the message, or is found settled.
        self.held.hold(job, acker);
        match self.ledger.find(job).await? {
            Some(known) if !is_settled(&known) => {
                if let State::Submitted { .. } = known.state {
                    self.held.mark(job, true);
                }
            }
            _ => self.settle(job, false).await,
        }
        Ok(())
    }

    /// A message whose job is over: waits for our own settling of it, or is acknowledged.
    async fn acknowledge(
        &self,
        claim: &Claim,
        known: Option<Job>,
        acker: Arc<Acker>,
    ) -> Result<(), LedgerError> {
        match known {
            Some(job) if self.claims.is_mine(claim) => return self.join(job.id, acker).await,
            Some(job) if !is_settled(&job) => self.claims.let_go(job.id).await?,
            _ => {}
        }
        self.held.hold(claim.job, acker);
        self.settle(claim.job, false).await;
        Ok(())
    }

    /// The job that a message becomes, its audio on disk; with a fault where it cannot be used.
    async fn job(
        &self,
        id: Uuid,
        sequence: u64,
        (said, input): (Said, Input),
        payload: &Bytes,
        watching: &Watching,
    ) -> Result<(Job, Option<Fault>), LedgerError> {
        let mut recording = Recording {
            uri: format!("nats:{}/{sequence}", self.stream.name),
            name: said.name.clone(),
            message_id: said.message_id.clone(),
            ..Recording::default()
        };
        let mut refusal = None;
        let origin = match input {
            Input::Audio => {
                recording.sha256 = Some(spool::write(&self.state_directory, id, payload, watching).await?);
                recording.bytes = Some(payload.len() as u64);
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
}

/// Has the message delivered again after a while. Lost, it comes after `ack_wait`.
async fn later(acker: &Acker) {
    if let Err(error) = acker.ack_with(AckKind::Nak(Some(ACK_WAIT / 2))).await {
        debug!(%error, "a message could not be put off");
    }
}

fn last_segment(url: &url::Url) -> Option<String> {
    url.path_segments()?.next_back().filter(|name| !name.is_empty()).map(str::to_owned)
}
