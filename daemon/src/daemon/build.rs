//! Builds the daemon, in the order of the flow: read from top to bottom, it is the architecture.

use std::path::Path;
use std::sync::Arc;

use hark_sdk::event::Event;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::reload;
use super::sources::Sources;
use super::tasks::{EssentialTasks, Stages};
use super::{Daemon, DaemonError, present};
use crate::api::health::Health;
use crate::api::http;
use crate::api::others::OtherDaemons;
use crate::api::reloads::Reloads;
use crate::api::state::{Api, Handles};
use crate::api::steer::Steer;
use crate::api::steer::sources::Board;
use crate::api::token::Tokens;
use crate::api::words::LastWords;
use crate::audio::Workers;
use crate::broker::{self, Patience};
use crate::config::Config;
use crate::job::ledger::Ledger;
use crate::os;
use crate::pipeline::{self, Pipeline};
use crate::publish::webhooks::{Schedule, Webhooks};
use crate::publish::{Feed, Outbox, PartialPublisher};
use crate::share::Claims;
use crate::telemetry::OnceAMinute;
use crate::telemetry::metrics::Metrics;
use crate::work::{self, InFlight, Objects, OpenFiles, Settings, Tools};

/// Descriptors besides a recording and a connection for each flash request: ledger, watches, audio workers, plugins, uploads, scans, and the
/// connections of HTTP.
const OWN_DESCRIPTORS: u64 = 160 + http::CONNECTIONS as u64;

impl Daemon {
    /// Opens, binds, loads and connects, in the order of the flow; no work is started. NATS may be away: the daemon waits for it later. The
    /// ledger may wait for free space on a full disk: HTTP answers meanwhile, for as long as the daemon, or this future, lives.
    ///
    /// # Errors
    /// What the operator has to change, or a machine that cannot run Hark.
    pub async fn build(config: Config, config_file: &Path) -> Result<Daemon, DaemonError> {
        let configuration = |error: &dyn std::fmt::Display| DaemonError::Config(error.to_string());
        prepare_process(&config);
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
            tasks.endless("http", serving);
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
        let partials = PartialPublisher::new(metrics.clone(), feed.clone());
        let (in_force, settings_in_force) = watch::channel(Arc::clone(&settings));
        let pipeline = Pipeline::start_in(
            &pipeline::PluginEnvironment::of(&config, config_file),
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
            ledger: tools.ledger.for_requests(),
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
            tasks.endless("last words", follow);
            api.open(Handles {
                tokens: Tokens::load(&config.http, &config.state.directory).map_err(DaemonError::Config)?,
                daemon: claims.daemon(),
                ledger: ledger.for_requests(),
                feed,
                words,
                steer: steer.clone(),
                config: config_in_force.subscribe(),
                reloads: reloads.clone(),
                others: OtherDaemons::new(
                    connection.client(),
                    &config.nats.subject_prefix,
                    &claims.daemon().to_string(),
                ),
            });
        }
        // Counters that appear with their first event would show no increase from zero to one.
        for outcome in reload::OUTCOMES {
            metrics.config_reloads.with_label_values(&[outcome]).inc_by(0);
        }
        metrics.config_loaded.set(jiff::Timestamp::now().as_second());
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

/// Makes the memory of this process private and gives it as many descriptors as the config needs.
fn prepare_process(config: &Config) {
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
}

/// Passes partials through the plugins to their publisher.
fn of_plugins(
    pipeline: &Arc<Pipeline>,
    ledger: &Ledger,
    partials: PartialPublisher,
) -> work::partials::WaitingPartials {
    let publish = Arc::new(move |event: Event| partials.offer(event));
    work::partials::WaitingPartials::new(Arc::clone(pipeline), ledger.clone(), publish)
}
