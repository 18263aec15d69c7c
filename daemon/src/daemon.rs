//! Wires the modules in the order of the flow. `build` is the architecture read from top to bottom; `run` starts it and stops it from
//! the front: first no new recordings, then no new requests, then what is under way is finished, published and acknowledged.

mod housekeeping;
mod lanes;
mod reports;
mod sources;
mod tasks;

use std::collections::HashMap;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hark_sdk::event::{Engine, Event};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::housekeeping::housekeeping;
use self::lanes::start_lanes;
use self::reports::{gauges, tell_broker, tell_ready};
use self::sources::Sources;
use self::tasks::{EssentialTasks, Stages, drain};
use crate::api::health::Health;
use crate::api::service::Identity;
use crate::api::state::{Api, Desk};
use crate::api::steer::Steer;
use crate::api::steer::sources::Board;
use crate::api::token::Tokens;
use crate::api::words::LastWords;
use crate::api::{http, service};
use crate::audio::Workers;
use crate::broker::{self, JetStream, Patience, Subjects};
use crate::config::{AllowList, Config, Route};
use crate::job::ledger::{Ledger, LedgerError, checkpoint, pause, pieces};
use crate::job::piece_machine::{PieceFact, Policy};
use crate::job::spool::{self, Sweep};
use crate::job::{Budget, Prices};
use crate::os;
use crate::pipeline::{self, Pipeline};
use crate::publish::webhooks::{Schedule, Webhooks};
use crate::publish::{Feed, Outbox, Partials};
use crate::recognize::{Bucket, Recognizers, Timeouts};
use crate::share::Claims;
use crate::source::plugin_files::PluginFiles;
use crate::telemetry::OnceAMinute;
use crate::telemetry::metrics::Metrics;
use crate::work::{self, InFlight, Objects, OpenFiles, Priorities, Tools};

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
    config: Config,
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
        let key = config.dashscope_key().map_err(DaemonError::Config)?;
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
        let policy = Policy {
            ambiguous_retries: config.dashscope.ambiguous_retries,
            prices: Prices::of_config(&config),
            budget: Budget::of_config(&config),
            daemon: claims.daemon(),
        };
        let sources = Sources::build(&config, &ledger, &claims, &connection, &policy, &metrics)?;

        // recognize
        let feed = Feed::default();
        let partials = Partials::new(metrics.clone(), feed.clone());
        let mut recognizers = match key {
            Some(key) => {
                let file = config.dashscope.api_key_path();
                let bucket = Bucket::of_config(&config.storage, &metrics, Timeouts::default());
                let bucket = bucket.map_err(DaemonError::Config)?;
                Recognizers::build(&config.dashscope, bucket, key, file, &metrics, Timeouts::default())
                    .map_err(|error| configuration(&error))?
            }
            None => Recognizers::default(),
        };
        recognizers.add_own(&config.recognizer, &metrics).map_err(DaemonError::Config)?;
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
            recognizers: Arc::new(recognizers),
            workers: Workers::start(
                os::spawn::this_executable(),
                std::thread::available_parallelism().map_or(2, usize::from).min(4),
                metrics.clone(),
            ),
            state_directory: Arc::new(config.state.directory.clone()),
            routes: Arc::new(routes(&config)?),
            policy,
            priorities: Priorities::of_config(&config),
            tasks: Arc::new(InFlight::new(config.dashscope.filetrans_concurrency)),
            pipeline: Arc::clone(&pipeline),
            partials: of_plugins(&pipeline, &ledger, partials.clone()),
            revisions: work::Revisions::default(),
            files: Arc::<OpenFiles>::default(),
            plugin_files: Arc::new(PluginFiles::new(&config, &ledger).map_err(DaemonError::Config)?),
            allow_urls: Arc::new(AllowList::parse(&config.security.allow_urls).map_err(DaemonError::Config)?),
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
        let webhooks =
            Webhooks::new(connection.clone(), &config.nats, claims.daemon(), metrics, Schedule::default());
        webhooks.configure(&config.webhook).map_err(DaemonError::Config)?;
        let steer = Steer {
            ledger: tools.ledger.clone(),
            sources: Board::default(),
            jetstream: connection.clone(),
            state_directory: Arc::clone(&tools.state_directory),
            metrics: tools.metrics.clone(),
            claims: tools.claims.clone(),
            recognizers: Arc::clone(&tools.recognizers),
            policy: tools.policy.clone(),
            pipeline: Arc::clone(&tools.pipeline),
            webhooks: webhooks.clone(),
        };
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
                config: watch::Sender::new(Arc::new(config.clone())).subscribe(),
                state_directory,
            });
        }
        Ok(Daemon {
            config,
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
        })
    }
}

impl Daemon {
    /// Runs until `stop` resolves or an essential part ends; then drains, from the front.
    ///
    /// # Errors
    /// Why an essential part ended.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), DaemonError> {
        let (stages, mut tasks) = (std::mem::take(&mut self.stages), std::mem::take(&mut self.tasks));
        tasks.essential(
            "gauges",
            gauges(
                self.tools.ledger.clone(),
                self.tools.metrics.clone(),
                self.health.clone(),
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
        let paused = self.tools.ledger.read(pause::sources).await?;
        let watching = self.sources.start(&self.config, &self.steer.sources, &paused, &mut tasks, &stages);
        let poll = self.config.dashscope.poll_interval;
        start_lanes(poll, self.tools.clone(), self.sources, &unconfigured, &mut tasks, &stages);
        tasks.essential(
            "housekeeping",
            housekeeping(self.tools.ledger.clone(), self.config.state.clone(), stages.publish.clone()),
        );
        let subjects = Subjects::new(&self.config.nats.subject_prefix);
        let (client, prefix) = (self.connection.client(), self.config.nats.subject_prefix.clone());
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
        let (webhooks, ending) = (self.webhooks, stages.publish.clone());
        tasks.essential("webhooks", async {
            webhooks.run(ending).await;
            Ok(())
        });
        tasks.essential("ready", tell_ready(watching, self.health.clone(), stages.sources.clone()));

        let outcome = tokio::select! {
            () = &mut stop => {
                info!("stopping: no new recordings; what is under way is finished");
                Ok(())
            }
            failure = tasks.first_failure() => Err(failure),
        };
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
        let state = &self.config.state;
        spool::sweep(&state.directory, &self.tools.ledger, state.keep_failed, Sweep::AtStart).await?;
        for id in interrupted {
            let advanced =
                self.tools.ledger.advance_piece(id, PieceFact::Restarted, 0, &self.tools.policy).await?;
            let source = advanced.map(|advanced| advanced.job.source);
            warn!(job = %id.job, source, piece = id.number, "a request was under way when the daemon ended");
        }
        let mut unconfigured = self.tools.ledger.read(pieces::recognizers).await?;
        unconfigured.retain(|name| self.tools.recognizers.get(&Engine::new(name)).is_none());
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

/// The routes by name; their context files are read here.
fn routes(config: &Config) -> Result<HashMap<String, Route>, DaemonError> {
    let with_context = |route: &Route| {
        let context = route.context_text().map_err(DaemonError::Config)?;
        Ok((route.name.clone(), Route { context, ..route.clone() }))
    };
    config.route.iter().map(with_context).collect()
}
