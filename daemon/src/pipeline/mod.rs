//! Plugins: every event of a job passes through the plugins that are configured for its source, in the order of the config, before it is
//! published.
//!
//! Each plugin runs in a process of its own (`child`, `library`), supervised by a task (`host`) with a bounded queue. A plugin's failure
//! never fails a job: the daemon publishes it as a `plugin.<name>` event and goes on with the transcript, unless the config has `on_failure
//! = "hold"`. The time that a plugin costs is bounded: each event has `timeout`, and three deaths in ten minutes quarantine the plugin.
//!
//! A reload of the config puts other plugins in the place of these. A job keeps the plugins that had its first event, to its final; a
//! process ends when no job has its plugin any more.

pub mod child;
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
mod surroundings;
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

pub use inspect::{inspect, schema_of};
pub use plugins::{Held, Plugins, Processed};
pub use process::LoadError;
pub use status::{Enabled, PluginState, PluginStatus};
pub use surroundings::Surroundings;
pub use trial::{Trial, Verdict, trial};
pub use wire::Description;

/// The most jobs whose plugins are remembered, or whose contexts a plugin remembers: jobs that fail are not forgotten one by one.
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
        surroundings: &Surroundings,
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
        let plugins = pipeline.prepare(surroundings, plugins, folders);
        *pipeline.current.write() = Arc::new(plugins);
        pipeline
    }

    /// Starts the processes of the plugins of another config; a plugin whose process would be no other shares the one that runs. Nothing
    /// passes through them before [`Pipeline::install`].
    pub fn prepare(
        &self,
        surroundings: &Surroundings,
        plugins: &[config::Plugin],
        folders: &config::Plugins,
    ) -> Plugins {
        let current = self.current();
        let running = |plugin: &config::Plugin| {
            if let Some(running) = current.running(surroundings, plugin, folders) {
                return running;
            }
            let own = surroundings.own_folder(&plugin.name);
            if let Err(error) = private::create_folder(&own) {
                tracing::warn!(plugin = %plugin.name, folder = %own.display(), %error, "plugin's own folder cannot be created");
            }
            let launch = surroundings.launch(plugin, folders);
            let (running, supervisor) = Running::start(launch, plugin.timeout, &self.metrics, &self.stopping);
            let mut supervisors = self.supervisors.lock();
            supervisors.retain(|(_, supervisor)| !supervisor.is_finished());
            supervisors.push((plugin.name.clone(), supervisor));
            running
        };
        Plugins::new(plugins.iter().map(|plugin| (plugin, running(plugin))))
    }

    /// Whether this plugin runs with the same rights and config: then it needs no other process.
    pub fn has(
        &self,
        surroundings: &Surroundings,
        plugin: &config::Plugin,
        folders: &config::Plugins,
    ) -> bool {
        self.current().running(surroundings, plugin, folders).is_some()
    }

    /// Replaces the running plugins for the jobs that begin from now on.
    pub fn install(&self, plugins: Plugins) {
        let before = std::mem::replace(&mut *self.current.write(), Arc::new(plugins));
        let current = self.current();
        for name in before.names().filter(|name| !current.names().any(|other| other == *name)) {
            for state in PluginState::ALL {
                // One that was never set is not there.
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
        // A held job goes to the plugins of the present config: the operator may have changed what fails.
        if is_final || processed.held.is_some() {
            self.kept.lock().remove(&job);
        }
        processed
    }

    /// The plugins with which a job began, else the present ones.
    pub fn of(&self, job: Uuid) -> Arc<Plugins> {
        self.kept.lock().get(&job).map(Arc::clone).unwrap_or_else(|| self.current())
    }

    /// Whether a transform works for a job, or may: among the plugins that it began with, or for its source among the present ones. A plugin
    /// that is not loaded may be one.
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
                // Those have them anyway, as long as no reload comes.
                kept.retain(|_, plugins| !Arc::ptr_eq(plugins, &current));
            }
            kept.insert(job, Arc::clone(&current));
        }
        current
    }

    /// Forgets the earlier plugins of jobs that have ended without a final, so that their processes end.
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
