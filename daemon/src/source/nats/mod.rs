//! Audio from a JetStream subject.
//!
//! Delivery promise: a message is acknowledged after its job's last event is stored, and not before; a message that comes again (a
//! redelivery, or another one with the same `Nats-Msg-Id`) is the same job for as long as the ledger remembers it.

mod consumer;
mod duplicate;
mod flow;
mod forgotten;
mod intake;
mod leftovers;
mod listen;
mod message;
mod pull;
mod spool;
mod takeover;
mod unacked;
mod unreadable;

use parking_lot::Mutex;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::AckKind;
use async_nats::jetstream::stream::{self, RetentionPolicy, StorageType};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, warn};
use uuid::Uuid;

pub use self::consumer::SourceError;
use self::unacked::Held;
pub use self::unacked::Slots;
use crate::broker::{JetStream, Subjects};
use crate::config::{AllowList, Nats, NatsSource};
use crate::job::ledger::{Ledger, LedgerError};
use crate::job::piece_machine::Policy;
use crate::job::spool as job_spool;
use crate::share::{Claims, Fence};
use crate::telemetry::metrics::Metrics;

/// How often it is looked whether the bucket was lost: a few times within `ack_wait`, before a message of ours comes to somebody else.
const BUCKET_LOST: Duration = Duration::from_secs(5);

/// What the source says of itself.
type Watching = watch::Sender<Result<(), String>>;

/// One `[[source]]` of kind `nats`.
pub struct Subject {
    config: NatsSource,
    stream: stream::Config,
    /// The daemon's own stream of audio is made where it is absent; another one has to exist.
    own_stream: bool,
    jetstream: JetStream,
    ledger: Ledger,
    claims: Claims,
    fence: Fence,
    state_directory: PathBuf,
    routes: Vec<String>,
    allow: AllowList,
    slots: Slots,
    policy: Policy,
    metrics: Metrics,
    held: Arc<Held>,
    ack_wait: Duration,
    /// When the consumer was made, ns since the epoch; nobody had a message before.
    heard_since: Mutex<i128>,
}

/// What the daemon knows that a source needs.
pub struct Surroundings {
    pub nats: Nats,
    pub jetstream: JetStream,
    pub ledger: Ledger,
    pub claims: Claims,
    /// Continues, and finds, jobs in the stream of events.
    pub fence: Fence,
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
            subjects: vec![Subjects::new(&around.nats.subject_prefix).audio()],
            retention: RetentionPolicy::WorkQueue,
            storage: StorageType::File,
            num_replicas: around.nats.replicas,
            ..stream::Config::default()
        };
        let ack_wait = around.nats.ack_wait;
        let held = Arc::new(Held::new(ack_wait));
        Subject {
            config,
            stream,
            own_stream,
            jetstream: around.jetstream,
            ledger: around.ledger,
            claims: around.claims,
            fence: around.fence,
            state_directory: around.state_directory,
            routes: around.routes,
            allow: around.allow,
            slots: around.slots,
            policy: around.policy,
            metrics: around.metrics,
            held,
            ack_wait,
            heard_since: Mutex::default(),
        }
    }

    /// Takes messages in until `stop`. Waits for NATS for ever, saying so through `watching`.
    ///
    /// # Errors
    /// When the stream does not capture the subject (configuration), or the ledger is closed or damaged.
    pub async fn run(&self, watching: Watching, stop: CancellationToken) -> Result<(), SourceError> {
        let keep_alive = tokio::spawn({
            let (held, claims, stop) = (Arc::clone(&self.held), self.claims.clone(), stop.clone());
            async move { held.keep_alive(claims, stop).await }.in_current_span()
        });
        let follow_jobs = tokio::spawn(Arc::clone(&self.held).follow(self.ledger.clone()));
        let outcome = tokio::select! {
            outcome = self.take_messages(&watching) => outcome,
            Err(error) = self.mind_the_bucket() => Err(error.into()),
            () = stop.cancelled() => Ok(()),
        };
        keep_alive.abort();
        follow_jobs.abort();
        outcome
    }

    /// After the last event is stored: acknowledges the job's messages, or terminates them where the input itself was bad. An
    /// acknowledgement that is lost is made up for at the next delivery.
    pub async fn settle(&self, job: Uuid, bad_input: bool) {
        let kind = if bad_input { AckKind::Term } else { AckKind::Ack };
        for sign in self.held.release(job) {
            let named = ["\"$JS.ACK."];
            let confirmed = self.jetstream.unless_refused(&named, sign.acker.double_ack_with(kind)).await;
            let confirmed = match confirmed {
                Ok(confirmed) => confirmed.map_err(|error| error.to_string()),
                Err(refused) => Err(refused.to_string()),
            };
            if let Err(error) = &confirmed {
                warn!(%job, error, "the message's acknowledgement was not confirmed; it may be delivered once more");
            }
            self.held.acknowledged(&sign, confirmed);
        }
        job_spool::remove(&self.state_directory, job).await;
    }

    /// Looks again and again whether the bucket is the one that was told of this source's jobs. One that was lost and made anew knows none:
    /// another daemon would begin anew with each message of this one, should this one die, and pay again.
    async fn mind_the_bucket(&self) -> Result<Infallible, LedgerError> {
        let mut told = None;
        let mut tick = tokio::time::interval(BUCKET_LOST);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            match self.claims.bucket_made().await {
                Ok(made) if told == Some(made) => {}
                Ok(made) => {
                    if self.claims.tell_all(&self.config.name).await? {
                        told = Some(made);
                    }
                }
                Err(unconfirmed) => {
                    debug!(source = self.config.name, %unconfirmed, "the bucket is looked for again")
                }
            }
        }
    }

    fn heard_since(&self) -> i128 {
        *self.heard_since.lock()
    }
}
