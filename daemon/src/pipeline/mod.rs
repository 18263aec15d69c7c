//! Plugins: every event of a job passes through the plugins that are configured for its source, in the order of the config, before it is
//! published.
//!
//! Each plugin runs in a process of its own (`child`, `library`), supervised by a task (`host`) with a bounded queue. A plugin's failure
//! never fails a job: the daemon publishes it as a `plugin.<name>` event and goes on with the transcript, unless the config has `on_failure
//! = "hold"`. The time that a plugin costs is bounded: each event has `timeout`, and three deaths in ten minutes quarantine the plugin.
//!
//! When the config is reloaded, other plugins replace these. A job keeps, up to its final, the plugins that received its first event. A
//! process ends when no job and no config uses its plugin any more.

pub mod child;
mod environment;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod host;
mod inspect;
mod library;
mod log;
mod plugin;
mod plugins;
mod process;
mod recorder;
mod schema;
mod status;
mod trial;
mod verify;
mod wire;

use std::collections::HashMap;
use std::sync::Arc;

use hark_sdk::event::{Event, Kind};
use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config;
use crate::job::ledger::{Ledger, LedgerError};
use crate::os::private;
use crate::telemetry::metrics::Metrics;

use plugin::Running;

pub use environment::PluginEnvironment;
pub use inspect::{inspect, schema_of};
pub use plugins::{Held, Plugins, Processed};
pub use process::LoadError;
pub use status::{Enabled, PluginState, PluginStatus};
pub use trial::{Trial, Verdict, trial};
pub use wire::Description;

/// The most jobs whose plugins the pipeline keeps, and whose contexts one plugin keeps. The limit is needed because a job that fails has no
/// final that would remove its entry.
const MOST_JOBS: usize = 16_384;

/// The plugins of a daemon.
#[derive(Debug)]
pub struct Pipeline {
    /// For the jobs that begin.
    current: RwLock<Arc<Plugins>>,
    /// The plugins with which the jobs under way began.
    kept: Mutex<HashMap<Uuid, Arc<Plugins>>>,
    /// The tasks that supervise processes, by the plugins' names.
    supervisors: Mutex<Vec<(String, JoinHandle<()>)>>,
    metrics: Metrics,
    stopping: CancellationToken,
}

impl Pipeline {
    /// Starts one supervised process for each plugin; [`Pipeline::loaded`] waits for them. A plugin that cannot be loaded does not stop the
    /// daemon: the daemon logs an error, and retries when the library changes and with growing pauses.
    pub fn start_in(
        environment: &PluginEnvironment,
        plugins: &[config::Plugin],
        folders: &config::Plugins,
        metrics: Metrics,
    ) -> Pipeline {
        let pipeline = Pipeline {
            current: RwLock::default(),
            kept: Mutex::default(),
            supervisors: Mutex::default(),
            metrics,
            stopping: CancellationToken::new(),
        };
        let plugins = pipeline.prepare(environment, plugins, folders);
        *pipeline.current.write() = Arc::new(plugins);
        pipeline
    }

    /// Starts the processes of the plugins of another config. A plugin whose process would be started with the same settings shares the running
    /// process. No event reaches the new plugins before [`Pipeline::install`].
    pub fn prepare(
        &self,
        environment: &PluginEnvironment,
        plugins: &[config::Plugin],
        folders: &config::Plugins,
    ) -> Plugins {
        let current = self.current();
        let running = |plugin: &config::Plugin| {
            if let Some(running) = current.running(environment, plugin, folders) {
                return running;
            }
            let own = environment.own_folder(&plugin.name);
            if let Err(error) = private::create_folder(&own) {
                tracing::warn!(plugin = %plugin.name, folder = %own.display(), %error, "plugin's own folder cannot be created");
            }
            let launch = environment.launch(plugin, folders);
            let (running, supervisor) = Running::start(launch, plugin.timeout, &self.metrics, &self.stopping);
            let mut supervisors = self.supervisors.lock();
            supervisors.retain(|(_, supervisor)| !supervisor.is_finished());
            supervisors.push((plugin.name.clone(), supervisor));
            running
        };
        Plugins::new(plugins.iter().map(|plugin| (plugin, running(plugin))))
    }

    /// Whether a process with the same rights and config runs for this plugin: then the plugin needs no new process.
    pub fn has(
        &self,
        environment: &PluginEnvironment,
        plugin: &config::Plugin,
        folders: &config::Plugins,
    ) -> bool {
        self.current().running(environment, plugin, folders).is_some()
    }

    /// Replaces the running plugins for the jobs that begin from now on.
    pub fn install(&self, plugins: Plugins) {
        let before = std::mem::replace(&mut *self.current.write(), Arc::new(plugins));
        let current = self.current();
        for name in before.names().filter(|name| !current.names().any(|other| other == *name)) {
            for state in PluginState::ALL {
                // A state that was never set has no value to remove.
                let _ = self.metrics.plugin_state.remove_label_values(&[name, state.as_str()]);
            }
        }
    }

    /// Waits until each plugin is loaded or has failed to load: some ten seconds for a plugin that hangs. Call it before the first event: an
    /// earlier event may find that its plugins are not loaded yet.
    pub async fn loaded(&self) {
        self.current().loaded().await;
    }

    /// Passes an event of a job through its plugins; see [`Plugins::process`].
    pub async fn process<F>(&self, event: Event, earlier: impl Fn() -> F + Sync) -> Processed
    where
        F: Future<Output = Vec<Event>> + Send,
    {
        let (job, is_final) = (event.job, event.kind() == Kind::TranscriptFinal);
        let plugins = if is_final { self.of(job) } else { self.keep(job, &event.source) };
        let processed = plugins.process(event, earlier).await;
        // When a job is held, its next try uses the plugins of the current config: the operator may have corrected the plugin that fails.
        if is_final || processed.held.is_some() {
            self.kept.lock().remove(&job);
        }
        processed
    }

    /// The plugins with which a job began; the current plugins if the job has none.
    pub fn of(&self, job: Uuid) -> Arc<Plugins> {
        self.kept.lock().get(&job).map(Arc::clone).unwrap_or_else(|| self.current())
    }

    /// Whether a transform may process texts of this job: the daemon looks at the plugins with which the job began, and at the current ones. A
    /// plugin that was never loaded counts as a transform.
    pub fn transforms(&self, job: Uuid, source: &str) -> bool {
        self.of(job).transforms(source) || self.current().transforms(source)
    }

    fn keep(&self, job: Uuid, source: &str) -> Arc<Plugins> {
        let mut kept = self.kept.lock();
        if let Some(plugins) = kept.get(&job) {
            return Arc::clone(plugins);
        }
        let current = self.current();
        if current.has_plugins_for(source) {
            if kept.len() >= MOST_JOBS {
                // Jobs that began with the current plugins need no entry until the next reload.
                kept.retain(|_, plugins| !Arc::ptr_eq(plugins, &current));
            }
            kept.insert(job, Arc::clone(&current));
        }
        current
    }

    /// Removes the entries of jobs that ended without a final, so that processes that only these jobs kept can end.
    ///
    /// # Errors
    /// When the ledger is closed or damaged.
    pub async fn forget_ended(&self, ledger: &Ledger) -> Result<(), LedgerError> {
        let current = self.current();
        let earlier =
            |(job, plugins): (&Uuid, &Arc<Plugins>)| (!Arc::ptr_eq(plugins, &current)).then_some(*job);
        let jobs: Vec<Uuid> = self.kept.lock().iter().filter_map(earlier).collect();
        for job in jobs {
            if ledger.find(job).await?.is_none_or(|job| job.stage.has_ended()) {
                self.kept.lock().remove(&job);
            }
        }
        Ok(())
    }

    fn current(&self) -> Arc<Plugins> {
        Arc::clone(&self.current.read())
    }

    /// Status of each plugin, in the order of the config.
    pub fn statuses(&self) -> Vec<PluginStatus> {
        self.current().statuses()
    }

    /// Ends a quarantine, or retries at once to load a library that could not be loaded. Waits until the plugin is loaded or has failed to
    /// load, some ten seconds for a library that hangs. `None`: there is no plugin of that name.
    pub async fn enable(&self, name: &str) -> Option<Enabled> {
        let plugin = self.current().find(name)?;
        let was = plugin.status.borrow().state;
        let (done, is_done) = oneshot::channel();
        // A supervisor that has ended has logged the reason; the status is its last one.
        if plugin.enable.send(done).await.is_ok() {
            let _ = is_done.await;
        }
        let PluginStatus { state, reason, .. } = plugin.status.borrow().clone();
        Some(Enabled { was, state, reason })
    }

    /// Waits until every plugin has answered its queued events and has ended in good order, for at most two of its `timeout`s. Later events
    /// find no plugin.
    pub async fn stop(&self) {
        self.stopping.cancel();
        let supervisors = std::mem::take(&mut *self.supervisors.lock());
        for (name, supervisor) in supervisors {
            if let Err(error) = supervisor.await {
                tracing::error!(plugin = %name, %error, "supervisor task of the plugin failed");
            }
        }
    }
}
