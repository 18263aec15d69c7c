//! Reloads the config in the running daemon. The daemon first reads, validates and builds all parts of it; only if it can build every part, each
//! part takes effect. Work under way goes on with the settings with which it began.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use uuid::Uuid;

use super::DaemonError;
use super::lanes::Lanes;
use super::sources::Sources;
use super::tasks::{EssentialTasks, Stages};
use crate::api::reloads::{Reload, Reloads};
use crate::api::steer::InForce;
use crate::config::{self, Changes, Config};
use crate::job::ledger::pieces;
use crate::pipeline::{self, PluginEnvironment};
use crate::publish::webhooks::Webhooks;
use crate::telemetry::logging;
use crate::work::{self, Settings, Tools};

/// What becomes of a reload, as the metric names it.
pub(super) const OUTCOMES: [&str; 2] = ["applied", "refused"];

/// What a reload changes.
pub(super) struct Reloader {
    pub file: PathBuf,
    /// In force, so far as it can be in a running daemon.
    pub config: watch::Sender<Arc<Config>>,
    /// This daemon's id.
    pub daemon: Uuid,
    pub settings: watch::Sender<Arc<Settings>>,
    pub tools: Tools,
    pub sources: Sources,
    pub lanes: Lanes,
    pub webhooks: Webhooks,
    pub present: watch::Sender<InForce>,
    pub level: logging::Level,
    /// Cancelled when the service manager was told that the daemon is ready.
    pub started: CancellationToken,
    pub reloads: Reloads,
}

impl Reloader {
    /// Reads the config anew, and puts it in force if it has no mistake. Logs and notes the outcome; tells the service manager when it begins
    /// and when it has ended, whatever the outcome.
    ///
    /// # Errors
    /// When the ledger is closed or damaged.
    pub async fn reload(&mut self, tasks: &mut EssentialTasks, stages: &Stages) -> Result<(), DaemonError> {
        let is_told = self.started.is_cancelled();
        if is_told {
            tell(NotifyState::Reloading);
        }
        info!(file = %self.file.display(), "reloading the config");
        let outcome = self.read_and_apply(tasks, stages).await?;
        self.note(outcome);
        if is_told {
            tell(NotifyState::Ready);
        }
        Ok(())
    }

    async fn read_and_apply(
        &mut self,
        tasks: &mut EssentialTasks,
        stages: &Stages,
    ) -> Result<Result<Changes, Vec<String>>, DaemonError> {
        let (config, changes) = match self.inspect().await {
            Ok(read) => read,
            Err(mistakes) => return Ok(Err(mistakes)),
        };
        let Tools { ledger, metrics, pipeline, .. } = &self.tools;
        let in_force = Arc::clone(&self.settings.borrow());
        let settings = Settings::of_config(&config, Some(&in_force), self.daemon, ledger, metrics);
        let settings = match settings {
            Ok(settings) => settings,
            Err(mistakes) => return Ok(Err(mistakes)),
        };
        let sources = match self.sources.prepare(&config, &settings).await {
            Ok(sources) => sources,
            Err(mistakes) => return Ok(Err(mistakes)),
        };
        let environment = PluginEnvironment::of(&config, &self.file);
        let plugins = pipeline.prepare(&environment, &config.plugin, &config.plugins);
        plugins.loaded().await;
        if let Err(mistake) = self.webhooks.configure(&config.webhook) {
            return Ok(Err(vec![mistake]));
        }

        // From here on nothing is refused. Settings, recognizers and plugins change before the sources, so that new recordings meet the new
        // ones.
        if let Err(error) = self.level.set(&config.log.level) {
            warn!(%error, "log.level stays as it was");
        }
        self.tools.tasks.allow(settings.most_tasks);
        let settings = Arc::new(settings);
        self.settings.send_replace(Arc::clone(&settings));
        self.present.send_replace(super::present(&settings));
        settings.recognizers.take_effect();
        self.lanes.of_recognizers(tasks);
        pipeline.install(plugins);
        self.sources.change(&config, sources, tasks, stages).await?;
        self.config.send_replace(Arc::new(config));
        let held = settings.recognizers.probe_held();
        if !held.is_empty() {
            let now = Timestamp::now();
            ledger.write(move |connection| pieces::ask_again(connection, &held, now)).await?;
        }
        // Those that wait for a later time look at the new budget and at their plans now, the lanes at their widths.
        if changes.are_of(&["budget", "source", "price", "recognizer", "dashscope"]) {
            let now = Timestamp::now();
            ledger.write(move |connection| pieces::look_at_budget(connection, now)).await?;
        }
        ledger.wake_all();
        if changes.are_of(&["route", "recognizer", "dashscope", "storage"]) {
            let tools = Tools { stop: stages.requests.clone(), ..self.tools.renewed() };
            tasks.essential("replan", async move { Ok(work::replan::replan(tools).await?) });
        }
        Ok(Ok(changes))
    }

    /// Reads the file, and tries the plugins whose processes it changes. Returns the config as it can be in force in this process.
    async fn inspect(&self) -> Result<(Config, Changes), Vec<String>> {
        let (file, before, pipeline) =
            (self.file.clone(), Arc::clone(&self.config.borrow()), Arc::clone(&self.tools.pipeline));
        let inspected = tokio::task::spawn_blocking(move || {
            let mut inspection = config::inspect(&file);
            let changes = inspection.config.prepare_reload(&before);
            let environment = PluginEnvironment::of(&inspection.config, &file);
            inspection.try_plugins(|plugin, folders| match pipeline.has(&environment, plugin, folders) {
                true => Ok(Vec::new()),
                false => match pipeline::inspect(plugin, folders, &environment) {
                    Ok(description) => Ok(description.warnings),
                    Err(error) => Err(error.reasons()),
                },
            });
            (inspection, changes)
        });
        let (inspection, changes) = inspected.await.map_err(|error| vec![error.to_string()])?;
        if !inspection.mistakes.is_empty() {
            let lines = inspection.mistakes.lines();
            return Err(lines.map(|(place, text)| format!("{place}: {text}")).collect());
        }
        for warning in inspection.warnings() {
            warn!("{warning}");
        }
        Ok((inspection.config, changes))
    }

    /// Logs the outcome before it counts it, so that a test that waits for the metric finds the log line.
    fn note(&self, outcome: Result<Changes, Vec<String>>) {
        let at = Timestamp::now();
        let none = Reload { at, applied: false, changed: vec![], needs_restart: vec![], mistakes: vec![] };
        let reload = match outcome {
            Ok(Changes { applied: changed, needs_restart }) => {
                let (changes, restart) = (changed.join(", "), needs_restart.join(", "));
                match restart.is_empty() {
                    true => info!(changed = changes, "the config was reloaded"),
                    false => warn!(
                        changed = changes,
                        needs_restart = restart,
                        "the config was reloaded; some of its keys need a restart"
                    ),
                }
                Reload { applied: true, changed, needs_restart, ..none }
            }
            Err(mistakes) => {
                let count = mistakes.len();
                error!(
                    mistakes = count,
                    "the config has mistakes; the daemon goes on with the one that it has"
                );
                mistakes.iter().for_each(|mistake| error!("{mistake}"));
                Reload { mistakes, ..none }
            }
        };
        let metrics = &self.tools.metrics;
        let [applied, refused] = OUTCOMES;
        let outcome = if reload.applied { applied } else { refused };
        if reload.applied {
            metrics.config_loaded.set(at.as_second());
        }
        self.reloads.put(reload);
        metrics.config_reloads.with_label_values(&[outcome]).inc();
    }
}

/// Tells the service manager; with the time, which a reload needs. It may be absent.
fn tell(state: NotifyState<'_>) {
    let states = match (state, NotifyState::monotonic_usec_now()) {
        (NotifyState::Reloading, Ok(time)) => vec![NotifyState::Reloading, time],
        (state, _) => vec![state],
    };
    let _ = sd_notify::notify(&states);
}
