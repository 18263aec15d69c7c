//! Webhooks: hands stored events on to receivers over HTTP.
//!
//! JetStream is the queue: each webhook is a durable consumer of the stream of events, which the daemons share; the one that holds the
//! webhook's lease delivers. Delivery promise: every event of the webhook's kinds that is stored while it is in the config is sent until the
//! receiver takes it (2xx), at least once and under the same id, those of one job in their order. While a webhook is paused nothing is
//! skipped. What the limits of the stream remove meanwhile is lost, and reported.
//!
//! Memory is bounded: `deliveries` has a window of events; what waits longer is a backlog in the bucket and is read from the stream again.

mod deliveries;
mod delivery;
mod event_reader;
mod lease;
mod record;
mod request;
mod schedule;
mod session;
mod view;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};
use uuid::Uuid;

use self::delivery::Delivery;
use self::request::Receiver;
use crate::broker::JetStream;
use crate::config::{Nats, Secret, Webhook};
use crate::share::Bucket;
use crate::telemetry::OnceAMinute;
use crate::telemetry::metrics::Metrics;

pub use self::record::Paused;
pub use self::request::Tested;
pub use self::schedule::Schedule;
pub use self::view::{Failure, View, Waiting};

/// How many requests of operators wait for a webhook's task at most.
const COMMANDS: usize = 16;

/// Why an operator's request was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("there is no webhook of this name here")]
    Unknown,
    #[error("another daemon delivers this webhook, or none does yet")]
    Elsewhere,
    #[error("this cannot be done now, because NATS does not answer; try again")]
    NotNow,
}

/// Where the answer to an operator's request goes.
type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// An operator's request to the task of a webhook.
enum Command {
    Test(Reply<Tested>),
    /// Answered by the number of events that were set aside.
    Retry(Reply<u64>),
    /// Answered by whether the webhook was paused.
    Resume(Reply<bool>),
    /// Answered by how many events of the job waited or were set aside.
    Forget(Uuid, Reply<u64>),
}

impl Command {
    fn refuse(self, refusal: Refusal) {
        // The caller may have gone.
        match self {
            Command::Test(answer) => drop(answer.send(Err(refusal))),
            Command::Retry(answer) => drop(answer.send(Err(refusal))),
            Command::Resume(answer) => drop(answer.send(Err(refusal))),
            Command::Forget(_, answer) => drop(answer.send(Err(refusal))),
        }
    }
}

/// What the tasks of all webhooks share.
struct Handles {
    jetstream: JetStream,
    nats: Nats,
    bucket: Arc<Bucket>,
    daemon: Uuid,
    metrics: Metrics,
    schedule: Schedule,
}

/// The webhooks of this daemon. Clones are handles to the same ones.
#[derive(Clone)]
pub struct Webhooks(Arc<Shared>);

struct Shared {
    handles: Arc<Handles>,
    wanted: watch::Sender<Vec<ConfiguredWebhook>>,
    running: Mutex<Vec<KnownWebhook>>,
}

/// A webhook of the config with its secrets as they are now.
#[derive(Clone)]
struct ConfiguredWebhook {
    webhook: Webhook,
    secrets: Vec<Secret>,
    receiver: Arc<Receiver>,
    /// When it was first in the config.
    began: SystemTime,
}

/// What the handle knows of a running webhook.
struct KnownWebhook {
    view: Arc<Mutex<View>>,
    commands: mpsc::Sender<Command>,
}

/// A running task.
struct Running {
    wanted: ConfiguredWebhook,
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Webhooks {
    /// No webhooks yet; see [`Webhooks::configure`]. `daemon`: the id of this daemon's ledger.
    pub fn new(
        connection: impl Into<JetStream>,
        nats: &Nats,
        daemon: Uuid,
        metrics: Metrics,
        schedule: Schedule,
    ) -> Webhooks {
        let jetstream = connection.into();
        let bucket = Arc::new(Bucket::new(&jetstream, lease::bucket(nats), nats.ack_wait));
        let handles = Handles { jetstream, nats: nats.clone(), bucket, daemon, metrics, schedule };
        let (wanted, _) = watch::channel(Vec::new());
        Webhooks(Arc::new(Shared { handles: Arc::new(handles), wanted, running: Mutex::default() }))
    }

    /// Replaces the webhooks, and reads their secrets anew: new ones start, others stop, and those that changed go on as they are now. No event
    /// is lost by it; a request that is under way is waited for. Events of a removed webhook wait in its consumer, in case it comes back.
    ///
    /// # Errors
    /// A sentence about a secret that cannot be read, or an address; then nothing changes.
    pub fn configure(&self, webhooks: &[Webhook]) -> Result<(), String> {
        let known = self.0.wanted.borrow().clone();
        let mut wanted = Vec::new();
        for webhook in webhooks {
            let secrets = webhook.secrets()?;
            let same = known.iter().find(|known| known.webhook.name == webhook.name);
            let began = same.map_or_else(SystemTime::now, |same| same.began);
            wanted.push(match same {
                Some(same) if same.webhook == *webhook && same.secrets == secrets => same.clone(),
                _ => {
                    let timeout = self.0.handles.schedule.timeout;
                    let receiver = Arc::new(Receiver::new(webhook, &secrets, timeout)?);
                    ConfiguredWebhook { webhook: webhook.clone(), secrets, receiver, began }
                }
            });
        }
        self.0.wanted.send_replace(wanted);
        Ok(())
    }

    /// Delivers until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut wanted = self.0.wanted.subscribe();
        let mut running: HashMap<String, Running> = HashMap::new();
        loop {
            let now = wanted.borrow_and_update().clone();
            let is_kept = |running: &Running| {
                now.iter().any(|wanted| Arc::ptr_eq(&wanted.receiver, &running.wanted.receiver))
            };
            let over: Vec<Running> =
                running.extract_if(|_, running| !is_kept(running)).map(|(_, over)| over).collect();
            self.end(over, &now).await;
            for wanted in now {
                running.entry(wanted.webhook.name.clone()).or_insert_with(|| self.start(wanted, &stop));
            }
            tokio::select! {
                _ = wanted.changed() => {}
                () = stop.cancelled() => break,
            }
        }
        self.end(running.into_values().collect(), &[]).await;
    }

    /// The webhooks, as this daemon sees them.
    pub fn list(&self) -> Vec<View> {
        let shown = self.0.running.lock();
        let mut views: Vec<View> = shown.iter().map(|shown| shown.view.lock().clone()).collect();
        for view in &mut views {
            view.backlog = view.backlog();
        }
        views.sort_by(|one, other| one.name.cmp(&other.name));
        views
    }

    /// Sends a test event to the receiver; also while the webhook is paused. Only the daemon that delivers the webhook does.
    ///
    /// # Errors
    /// See [`Refusal`]. An event that is not taken is no error.
    pub async fn test(&self, name: &str) -> Result<Tested, Refusal> {
        self.ask(name, Command::Test).await
    }

    /// Sends again what was set aside, and at once what waits to be tried again; returns how many events were set aside. A webhook that is
    /// paused sends them when it goes on.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn retry(&self, name: &str) -> Result<u64, Refusal> {
        self.ask(name, Command::Retry).await
    }

    /// Ends a pause, for every daemon; returns whether the webhook was paused.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn resume(&self, name: &str) -> Result<bool, Refusal> {
        self.ask(name, Command::Resume).await
    }

    /// Drops what waits or is set aside of a job whose events are erased; returns how many events. Only the daemon that delivers the webhook
    /// does.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn forget(&self, name: &str, job: Uuid) -> Result<u64, Refusal> {
        self.ask(name, |answer| Command::Forget(job, answer)).await
    }

    async fn ask<T>(&self, name: &str, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Refusal> {
        let task = {
            let shown = self.0.running.lock();
            let named = shown.iter().find(|shown| shown.view.lock().name == name);
            named.ok_or(Refusal::Unknown)?.commands.clone()
        };
        let (reply, answer) = oneshot::channel();
        task.send(command(reply)).await.map_err(|_| Refusal::NotNow)?;
        answer.await.unwrap_or(Err(Refusal::NotNow))
    }

    fn start(&self, wanted: ConfiguredWebhook, ends: &CancellationToken) -> Running {
        let ConfiguredWebhook { webhook, receiver, began, .. } = wanted.clone();
        let (sender, commands) = mpsc::channel(COMMANDS);
        let view = View {
            name: webhook.name.clone(),
            receiver: receiver.origin(),
            kinds: webhook.kinds.clone(),
            sources: webhook.sources.clone(),
            ..View::default()
        };
        let view = Arc::new(Mutex::new(view));
        self.0.running.lock().push(KnownWebhook { view: Arc::clone(&view), commands: sender });
        let stop = ends.child_token();
        let delivery = Delivery {
            handles: Arc::clone(&self.0.handles),
            webhook,
            receiver,
            view,
            commands,
            began,
            stop: stop.clone(),
            ends: ends.clone(),
            troubled: OnceAMinute::default(),
            unreachable: OnceAMinute::default(),
        };
        Running { wanted, stop, task: AbortOnDropHandle::new(tokio::spawn(delivery.run())) }
    }

    /// Stops these webhooks, and waits until each has released its lease and its unacknowledged events. `now`: the webhooks of the config.
    async fn end(&self, over: Vec<Running>, now: &[ConfiguredWebhook]) {
        over.iter().for_each(|running| running.stop.cancel());
        for Running { wanted, task, .. } in over {
            let name = &wanted.webhook.name;
            if let Err(error) = task.await {
                warn!(webhook = name, %error, "the webhook's task ended with an error");
            }
            self.0.running.lock().retain(|shown| shown.view.lock().name != *name);
            if !now.iter().any(|wanted| wanted.webhook.name == *name) {
                info!(webhook = name, "the webhook is delivered no more by this daemon");
                self.0.handles.metrics.forget_webhook(name);
            }
        }
    }
}
