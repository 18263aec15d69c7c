//! Runs the parts that [`Daemon::build`] has wired: `run` starts them, and stops them from the front. First the daemon takes no new recordings,
//! then it sends no new requests, then it finishes, publishes and acknowledges the work under way.

mod budget_gauges;
mod build;
mod housekeeping;
mod lanes;
mod reload;
mod reports;
mod sources;
mod tasks;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hark_sdk::event::Engine;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::housekeeping::housekeeping;
use self::lanes::Lanes;
use self::reload::Reloader;
use self::reports::{gauges, tell_broker, tell_ready};
use self::sources::Sources;
use self::tasks::{EssentialTasks, Stages, drain};
use crate::api::health::Health;
use crate::api::reloads::Reloads;
use crate::api::service;
use crate::api::service::Identity;
use crate::api::steer::{InForce, Steer};
use crate::broker::{JetStream, Subjects};
use crate::config::Config;
use crate::job::ledger::{LedgerError, checkpoint, pieces};
use crate::job::piece_machine::PieceFact;
use crate::job::spool::{self, Sweep};
use crate::pipeline::Pipeline;
use crate::publish::webhooks::Webhooks;
use crate::publish::{Outbox, PartialPublisher};
use crate::share::Fence;
use crate::telemetry::logging;
use crate::work::{Settings, Tools};

/// The time from the signal to the end of the stages; the plugins' end, the last publishes to NATS and the ledger's log share less than
/// three more seconds: the goal is ten. The unit's `TimeoutStopSec` is longer; the daemon logs what has not ended by then, and the next
/// start finds it in the ledger.
const DRAIN: Duration = Duration::from_secs(7);

/// How long the plugins have for their end.
const PARTING: Duration = Duration::from_secs(1);

/// Why the daemon cannot start, or has ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The operator has to change the config, or what it names.
    #[error("{0}")]
    Config(String),
    /// A bug, a damaged file, a failure of the machine.
    #[error("{0}")]
    Software(String),
}

impl From<LedgerError> for DaemonError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Directory { .. }
            | LedgerError::Exposed { .. }
            | LedgerError::InUse { .. }
            | LedgerError::Open { .. } => DaemonError::Config(error.to_string()),
            _ => DaemonError::Software(error.to_string()),
        }
    }
}

/// Everything that is built but does not run yet, except HTTP.
pub struct Daemon {
    config: watch::Sender<Arc<Config>>,
    config_file: PathBuf,
    settings: watch::Sender<Arc<Settings>>,
    reloads: Reloads,
    health: Health,
    stages: Stages,
    tasks: EssentialTasks,
    connection: JetStream,
    sources: Sources,
    tools: Tools,
    outbox: Outbox,
    broker: watch::Receiver<Result<(), String>>,
    partials: PartialPublisher,
    webhooks: Webhooks,
    steer: Steer,
    present: watch::Sender<InForce>,
}

impl Daemon {
    /// Runs until `stop` resolves or an essential part ends; then drains, from the front. Each message of `reload` reloads the config; `level`
    /// is that of the log.
    ///
    /// # Errors
    /// Why an essential part ended.
    pub async fn run(
        mut self,
        stop: impl Future<Output = ()>,
        mut reload: mpsc::Receiver<()>,
        level: logging::Level,
    ) -> Result<(), DaemonError> {
        let (stages, mut tasks) = (std::mem::take(&mut self.stages), std::mem::take(&mut self.tasks));
        tasks.essential(
            "gauges",
            gauges(
                self.tools.ledger.clone(),
                self.tools.metrics.clone(),
                self.health.clone(),
                self.config.subscribe(),
                stages.publish.clone(),
            ),
        );
        // On a full disk this waits for free space, and it waits for a plugin that hangs while it is loaded: meanwhile HTTP answers, and a
        // signal still ends it.
        tokio::pin!(stop);
        let unconfigured = tokio::select! {
            recovered = async {
                self.tools.pipeline.loaded().await;
                self.recover().await
            } => recovered?,
            () = &mut stop => {
                end(&self.tools.pipeline).await;
                return Ok(());
            }
        };
        self.sources.start(&mut tasks, &stages).await?;
        let config = self.config.borrow().clone();
        let fence = Fence::new(self.connection.clone(), &config.nats, self.tools.claims.clone());
        let (tools, sources) = (self.tools.clone(), self.sources.clone());
        let lanes = Lanes::start(tools, fence, sources, &unconfigured, &mut tasks, &stages);
        let (ledger, plugins) = (self.tools.ledger.clone(), Arc::clone(&self.tools.pipeline));
        tasks.essential(
            "housekeeping",
            housekeeping(ledger, self.config.subscribe(), plugins, stages.publish.clone()),
        );
        let subjects = Subjects::new(&config.nats.subject_prefix);
        let (client, prefix) = (self.connection.client(), config.nats.subject_prefix.clone());
        let (identity, heard) = (Identity::own(self.tools.claims.daemon()), stages.publish.clone());
        let steer = self.steer.clone();
        tasks.essential("service", async move {
            let served = service::serve(client, &prefix, identity, steer, heard).await;
            served.map_err(|error| DaemonError::Software(format!("serving requests over NATS: {error}")))
        });
        let partials = self.partials.run(self.connection.client(), subjects, stages.publish.clone());
        tasks.endless("partials", partials);
        tasks.essential(
            "broker",
            tell_broker(self.broker, self.connection.clone(), self.health.clone(), stages.publish.clone()),
        );
        let (outbox, ending) = (self.outbox, stages.outbox.clone());
        tasks.essential("outbox", async move { Ok(outbox.run(ending).await?) });
        let (webhooks, ending) = (self.webhooks.clone(), stages.publish.clone());
        tasks.endless("webhooks", async move { webhooks.run(ending).await });
        let started = CancellationToken::new();
        let (watching, sources) = (self.sources.watching(), stages.sources.clone());
        tasks.essential("ready", tell_ready(watching, started.clone(), self.health.clone(), sources));
        let mut reloader = Reloader {
            file: self.config_file,
            daemon: self.tools.settings.policy.daemon,
            config: self.config,
            settings: self.settings,
            tools: self.tools.clone(),
            sources: self.sources,
            lanes,
            level,
            started,
            reloads: self.reloads,
            webhooks: self.webhooks,
            present: self.present,
        };
        let outcome = loop {
            tokio::select! {
                () = &mut stop => break Ok(()),
                failure = tasks.first_failure() => break Err(failure),
                Some(()) = reload.recv() => {}
            }
            let reloaded = tokio::select! {
                () = &mut stop => break Ok(()),
                reloaded = reloader.reload(&mut tasks, &stages) => reloaded,
            };
            if let Err(failure) = reloaded {
                break Err(failure);
            }
        };
        drain_and_end(outcome.is_ok(), &stages, &mut tasks, &self.tools, self.connection.client()).await;
        outcome
    }

    /// Right after the start no request is under way: requests that were have an unknown fate now. Returns the recognizers that have open
    /// pieces and are not in the config any more.
    async fn recover(&self) -> Result<Vec<String>, DaemonError> {
        let interrupted = self.tools.ledger.read(pieces::interrupted).await?;
        // Before the sources start: for a moment, no job refers to what they spool.
        let state = self.config.borrow().state.clone();
        spool::sweep(&state.directory, &self.tools.ledger, state.keep_failed, Sweep::AtStart).await?;
        for id in interrupted {
            let advanced = self
                .tools
                .ledger
                .advance_piece(id, PieceFact::Restarted, 0, &self.tools.settings.policy)
                .await?;
            let source = advanced.map(|advanced| advanced.job.source);
            warn!(job = %id.job, source, piece = id.number, "a request was under way when the daemon ended");
        }
        // The operator may have raised the budget before this start.
        let now = Timestamp::now();
        self.tools.ledger.write(move |connection| pieces::look_at_budget(connection, now)).await?;
        let mut unconfigured = self.tools.ledger.read(pieces::recognizers).await?;
        unconfigured.retain(|name| self.tools.settings.recognizers.get(&Engine::new(name)).is_none());
        for recognizer in &unconfigured {
            warn!(
                recognizer,
                "the config has no recognizer of this name any more; its recordings are planned anew, or fail if they may have cost \
                 something; its tasks wait until it is back"
            );
        }
        Ok(unconfigured)
    }
}

/// Drains from the front and lets everything end. `in_order`: no essential part has failed.
async fn drain_and_end(
    in_order: bool,
    stages: &Stages,
    tasks: &mut EssentialTasks,
    tools: &Tools,
    client: async_nats::Client,
) {
    if in_order {
        info!("stopping: no new recordings; what is under way is finished");
    }
    // The service manager is gone or absent: nothing to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    let drained = tokio::time::timeout(DRAIN, drain(stages, tasks, &tools.ledger)).await;
    if drained.is_err() {
        warn!(unfinished = ?tasks.names(), "some tasks did not end in time; the daemon resumes their work at the next start");
        tasks.abort().await;
    }
    end(&tools.pipeline).await;
    // A server that is away or does not read would keep the flush waiting for ever.
    let flushed = tokio::time::timeout(Duration::from_secs(1), client.flush()).await;
    if !matches!(flushed, Ok(Ok(()))) {
        warn!("the last messages to NATS may be lost; stored events are in the outbox");
    }
    if in_order {
        // The time limit does no harm: the next start empties the log.
        let empty = tools.ledger.read(checkpoint::empty_log);
        let _ = tokio::time::timeout(Duration::from_millis(500), empty).await;
    }
}

/// Lets the plugins end by themselves, within [`PARTING`].
async fn end(pipeline: &Pipeline) {
    if tokio::time::timeout(PARTING, pipeline.stop()).await.is_err() {
        warn!("a plugin did not end in time and is killed");
    }
}

/// What requests of operators need of the settings.
fn present(settings: &Settings) -> InForce {
    InForce { recognizers: Arc::clone(&settings.recognizers), policy: settings.policy.clone() }
}
