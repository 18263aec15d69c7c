//! Wires the modules in the order of the flow. `build` is the architecture read from top to bottom; `run` starts it and stops it from
//! the front: first no new recordings, then no new requests, then what is under way is finished, published and acknowledged.

mod budget_gauges;
mod housekeeping;
mod lanes;
mod reload;
mod reports;
mod sources;
mod tasks;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hark_sdk::event::{Engine, Event};
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
use crate::api::others::Others;
use crate::api::reloads::Reloads;
use crate::api::service::Identity;
use crate::api::state::{Api, Desk};
use crate::api::steer::sources::Board;
use crate::api::steer::{Present, Steer};
use crate::api::token::Tokens;
use crate::api::words::LastWords;
use crate::api::{http, service};
use crate::audio::Workers;
use crate::broker::{self, JetStream, Patience, Subjects};
use crate::config::Config;
use crate::job::ledger::{Ledger, LedgerError, checkpoint, pieces};
use crate::job::piece_machine::PieceFact;
use crate::job::spool::{self, Sweep};
use crate::os;
use crate::pipeline::{self, Pipeline};
use crate::publish::webhooks::{Schedule, Webhooks};
use crate::publish::{Feed, Outbox, Partials};
use crate::share::Claims;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::{OnceAMinute, logging};
use crate::work::{self, InFlight, Objects, OpenFiles, Settings, Tools};

/// The time from the signal to the end of the stages; the plugins' end, the last publishes to NATS and the ledger's log share less than
/// three more seconds: the goal is ten. The unit's `TimeoutStopSec` is longer; the daemon logs what has not ended by then, and the next
/// start finds it in the ledger.
const DRAIN: Duration = Duration::from_secs(7);

/// How long the plugins have for their end.
const PARTING: Duration = Duration::from_secs(1);

/// Descriptors besides a recording and a connection for each flash request: ledger, watches, audio workers, plugins, uploads, scans, and the
/// connections of HTTP.
const OWN_DESCRIPTORS: u64 = 160 + http::CONNECTIONS as u64;

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
    partials: Partials,
    webhooks: Webhooks,
    steer: Steer,
    present: watch::Sender<Present>,
}

impl Daemon {
    /// Opens, binds, loads and connects, in the order of the flow; no work is started. NATS may be away: the daemon waits for it later. The
    /// ledger may wait for free space on a full disk: HTTP answers meanwhile, for as long as the daemon, or this future, lives.
    ///
    /// # Errors
    /// What the operator has to change, or a machine that cannot run Hark.
    pub async fn build(config: Config, config_file: &Path) -> Result<Daemon, DaemonError> {
        let configuration = |error: &dyn std::fmt::Display| DaemonError::Config(error.to_string());
        // Before the key is read: processes of the same user could find it in the daemon's memory.
        if let Err(error) = os::keep_memory_private() {
            warn!(%error, "other processes of this user may read the daemon's memory");
        }
        os::return_large_memory();
        let limit = os::raise_nofile_limit().unwrap_or_else(|error| {
            warn!(%error, "the limit of open files stays as it is");
            None
        });
        let own: usize = config.recognizer.iter().map(|recognizer| recognizer.concurrency).sum();
        let wanted = OWN_DESCRIPTORS + 2 * (config.dashscope.concurrency + own) as u64;
        if limit.is_some_and(|limit| limit < wanted) {
            warn!(
                limit,
                wanted,
                "few files may be open at a time and work will wait for them; raise LimitNOFILE= (ulimit -n)"
            );
        }
        let metrics = Metrics::new();
        let health = Health::default();
        let (stages, mut tasks) = (Stages::default(), EssentialTasks::default());
        let mut api = None;
        if !config.http.listen.is_empty() {
            let bound = http::bind(&config.http).await.map_err(|error| configuration(&error))?;
            let stop = stages.publish.clone();
            let opened = Api::new(bound.address.clone(), health.clone(), metrics.clone(), stop.clone());
            api = Some(opened.clone());
            let serving = http::serve(bound, opened, stop.cancelled_owned());
            tasks.essential("http", async {
                serving.await;
                Ok(())
            });
        }
        // job
        let ledger = {
            let directory = config.state.directory.clone();
            tokio::task::spawn_blocking(move || Ledger::open(&directory))
                .await
                .map_err(|error| DaemonError::Software(error.to_string()))??
        };

        // source
        let connected = broker::connect(&config.nats, Patience::Forever).await;
        let connection = connected.map_err(|error| match error {
            error if error.is_configuration() => configuration(&error),
            error => DaemonError::Software(error.to_string()),
        })?;
        let claims = Claims::new(
            connection.clone(),
            &config.nats,
            config.state.keep,
            ledger.clone(),
            &config.state.directory,
        )
        .await?;
        let settings = Settings::of_config(&config, None, claims.daemon(), &ledger, &metrics);
        let settings = Arc::new(settings.map_err(|mistakes| DaemonError::Config(mistakes.join("; ")))?);
        let config_in_force = watch::Sender::new(Arc::new(config.clone()));
        let board = Board::default();
        let sources = Sources::build(
            config_in_force.subscribe(),
            &settings,
            &ledger,
            &claims,
            &connection,
            board.clone(),
            &metrics,
        )?;

        // recognize
        let feed = Feed::default();
        let partials = Partials::new(metrics.clone(), feed.clone());
        let (in_force, settings_in_force) = watch::channel(Arc::clone(&settings));
        let pipeline = Pipeline::start_in(
            &pipeline::Surroundings::of(&config, config_file),
            &config.plugin,
            &config.plugins,
            metrics.clone(),
        );
        let pipeline = Arc::new(pipeline);
        let tools = Tools {
            ledger: ledger.clone(),
            claims: claims.clone(),
            jetstream: connection.clone(),
            settings,
            in_force: settings_in_force,
            workers: Workers::start(
                os::spawn::this_executable(),
                std::thread::available_parallelism().map_or(2, usize::from).min(4),
                metrics.clone(),
            ),
            state_directory: Arc::new(config.state.directory.clone()),
            tasks: Arc::new(InFlight::new(config.dashscope.filetrans_concurrency)),
            pipeline: Arc::clone(&pipeline),
            partials: of_plugins(&pipeline, &ledger, partials.clone()),
            revisions: work::Revisions::default(),
            files: Arc::<OpenFiles>::default(),
            objects: Objects::default(),
            shortage: OnceAMinute::default(),
            metrics: metrics.clone(),
            stop: CancellationToken::new(),
        };

        // publish
        let (ready, broker) = watch::channel(Err("not connected yet".to_owned()));
        let outbox = Outbox::new(
            ledger.clone(),
            claims.clone(),
            connection.clone(),
            config.nats.clone(),
            metrics.clone(),
            ready,
            feed.clone(),
        );
        let webhooks = Webhooks::new(
            connection.clone(),
            &config.nats,
            claims.daemon(),
            metrics.clone(),
            Schedule::default(),
        );
        webhooks.configure(&config.webhook).map_err(DaemonError::Config)?;
        let present = watch::Sender::new(present(&tools.settings));
        let steer = Steer {
            ledger: tools.ledger.clone(),
            sources: board,
            jetstream: connection.clone(),
            state_directory: Arc::clone(&tools.state_directory),
            metrics: tools.metrics.clone(),
            claims: tools.claims.clone(),
            nats: Arc::new(config.nats.clone()),
            present: present.subscribe(),
            pipeline: Arc::clone(&tools.pipeline),
            webhooks: webhooks.clone(),
        };
        let reloads = Reloads::default();
        if let Some(api) = api {
            let words = LastWords::default();
            let follow = words.clone().follow(feed.clone(), stages.publish.clone());
            tasks.essential("last words", async {
                follow.await;
                Ok(())
            });
            let state_directory = config.state.directory.clone();
            api.open(Desk {
                tokens: Tokens::load(&config.http, &state_directory).map_err(DaemonError::Config)?,
                daemon: claims.daemon(),
                ledger: ledger.clone(),
                feed,
                words,
                steer: steer.clone(),
                config: config_in_force.subscribe(),
                reloads: reloads.clone(),
                others: Others::new(
                    connection.client(),
                    &config.nats.subject_prefix,
                    &claims.daemon().to_string(),
                ),
                state_directory,
            });
        }
        metrics.config_loaded.set(jiff::Timestamp::now().as_second());
        // So that the first refusal is an increase.
        for outcome in ["applied", "refused"] {
            metrics.config_reloads.with_label_values(&[outcome]).inc_by(0);
        }
        Ok(Daemon {
            config: config_in_force,
            config_file: config_file.to_owned(),
            settings: in_force,
            reloads,
            health,
            stages,
            tasks,
            connection,
            sources,
            tools,
            outbox,
            broker,
            partials,
            webhooks,
            steer,
            present,
        })
    }
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
        let lanes =
            Lanes::start(self.tools.clone(), self.sources.clone(), &unconfigured, &mut tasks, &stages);
        let config = self.config.borrow().clone();
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
        tasks.essential("partials", async {
            partials.await;
            Ok(())
        });
        tasks.essential(
            "broker",
            tell_broker(self.broker, self.connection.clone(), self.health.clone(), stages.publish.clone()),
        );
        let (outbox, ending) = (self.outbox, stages.outbox.clone());
        tasks.essential("outbox", async move { Ok(outbox.run(ending).await?) });
        let (webhooks, ending) = (self.webhooks.clone(), stages.publish.clone());
        tasks.essential("webhooks", async {
            webhooks.run(ending).await;
            Ok(())
        });
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
        if outcome.is_ok() {
            info!("stopping: no new recordings; what is under way is finished");
        }
        // The service manager is gone or absent: nothing to tell.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        let drained = tokio::time::timeout(DRAIN, drain(&stages, &mut tasks, &self.tools.ledger)).await;
        if drained.is_err() {
            warn!(unfinished = ?tasks.names(), "some tasks did not end in time; the daemon resumes their work at the next start");
            tasks.abort().await;
        }
        end(&self.tools.pipeline).await;
        // A server that is away or does not read would keep the flush waiting for ever.
        let flushed = tokio::time::timeout(Duration::from_secs(1), self.connection.client().flush()).await;
        if !matches!(flushed, Ok(Ok(()))) {
            warn!("the last messages to NATS may be lost; stored events are in the outbox");
        }
        if outcome.is_ok() {
            // The time limit does no harm: the next start empties the log.
            let empty = self.tools.ledger.read(checkpoint::empty_log);
            let _ = tokio::time::timeout(Duration::from_millis(500), empty).await;
        }
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

/// Lets the plugins end by themselves, within [`PARTING`].
async fn end(pipeline: &Pipeline) {
    if tokio::time::timeout(PARTING, pipeline.stop()).await.is_err() {
        warn!("a plugin did not end in time and is killed");
    }
}

/// Passes partials through the plugins to their publisher.
fn of_plugins(pipeline: &Arc<Pipeline>, ledger: &Ledger, partials: Partials) -> work::partials::Partials {
    let publish = Arc::new(move |event: Event| partials.offer(event));
    work::partials::Partials::new(Arc::clone(pipeline), ledger.clone(), publish)
}

/// What requests of operators need of the settings.
fn present(settings: &Settings) -> Present {
    Present { recognizers: Arc::clone(&settings.recognizers), policy: settings.policy.clone() }
}
