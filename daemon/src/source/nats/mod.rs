//! Audio from a JetStream subject.
//!
//! Delivery promise: the daemon acknowledges a message after the job's last event is stored, and not before. A redelivered message, and a
//! duplicate (another message with the same `Nats-Msg-Id`), belong to the same job for as long as the ledger remembers the message.

mod consumer;
mod duplicate;
mod health;
mod intake;
mod listen;
mod lost_claims;
pub(super) mod message;
mod new_job;
mod pull;
mod spool;
mod stored;
mod takeover;
mod unacked;

use hark_sdk::event::ObjectRef;
use parking_lot::{Mutex, RwLock};
use std::convert::Infallible;
use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::jetstream::AckKind;
use async_nats::jetstream::stream::{self, RetentionPolicy, StorageType};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, warn};
use uuid::Uuid;

pub use self::consumer::SourceError;
use self::health::Health;
pub use self::unacked::Slots;
use self::unacked::UnackedMessages;
use crate::broker::stream::{captures, find};
use crate::broker::{JetStream, Subjects, acknowledgement};
use crate::config::{AllowList, Nats, NatsSource, UPLOADS, Unheeded};
use crate::job::Job;
use crate::job::ledger::{Ledger, LedgerError};
use crate::job::piece_machine::Policy;
use crate::job::spool as job_spool;
use crate::share::{Claims, Fence};
use crate::source::Watching;
use crate::source::switch::Switch;
use crate::telemetry::metrics::Metrics;

/// Interval of the check whether the bucket of claims was lost: a few checks within `ack_wait`, before the server redelivers one of this
/// daemon's messages to another daemon.
const BUCKET_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// The ends of a source.
#[derive(Debug, Clone, Default)]
pub struct Ends {
    /// Cancelled when the config has no such source any more.
    pub retire: CancellationToken,
    /// Cancelled by the source when it takes nothing in any more.
    pub idle: CancellationToken,
    /// Cancelled when the daemon stops.
    pub stop: CancellationToken,
}

/// One `[[source]]` of kind `nats`.
pub struct Subject {
    name: String,
    config: RwLock<Arc<NatsSource>>,
    /// The config has another subject since the consumer was looked up.
    is_moved: AtomicBool,
    stream: stream::Config,
    /// Whether the stream is the daemon's own audio stream, which the daemon creates if it is absent. Any other stream has to exist.
    own_stream: bool,
    handles: Handles,
    held: Arc<UnackedMessages>,
    health: Health,
    switch: Switch,
    /// When the consumer was created, ns since the epoch: no daemon received a message through it before.
    heard_since: Mutex<i128>,
}

/// What a source needs from the daemon.
pub struct Handles {
    pub nats: Nats,
    pub jetstream: JetStream,
    pub ledger: Ledger,
    pub claims: Claims,
    /// Finds jobs in the stream of events and continues them.
    pub fence: Fence,
    pub state_directory: PathBuf,
    /// All sources share them; a reload of the config replaces them.
    pub terms: Arc<RwLock<Arc<MessageRules>>>,
    pub metrics: Metrics,
}

/// What the other tables of the config say about messages.
pub struct MessageRules {
    pub allow: AllowList,
    /// What messages may say without effect, for `job.accepted`.
    pub unheeded: Unheeded,
    /// The most messages that a source holds; further ones stay in the stream.
    pub slots: Slots,
    pub policy: Policy,
}

impl Subject {
    /// Makes the source; it sends no request before [`Self::run`].
    pub fn new(config: NatsSource, handles: Handles) -> Self {
        let own_stream = config.stream.is_empty() || config.stream == handles.nats.audio_stream;
        let name = if own_stream { handles.nats.audio_stream.clone() } else { config.stream.clone() };
        let stream = stream::Config {
            name,
            description: Some("Audio for Hark; a message goes when its recording is recognized".into()),
            subjects: vec![Subjects::new(&handles.nats.subject_prefix).audio()],
            retention: RetentionPolicy::WorkQueue,
            storage: StorageType::File,
            num_replicas: handles.nats.replicas,
            ..stream::Config::default()
        };
        let ack_wait = handles.nats.ack_wait;
        let (held, health) = (Arc::new(UnackedMessages::new(ack_wait)), Health::new(ack_wait));
        Subject {
            name: config.name.clone(),
            config: RwLock::new(Arc::new(config)),
            is_moved: AtomicBool::new(false),
            stream,
            own_stream,
            handles,
            held,
            health,
            switch: Switch::default(),
            heard_since: Mutex::default(),
        }
    }

    /// How an operator pauses it. Messages of jobs under way stay held.
    pub fn switch(&self) -> &Switch {
        &self.switch
    }

    /// Takes messages in until `stop`. While NATS does not answer, the source waits without limit and reports that through `watching`.
    /// `retire`: the config has no such source any more. Then it takes no further message, cancels `idle`, and returns when the jobs of the
    /// messages that it holds have ended.
    ///
    /// # Errors
    /// When the stream does not capture the subject (configuration), or the ledger is closed or damaged.
    pub async fn run(
        &self,
        watching: &Watching,
        Ends { retire, idle, stop }: &Ends,
    ) -> Result<(), SourceError> {
        // Tasks of their own: progress is acknowledged in time however long a message takes to be taken in.
        let mut others = JoinSet::new();
        let (held, claims) = (Arc::clone(&self.held), self.handles.claims.clone());
        others.spawn(async move { held.keep_alive(&claims).await }.in_current_span());
        let (held, ledger) = (Arc::clone(&self.held), self.handles.ledger.clone());
        others.spawn(async move { held.follow_changes(&ledger).await }.in_current_span());
        tokio::select! {
            outcome = async {
                self.take_messages(watching, retire).await?;
                idle.cancel();
                self.held.emptied().await;
                Ok(())
            } => outcome,
            Err(error) = self.watch_bucket() => Err(error.into()),
            () = stop.cancelled() => Ok(()),
        }
    }

    /// Whether the stream, if it is there, captures a subject. A server that does not answer refutes nothing.
    ///
    /// # Errors
    /// The stream does not capture it, or is the operator's own and not there.
    pub async fn fits(&self, subject: &str) -> Result<(), SourceError> {
        if !self.handles.jetstream.is_connected() {
            return Ok(());
        }
        match find(&self.handles.jetstream, &self.stream.name).await {
            Ok(Some(stream)) => Ok(captures(&stream.cached_info().config, subject)?),
            Ok(None) if !self.own_stream => Err(SourceError::NoStream { name: self.stream.name.clone() }),
            Ok(None) | Err(_) => Ok(()),
        }
    }

    /// Takes another config of the same stream over: for the next message.
    pub async fn reconfigure(&self, config: NatsSource) {
        let before = std::mem::replace(&mut *self.config.write(), Arc::new(config));
        let is_connected = self.handles.jetstream.is_connected();
        if is_connected && before.allow_buckets != self.config().allow_buckets {
            self.make_uploads().await;
        }
        if before.subject != self.config().subject {
            // The consumer is looked up now, because it keeps its name and the open request may already return a message of the new subject.
            if is_connected && let Err(error) = self.consumer().await {
                debug!(source = self.name, %error, "the consumer is looked up again");
            }
            self.is_moved.store(true, Ordering::Relaxed);
        }
    }

    fn config(&self) -> Arc<NatsSource> {
        Arc::clone(&self.config.read())
    }

    /// To be called after the terms were replaced: a free slot may have come.
    pub fn look_again(&self) {
        self.held.look_again();
    }

    fn terms(&self) -> Arc<MessageRules> {
        Arc::clone(&self.handles.terms.read())
    }

    /// To be called after the job's last event is stored: acknowledges the job's messages, or terminates them (`AckKind::Term`) if the input
    /// itself was bad, and removes the spooled audio unless it is kept. If an acknowledgement is lost, the redelivered message is acknowledged.
    pub async fn settle(&self, job: Uuid, bad_input: bool, keeps_audio: bool) {
        let kind = if bad_input { AckKind::Term } else { AckKind::Ack };
        for message in self.held.release(job) {
            let acknowledged = message.acker.double_ack_with(kind);
            let acknowledged =
                self.handles.jetstream.unless_refused(&[acknowledgement::NAMED], acknowledged).await;
            self.health.acknowledged(acknowledged.as_ref().map(drop).map_err(ToString::to_string));
            let error = match acknowledged {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(refused) => refused.to_string(),
            };
            warn!(%job, error, "the message's acknowledgement was not confirmed; it may be delivered once more");
        }
        if !keeps_audio {
            job_spool::remove(&self.handles.state_directory, job).await;
        }
    }

    /// Deletes the object that a job's message names, after the job's last event is stored. If that fails, the object stays and the log says
    /// so; the bucket that Hark creates keeps it for a day.
    pub async fn delete_object(&self, job: &Job) {
        let Some(object) = &job.object else { return };
        if let Err(error) = self.handles.jetstream.delete_object(object).await {
            let ObjectRef { bucket, name } = object;
            warn!(job = %job.id, bucket, object = name, error, "the object of a recording that is over cannot be deleted; delete it by hand");
        }
    }

    /// Creates the bucket of uploads, if the source may use it and it is absent.
    async fn make_uploads(&self) {
        if !self.config().allow_buckets.iter().any(|bucket| bucket == UPLOADS) {
            return;
        }
        if let Err(error) = self.handles.jetstream.uploads(&self.handles.nats).await {
            warn!(
                source = self.name,
                error,
                "the bucket of uploads cannot be created; create it, give the daemon the right to, or take it out of allow_buckets"
            );
        }
    }

    /// Checks at intervals whether the bucket is still the one that has the claims of this source's jobs, and writes the claims again if
    /// not. A bucket that was lost and created again has no claims: if this daemon died, another daemon would start a new job for each of
    /// its messages, and pay the service again.
    async fn watch_bucket(&self) -> Result<Infallible, LedgerError> {
        let mut written = None;
        let mut tick = tokio::time::interval(BUCKET_CHECK_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            match self.handles.claims.bucket_made().await {
                Ok(made) if written == Some(made) => {}
                Ok(made) => {
                    if self.handles.claims.update_all(&self.name, made).await? {
                        written = Some(made);
                    }
                }
                Err(unconfirmed) => {
                    debug!(source = self.name, %unconfirmed, "the bucket did not answer; it is checked again")
                }
            }
        }
    }

    fn heard_since(&self) -> i128 {
        *self.heard_since.lock()
    }

    /// `nats.ack_wait`.
    fn ack_wait(&self) -> Duration {
        self.handles.nats.ack_wait
    }
}

/// Why a message, or a search, has to be tried again later, or never.
#[derive(Debug, thiserror::Error)]
enum NotNow {
    /// The server does not answer, or the bucket does not confirm which daemon owns a job.
    #[error("{0}")]
    Broker(String),
    /// The ledger is closed or damaged.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl NotNow {
    fn broker(error: impl Display) -> NotNow {
        NotNow::Broker(error.to_string())
    }
}
